"""Heat maps of the accuracy matrix: what is known of each set after each experience."""

from collections.abc import Sequence
from itertools import product, zip_longest
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lamm_cl.reports.figures.charts import labels, methods_of
from lamm_cl.reports.figures.style import HEAT, message_figure, new_figure, styled
from lamm_cl.reports.names import space_rank
from lamm_cl.reports.tables.collect import numbered_sets, tidy

_MOST_METHODS = 12


class _Look(NamedTuple):
    """Width and height of a cell in inches, methods side by side, and size and digits of the numbers."""

    width: float
    height: float
    across: int
    size: float
    digits: int


def accuracy_matrix(frame: pd.DataFrame, dataset: str | None = None) -> Figure:
    """Draw a[i, j], the accuracy on set j after experience i: a row per label space, a column per method.

    Means over seeds, in percent. What was not measured is hatched, never 0; so are, in the label space of the seen
    classes, sets still to come.

    Args:
        frame: Rows of `runs.csv` of one protocol.
        dataset: Draw this data set alone; default: the mean over all of them.
    """
    rows = tidy(frame)
    rows = rows[(rows["metric"] == "accuracy") & rows["value"].notna() & (rows["eval_set"] != "total")]
    if dataset is not None:
        rows = rows[rows["dataset"] == dataset]
    return _draw(rows) if len(rows) else message_figure("No accuracy has been measured yet.")


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
    keys = ["experiment", "method", "variant", "dialect", "label_space", "stage", "eval_set"]
    rows = rows.groupby(keys, sort=False, dropna=False)["value"].mean().reset_index()
    rows = rows.assign(label=labels(rows))
    methods, note = methods_of(rows, most=_MOST_METHODS)
    spaces = sorted(set(rows["label_space"]), key=space_rank)
    stages, sets = sorted(set(rows["stage"])), eval_sets(rows)
    look = _look(len(sets))
    across = min(len(methods), look.across)
    blocks = [methods[place : place + across] for place in range(0, len(methods), across)]
    wide, tall = max(1.7, look.width * len(sets) + 0.6), max(1.3, look.height * len(stages) + 0.6)
    with styled():
        figure = new_figure(wide * across + 1.3, tall * len(spaces) * len(blocks) + 0.8)
        axes = figure.subplots(len(spaces) * len(blocks), across, squeeze=False)
        for place, (block, space) in enumerate(product(blocks, spaces)):
            for axis, method in zip_longest(axes[place], block):
                if method is None:
                    axis.set_visible(False)
                    continue
                mine = rows[(rows["label_space"] == space) & (rows["label"] == method)]
                _heat(axis, _without_the_unmet(matrix(mine, stages, sets), space, stages, sets), stages, sets, look)
                axis.set_title(method if space == spaces[0] else "")
                axis.set_xlabel("evaluated on" if space == spaces[-1] else "")
            axes[place][0].set_ylabel(f"{space} label space\nafter experience")
        _colour_bar(figure, list(axes.flat), len(blocks))
        if note:
            figure.suptitle(note)
    return figure


def _look(sets: int) -> _Look:
    if sets <= 3:
        return _Look(0.5, 0.34, 6, 8, 1)
    return _Look(0.42, 0.34, 5, 8, 1) if sets <= 6 else _Look(0.25, 0.22, 4, 5.5, 0)


def _without_the_unmet(values: np.ndarray, space: str, stages: Sequence[float], sets: Sequence[str]) -> np.ndarray:
    """Leave out sets that are still to come where images compete among the seen classes: the right one is not there."""
    if space != "seen" or list(sets) != numbered_sets(sets):
        return values
    to_come = np.arange(1, len(sets) + 1)[None, :] > np.array(stages)[:, None]
    return np.where(to_come, np.nan, values)


def _colour_bar(figure: Figure, axes: list[Axes], blocks: int) -> None:
    scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(0, 100), HEAT)
    bar = figure.colorbar(scale, ax=axes, shrink=0.8 / blocks, pad=0.02, anchor=(0.0, 1.0))
    bar.set_label("accuracy [%]")
    bar.outline.set_visible(False)
    if bar.solids is not None:
        bar.solids.set(rasterized=False, edgecolor="face")


def _heat(axes: Axes, values: np.ndarray, stages: Sequence[float], sets: Sequence[str], look: _Look) -> None:
    colours = matplotlib.colormaps[HEAT]
    rows, columns = values.shape
    edges = np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5
    axes.pcolormesh(*edges, np.ma.masked_invalid(values), cmap=colours, vmin=0, vmax=100)
    axes.invert_yaxis()
    short = len(sets) > 6 and list(sets) == numbered_sets(sets)
    names = [name.removeprefix("set") for name in sets] if short else sets
    axes.set_xticks(range(len(sets)), names, rotation=90 if len(sets) > 3 and not short else 0)
    axes.set_yticks(range(len(stages)), [f"{stage:g}" for stage in stages])
    axes.grid(visible=False)
    axes.tick_params(length=0)
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            axes.add_patch(_missing(j, i))
            continue
        red, green, blue, _ = colours(value / 100)
        ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
        axes.text(j, i, f"{value:.{look.digits}f}", ha="center", va="center", size=look.size, color=ink)


def _missing(column: int, row: int) -> "matplotlib.patches.Rectangle":
    return matplotlib.patches.Rectangle(
        (column - 0.5, row - 0.5), 1, 1, facecolor="none", edgecolor="#999999", hatch="///", linewidth=0
    )
