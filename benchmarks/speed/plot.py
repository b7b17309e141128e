"""Draw how cost grows, from the table."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd

STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", ":"), ("#CC79A7", "D", "-."))


def plot_growth(table: pd.DataFrame, path: Path) -> None:
    """Write one panel for each thing that was varied, and one for memory, as SVG and PNG."""
    varied = list(dict.fromkeys(table["varied"]))
    figure, panels = plt.subplots(1, len(varied) + 1, figsize=(4 * (len(varied) + 1), 3.4), layout="constrained")
    for panel, what in zip(panels, varied, strict=False):
        _lines(panel, table[table["varied"] == what], "step_seconds", what, "seconds a step (one core)")
    memory = table[(table["varied"] == "classes") & table["peak_mb"].notna()]
    _lines(panels[-1], memory, "peak_mb", "classes", "peak process memory (MB)")
    for suffix in (".svg", ".png"):
        figure.savefig(path.with_suffix(suffix), dpi=150)
    plt.close(figure)


def _lines(panel: plt.Axes, table: pd.DataFrame, column: str, x: str, y: str) -> None:
    for (method, rows), (colour, marker, line) in zip(table.groupby("method"), STYLES, strict=False):
        panel.plot(rows["value"], rows[column], color=colour, marker=marker, linestyle=line, label=method)
    if x == "classes":
        panel.set_xscale("log")
        panel.set_yscale("log")
    else:
        panel.set_ylim(bottom=0)
    panel.set_xlabel(x)
    panel.set_ylabel(y)
    panel.grid(alpha=0.3)
    panel.legend(frameon=False)
