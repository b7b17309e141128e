"""Charts of means over seeds with their intervals: lines over shots and stages, bars, accuracy against cost."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from lamm_cl.evaluation.statistics import summarise
from lamm_cl.reports.figures.style import keep_in_percent, legend_below, message_figure, new_figure, series, styled
from lamm_cl.reports.names import AVERAGE, dataset_rank, method_rank, shots_rank, space_rank
from lamm_cl.reports.tables import PROTOCOLS
from lamm_cl.reports.tables.across import COSTS, costs
from lamm_cl.reports.tables.collect import tidy
from lamm_cl.reports.tables.model import Column
from lamm_cl.reports.tables.protocols import STREAMS
from lamm_cl.reports.tables.render import heading

MOST_METHODS = 16


@dataclass(frozen=True)
class Point:
    """A mean over seeds with its 95% interval (None with one seed), in percent."""

    mean: float
    low: float | None
    high: float | None


def point(values: Iterable[float]) -> Point | None:
    """Return mean and 95% interval of fractions, in percent; None where there is no value.

    >>> point([0.5])
    Point(mean=50.0, low=None, high=None)
    """
    found = summarise([100 * value for value in values])
    if math.isnan(found.mean):
        return None
    interval = (found.low, found.high) if found.n > 1 else (None, None)
    return Point(found.mean, *interval)


def error_bars(points: Sequence[Point]) -> np.ndarray:
    """Return the distances from mean to both ends of the interval, shape (2, n), NaN where there is none."""
    below = [np.nan if one.low is None else one.mean - one.low for one in points]
    above = [np.nan if one.high is None else one.high - one.mean for one in points]
    return np.array([below, above])


def labels(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return what legends call each row: the method, with experiment or dialect where one label has several."""
    name = (rows["method"] + " " + rows["variant"]).str.strip()
    if rows["experiment"].nunique() > 1:
        name += " (" + rows["experiment"] + ")"
    dialects = rows.groupby(name)["dialect"].nunique()
    several = set(dialects[dialects > 1].index)
    return name.where(~name.isin(several), name + " (" + rows["dialect"] + ")")


def methods_of(rows: pd.DataFrame, most: int = MOST_METHODS) -> tuple[list[str], str]:
    """Return the first methods in the order of the tables, and a note where there are more than a figure can show."""
    every = sorted(set(rows["label"]), key=method_rank)
    note = f"the first {most} of {len(every)} methods" if len(every) > most else ""
    return every[:most], note


