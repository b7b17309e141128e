"""Fetching data sets: one injectable network function, resumable transfers, safe archives."""
