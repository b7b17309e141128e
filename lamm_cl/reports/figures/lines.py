"""Accuracy over the number of images a class (Figure 3 of LAMM) and over the steps of a stream."""

import math
import os
from collections.abc import Sequence
from itertools import pairwise

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lamm_cl.reports.figures.data import error_bars, labels, methods_of, over_stages, point
from lamm_cl.reports.figures.style import (
    keep_in_percent,
    legend_below,
    message_figure,
    new_figure,
    save,
    series,
    styled,
)
from lamm_cl.reports.names import AVERAGE, dataset_rank, space_rank
from lamm_cl.reports.tables import PROTOCOLS

Path = str | os.PathLike[str] | None


def few_shot_curves(frame: pd.DataFrame, path: Path = None) -> Figure:
    """Draw accuracy over shots, a panel per data set and one for their average, with 95% intervals over seeds.

    Args:
        frame: Rows of `runs.csv`.
        path: Where to write, `.svg` or `.png`; both when the name has no such ending. None: nowhere.

    Source: LAMM (AAAI 2024), Figure 3.
    """
    rows = PROTOCOLS["few_shot"].accuracy(frame)
    if rows.empty:
        figure = message_figure("No few-shot accuracy has been measured yet.")
    else:
        rows = rows.assign(x=pd.to_numeric(rows["shots"], errors="coerce"), value=rows["accuracy"], label=labels(rows))
        rows = rows[rows["x"] > 0]  # "full" has no place on an axis of shots
        panels = sorted(set(rows["dataset"]), key=lambda name: (name != AVERAGE, dataset_rank(name)))
        figure = _grid(rows, "dataset", panels, "images a class", log=True)
    if path is not None:
        save(figure, path)
    return figure


def accuracy_over_steps(frame: pd.DataFrame, path: Path = None, dataset: str | None = None) -> Figure:
    """Draw the accuracy over everything met so far after each step, a panel per label space, with 95% intervals.

    Args:
        frame: Rows of `runs.csv`.
        path: Where to write, as `few_shot_curves`.
        dataset: Draw this data set alone; default: all of them, as one mean.
    """
    rows = over_stages(frame)
    if dataset is not None:
        rows = rows[rows["dataset"] == dataset]
    if rows.empty:
        figure = message_figure("No stream has been measured yet.")
    else:
        rows = rows.assign(x=rows["stage"], label=labels(rows), panel=rows["label_space"] + " label space")
        spaces = [f"{name} label space" for name in sorted(set(rows["label_space"]), key=space_rank)]
        # Over several data sets: the mean of each seed first, so that the interval is one over seeds.
        keys = ["label", "panel", "x", "seed"]
        figure = _grid(rows.groupby(keys)["value"].mean().reset_index(), "panel", spaces, "experiences trained")
    if path is not None:
        save(figure, path)
    return figure


def _grid(rows: pd.DataFrame, by: str, panels: Sequence[str], x_title: str, log: bool = False) -> Figure:
    every, note = methods_of(rows) if "method" in rows else _methods_by_label(rows)
    across = min(len(panels), 4)
    down = math.ceil(len(panels) / across)
    with styled():
        figure = new_figure(max(2.6 * across, 4.2), 2.3 * down + 0.8)
        axes = figure.subplots(down, across, squeeze=False, sharey=by == "panel")
        for place, name in enumerate(panels):
            axis = axes[place // across][place % across]
            _panel(axis, rows[rows[by] == name], every, log)
            axis.set_title(name, fontweight="bold" if name == AVERAGE else "normal")
            axis.set_xlabel(x_title if place >= len(panels) - across else "")
            axis.set_ylabel("accuracy [%]" if place % across == 0 else "")
        for place in range(len(panels), down * across):
            axes[place // across][place % across].set_visible(False)
        for axis in axes.flat:
            keep_in_percent(axis)
        legend_below(figure, axes[0][0])
        if note:
            figure.suptitle(note)
    return figure


def _methods_by_label(rows: pd.DataFrame) -> tuple[list[str], str]:
    return methods_of(rows.assign(method=rows["label"], variant="", dialect=""))


def _panel(axis: Axes, rows: pd.DataFrame, methods: Sequence[str], log: bool) -> None:
    ticks = sorted(set(rows["x"]))
    for index, name in enumerate(methods):
        own = rows[rows["label"] == name]
        found = [(x, one) for x in sorted(set(own["x"])) if (one := point(own.loc[own["x"] == x, "value"])) is not None]
        look = series(index)
        # Side by side, so that no whisker hides another.
        aside = (index - (len(methods) - 1) / 2) * 0.05
        xs = [x * 2**aside if log else x + aside * _step(ticks) for x, _ in found]
        points = [one for _, one in found]
        axis.errorbar(
            xs,
            [one.mean for one in points],
            yerr=error_bars(points) if points else None,
            label=name,
            color=look.colour,
            marker=look.marker,
            linestyle=look.line,
            capsize=2.5,
            elinewidth=0.8,
        )
    if log and ticks:
        axis.set_xscale("log", base=2)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()


def _step(ticks: Sequence[float]) -> float:
    return min((after - before for before, after in pairwise(ticks)), default=1.0)
