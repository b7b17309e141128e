"""Heat maps of the accuracy matrix: what is known of each set after each experience."""

import os
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lamm_cl.reports.figures.style import HEAT, message_figure, new_figure, save, styled
from lamm_cl.reports.names import method_rank, space_rank
from lamm_cl.reports.tables.collect import numbered_sets, tidy

_MOST_METHODS = 8


def accuracy_matrix(
    frame: pd.DataFrame, path: str | os.PathLike[str] | None = None, dataset: str | None = None
) -> Figure:
    """Draw a[i, j], the accuracy on set j after experience i: a row per label space, a column per method.

    Means over seeds, in percent. What was not measured is hatched, never 0. At most eight methods are drawn, which
    the title then says.

    Args:
        frame: Rows of `runs.csv` of one protocol.
        path: Where to write, `.svg` or `.png`; both when the name has no such ending. None: nowhere.
        dataset: Draw this data set alone; default: the mean over all of them.
    """
    rows = tidy(frame) if frame["shots"].dtype.kind in "fiu" else frame
    rows = rows[(rows["metric"] == "accuracy") & rows["value"].notna() & (rows["eval_set"] != "total")]
    if dataset is not None:
        rows = rows[rows["dataset"] == dataset]
    figure = _draw(rows) if len(rows) else message_figure("No accuracy has been measured yet.")
    if path is not None:
        save(figure, path)
    return figure


def matrix(rows: pd.DataFrame, stages: Sequence[float], sets: Sequence[str]) -> np.ndarray:
    """Return the mean accuracy in percent, shape (stages, sets), NaN where nothing was measured."""
    means = rows.groupby(["stage", "eval_set"])["value"].mean()
    table = means.unstack().reindex(index=list(stages), columns=list(sets))
    return 100 * table.to_numpy(dtype=float)


def eval_sets(rows: pd.DataFrame) -> list[str]:
    """Return the evaluation sets: `set1`, `set2`, ... by number, others as they come."""
    there = dict.fromkeys(rows["eval_set"])
    numbered = [name for name in numbered_sets(there) if name in there]
    return numbered + [name for name in there if name not in numbered]


def _draw(rows: pd.DataFrame) -> Figure:
    label = (rows["method"] + " " + rows["variant"]).str.strip()
    all_methods = sorted(set(label), key=method_rank)
    methods, spaces = all_methods[:_MOST_METHODS], sorted(set(rows["label_space"]), key=space_rank)
    stages, sets = sorted(set(rows["stage"])), eval_sets(rows)
    wide = max(1.7, 0.42 * len(sets) + 0.6)
    tall = max(1.3, 0.34 * len(stages) + 0.6)
    with styled():
        figure = new_figure(wide * len(methods) + 1.3, tall * len(spaces) + 0.8)
        axes = figure.subplots(len(spaces), len(methods), squeeze=False)
        for i, space in enumerate(spaces):
            for j, method in enumerate(methods):
                values = matrix(rows[(rows["label_space"] == space) & (label == method)], stages, sets)
                _heat(axes[i][j], values, stages, sets)
                axes[i][j].set_title(method if i == 0 else "")
                axes[i][j].set_xlabel("evaluated on" if i == len(spaces) - 1 else "")
            axes[i][0].set_ylabel(f"{space} label space\nafter experience")
        scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, 100), HEAT)
        bar = figure.colorbar(scale, ax=list(axes.flat), shrink=0.8, pad=0.02)
        bar.set_label("accuracy [%]")
        bar.outline.set_visible(False)
        if bar.solids is not None:
            bar.solids.set(rasterized=False, edgecolor="face")
        if len(all_methods) > len(methods):
            figure.suptitle(f"the first {len(methods)} of {len(all_methods)} methods")
    return figure


def _heat(axes: Axes, values: np.ndarray, stages: Sequence[float], sets: Sequence[str]) -> None:
    colours = matplotlib.colormaps[HEAT]
    rows, columns = values.shape
    edges = np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5
    axes.pcolormesh(*edges, np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=100)
    axes.invert_yaxis()
    axes.set_xticks(range(len(sets)), sets, rotation=90 if len(sets) > 3 else 0)
    axes.set_yticks(range(len(stages)), [f"{stage:g}" for stage in stages])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    size = 8 if len(sets) <= 6 else 6
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.add_patch(_missing(j, i))
            continue
        red, green, blue, _ = colours(value / 100)
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
        axes.text(j, i, f"{value:.1f}", ha="center", va="center", size=size, color="black" if light else "white")


def _missing(column: int, row: int) -> "matplotlib.patches.Rectangle":
    return matplotlib.patches.Rectangle(
        (column - 0.5, row - 0.5), 1, 1, facecolor="none", edgecolor="#999999", hatch="///", linewidth=0
    )
