"""Measured and published numbers side by side, with the interval over seeds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, cast

import pandas as pd

from lamm_cl.evaluation import metrics
from lamm_cl.evaluation.statistics import summarise
from lamm_cl.reports import published
from lamm_cl.reports.comparable import Measured, found_in, reasons, unique
from lamm_cl.reports.names import AVERAGE, ELEVEN, dataset_rank, method_rank, shots_rank
from lamm_cl.reports.published import PublishedNumber
from lamm_cl.reports.results import Record, Results
from lamm_cl.reports.tables import PROTOCOLS
from lamm_cl.reports.tables.collect import SETTINGS, TITLES
from lamm_cl.reports.tables.model import Cell, Column, Row, Table
from lamm_cl.reports.tables.protocols import ClassIncremental

_QUANTITIES = {one.key: f"{one.group} {one.title}".strip() for one in (*ClassIncremental.TWO, *ClassIncremental.MANY)}
_QUANTITIES |= {"harmonic_mean": "H", "accuracy": "Accuracy", "average_with_source": "average with source"}
_QUANTITIES |= {"transfer": "Transfer", "average": "Avg", "last": "Last"}
_COLUMNS = (
    *(Column(key, TITLES[key]) for key in ("dataset", "setting", "method", "dialect", "shots")),
    Column("quantity", "Number"),
    Column("measured", "Measured", unit="%"),
    Column("population_std", "Population std", unit="%"),
    Column("low", "from", group="95% interval", unit="%"),
    Column("high", "to", group="95% interval", unit="%"),
    Column("published", "value", group="Published", unit="%"),
    Column("standing", "from", group="Published"),
    Column("difference", "Difference", unit="%", signed=True),
    Column("verdict", "Verdict"),
)


@dataclass(frozen=True)
class Comparison:
    """One measured number beside its published one.

    Attributes:
        measured: The measured number.
        printed: The published number of the same method, data set and metric; None where there is none.
        why_not: Why they must not be compared; empty where they may.
        low: Lower end of the 95% interval over seeds, percent; None with one seed.
        high: Upper end.
        std: Sample standard deviation over seeds (n - 1 in the denominator), percent; None with one seed.
    """

    measured: Measured
    printed: PublishedNumber | None
    why_not: tuple[str, ...]
    low: float | None
    high: float | None
    std: float | None = None

    @property
    def mean(self) -> float:
        """What tables print of the measured numbers, percent."""
        return self.measured.mean

    @property
    def population_std(self) -> float | None:
        """Population standard deviation over seeds (n in the denominator), percent; None with one seed."""
        n = len(self.measured.values)
        return None if self.std is None else self.std * ((n - 1) / n) ** 0.5

    @property
    def difference(self) -> float | None:
        """Measured minus published, in points; None where they must not be compared."""
        return None if self.printed is None or self.why_not else self.mean - self.printed.value

    @property
    def outside(self) -> bool | None:
        """Whether the published number lies outside the interval; None without a difference or an interval."""
        if self.difference is None or self.printed is None or self.low is None or self.high is None:
            return None
        return not self.low - self.printed.rounding <= self.printed.value <= self.high + self.printed.rounding

    @property
    def verdict(self) -> str:
        """The comparison in words."""
        if self.why_not:
            return "not compared: " + "; ".join(self.why_not)
        if self.outside is None:
            return "one seed: no interval"
        return "outside the interval" if self.outside else "inside the interval"


def compare(results: Results, name: str) -> list[Comparison]:
    """Compare every measured number of the published table's protocol and label space with it.

    Raises:
        UsageError: There is no published table of that name.
    """
    rows = published.numbers(name)
    return _worth_showing([beside for one in _measured(results, rows) for beside in _beside(one, rows)], rows)


def _worth_showing(found: list[Comparison], rows: tuple[PublishedNumber, ...]) -> list[Comparison]:
    """Leave out what the published table has no place for, unless nothing else was measured."""
    datasets, quantities = ({_place(row)[part] for row in rows} for part in (1, 2))
    known = [one for one in found if one.measured.dataset in datasets]
    places = {_place(row)[1:] for row in rows}
    inside = [one for one in known if (one.measured.dataset, one.measured.quantity) in places]
    return inside or [one for one in found if one.measured.quantity in quantities] or found


def compare_table(results: Results, name: str) -> Table:
    """Return the comparison as a table: measured, interval, published, difference, verdict.

    Raises:
        UsageError: There is no published table of that name.
    """
    rows = published.numbers(name)
    everything = [beside for one in _measured(results, rows) for beside in _beside(one, rows)]
    comparisons = _worth_showing(everything, rows)
    met = {_number(one.printed) for one in comparisons if one.printed is not None and not one.why_not}
    lacking = [row for row in rows if _number(row) not in met]
    notes = [f"Published: {'; '.join(unique(row.citation for row in rows))}."]
    notes += _said(unique(one.printed for one in comparisons if one.printed is not None))
    notes.append(
        "Interval: Student's t over the seeds. * marks a published number outside of it (rounding allowed for). "
        "Measured: mean ± sample deviation (n - 1); papers print the population deviation (n)."
    )
    computed = [unique(row.precision for row in rows if row.precision), sorted(_precisions(comparisons))]
    if all(computed):
        published_in, measured_in = map(", ".join, computed)
        notes.append(f"Precision is not judged: published in {published_in}, measured in {measured_in}.")
    if not comparisons:
        notes.append(f"Nothing was measured with the protocol {rows[0].protocol} in its label space.")
    shown = {one.measured.dataset for one in comparisons}
    others = unique(one.measured.dataset for one in everything if one.measured.dataset not in shown)
    if others:
        notes.append(f"Measured, but not in {name}: {', '.join(others)}.")
    if lacking:
        notes.append(f"{len(lacking)} of the {len(rows)} published numbers have no comparable measured one.")
    if any(one.printed and not one.why_not and not one.measured.splits for one in comparisons):
        notes.append("? marks numbers whose runs left no record of their split: it is taken to be the official one.")
    title = f"Measured beside {name}: {published.title(name)}"
    made = [_row(one) for one in comparisons]
    # A column of settings only where there are any.
    places = [
        k for k, column in enumerate(_COLUMNS) if column.key != "setting" or any(row.cells[k].text for row in made)
    ]
    lines = tuple(Row(tuple(row.cells[k] for k in places), row.section) for row in made)
    return Table(f"compare-{name}", title, tuple(_COLUMNS[k] for k in places), lines, tuple(notes))


def _measured(results: Results, rows: tuple[PublishedNumber, ...]) -> list[Measured]:
    spaces = {row.label_space for row in rows}
    numbers = [one for one in measure(results, rows[0].protocol) if one.label_space in spaces]
    found = list(differences(numbers, _pairs(rows))) if rows[0].minus else numbers
    return sorted(found, key=_reading_order)


def _reading_order(one: Measured) -> tuple[Any, ...]:
    return dataset_rank(one.dataset), one.backbone, one.pretrained, shots_rank(one.shots), method_rank(one.label)


def _precisions(comparisons: list[Comparison]) -> set[str]:
    return {precision for one in comparisons for precision in one.measured.precisions}


def _said(rows: list[PublishedNumber]) -> Iterator[str]:
    """Yield each sentence of the rows' notes once, with the methods and the one data set or number that it is about."""
    about: dict[str, list[PublishedNumber]] = {}
    for row in rows:
        for sentence in filter(None, row.note.split("; ")):
            about.setdefault(sentence, []).append(row)
    for sentence, group in about.items():
        words = unique(row.method for row in group)
        for field in ("dataset", "metric"):
            names = unique(getattr(row, field) for row in group)
            if len(names) == 1 < len({getattr(row, field) for row in rows}):
                words.append(_quantity(names[0]) if field == "metric" else names[0])
        yield f"{', '.join(words)}: {sentence}."


