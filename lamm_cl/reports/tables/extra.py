"""Tables beside those of the protocols: options of a method, whole streams, costs, classes, paired differences."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import pandas as pd

from lamm_cl.evaluation.statistics import compare_paired, summarise
from lamm_cl.reports.names import method_rank, space_rank
from lamm_cl.reports.tables import collect
from lamm_cl.reports.tables.model import Cell, Column, Row, Table
from lamm_cl.reports.tables.protocols import PROTOCOLS, STREAMS

_STREAM = (
    Column("average_incremental_accuracy", "Average incremental", unit="%", best="max"),
    Column("incremental_accuracy", "Last incremental", unit="%", best="max"),
    Column("forgetting", "Forgetting", unit="%", best="min"),
    Column("backward_transfer", "Backward transfer", unit="%", best="max"),
    Column("forward_transfer", "Forward transfer", unit="%", best="max"),
)
_STREAM_NOTE = "Formulas and sources: lamm_cl/evaluation/README.md. Forgetting counts what was lost as positive."
# Stages add up in time; parameters and memory are what the dearest stage needs; what is kept is what the last one left.
_COSTS = {
    Column("seconds", "Time", unit="s", digits=1, best="min"): "sum",
    Column("trained_parameters", "Trained parameters", unit="1", digits=0, best="min"): "max",
    Column("peak_memory_mb", "Peak memory", unit="MB", digits=0, best="min"): "max",
    Column("kept_parameters", "Kept parameters", unit="1", digits=0, best="min"): "last",
    Column("state_mb", "State", unit="MB", digits=2, best="min"): "last",
    Column("train_images_per_second", "training", group="Images a second", unit="1/s", digits=0, best="max"): "mean",
    Column("test_images_per_second", "test", group="Images a second", unit="1/s", digits=0, best="max"): "mean",
}
COSTS = tuple(_COSTS)[:3]  # what figures show
Options = Mapping[str, Any]
VARIES = "varies"
_METRIC = "class_accuracy/"
_OF_A_CLASS = ["backbone", "dataset", "shots", "label_space", "eval_set", "class"]
_NAME = collect.SETTINGS[6:]
_PAIRED = (
    Column("difference", "Difference", unit="%", signed=True),
    Column("low", "from", group="95% interval", unit="%", signed=True),
    Column("high", "to", group="95% interval", unit="%", signed=True),
    Column("p", "p", unit="1", digits=4),
)


def stream_table(frame: pd.DataFrame) -> Table:
    """Return the metrics of whole streams, in every label space, from the runs' own rows after their last stage."""
    rows = collect.tidy(frame)
    rows = rows[rows["protocol"].isin(STREAMS)]
    lengths = collect.stream_lengths(rows[rows["metric"] == "accuracy"])
    ends = rows["run_id"].map(lengths)
    rows = rows[rows["metric"].isin([column.key for column in _STREAM]) & (rows["stage"] == ends)]
    rows = rows[rows["value"].notna()]
    rows = collect.with_steps(rows, lengths[lengths.index.isin(rows["run_id"])])
    table = _per_run(_by_metric(rows).first().unstack("metric"))
    present = tuple(column for column in _STREAM if column.key in table)
    table = collect.with_averages(table, [column.key for column in present])
    return collect.build_table("stream", "Whole streams", table, present, (_STREAM_NOTE,))


def _by_metric(rows: pd.DataFrame) -> Any:
    return rows.groupby([*collect.SETTINGS, "seed", "run_id", "metric"], sort=False, dropna=False)["value"]


def _per_run(table: pd.DataFrame) -> pd.DataFrame:
    table = table.reset_index()
    return table.assign(run_id=pd.Series([(one,) for one in table["run_id"]], dtype=object))


def cost_table(frame: pd.DataFrame) -> Table:
    """Return what a method cost: time, parameters, memory, state and images a second, as far as it was measured."""
    observations = costs(frame)
    present = tuple(column for column in _COSTS if observations[column.key].notna().any())
    notes = ["Time and memory depend on the machine, and on what was cached before."]
    if not set(present) <= set(COSTS):
        notes.append(
            "Kept, state: what is stored after the last stage, without the frozen CLIP and without exemplars. Images a "
            "second: mean over stages; in training each epoch's images count."
        )
    return collect.build_table("cost", "Cost", observations, present, tuple(notes))


