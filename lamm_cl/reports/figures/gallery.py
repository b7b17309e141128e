"""All figures of a report, each with a title and what it shows."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lamm_cl.reports.figures.charts import (
    ablation_bars,
    accuracy_against_cost,
    accuracy_over_steps,
    few_shot_curves,
    own_against_joint,
)
from lamm_cl.reports.figures.matrix import accuracy_matrix
from lamm_cl.reports.figures.style import save
from lamm_cl.reports.names import dataset_rank
from lamm_cl.reports.results import Results
from lamm_cl.reports.tables import PROTOCOLS
from lamm_cl.reports.tables.across import COSTS

_MOST_PANELS = 150  # of all matrices together; more are too many to look at


@dataclass(frozen=True)
class Picture:
    """A figure of a report.

    Attributes:
        name: For file names and anchors.
        title: What it shows.
        caption: How to read it.
        draw: Makes it.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


def pictures(results: Results) -> Iterator[Picture]:
    """Yield the figures that the results have numbers for."""
    frame = results.rows
    for protocol in PROTOCOLS:
        rows = frame[frame["protocol"] == protocol]
        rows.attrs["tidy"] = True
        scored = rows[(rows["metric"] == "accuracy") & rows["value"].notna()]
        if scored.empty:
            continue
        yield from _of_protocol(rows, protocol, scored)
        for method, names in variants(results, protocol).items():
            yield Picture(
                f"options_{protocol}_{method}",
                f"Options of {method}",
                "Bars: means over seeds; whiskers: 95% intervals.",
                _late(ablation_bars, rows, names=names, protocol=protocol),
            )
        if rows["metric"].isin([column.key for column in COSTS]).any():
            yield Picture(
                f"cost_{protocol}",
                f"Accuracy against cost ({protocol})",
                "Whiskers: 95% intervals over seeds. Up and to the left is better.",
                _late(accuracy_against_cost, rows, protocol=protocol),
            )


def _of_protocol(rows: pd.DataFrame, protocol: str, scored: pd.DataFrame) -> Iterator[Picture]:
    if PROTOCOLS[protocol].figures == "shots":
        caption = "Whiskers: 95% intervals over seeds."
        yield Picture("few_shot", "Accuracy over images a class", caption, _late(few_shot_curves, rows))
    if PROTOCOLS[protocol].figures != "stages":
        return
    caption = "Accuracy over everything met so far. Whiskers: 95% intervals over seeds."
    yield Picture(f"steps_{protocol}", f"Accuracy over steps ({protocol})", caption, _late(accuracy_over_steps, rows))
    caption = "Own: an image competes among the classes of its set; seen: all met so far; all: all of the stream."
    draw = _late(own_against_joint, rows, protocol=protocol)
    yield Picture(f"label_spaces_{protocol}", f"Own against joint label space ({protocol})", caption, draw)
    caption = (
        "Row: after which experience; column: on which set. Means over seeds. Hatched: not measured, or still to come "
        "where only seen classes compete."
    )
    datasets = sorted(set(scored["dataset"]), key=dataset_rank)
    if len(datasets) * scored["method"].nunique() * scored["label_space"].nunique() > _MOST_PANELS:
        title = f"Accuracy matrix, mean over {len(datasets)} data sets"
        yield Picture(f"matrix_{protocol}", title, caption, _late(accuracy_matrix, rows))
        return
    for dataset in datasets:
        draw = _late(accuracy_matrix, rows, dataset=dataset)
        yield Picture(f"matrix_{protocol}_{dataset}", f"Accuracy matrix, {dataset}", caption, draw)


def _late(draw: Callable[..., Figure], rows: pd.DataFrame, **options: object) -> Callable[[], Figure]:
    return lambda: draw(rows, **options)


def variants(results: Results, protocol: str) -> dict[str, Mapping[str, str]]:
    """Return, for each method that ran under several labels, those labels; none where experiments stand apart."""
    if results.apart:
        return {}
    runs = results.runs
    found: dict[str, dict[str, str]] = {}
    for label, run_id in zip(runs["method"], runs["run_id"], strict=True):
        config = results.records.get(run_id, {}).get("config")
        if isinstance(config, Mapping) and (config.get("protocol") or {}).get("name", protocol) == protocol:
            found.setdefault(str(config.get("method", label)), {})[label] = label
    return {method: labels for method, labels in found.items() if len(labels) > 1}


def write_figures(results: Results, directory: Path) -> Iterator[Path]:
    """Write every figure as SVG and PNG into `directory`, which is made where absent; yields the files."""
    directory.mkdir(parents=True, exist_ok=True)
    for picture in pictures(results):
        safe = "".join(one if one.isalnum() or one in "-_." else "_" for one in picture.name)
        yield from save(picture.draw(), directory / safe.replace(".", "_"))
