"""All figures of a report, each with a title and what it shows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lamm_cl.reports.figures import charts
from lamm_cl.reports.figures.heatmaps import accuracy_matrix, confusion_figure
from lamm_cl.reports.figures.style import fitted, save
from lamm_cl.reports.names import anchor, shots_in_words, shots_rank
from lamm_cl.reports.results import Results
from lamm_cl.reports.tables import PROTOCOLS
from lamm_cl.reports.tables.collect import values_of
from lamm_cl.reports.tables.extra import COSTS, families

_MOST_PANELS = 150  # of all matrices together; more are too many to look at


@dataclass(frozen=True)
class Picture:
    """A figure of a report."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


def pictures(results: Results) -> Iterator[Picture]:
    """Yield the figures that the results have numbers for: each of one setting, over data sets and seeds."""
    frame = results.rows
    for protocol in PROTOCOLS:
        groups = list(_settings(frame[frame["protocol"] == protocol], protocol))
        for name, title, part in groups:
            for picture in _of_setting(results, protocol, part, _MOST_PANELS / len(groups)):
                more = f", {title}" if title else ""
                yield replace(picture, name=picture.name + name, title=picture.title + more)


def _settings(rows: pd.DataFrame, protocol: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield the rows of each setting with what names it: figures never average over anything but data and seeds."""
    scored = rows[(rows["metric"] == "accuracy") & rows["value"].notna()]
    if scored.empty:
        return
    keys = ["backbone", "pretrained", "setting", *(["shots"] if PROTOCOLS[protocol].figures != "shots" else [])]
    if PROTOCOLS[protocol].figures == "stages":
        pairs = scored.loc[scored["eval_set"] != "total", ["run_id", "eval_set"]].drop_duplicates()
        streams = pairs.groupby("run_id", sort=False)["eval_set"].agg(_stream)
        if streams.nunique() > 1:
            rows = rows.assign(setting=rows["run_id"].map(streams).fillna(""))
    differing = [key for key in keys if rows[key].nunique() > 1]
    groups = rows.groupby(differing, sort=False) if differing else [((), rows)]
    found = sorted(groups, key=lambda item: tuple(shots_rank(one) if one.isdigit() else -1 for one in item[0]))
    for values, part in found:
        named = zip(differing, map(str, values), strict=True)
        words = [word for key, one in named if (word := shots_in_words(one) if key == "shots" else one)]
        yield "".join(f"_{word.replace(' ', '_')}" for word in words), ", ".join(words), part


def _stream(names: "pd.Series[str]") -> str:
    """Return what sets one stream apart from another: the number of its sets, or the order of its data sets."""
    numbered = names.str.fullmatch(r"set\d+").all()
    return f"{len(names)} stages" if numbered else " > ".join(names)


def _of_setting(results: Results, protocol: str, rows: pd.DataFrame, panels: float) -> Iterator[Picture]:
    scored = rows[(rows["metric"] == "accuracy") & rows["value"].notna()]
    if scored.empty:
        return
    yield from _of_protocol(rows, protocol, scored, panels)
    caption = "Dots: means over seeds; whiskers: 95% intervals."
    for method, labels in families(rows, {} if results.apart else results.configs).items():
        draw = partial(charts.ablation_dots, rows, names={label: label for label in labels}, protocol=protocol)
        yield Picture(f"options_{protocol}_{method}", f"Options of {method}", caption, draw)
    yield from _confusions(results, protocol, rows)
    caption = "Whiskers: 95% intervals over seeds. Memory: above the run that took least."
    if rows["metric"].isin([column.key for column in COSTS]).any():
        draw = partial(charts.accuracy_against_cost, rows, protocol=protocol)
        yield Picture(f"cost_{protocol}", f"Accuracy against cost ({protocol})", caption, draw)


def _of_protocol(rows: pd.DataFrame, protocol: str, scored: pd.DataFrame, panels: float) -> Iterator[Picture]:
    datasets = values_of(scored, "dataset")
    if PROTOCOLS[protocol].figures == "shots":
        caption = "Whiskers: 95% intervals over seeds."
        yield Picture("few_shot", "Accuracy over images a class", caption, partial(charts.few_shot_curves, rows))
        if len(datasets) > 1 and scored["method"].nunique() > charts.TOGETHER:
            for name in datasets:
                draw = partial(charts.few_shot_curves, rows[rows["dataset"] == name])
                yield Picture(f"few_shot_{name}", f"Accuracy over images a class, {name}", caption, draw)
    if PROTOCOLS[protocol].figures != "stages":
        return
    caption = "Accuracy over everything met so far. Whiskers: 95% intervals over seeds."
    draw = partial(charts.accuracy_over_steps, rows)
    yield Picture(f"steps_{protocol}", f"Accuracy over steps ({protocol})", caption, draw)
    caption = (
        "Own: an image competes among the classes of its set; all: among all of the stream, which at its end are those "
        "seen. Whiskers: 95% intervals over seeds."
    )
    draw = partial(charts.own_against_joint, rows, protocol=protocol)
    yield Picture(f"label_spaces_{protocol}", f"Own against joint label space ({protocol})", caption, draw)
    caption = (
        "Row: after which experience; column: on which set. Means over seeds. Hatched: not measured, or still to come "
        "where only seen classes compete. Colours run over the accuracies that occur."
    )
    if len(datasets) > 1 and len(datasets) * scored["method"].nunique() * scored["label_space"].nunique() > panels:
        title = f"Accuracy matrix, mean over {len(datasets)} data sets"
        yield Picture(f"matrix_{protocol}", title, caption, partial(accuracy_matrix, rows))
        return
    for dataset in datasets:
        draw = partial(accuracy_matrix, rows[rows["dataset"] == dataset])
        yield Picture(f"matrix_{protocol}_{dataset}", f"Accuracy matrix, {dataset}", caption, draw)


def _confusions(results: Results, protocol: str, rows: pd.DataFrame) -> Iterator[Picture]:
    runs = rows.drop_duplicates("run_id").assign(label=charts.labels)
    for dataset, part in runs.groupby("dataset", sort=False):
        found: dict[str, list[Mapping[str, Any]]] = {}
        for label in charts.methods_of(part):
            records = [results.records.get(one, {}) for one in part.loc[part["label"] == label, "run_id"]]
            if ones := [one for record in records if isinstance(one := record.get("confusion"), Mapping)]:
                found[label] = ones
        if found:
            draw = partial(confusion_figure, found, charts.described(part))
            caption = "Row: the class; column: what it was taken for, after the last stage, among all classes."
            yield Picture(f"confusion_{protocol}_{dataset}", f"Confusion, {dataset}", caption, draw)


def write_figures(results: Results, directory: Path, width: str | None = None) -> Iterator[Path]:
    """Write every figure as SVG, PNG and PDF into `directory`, which is made where absent; yields the files.

    `width` is "column" or "page" of a paper; None: as wide as each needs to be.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for picture in pictures(results):
        with fitted(width):
            yield from save(picture.draw(), directory / anchor(picture.name, "_"))
