"""Figures from rows of `runs.csv`, as matplotlib figures and as SVG and PNG files."""

from lamm_cl.reports.figures.matrix import accuracy_matrix
from lamm_cl.reports.figures.style import render, save

__all__ = ["accuracy_matrix", "render", "save"]
