"""Heat maps: what is known of each set after each experience, and which class is taken for which."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lamm_cl.reports.figures.charts import broken, described, labels, methods_of, stage_names
from lamm_cl.reports.figures.style import HEAT, finished, fit, message_figure, new_figure, panels, styled
from lamm_cl.reports.tables.collect import numbered_sets, tidy, values_of

_GAP = 0.25  # inches between two methods
_MOST_NAMES = 25  # more do not fit the side of a panel


class _Look(NamedTuple):
    """Width and height of a cell in inches, methods side by side, and size (0: none) and digits of the numbers."""

    width: float
    height: float
    across: int
    size: float
    digits: int


def accuracy_matrix(frame: pd.DataFrame) -> Figure:
    """Draw a[i, j], the accuracy on set j after experience i: a row per label space, a column per method.

    The methods of a row share its axes, which matplotlib lays out and draws in a fraction of the time of one each.
    Means over seeds, in percent. What was not measured is hatched, never 0; so are, in the label space of the seen
    classes, sets still to come.
    """
    rows = tidy(frame)
    rows = rows[(rows["metric"] == "accuracy") & rows["value"].notna() & (rows["eval_set"] != "total")]
    if rows.empty:
        return message_figure()
    names, title = stage_names(rows), described(rows)
    rows = rows.assign(label=labels(rows))
    methods = methods_of(rows)
    spaces = values_of(rows, "label_space")
    stages, there = sorted(set(rows["stage"])), rows["eval_set"].unique()
    # `set1`, `set2`, ... by number, others as they come.
    sets = list(dict.fromkeys(name for name in (*numbered_sets(there), *there) if name in there))
    look = _look(len(sets), len(methods))
    wide, tall = max(1.7, look.width * len(sets) + 0.6), max(1.3, look.height * len(stages) + 0.6)
    across = min(len(methods), look.across, fit(0.62 * wide, 1.1))
    blocks = [methods[place : place + across] for place in range(0, len(methods), across)]
    in_order = bool(names) or sets == numbered_sets(sets)
    wanted = pd.MultiIndex.from_product([spaces, methods, stages])
    means = rows.groupby(["label_space", "label", "stage", "eval_set"])["value"].mean().unstack()
    found = 100 * means.reindex(index=wanted, columns=sets).to_numpy(dtype=float)
    values = found.reshape(len(spaces), len(methods), len(stages), len(sets))  # NaN where nothing was measured
    if in_order and "seen" in spaces:  # sets still to come are left out: the right class does not compete yet
        to_come = np.arange(1, len(sets) + 1)[None, :] > np.array(stages)[:, None]
        values[spaces.index("seen"), :, to_come] = np.nan
    of_each = dict(zip(product(spaces, methods), values.reshape(-1, len(stages), len(sets)), strict=True))
    colours = _colours(values)
    ticks = [names.get(stage, f"{stage:g}" if stage or not names else "before") for stage in stages]
    pitch = len(sets) * wide / (wide - _GAP)  # from one method to the next, in cells
    with styled():
        figure = new_figure(wide * across + 1.3, tall * len(spaces) * len(blocks) + 1)
        axes = list(figure.subplots(len(spaces) * len(blocks), 1, squeeze=False)[:, 0])
        for axis, (block, space) in zip(axes, product(blocks, spaces), strict=True):
            lefts = [place * pitch for place in range(len(block))]
            for left, method in zip(lefts, block, strict=True):
                _heat(axis, of_each[space, method], left, look, colours).set_label(broken(method))
                if space == spaces[0]:
                    middle = (left + (len(sets) - 1) / 2, -0.5)
                    style = {"ha": "center", "va": "bottom", "size": matplotlib.rcParams["axes.titlesize"]}
                    axis.annotate(broken(method), middle, (0, 6), textcoords="offset points", **style)
            _ticks(axis, lefts, ticks, sets, look)
            span = (across - 1) * pitch + len(sets)
            axis.set_xlim(-0.5, span - 0.5)
            axis.set_ylim(len(stages) - 0.5, -0.5)
            axis.set_xlabel("evaluated on" if space == spaces[-1] else "", x=(lefts[-1] + len(sets)) / 2 / span)
            axis.set_ylabel(f"{space} label space\nafter " + ("" if names else "experience"))
        bar = figure.colorbar(colours, ax=axes, shrink=0.8 / len(blocks), pad=0.02, anchor=(0.0, 1.0))
        bar.set_label("accuracy [%]")
        bar.outline.set_visible(False)
        if bar.solids is not None:
            bar.solids.set(rasterized=False, edgecolor="face")
        return finished(figure, title)


def _look(sets: int, methods: int) -> _Look:
    if sets <= 6:
        return _Look(0.5, 0.34, 6, 8, 1) if sets <= 3 else _Look(0.42, 0.34, 5, 8, 1)
    roomy = methods <= 4 and fit(0.2 * sets, 1.1) > 1  # a column of a paper has no room for numbers
    return _Look(0.25, 0.22, 4, 5.5, 0) if roomy else _Look(0.1, 0.1, 4, 0, 0)


def _colours(values: np.ndarray) -> matplotlib.cm.ScalarMappable:
    """Return the colours, stretched over the accuracies that occur, to full fives."""
    every = values[~np.isnan(values)]
    low, high = (5 * np.floor(every.min() / 5), 5 * np.ceil(every.max() / 5)) if len(every) else (0, 100)
    return matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(low, max(high, low + 5)), HEAT)


def _heat(
    axes: Axes, values: np.ndarray, left: float, look: _Look, colours: matplotlib.cm.ScalarMappable
) -> "matplotlib.collections.QuadMesh":
    """Draw a method's cells; the middle of its first column is at `left`."""
    rows, columns = values.shape
    edges = left + np.arange(columns + 1) - 0.5, np.arange(rows + 1) - 0.5
    mesh = axes.pcolormesh(*edges, np.ma.masked_invalid(values), cmap=colours.cmap, clim=colours.get_clim())
    for (i, j), value in np.ndenumerate(values):
        if np.isnan(value):
            hatched: dict[str, Any] = {"facecolor": "none", "edgecolor": "#999999", "hatch": "///", "linewidth": 0}
            axes.add_patch(matplotlib.patches.Rectangle((left + j - 0.5, i - 0.5), 1, 1, **hatched))
        elif look.size:
            red, green, blue, _ = colours.to_rgba(value)
            ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
            axes.text(left + j, i, f"{value:.{look.digits}f}", ha="center", va="center", size=look.size, color=ink)
    return mesh


