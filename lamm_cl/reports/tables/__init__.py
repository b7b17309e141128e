"""Tables in the shape of the papers: pure functions from rows of `runs.csv` to a `Table`, and its renderers."""

from lamm_cl.reports.tables.model import Cell, Column, Row, Table
from lamm_cl.reports.tables.protocols import PROTOCOLS
from lamm_cl.reports.tables.render import (
    latex_document,
    render_csv,
    render_latex,
    render_markdown,
    render_rich,
    render_text,
)

__all__ = [
    "PROTOCOLS",
    "Cell",
    "Column",
    "Row",
    "Table",
    "latex_document",
    "render_csv",
    "render_latex",
    "render_markdown",
    "render_rich",
    "render_text",
]
