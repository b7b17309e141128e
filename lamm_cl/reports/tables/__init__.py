"""Tables in the shape of the papers: pure functions from rows of `runs.csv` to a `Table`, and its renderers."""

from collections.abc import Callable

import pandas as pd

from lamm_cl.reports.tables.base_to_new import base_to_new_table
from lamm_cl.reports.tables.class_incremental import class_incremental_table
from lamm_cl.reports.tables.few_shot import few_shot_table
from lamm_cl.reports.tables.latex import latex_document, render_latex
from lamm_cl.reports.tables.model import Cell, Column, Row, Table
from lamm_cl.reports.tables.multi_domain import multi_domain_table
from lamm_cl.reports.tables.render import (
    render_csv,
    render_markdown,
    render_rich,
    render_text,
)
from lamm_cl.reports.tables.transfer import cross_dataset_table, domain_generalization_table

TABLES: dict[str, Callable[[pd.DataFrame], Table]] = {
    "class_incremental": class_incremental_table,
    "base_to_new": base_to_new_table,
    "few_shot": few_shot_table,
    "cross_dataset": cross_dataset_table,
    "domain_generalization": domain_generalization_table,
    "multi_domain": multi_domain_table,
}

__all__ = [
    "TABLES",
    "Cell",
    "Column",
    "Row",
    "Table",
    "base_to_new_table",
    "class_incremental_table",
    "cross_dataset_table",
    "domain_generalization_table",
    "few_shot_table",
    "latex_document",
    "multi_domain_table",
    "render_csv",
    "render_latex",
    "render_markdown",
    "render_rich",
    "render_text",
]
