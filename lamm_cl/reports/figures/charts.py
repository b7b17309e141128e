"""Charts of means over seeds with their intervals: lines over shots and stages, dots, accuracy against cost.

A chart is of one setting: whatever its rows differ in and no axis, panel or label shows is averaged, and its title
names it. Up to eight methods share a panel; more get a panel or a line each.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lamm_cl.evaluation.statistics import Summary, summarise
from lamm_cl.reports.figures.style import finished, keep_in_percent, message_figure, new_figure, panels, series, styled
from lamm_cl.reports.names import AVERAGE, method_rank, method_title, number_word, shots_in_words
from lamm_cl.reports.results import listed
from lamm_cl.reports.tables.collect import at_the_end, numbered_sets, set_numbers, tidy, values_of
from lamm_cl.reports.tables.extra import COSTS, costs
from lamm_cl.reports.tables.model import Column
from lamm_cl.reports.tables.protocols import PROTOCOLS, STREAMS
from lamm_cl.reports.tables.render import heading

TOGETHER = 8  # methods in one panel: more lines than that nobody tells apart
_SETTINGS = {
    "dataset": "data sets",
    "backbone": "backbones",
    "pretrained": "weights",
    "shots": "numbers of shots",
    "setting": "settings",
    "seed": "seeds",
}


def point(values: Iterable[float]) -> Summary | None:
    """Return mean and 95% interval (NaN with one seed) of fractions, in percent; None where there is no value."""
    found = summarise([100 * value for value in values])
    return found if found.n else None


def labels(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return what figures call each row: the method, with experiment or dialect where one label has several."""
    name = rows["method"].map(method_title)
    if rows["experiment"].nunique() > 1:
        name += " (" + rows["experiment"] + ")"
    dialects = rows.groupby(name)["dialect"].nunique()
    several = set(dialects[dialects > 1].index)
    return name.where(~name.isin(several), name + " (" + rows["dialect"] + ")")


def methods_of(rows: pd.DataFrame) -> list[str]:
    """Return the labels of all methods, in the order of the tables."""
    ranks = {label: method_rank(method) for label, method in zip(rows["label"], rows["method"], strict=True)}
    return sorted(ranks, key=lambda label: (ranks[label][:2], label))


def broken(label: str) -> str:
    """Return a label in lines that fit above a small panel."""
    if len(label) <= 18:
        return label
    return label.replace("+", "\n+", 1) if "+" in label else "\n".join(label.rsplit(" ", 1))


def described(rows: pd.DataFrame, shown: Sequence[str] = ()) -> str:
    """Say what a figure's numbers were measured on, and over what they are means."""
    constant, means = [], []
    for key, noun in _SETTINGS.items():
        if key in shown or key not in rows:
            continue
        words = [word for word in map(number_word, values_of(rows, key)) if word not in ("", AVERAGE)]
        if len(words) == 1:
            constant.append({"shots": shots_in_words(words[0]), "seed": f"seed {words[0]}"}.get(key, words[0]))
        elif words:
            means.append(f"{len(words)} {noun} ({listed(words)})")
    over = f"mean over {' and '.join(means)}" if means else ""
    return "; ".join(part for part in (", ".join(constant), over) if part)