def _quantity(name: str) -> str:
    return _QUANTITIES.get(name, name)


def _row(one: Comparison) -> Row:
    measured = one.measured
    mark = "*" if one.outside else ""
    if one.printed is not None and not one.why_not and not measured.splits:
        mark += "?"
    number = Cell(one.mean, one.std, len(measured.values), run_ids=measured.run_ids)
    cells = (
        Cell(text=measured.dataset),
        Cell(text=measured.setting or (one.printed.setting if one.printed and not one.why_not else "")),
        Cell(text=measured.label),
        Cell(text=measured.dialect),
        Cell(text=measured.shots),
        Cell(text=_quantity(measured.quantity)),
        number,
        Cell(one.population_std),
        Cell(one.low),
        Cell(one.high),
        Cell(one.printed.value if one.printed else None),
        Cell(text=f"{one.printed.source} ({one.printed.standing})" if one.printed else ""),
        Cell(one.difference, mark=mark),
        Cell(text=one.verdict),
    )
    return Row(cells, measured.dataset)


# -- the published side ----------------------------------------------------------------------------------------------


def _beside(measured: Measured, rows: tuple[PublishedNumber, ...]) -> Iterator[Comparison]:
    """Yield the comparison with the published number that is nearest, or with each that differs and is as near."""
    summary = summarise(measured.values)
    spread = (summary.low, summary.high, summary.std) if summary.n > 1 else (None, None, None)
    place = (measured.method, measured.dataset, measured.quantity)
    same = [row for row in rows if _place(row) == place and row.minus == measured.minus]
    if not same:
        yield Comparison(measured, None, tuple(_absent(measured, rows)), *spread)
        return
    judged = [(row, tuple(unique(reasons(measured, row, _parts(rows, row))))) for row in same]
    # Runs without a record tell no options: then the method's own, not a variant, is meant.
    keys = [(len(why_not), row.shots != measured.shots, len(row.options)) for row, why_not in judged]
    nearest = [pair for pair, key in zip(judged, keys, strict=True) if key == min(keys)]
    nearest.sort(key=lambda pair: published.STANDINGS.index(pair[0].standing))
    firsts: dict[str, tuple[PublishedNumber, tuple[str, ...]]] = {}
    for row, why_not in nearest[:1] if nearest[0][1] else nearest:
        firsts.setdefault(row.printed, (row, why_not))
    for row, why_not in firsts.values():
        yield Comparison(measured, row, why_not, *spread)


