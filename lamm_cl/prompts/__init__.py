"""Prompts compose: context, labels, deep prompts, matching and objective make a method."""