def over_stages(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy over everything met so far: columns of `frame` with `value` per run, stage, label space.

    Where runs left the metric `incremental_accuracy` it is taken; else the mean over the sets trained so far.
    """
    rows = tidy(frame)
    rows = rows[rows["protocol"].isin(STREAMS) & rows["value"].notna() & (rows["stage"] > 0)]
    given = rows[rows["metric"] == "incremental_accuracy"]
    plain = rows[(rows["metric"] == "accuracy") & (rows["eval_set"] != "total")]
    plain = plain[~plain["run_id"].isin(set(given["run_id"]))]
    met = plain[set_numbers(plain) <= plain["stage"]]
    keys = [name for name in rows.columns if name not in ("eval_set", "metric", "value", "n")]
    means = met.groupby(keys, sort=False, dropna=False)["value"].mean().reset_index()
    return pd.concat([given[[*keys, "value"]], means[[*keys, "value"]]], ignore_index=True)


def stage_names(frame: pd.DataFrame) -> dict[float, str]:
    """Return what each stage trained, by its number, where that is a data set with a name; else nothing."""
    rows = tidy(frame)
    rows = rows[(rows["metric"] == "accuracy") & ~rows["eval_set"].isin(["", "total"])]
    pairs = rows[["run_id", "eval_set"]].drop_duplicates()
    orders = {tuple(names) for _, names in pairs.groupby("run_id", sort=False)["eval_set"]}
    names = orders.pop() if len(orders) == 1 else ()
    return {} if numbered_sets(names) else {float(k): name for k, name in enumerate(names, 1)}


# -- lines -------------------------------------------------------------------------------------------------------------


def few_shot_curves(frame: pd.DataFrame) -> Figure:
    """Draw accuracy over shots, a panel per data set and one for their average, with 95% intervals over seeds.

    With more than eight methods each has a panel of its own, and all are of the average, or of the one data set.

    Source: LAMM (AAAI 2024), Figure 3.
    """
    rows = PROTOCOLS["few_shot"].accuracy(frame)
    rows = rows.rename(columns={"accuracy": "value"})
    rows = rows.assign(x=pd.to_numeric(rows["shots"], errors="coerce"), label=labels(rows))
    rows = rows[rows["x"] > 0]  # "full" has no place on an axis of shots
    names = sorted(values_of(rows, "dataset"), key=lambda name: bool(name != AVERAGE))
    many = rows["label"].nunique() > TOGETHER
    chosen = names[:1] if many else names
    drawn = rows[rows["dataset"].isin(chosen)]
    title = described(rows if AVERAGE in chosen else drawn, ["shots", *["dataset"] * (not many)])
    return _lines(drawn, "dataset", chosen, title, "images a class", {})


def accuracy_over_steps(frame: pd.DataFrame) -> Figure:
    """Draw the accuracy over everything met so far after each step, with 95% intervals over seeds.

    A panel per label space, or per method where there are more than eight. Several data sets are drawn as one mean.
    """
    rows = over_stages(frame)
    rows = rows.assign(x=rows["stage"], label=labels(rows), panel=rows["label_space"] + " label space")
    spaces = [f"{name} label space" for name in values_of(rows, "label_space")]
    # Over several data sets: the mean of each seed first, so that the interval is one over seeds.
    means = rows.groupby(["label", "method", "panel", "x", "seed"], sort=False)["value"].mean().reset_index()
    names = stage_names(frame)
    return _lines(means, "panel", spaces, described(rows), "" if names else "experiences trained", names)


def _lines(
    rows: pd.DataFrame, by: str, groups: Sequence[str], title: str, x_title: str, names: Mapping[float, str]
) -> Figure:
    """Draw a panel per group with a line per method; with many methods a panel per method, a line per group."""
    if rows.empty:
        return message_figure()
    methods = methods_of(rows)
    many, shots = len(methods) > TOGETHER, by == "dataset"
    split, lines, heads, keys = (by, "label", groups, methods) if not many else ("label", by, methods, groups)
    with styled():
        figure, axes, across = panels(len(heads), *((2.1, 1.7) if many else (2.6, 2.3)), sharey=many or not shots)
        for place, (axis, name) in enumerate(zip(axes, heads, strict=True)):
            _panel(axis, rows[rows[split] == name], lines, keys, shots, names)
            axis.set_title(broken(name), fontweight="bold" if name == AVERAGE else "normal")
            axis.set_xlabel(x_title if place >= len(heads) - across else "")
            axis.set_ylabel("accuracy [%]" if place % across == 0 else "")
        for axis in axes:  # once all are drawn: they may share the axis
            keep_in_percent(axis)
        return finished(figure, title, axes[0] if len(keys) > 1 else None)


def _panel(axis: Axes, rows: pd.DataFrame, by: str, keys: Sequence[str], log: bool, names: Mapping[float, str]) -> None:
    ticks = sorted(set(rows["x"]))
    step = min((after - before for before, after in pairwise(ticks)), default=1.0)
    for index, name in enumerate(keys):
        own = rows[rows[by] == name]
        xs = sorted(set(own["x"]))
        aside = (index - (len(keys) - 1) / 2) * 0.05  # side by side, so that no whisker hides another
        look = {**series(index), "capsize": 2.5, "markersize": 5.5 if len(ticks) <= 10 else 3.5}
        points = [point(own.loc[own["x"] == x, "value"]) for x in xs]
        _marks(axis, [x * 2**aside if log else x + aside * step for x in xs], points, name, look)
    if log and ticks:
        axis.set_xscale("log", base=2)
    if log or len(ticks) <= 6:
        axis.set_xticks(ticks, [names.get(tick, f"{tick:g}") for tick in ticks])
    else:
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: names.get(x, f"{x:g}")))
    if names:
        axis.tick_params(axis="x", labelrotation=30)
    axis.minorticks_off()


def _marks(
    axis: Axes, at: Sequence[float], points: Sequence[Summary | None], name: str, look: Mapping[str, Any], by: str = "y"
) -> None:
    """Draw the points that are there with their intervals: at these places across, or down where they lie along x."""
    there = [(place, one) for place, one in zip(at, points, strict=True) if one is not None]
    places, means = [place for place, _ in there], [one.mean for _, one in there]
    bars = np.array([[one.mean - one.low, one.high - one.mean] for _, one in there]).reshape(-1, 2).T
    of: dict[str, Any] = (
        {"x": means, "y": places, "xerr": bars} if by == "x" else {"x": places, "y": means, "yerr": bars}
    )
    axis.errorbar(**of, label=name, elinewidth=0.8, **look)


# -- dots --------------------------------------------------------------------------------------------------------------


def own_against_joint(frame: pd.DataFrame, protocol: str = "class_incremental") -> Figure:
    """Draw, for each method, the final accuracy in the own and in the joint label space, with 95% intervals over seeds.

    At the end of a stream every class has been seen: `seen` is `all` by definition and is drawn where that is absent.
    """
    scored = PROTOCOLS[protocol].accuracy(frame)
    rows = at_the_end(one_place(scored))
    rows = rows.assign(label=labels(rows), series=rows["label_space"] + " label space")
    groups = [f"{space} label space" for space in values_of(rows, "label_space")]
    return _dots(rows, groups, methods_of(rows), PROTOCOLS[protocol].headline, described(scored))


def ablation_dots(frame: pd.DataFrame, names: Mapping[str, str], protocol: str = "few_shot") -> Figure:
    """Draw one line per variant of a method, a dot per number of shots, with 95% intervals over seeds.

    `names` gives the variants: label in `runs.csv` to what the figure calls it.
    """
    scored = PROTOCOLS[protocol].accuracy(frame)
    rows = one_place(scored)
    rows = rows[rows["method"].isin(names)]
    rows = rows[rows["label_space"].isin(values_of(rows, "label_space")[:1])]
    rows = rows.assign(label=rows["method"].map(names), series=rows["shots"].map(shots_in_words))
    groups = [shots_in_words(count) for count in values_of(rows, "shots")]
    return _dots(rows, groups, list(names.values()), PROTOCOLS[protocol].headline, described(scored, ["shots"]))


def one_place(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep the average over data sets where there is one, else the only data set."""
    return rows[rows["dataset"] == AVERAGE] if AVERAGE in set(rows["dataset"]) else rows


def _height(rows: pd.DataFrame, **where: str) -> Summary | None:
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return point(rows["accuracy"])


def _dots(rows: pd.DataFrame, groups: Sequence[str], lines: Sequence[str], x_title: str, title: str) -> Figure:
    """Draw a line for each label, one below the other, with a dot for each series."""
    if rows.empty:
        return message_figure()
    with styled():
        figure = new_figure(5.4, 0.24 * len(lines) + 1.6)
        axis = figure.subplots()
        found = [[_height(rows, label=line, series=name) for line in lines] for name in groups]
        for line, dots in enumerate(zip(*found, strict=True)):
            if means := [one.mean for one in dots if one is not None]:
                axis.plot([min(means), max(means)], [line, line], color="#bbbbbb", linewidth=1.2, zorder=1)
        for index, (name, points) in enumerate(zip(groups, found, strict=True)):
            aside = (index - (len(found) - 1) / 2) * 0.12  # so that no point hides another
            look = {**series(index), "linestyle": "none", "capsize": 2}
            _marks(axis, [line + aside for line in range(len(lines))], points, name, look, by="x")
        _names_down(axis, lines)
        axis.set_xlabel(x_title.replace(", ", ",\n"))
        return finished(figure, title, axis)


def _names_down(axis: Axes, names: Sequence[str]) -> None:
    """Name one line below the other, with percent across."""
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(len(names) - 0.4, -0.6)
    axis.set_xlim(max(axis.get_xlim()[0], -1.5), min(axis.get_xlim()[1], 101.5))


# -- cost --------------------------------------------------------------------------------------------------------------


def accuracy_against_cost(frame: pd.DataFrame, protocol: str = "class_incremental") -> Figure:
    """Draw accuracy (mean and 95% interval) over time, trained parameters and memory (means), a point per method.

    The accuracy is that in the widest label space that was scored. Zero-shot CLIP, which costs next to nothing, is a
    line across, so that the axes are those of the methods that learn. Memory is that above the run which took least:
    the rest is the process and the frozen model. More than eight methods stand one below the other, each cost beside
    the accuracy.
    """
    rows = tidy(frame)
    rows = rows[rows["protocol"] == protocol]
    spent, scored = costs(rows), PROTOCOLS[protocol].accuracy(rows)
    shown = [column for column in COSTS if spent[column.key].notna().any()]
    if scored.empty or not shown:
        return message_figure()
    space = values_of(scored, "label_space")[-1]
    title = described(scored)
    scored = one_place(scored[scored["label_space"] == space])
    scored, spent = scored.assign(label=labels(scored)), spent.assign(label=labels(spent))
    base = spent["peak_memory_mb"].min()
    spent["peak_memory_mb"] -= base
    learned = scored[scored["method"] != "zero_shot"]
    methods = methods_of(learned if len(learned) else scored)
    scores = [_height(scored, label=name) for name in methods]
    means = spent.groupby("label")[[column.key for column in shown]].mean().reindex(methods)
    heads = [heading(one).replace(" ", "\n", 1) for one in shown]
    heads = [head.replace("[", f"above {base:,.0f} [") if "memory" in head else head for head in heads]
    what = PROTOCOLS[protocol].headline.replace(", ", ",\n") + f"\n{space} label space"
    reference = _height(scored, method="zero_shot") if len(learned) else None
    many = len(methods) > TOGETHER
    with styled():
        size = (2.3, 0.24 * len(methods) + 0.3) if many else (2.9, 2.6)
        figure, axes, _ = panels(len(shown) + many, *size, sharey=True)
        look = {"linestyle": "none", "capsize": 2.5}
        if many:
            _marks(axes[0], range(len(methods)), scores, "", series(0) | look, by="x")
            _names_down(axes[0], methods)
            axes[0].set_xlabel(what)
            _reference(axes[0].axvline, reference)
        else:
            axes[0].set_ylabel(what)
        for axis, column, head in zip(axes[many:], shown, heads, strict=True):
            xs = means[column.key]
            if many:
                axis.plot(xs, range(len(xs)), "o", color=series(0)["color"])
            for place, (one, x) in enumerate(zip(scores, xs, strict=True) if not many else ()):
                if x == x:
                    _marks(axis, [x], [one], methods[place], series(place) | look | {"markersize": 8})
            if not many:
                _reference(axis.axhline, reference)
            axis.margins(x=0.15)
            _cost_axis(axis, column, means[column.key].dropna(), head)
        if not many:
            keep_in_percent(axes[0])
        return finished(figure, title, axes[0])


def _reference(line: Any, reference: Summary | None) -> None:
    if reference is not None:
        line(reference.mean, color="#7F7F7F", linestyle=":", label=method_title("zero_shot"))


def _cost_axis(axis: Axes, column: Column, xs: "pd.Series[float]", head: str) -> None:
    positive = xs[xs > 0]
    # Memory is a difference: a logarithm would make much of what is next to nothing.
    if len(positive) and positive.max() > 20 * positive.min() and column.key != "peak_memory_mb":
        least = float(positive.min())
        if len(positive) < len(xs):  # some methods train nothing
            axis.set_xscale("symlog", linthresh=least)
        else:
            axis.set_xscale("log")
            few = positive.max() > 30 * least
            axis.xaxis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 3.0), numticks=6))
        axis.xaxis.set_minor_formatter(NullFormatter())
    else:
        axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.xaxis.set_major_formatter(FuncFormatter(_short_number))
    axis.set_xlabel(head)


def _short_number(value: float, _: int) -> str:
    """Write a tick in few characters: 120000 as 120k."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= max(size, 1e4):
            return f"{value / size:g}{letter}"
    return f"{value:g}"