def costs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per settings and seed with all costs, NaN where one was not measured."""
    rows = collect.tidy(frame)
    rows = rows[rows["metric"].isin([one.key for one in _COSTS]) & rows["value"].notna()].assign(label_space="")
    groups = _by_metric(rows.sort_values("stage", kind="stable"))
    parts = [groups.agg(how).unstack("metric").reindex(columns=[one.key]) for one, how in _COSTS.items()]
    return _per_run(pd.concat(parts, axis=1))


def pivot_tables(frame: pd.DataFrame) -> Iterator[Table]:
    """Yield, for each protocol that ran with several numbers of shots, its headline: methods in rows, shots across.

    The table of few-shot runs has this shape already.
    """
    for one in PROTOCOLS.values():
        rows = frame[(frame["protocol"] == one.name) & frame["value"].notna()]
        if one.figures == "shots" or rows["shots"].nunique() < 2:
            continue
        title = f"Methods by shots ({one.name}): {one.headline.removesuffix(' [%]')}"
        yield collect.by_shots(f"pivot_{one.name}", title, collect.at_the_end(one.accuracy(rows)))


def ablation_tables(
    frame: pd.DataFrame, configs: Mapping[str, Options], build: Callable[[pd.DataFrame], Table]
) -> Iterator[Table]:
    """Yield a table for each method that ran under several labels, with a column per option that differs.

    `frame` has the rows of one protocol, whose table `build` makes; `configs` has, by run id, the config of its record:
    `method` is the registered name, `options` all options. Source: LAMM's Tables 4 and 5 (AAAI 2024) have this shape.
    """
    rows = collect.tidy(frame)
    for method, labels in families(rows, configs).items():
        table = build(rows[rows["method"].isin(labels)])
        yield from _with_options(table, method, {label: _merged(options) for label, options in labels.items()})


def families(rows: pd.DataFrame, configs: Mapping[str, Options]) -> dict[str, dict[str, list[Options]]]:
    """Return the methods that ran under several labels, each with the options of its runs under each label."""
    found: dict[str, dict[str, list[Options]]] = {}
    runs = rows[["method", "run_id"]].drop_duplicates()
    for label, run_id in zip(runs["method"], runs["run_id"], strict=True):
        config = configs.get(run_id, {})
        if isinstance(config.get("options"), Mapping):
            found.setdefault(str(config.get("method", label)), {}).setdefault(label, []).append(config["options"])
    return {method: labels for method, labels in found.items() if len(labels) > 1}


def _merged(options: list[Options]) -> dict[str, str]:
    values = {name: {word(one.get(name)) for one in options} for all_names in options for name in all_names}
    return {name: found.pop() if len(found) == 1 else VARIES for name, found in values.items()}


def word(value: Any) -> str:
    """Return an option's value as people read it.

    >>> word(None), word(0.05), word(0.0), word(True), word("words"), word({"imagenet": 50, "others": None})
    ('default', '0.05', '0', 'yes', 'words', '{imagenet: 50}')
    """
    if value is None or value == "":
        return "default" if value is None else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):  # what is not given is None in records
        return "{" + ", ".join(f"{key}: {word(one)}" for key, one in value.items() if one is not None) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _with_options(table: Table, method: str, options: Mapping[str, Mapping[str, str]]) -> Iterator[Table]:
    """Yield the table with the options that differ beside the method, nothing where none does."""
    # The dialect has a column of its own.
    names = dict.fromkeys(name for one in options.values() for name in one if name not in table.places)
    differing = [name for name in names if len({one.get(name, "-") for one in options.values()}) > 1]
    if not differing:
        return
    place = table.places["method"] + 1
    columns = [Column(name, name, group="Options") for name in differing]
    rows = []
    for row in table.rows:
        own = options.get(row.cells[place - 1].text or "", {})
        cells = [Cell(text=own.get(name, "-")) for name in differing]
        rows.append(Row((*row.cells[:place], *cells, *row.cells[place:]), row.section))
    name, title = f"{table.name}_options_{method}", f"Options of {method}. {table.title}"
    yield Table(name, title, (*table.columns[:place], *columns, *table.columns[place:]), tuple(rows), table.notes)


def class_tables(frame: pd.DataFrame, names: Mapping[str, Sequence[str]]) -> Iterator[Table]:
    """Yield a table for each protocol: a line per class after the last stage, a column per method.

    `names` gives, by run id, the names of the classes in the order of their columns, where the record holds them.
    """
    rows = collect.tidy(frame)
    rows = rows[rows["metric"].str.startswith(_METRIC) & rows["value"].notna()]
    rows = rows[rows["stage"] == rows["run_id"].map(rows.groupby("run_id")["stage"].max())]
    for protocol, part in rows.groupby("protocol", sort=False):
        part = collect.at_the_end(part)
        places = part["metric"].str.removeprefix(_METRIC).astype(int)
        known = [
            str(names[run][place]) if place < len(names.get(run, ())) else f"class {place}"
            for run, place in zip(part["run_id"], places, strict=True)
        ]
        home = part["experiment"] if part["experiment"].nunique() > 1 else ""
        label = (part["method"] + " " + home).str.strip()
        yield _table(str(protocol), part.assign(label=label, place=places, **{"class": known}))


def _table(protocol: str, rows: pd.DataFrame) -> Table:
    methods = sorted(set(rows["label"]), key=method_rank)
    shown, constant = collect.split_settings(rows, _OF_A_CLASS)
    rows = rows.assign(space=rows["label_space"].map(space_rank))
    rows = rows.sort_values(["backbone", "dataset", "shots", "space", "place"], kind="stable")
    lines = []
    for values, group in rows.groupby(_OF_A_CLASS, sort=False):
        cells = []
        for name in methods:
            mine = group[group["label"] == name]
            found = summarise(100 * mine["value"])
            std = found.std if found.n > 1 else None
            cells.append(Cell(found.mean, std, found.n, run_ids=tuple(mine["run_id"])) if found.n else Cell())
        lines.append((dict(zip(_OF_A_CLASS, map(str, values), strict=True)), cells))
    title = f"Accuracy on each class ({protocol}), after the last stage{constant}"
    columns = [Column(f"method_{name}", name, unit="%") for name in methods]
    return collect.laid_out(f"classes_{protocol}", title, lines, shown, columns)


def paired_table(frame: pd.DataFrame, protocol: str, against: str) -> Table:
    """Return the differences in the protocol's headline to `against`, each on the seeds that both have.

    That is the label of a method, which all others are compared with, or an experiment, whose methods are compared
    with the same methods elsewhere.
    """
    found = PROTOCOLS[protocol].accuracy(frame)
    which = "method" if against in set(found["method"]) else "experiment"
    shown = [key for key in collect.SETTINGS if key == "method" or found[key].nunique() > 1]
    lines = []
    for place, part in found.groupby(list(collect.PLACE), sort=False, dropna=False):
        groups = [
            (dict(zip(_NAME, map(str, names), strict=True)), group)
            for names, group in part.groupby(list(_NAME), sort=False, dropna=False)
        ]
        for (name, group), (other, reference) in product(groups, groups):
            alike = other[which] == against != name[which] and _match(name, other, which, [one for one, _ in groups])
            if alike and (cells := _compared(group, reference)):
                lines.append(({**dict(zip(collect.PLACE, map(str, place), strict=True)), **name}, cells))
    notes = (
        f"Each minus {against}, on the seeds that both have; the number after ± is the deviation of the differences.",
        "Interval and two-sided p: Student's t over paired differences, not corrected for the number of comparisons.",
    )
    title = f"Paired differences to {against} ({protocol}): {PROTOCOLS[protocol].headline.removesuffix(' [%]')}"
    return collect.laid_out(f"paired_{protocol}", title, sorted(lines, key=collect.order), shown, _PAIRED, notes)


def _match(name: Mapping[str, str], other: Mapping[str, str], which: str, every: list[dict[str, str]]) -> bool:
    """Return whether two may be compared: a method with one of its own experiment where that has it; else any."""
    if which == "experiment":
        return all(name[key] == other[key] for key in ("method", "dialect"))
    at_home = any(one["method"] == other["method"] and one["experiment"] == name["experiment"] for one in every)
    return name["experiment"] == other["experiment"] or not at_home


def _compared(first: pd.DataFrame, second: pd.DataFrame) -> tuple[Cell, ...]:
    """Return the cells of one comparison; nothing where fewer than two seeds are there with both."""
    one, two = (100 * part.groupby("seed")["accuracy"].mean() for part in (first, second))
    seeds = one.index.intersection(two.index)
    found = compare_paired(one[seeds].tolist(), two[seeds].tolist())
    if found.n < 2:
        return ()
    ids = tuple(dict.fromkeys(one for part in (first, second) for ids in part["run_id"] for one in ids))
    p = Cell() if math.isnan(found.p) else Cell(found.p, None, found.n)
    difference = Cell(found.difference, found.std, found.n, run_ids=ids)
    return difference, Cell(found.low, None, found.n), Cell(found.high, None, found.n), p
