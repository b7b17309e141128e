"""Accuracy against what it costs: time, trained parameters, memory."""

import os
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from lamm_cl.reports.figures.bars import one_place
from lamm_cl.reports.figures.data import error_bars, labels, methods_of, point
from lamm_cl.reports.figures.style import (
    keep_in_percent,
    legend_below,
    message_figure,
    new_figure,
    save,
    series,
    styled,
)
from lamm_cl.reports.names import space_rank
from lamm_cl.reports.tables import PROTOCOLS
from lamm_cl.reports.tables.across import costs
from lamm_cl.reports.tables.collect import tidy

_PANELS = {
    "seconds": "training time of a run [s]",
    "trained_parameters": "trained parameters",
    "peak_memory_mb": "peak memory [MB]",
}


def accuracy_against_cost(
    frame: pd.DataFrame,
    path: str | os.PathLike[str] | None = None,
    protocol: str = "class_incremental",
    label_space: str | None = None,
) -> Figure:
    """Draw accuracy (mean and 95% interval) over time, trained parameters and memory (means), a point per method.

    Args:
        frame: Rows of `runs.csv`.
        path: Where to write, `.svg` or `.png`; both when the name has no such ending. None: nowhere.
        protocol: Whose runs.
        label_space: Of the accuracy; default: the widest that was scored.
    """
    rows = tidy(frame)
    rows = rows[rows["protocol"] == protocol]
    rows.attrs["tidy"] = True
    figure = _draw(rows, protocol, label_space)
    if path is not None:
        save(figure, path)
    return figure


def _draw(rows: pd.DataFrame, protocol: str, label_space: str | None) -> Figure:
    spent = costs(rows)
    scored = PROTOCOLS[protocol].accuracy(rows)
    panels = [name for name in _PANELS if spent[name].notna().any()]
    if scored.empty or not panels:
        return message_figure("No cost has been measured yet.")
    space = label_space or sorted(set(scored["label_space"]), key=space_rank)[-1]
    scored = scored[scored["label_space"] == space]
    scored = one_place(scored)
    scored, spent = scored.assign(label=labels(scored)), spent.assign(label=labels(spent))
    methods, note = methods_of(scored)
    with styled():
        figure = new_figure(2.9 * len(panels) + 0.6, 3.2)
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axis, name in zip(axes, panels, strict=True):
            _panel(axis, name, scored, spent, methods)
        axes[0].set_ylabel(PROTOCOLS[protocol].headline.replace(", ", ",\n") + f"\n{space} label space")
        legend_below(figure, axes[0])
        if note:
            figure.suptitle(note)
    return figure


def _panel(axis: Axes, name: str, scored: pd.DataFrame, spent: pd.DataFrame, methods: list[str]) -> None:
    xs = []
    for index, method in enumerate(methods):
        one = point(scored.loc[scored["label"] == method, "accuracy"])
        x = spent.loc[spent["label"] == method, name].mean()
        if one is None or x != x:
            continue
        look = series(index)
        style: dict[str, Any] = {
            "color": look.colour,
            "marker": look.marker,
            "markersize": 8,
            "linestyle": "none",
            "capsize": 2.5,
        }
        axis.errorbar([x], [one.mean], yerr=error_bars([one]), label=method, elinewidth=0.8, **style)
        xs.append(x)
    if xs and min(xs) > 0 and max(xs) / min(xs) > 20:
        axis.set_xscale("log")
    elif xs and max(xs) > 20 * max(min(xs), 1):
        axis.set_xscale("symlog")
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.tick_params(axis="x", labelrotation=30)
    axis.set_xlabel(_PANELS[name])
    keep_in_percent(axis)