def _number(row: PublishedNumber) -> tuple[object, ...]:
    """Return what two sources have in common that print the same value of the same run."""
    return (*_place(row), row.minus, row.options, row.minus_options, row.shots, row.setting, row.printed)


def _place(row: PublishedNumber) -> tuple[str, str, str]:
    if PROTOCOLS[row.protocol].over_sets:
        return row.method, row.trained_on, row.dataset
    return row.method, row.dataset, row.metric


def _parts(rows: tuple[PublishedNumber, ...], printed: PublishedNumber) -> frozenset[str]:
    """Return what the paper's averages are over."""
    ours = [row for row in rows if row.method == printed.method and not row.dataset.startswith(AVERAGE)]
    if PROTOCOLS[printed.protocol].over_sets:
        return frozenset(row.dataset for row in ours)
    return frozenset(row.dataset for row in ours) or ELEVEN


def _absent(measured: Measured, rows: tuple[PublishedNumber, ...]) -> list[str]:
    """Return what of the number the table lacks, and what else would keep it from being compared."""
    places = [_place(row) for row in rows]
    of_method = [row for row in rows if row.method == measured.method]
    if measured.dataset not in {place[1] for place in places}:
        lacks = f"data set {measured.dataset} is not in the published table"
    elif not of_method:
        lacks = f"method {measured.method} is not in the published table"
    else:
        lacks = "this number is not in the published table"
    near = of_method or [replace(rows[0], dialect="", shots=measured.shots)]
    told = measured if of_method else replace(measured, configs=())  # nobody published options of another method
    others = [reasons(told, replace(row, dataset=measured.dataset), measured.datasets) for row in near]
    return unique([lacks, *min(others, key=len)])


def _pairs(rows: tuple[PublishedNumber, ...]) -> list[tuple[str, str]]:
    """Return the pairs (method, method subtracted) of published differences."""
    return list(dict.fromkeys((row.method, row.minus) for row in rows))


# -- the measured side -------------------------------------------------------------------------------------------------