def _places(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return which experience (from 1) trained each row's set: `set3` the third, others as they come in a run."""
    pairs = rows[["run_id", "eval_set"]].drop_duplicates()
    numbers = pairs["eval_set"].str.extract(r"^set(\d+)$")[0].astype(float)
    met = pairs.groupby("run_id", sort=False).cumcount() + 1
    pairs = pairs.assign(place=numbers.where(numbers.notna(), met))
    found = rows[["run_id", "eval_set"]].merge(pairs, how="left", on=["run_id", "eval_set"])
    return pd.Series(found["place"].to_numpy(dtype=float), index=rows.index)


def over_stages(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy over everything met so far: columns of `frame` with `value` per run, stage, label space.

    Where runs left the metric `incremental_accuracy` it is taken; else the mean over the sets trained so far.
    """
    rows = tidy(frame)
    rows = rows[rows["protocol"].isin(STREAMS) & rows["value"].notna() & (rows["stage"] > 0)]
    given = rows[rows["metric"] == "incremental_accuracy"]
    plain = rows[(rows["metric"] == "accuracy") & (rows["eval_set"] != "total")]
    plain = plain[~plain["run_id"].isin(set(given["run_id"]))]
    met = plain[_places(plain) <= plain["stage"]]
    keys = [name for name in rows.columns if name not in ("eval_set", "metric", "value", "n")]
    means = met.groupby(keys, sort=False, dropna=False)["value"].mean().reset_index()
    return pd.concat([given[[*keys, "value"]], means[[*keys, "value"]]], ignore_index=True)


def few_shot_curves(frame: pd.DataFrame) -> Figure:
    """Draw accuracy over shots, a panel per data set and one for their average, with 95% intervals over seeds.

    Args:
        frame: Rows of `runs.csv`.

    Source: LAMM (AAAI 2024), Figure 3.
    """
    rows = PROTOCOLS["few_shot"].accuracy(frame)
    if rows.empty:
        return message_figure("No few-shot accuracy has been measured yet.")
    rows = rows.assign(x=pd.to_numeric(rows["shots"], errors="coerce"), value=rows["accuracy"], label=labels(rows))
    rows = rows[rows["x"] > 0]  # "full" has no place on an axis of shots
    panels = sorted(set(rows["dataset"]), key=lambda name: (name != AVERAGE, dataset_rank(name)))
    return _grid(rows, "dataset", panels, "images a class", log=True)


def accuracy_over_steps(frame: pd.DataFrame) -> Figure:
    """Draw the accuracy over everything met so far after each step, a panel per label space, with 95% intervals.

    Several data sets are drawn as one mean.

    Args:
        frame: Rows of `runs.csv`.
    """
    rows = over_stages(frame)
    if rows.empty:
        return message_figure("No stream has been measured yet.")
    rows = rows.assign(x=rows["stage"], label=labels(rows), panel=rows["label_space"] + " label space")
    spaces = [f"{name} label space" for name in sorted(set(rows["label_space"]), key=space_rank)]
    # Over several data sets: the mean of each seed first, so that the interval is one over seeds.
    keys = ["label", "panel", "x", "seed"]
    return _grid(rows.groupby(keys)["value"].mean().reset_index(), "panel", spaces, "experiences trained")


def _grid(rows: pd.DataFrame, by: str, panels: Sequence[str], x_title: str, log: bool = False) -> Figure:
    every, note = methods_of(rows)
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


def own_against_joint(frame: pd.DataFrame, protocol: str = "class_incremental") -> Figure:
    """Draw, for each method, the final accuracy in each label space side by side, with 95% intervals over seeds.

    Args:
        frame: Rows of `runs.csv`.
        protocol: Whose runs.
    """
    rows = one_place(PROTOCOLS[protocol].accuracy(frame))
    if rows.empty:
        return message_figure("No accuracy has been measured yet.")
    rows = rows.assign(label=labels(rows))
    methods, note = methods_of(rows)
    spaces = sorted(set(rows["label_space"]), key=space_rank)
    heights = {
        f"{space} label space": [_height(rows, label=name, label_space=space) for name in methods] for space in spaces
    }
    return _grouped(heights, methods, PROTOCOLS[protocol].headline, note)


def ablation_bars(frame: pd.DataFrame, names: Mapping[str, str], protocol: str = "few_shot") -> Figure:
    """Draw one bar per variant of a method, a group per number of shots, with 95% intervals over seeds.

    Args:
        frame: Rows of `runs.csv`.
        names: The variants: label in `runs.csv` to what the figure calls it.
        protocol: Whose runs.
    """
    rows = one_place(PROTOCOLS[protocol].accuracy(frame))
    rows = rows[rows["method"].isin(names)]
    if rows.empty:
        return message_figure("None of these variants has been measured yet.")
    space = sorted(set(rows["label_space"]), key=space_rank)[0]
    rows = rows[rows["label_space"] == space]
    shots = sorted(set(rows["shots"]), key=shots_rank)
    groups = ["all images" if count == "full" else f"{count} shot{'s' * (count != '1')}" for count in shots]
    heights = {title: [_height(rows, method=label, shots=count) for count in shots] for label, title in names.items()}
    return _grouped(heights, groups, PROTOCOLS[protocol].headline, "")


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


def accuracy_against_cost(frame: pd.DataFrame, protocol: str = "class_incremental") -> Figure:
    """Draw accuracy (mean and 95% interval) over time, trained parameters and memory (means), a point per method.

    The accuracy is that in the widest label space that was scored.

    Args:
        frame: Rows of `runs.csv`.
        protocol: Whose runs.
    """
    rows = tidy(frame)
    rows = rows[rows["protocol"] == protocol]
    rows.attrs["tidy"] = True
    spent = costs(rows)
    scored = PROTOCOLS[protocol].accuracy(rows)
    panels = [column for column in COSTS if spent[column.key].notna().any()]
    if scored.empty or not panels:
        return message_figure("No cost has been measured yet.")
    space = sorted(set(scored["label_space"]), key=space_rank)[-1]
    scored = one_place(scored[scored["label_space"] == space])
    scored, spent = scored.assign(label=labels(scored)), spent.assign(label=labels(spent))
    methods, note = methods_of(scored)
    with styled():
        figure = new_figure(2.9 * len(panels) + 0.6, 3.2)
        axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
        for axis, column in zip(axes, panels, strict=True):
            _cost_panel(axis, column, scored, spent, methods)
        axes[0].set_ylabel(PROTOCOLS[protocol].headline.replace(", ", ",\n") + f"\n{space} label space")
        legend_below(figure, axes[0])
        if note:
            figure.suptitle(note)
    return figure


def _cost_panel(axis: Axes, column: Column, scored: pd.DataFrame, spent: pd.DataFrame, methods: list[str]) -> None:
    xs = []
    for index, method in enumerate(methods):
        one = point(scored.loc[scored["label"] == method, "accuracy"])
        x = spent.loc[spent["label"] == method, column.key].mean()
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
    axis.set_xlabel(heading(column))
    keep_in_percent(axis)
