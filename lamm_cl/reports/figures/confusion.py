"""Which class is taken for which, where runs recorded it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from lamm_cl.reports.figures.style import HEAT, panels, styled

_MOST_NAMES = 25  # more do not fit the side of a panel


def confusion_figure(found: Mapping[str, Iterable[Mapping[str, Any]]], title: str) -> Figure:
    """Draw a panel per method: of the images of each class (row), how many percent were taken for which (column).

    All sets after the last stage, among all classes, summed over the runs of a method.

    Args:
        found: What the records of each method's runs hold under `confusion`.
        title: What the runs have in common.
    """
    parts = {name: list(ones) for name, ones in found.items()}
    classes = next(list(ones[0]["classes"]) for ones in parts.values())
    every = 1 if len(classes) <= _MOST_NAMES else 10
    names = classes if every == 1 else [str(label) for label in range(len(classes))]
    side = max(2.2, 0.14 * len(classes) + 1) if every == 1 else 3.0
    # What is mistaken for another class is a few percent each: the root makes them visible beside the diagonal.
    norm = matplotlib.colors.PowerNorm(0.5, 0, 100)
    with styled():
        figure, axes, across = panels(len(parts), side, side)
        for place, (axis, (name, ones)) in enumerate(zip(axes, parts.items(), strict=True)):
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
            axis.set_xlabel("taken for" if place >= len(parts) - across else "")
        shrink = 0.8 / -(-len(parts) // across)
        bar = figure.colorbar(image, ax=axes, shrink=shrink, pad=0.02, anchor=(0.0, 1.0), ticks=[0, 1, 5, 20, 50, 100])
        bar.set_label("images of the class [%]")
        figure.suptitle(title, fontsize="small", wrap=True)
    return figure


def confusion_shares(records: Sequence[Mapping[str, Any]], classes: int) -> np.ndarray:
    """Return percent of the images of class i that were taken for class j, (classes, classes), NaN without images."""
    counts = np.zeros((classes, classes))
    for one in records:
        for triples in one["sets"].values():
            for true, predicted, images in triples:
                counts[true, predicted] += images
    totals = counts.sum(axis=1, keepdims=True)
    return np.asarray(100 * counts / np.where(totals > 0, totals, np.nan))