def measure(results: Results, protocol: str) -> Iterator[Measured]:
    """Yield every number that the protocol's tables are made of, with its value for each seed, in percent."""
    found = PROTOCOLS[protocol].numbers(results.rows)
    quantities = [column.key for column in found.columns]
    if found.observations.empty:
        return
    datasets = dict(zip(results.runs["run_id"], results.runs["dataset"], strict=True))
    for settings, group in found.observations.groupby(list(SETTINGS), sort=False, dropna=False):
        words = dict(zip(SETTINGS, map(str, cast("tuple[str, ...]", settings)), strict=True))
        ids = tuple(unique(one for part in group["run_id"] for one in part))
        records = [results.records[one] for one in ids if one in results.records]
        for quantity in quantities:
            known = 100 * group.set_index("seed").dropna(subset=[quantity])[quantities]
            if len(known):
                over = found.sets or frozenset(datasets[one] for one in ids)
                yield _with_records(words, quantity, known, ids, over, records)


def differences(numbers: list[Measured], pairs: list[tuple[str, str]]) -> Iterator[Measured]:
    """Yield, for each pair of methods under the same settings, the difference seed by seed."""
    for one in numbers:
        for other in numbers:
            if (one.method, other.method) not in pairs or _settings(one) != _settings(other):
                continue
            there = dict(zip(other.seeds, other.values, strict=True))
            both = [
                (seed, value - there[seed]) for seed, value in zip(one.seeds, one.values, strict=True) if seed in there
            ]
            if both:
                yield replace(
                    one,
                    label=f"{one.label} - {other.label}",
                    minus=other.method,
                    quantity="difference",
                    mean=fmean(value for _, value in both),
                    seeds=tuple(seed for seed, _ in both),
                    values=tuple(value for _, value in both),
                    run_ids=one.run_ids + other.run_ids,
                    configs=one.configs + other.configs,
                    streams=one.streams + other.streams,
                    precisions=one.precisions | other.precisions,
                    resize_modes=one.resize_modes | other.resize_modes,
                    splits=one.splits | other.splits,
                    synthetic=one.synthetic or other.synthetic,
                )


def _settings(one: Measured) -> tuple[object, ...]:
    return one.dataset, one.datasets, one.shots, one.label_space, one.setting, one.backbone, one.pretrained


def _with_records(
    words: Mapping[str, str],
    quantity: str,
    known: pd.DataFrame,
    ids: tuple[str, ...],
    over: frozenset[str],
    records: list[Record],
) -> Measured:
    told = [(record, config) for record in records if isinstance(config := record.get("config"), Mapping)]
    methods = unique(str(config["method"]) for _, config in told if isinstance(config.get("method"), str))
    options = [
        (str(config.get("method", words["method"])), str(record["run"]["dataset"]), dict(config["options"]))
        for record, config in told
        if isinstance(config.get("options"), Mapping)
    ]
    streams = [
        (dict(protocol), classes, int(record["run"]["seed"]))
        for record, config in told
        if isinstance(protocol := config.get("protocol"), Mapping)
        and isinstance(classes := dict(record.get("stream") or {}).get("classes"), int)
    ]
    backbones = [one for _, config in told if isinstance(one := config.get("backbone"), Mapping)]
    mean = known[quantity].mean()
    if quantity == "harmonic_mean":
        mean = metrics.harmonic_mean(known["base"].mean(), known["new"].mean())
    return Measured(
        label=" ".join(words[key] for key in ("method", "variant", "experiment") if words[key]),
        method=methods[0] if len(methods) == 1 else words["method"],
        mean=float(mean),
        values=tuple(known[quantity]),
        seeds=tuple(map(float, known.index)),
        run_ids=ids,
        quantity=quantity,
        datasets=over,
        configs=tuple(one for k, one in enumerate(options) if one not in options[:k]),
        streams=tuple(one for k, one in enumerate(streams) if one not in streams[:k]),
        precisions=frozenset(str(one["precision"]) for one in backbones if one.get("precision")),
        resize_modes=frozenset(str(one.get("resize_mode") or "") for one in backbones),
        splits=frozenset(str(split) for record in records for split in found_in(record, "split") if split),
        synthetic=any(flag is True for record in records for flag in found_in(record, "synthetic")),
        **{
            key: words[key]
            for key in ("dialect", "dataset", "shots", "label_space", "setting", "backbone", "pretrained")
        },
    )
