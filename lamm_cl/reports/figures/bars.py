"""Bars: own against joint label space, and one method under several options."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lamm_cl.reports.figures.data import Point, error_bars, labels, methods_of, point
from lamm_cl.reports.figures.style import legend_below, message_figure, new_figure, save, series, styled
from lamm_cl.reports.names import AVERAGE, shots_rank, space_rank
from lamm_cl.reports.tables import PROTOCOLS

Path = str | os.PathLike[str] | None


def own_against_joint(frame: pd.DataFrame, path: Path = None, protocol: str = "class_incremental") -> Figure:
    """Draw, for each method, the final accuracy in each label space side by side, with 95% intervals over seeds.

    Args:
        frame: Rows of `runs.csv`.
        path: Where to write, `.svg` or `.png`; both when the name has no such ending. None: nowhere.
        protocol: Whose runs.
    """
    rows = one_place(PROTOCOLS[protocol].accuracy(frame))
    if rows.empty:
        figure = message_figure("No accuracy has been measured yet.")
    else:
        rows = rows.assign(label=labels(rows))
        methods, note = methods_of(rows)
        spaces = sorted(set(rows["label_space"]), key=space_rank)
        heights = {
            f"{space} label space": [_height(rows, label=name, label_space=space) for name in methods]
            for space in spaces
        }
        figure = _grouped(heights, methods, PROTOCOLS[protocol].headline, note)
    if path is not None:
        save(figure, path)
    return figure


def ablation_bars(
    frame: pd.DataFrame, names: Mapping[str, str], path: Path = None, protocol: str = "few_shot"
) -> Figure:
    """Draw one bar per variant of a method, a group per number of shots, with 95% intervals over seeds.

    Args:
        frame: Rows of `runs.csv`.
        names: The variants: label in `runs.csv` to what the figure calls it.
        path: Where to write, as `own_against_joint`.
        protocol: Whose runs.
    """
    rows = one_place(PROTOCOLS[protocol].accuracy(frame))
    rows = rows[rows["method"].isin(names)]
    if rows.empty:
        figure = message_figure("None of these variants has been measured yet.")
    else:
        space = sorted(set(rows["label_space"]), key=space_rank)[0]
        rows = rows[rows["label_space"] == space]
        shots = sorted(set(rows["shots"]), key=shots_rank)
        groups = ["all images" if count == "full" else f"{count} shot{'s' * (count != '1')}" for count in shots]
        heights = {
            title: [_height(rows, method=label, shots=count) for count in shots] for label, title in names.items()
        }
        figure = _grouped(heights, groups, PROTOCOLS[protocol].headline, "")
    if path is not None:
        save(figure, path)
    return figure


def one_place(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the average over data sets where there is one, else the only data set."""
    if rows.empty:
        return rows
    return rows[rows["dataset"] == AVERAGE] if AVERAGE in set(rows["dataset"]) else rows


def _height(rows: pd.DataFrame, **where: str) -> Point | None:
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return point(rows["accuracy"])


def _grouped(heights: Mapping[str, Sequence[Point | None]], groups: Sequence[str], title: str, note: str) -> Figure:
    wide = 0.8 / len(heights)
    with styled():
        figure = new_figure(max(4.2, 0.3 * len(groups) * (len(heights) + 1) + 1.6), 3.4)
        axis = figure.subplots()
        for index, (name, points) in enumerate(heights.items()):
            look = series(index)
            there = [(place, one) for place, one in enumerate(points) if one is not None]
            xs = [place + (index - (len(heights) - 1) / 2) * wide for place, _ in there]
            tops = [one for _, one in there]
            style: dict[str, Any] = {"color": look.colour, "hatch": look.hatch, "edgecolor": "white", "linewidth": 0.5}
            axis.bar(xs, [one.mean for one in tops], wide, label=name, **style)
            axis.errorbar(
                xs,
                [one.mean for one in tops],
                yerr=error_bars(tops),
                fmt="none",
                color="black",
                capsize=2,
                elinewidth=0.9,
            )
            for x, one in zip(xs, tops, strict=True):
                axis.annotate(
                    f"{one.mean:.1f}", (x, 3), ha="center", va="bottom", size=6.5, rotation=90, color="black", bbox=_BOX
                )
        axis.set_xticks(
            range(len(groups)),
            groups,
            rotation=20 if len(groups) > 4 else 0,
            ha="right" if len(groups) > 4 else "center",
        )
        axis.grid(axis="x", visible=False)
        axis.set_ylim(0, min(100, np.ceil(_highest(heights) / 10) * 10 + 5))
        axis.set_ylabel(title)
        legend_below(figure, axis)
        if note:
            figure.suptitle(note)
    return figure


_BOX = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}


def _highest(heights: Mapping[str, Sequence[Point | None]]) -> float:
    tops = [one.mean if one.high is None else one.high for points in heights.values() for one in points if one]
    return max(tops, default=100.0)