def _ticks(axes: Axes, lefts: Sequence[float], stages: Sequence[str], sets: Sequence[str], look: _Look) -> None:
    """Name the columns of every method and the rows of the first."""
    short = len(sets) > 6 and list(sets) == numbered_sets(sets)
    names = [name.removeprefix("set") for name in sets] if short else list(sets)
    every = 1 if look.size or not short else 5
    at = [left + place for left in lefts for place in range(0, len(sets), every)]
    axes.set_xticks(at, names[::every] * len(lefts), rotation=90 if len(sets) > 3 and not short else 0)
    axes.set_yticks(range(0, len(stages), every), stages[::every])
    axes.grid(visible=False)
    axes.tick_params(length=0, labelsize="small" if short else None)
    axes.spines[:].set_visible(False)


def confusion_figure(found: Mapping[str, Sequence[Mapping[str, Any]]], title: str) -> Figure:
    """Draw a panel per method: of the images of each class (row), how many percent were taken for which (column).

    All sets after the last stage, among all classes, summed over the runs of a method.
    """
    classes = next(list(ones[0]["classes"]) for ones in found.values())
    every = 1 if len(classes) <= _MOST_NAMES else 10
    names = classes if every == 1 else [str(label) for label in range(len(classes))]
    side = max(2.2, 0.14 * len(classes) + 1) if every == 1 else 3.0
    # What is mistaken for another class is a few percent each: the root makes them visible beside the diagonal.
    norm = matplotlib.colors.PowerNorm(0.5, 0, 100)
    with styled():
        figure, axes, across = panels(len(found), side, side)
        for place, (axis, (name, ones)) in enumerate(zip(axes, found.items(), strict=True)):
            shares = confusion_shares(ones, len(classes))
            edges = np.arange(len(classes) + 1) - 0.5
            image = axis.pcolormesh(edges, edges, np.ma.masked_invalid(shares), cmap=HEAT, norm=norm)
            axis.invert_yaxis()
            axis.set_aspect("equal")
            axis.grid(visible=False)
            axis.set_title(name)
            at, named = range(0, len(classes), every), names[::every]
            axis.set_xticks(at, named, rotation=90 if every == 1 else 0, fontsize="x-small")
            axis.set_yticks(at, named, fontsize="x-small")
            axis.tick_params(labelleft=place % across == 0)
            axis.set_ylabel(("class" if every == 1 else "number of the class") if place % across == 0 else "")
            axis.set_xlabel("taken for" if place >= len(found) - across else "")
        shrink = 0.8 / -(-len(found) // across)
        bar = figure.colorbar(image, ax=axes, shrink=shrink, pad=0.02, anchor=(0.0, 1.0), ticks=[0, 1, 5, 20, 50, 100])
        bar.set_label("images of the class [%]")
        return finished(figure, title)


def confusion_shares(records: Sequence[Mapping[str, Any]], classes: int) -> np.ndarray:
    """Return percent of the images of class i that were taken for class j, (classes, classes), NaN without images."""
    counts = np.zeros((classes, classes))
    for one in records:
        for triples in one["sets"].values():
            for true, predicted, images in triples:
                counts[true, predicted] += images
    totals = counts.sum(axis=1, keepdims=True)
    return np.asarray(100 * counts / np.where(totals > 0, totals, np.nan))
