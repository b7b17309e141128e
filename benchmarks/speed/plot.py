"""Draw how cost grows, from the table."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import MaxNLocator

STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", ":"), ("#CC79A7", "D", "-."))
ROWS = {"step_seconds": "seconds a step, one core", "peak_mb": "peak process memory, MB"}


def plot_growth(table: pd.DataFrame, path: Path) -> None:
    """Write a column of panels for each thing that was varied, time above memory, as SVG and PNG."""
    varied = list(dict.fromkeys(table["varied"]))
    styles = dict(zip(dict.fromkeys(table["method"]), STYLES, strict=False))
    size = (3.2 * len(varied), 5.6)
    figure, panels = plt.subplots(len(ROWS), len(varied), figsize=size, layout="constrained", squeeze=False)
    for row, (column, unit) in zip(panels, ROWS.items(), strict=True):
        for panel, what in zip(row, varied, strict=True):
            _lines(panel, table[table["varied"] == what], column, styles)
            panel.set_xlabel(what)
        row[0].set_ylabel(unit)
    for suffix in (".svg", ".png"):
        figure.savefig(path.with_suffix(suffix), dpi=150, metadata={"Date": None} if suffix == ".svg" else None)
    plt.close(figure)


def _lines(panel: plt.Axes, table: pd.DataFrame, column: str, styles: dict[str, tuple[str, str, str]]) -> None:
    for method, rows in table.groupby("method", sort=False):
        colour, marker, line = styles[str(method)]
        panel.plot(rows["value"], rows[column], color=colour, marker=marker, linestyle=line, label=method)
    if table["value"].max() > 100:
        panel.set_xscale("log")
        panel.set_yscale("log" if column == "step_seconds" else "linear")
    if panel.get_yscale() == "linear":
        panel.set_ylim(0, 1.15 * table[column].max())
    if panel.get_xscale() == "linear":
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)
