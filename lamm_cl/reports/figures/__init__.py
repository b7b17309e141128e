"""Figures from rows of `runs.csv`, as matplotlib figures and as SVG, PNG and PDF files."""

from lamm_cl.reports.figures.charts import (
    ablation_dots,
    accuracy_against_cost,
    accuracy_over_steps,
    few_shot_curves,
    own_against_joint,
)
from lamm_cl.reports.figures.heatmaps import accuracy_matrix
from lamm_cl.reports.figures.style import render, save

__all__ = [
    "ablation_dots",
    "accuracy_against_cost",
    "accuracy_matrix",
    "accuracy_over_steps",
    "few_shot_curves",
    "own_against_joint",
    "render",
    "save",
]
