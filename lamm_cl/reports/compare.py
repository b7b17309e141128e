"""Measured and published numbers side by side, with the interval over seeds; or why they may not stand there."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, product
from statistics import fmean
from typing import Any, TypeVar, cast

import numpy as np
import yaml

from lamm_cl.errors import UsageError
from lamm_cl.evaluation import metrics
from lamm_cl.evaluation.statistics import summarise
from lamm_cl.reports import published
from lamm_cl.reports.names import AVERAGE, ELEVEN, dataset_rank, method_rank, shots_rank
from lamm_cl.reports.published import PublishedNumber
from lamm_cl.reports.results import Record, Results, listed, part
from lamm_cl.reports.tables.collect import SETTINGS, Line, laid_out
from lamm_cl.reports.tables.extra import word
from lamm_cl.reports.tables.model import Cell, Column, Table
from lamm_cl.reports.tables.protocols import PROTOCOLS, ClassIncremental

T = TypeVar("T")

# What a record must say of a method's options; the rest of them changes the machine's work, not the result's meaning.
# `label_space` is what records of earlier builds call `train_label_space`.
_UNSET = ("freeze_context_after", "plugins")
_ORDINARY = {"train_label_space": "own", "label_space": "own", "regime": "naive", **dict.fromkeys(_UNSET)}
_NOT_THE_RESULT = frozenset({"device", "threads", "eval_mb_size", "precision", "compile", "chunk", "workers"})
# What methods take for no depth on the 12 layers of ViT-B/16, with which everything published here was measured.
_DEPTHS = {"prompt_depth": 9, "prompt_depth_text": 12, "prompt_depth_vision": 12}
_SPLITS = {
    "own": "own split, not the official one",
    "other": "another split than the papers', though of its name and sizes",
    "embedded": "data set that no paper uses",
}
_OF_A_SETTING = frozenset({"setting-a", "setting-b"})
_QUANTITIES = {one.key: f"{one.group} {one.title}".strip() for one in (*ClassIncremental.TWO, *ClassIncremental.MANY)}
_QUANTITIES |= {"harmonic_mean": "H", "accuracy": "Accuracy", "average_with_source": "average with source"}
_QUANTITIES |= {"transfer": "Transfer", "average": "Avg", "last": "Last"}
_PLACE = ("shots", "label_space", "setting", "backbone", "pretrained")
_OF_RECORDS = ("precisions", "resize_modes", "splits", "synthetic")
_WORDS = ("method", "dialect", "shots", "quantity")
_COLUMNS = (
    Column("measured", "Measured", unit="%"),
    Column("population_std", "Population std", unit="%"),
    Column("low", "from", group="95% interval", unit="%"),
    Column("high", "to", group="95% interval", unit="%"),
    Column("published", "value", group="Published", unit="%"),
    Column("standing", "from", group="Published"),
    Column("difference", "Difference", unit="%", signed=True),
    Column("verdict", "Verdict"),
)


def unique(values: Iterable[T]) -> list[T]:
    """Return each value once, in order."""
    every = list(values)
    return [one for k, one in enumerate(every) if one not in every[:k]]


@dataclass(frozen=True)
class Measured:
    """One measured number with what its runs' records say; the fields that are not named here are as in tables.

    Attributes:
        label, method: What tables call the method, and the registered method behind it.
        mean: What tables print, in percent: the mean over seeds, of H the harmonic mean of two such means.
        values, seeds: One per seed, in percent, and those seeds.
        datasets: The data sets that an average is over; else one.
        minus: The other method, where the number is a difference of two methods; else "".
        configs: The distinct (method, data set, options) of its runs; empty where no record tells them.
        streams: The distinct protocols of its runs, with their options, number of classes and seed; likewise.
        resize_modes: How images came to the tower's size; empty text where a run took what its weights have.
    """

    label: str
    method: str
    dialect: str
    dataset: str
    quantity: str
    shots: str
    label_space: str
    setting: str
    backbone: str
    pretrained: str
    mean: float
    values: tuple[float, ...]
    seeds: tuple[float, ...]
    run_ids: tuple[str, ...]
    datasets: frozenset[str]
    minus: str = ""
    configs: tuple[tuple[str, str, Mapping[str, Any]], ...] = ()
    streams: tuple[tuple[Mapping[str, Any], int, int], ...] = ()
    precisions: frozenset[str] = frozenset()
    resize_modes: frozenset[str] = frozenset()
    splits: frozenset[str] = frozenset()
    synthetic: bool = False


@dataclass(frozen=True)
class Comparison:
    """One measured number beside its published one, None where there is none; `why_not` they must not be compared.

    `low` and `high` are the ends of the 95% interval over seeds, `std` their sample standard deviation (n - 1 in the
    denominator), all in percent; None with one seed.
    """

    measured: Measured
    printed: PublishedNumber | None
    why_not: tuple[str, ...]
    low: float | None
    high: float | None
    std: float | None = None

    @property
    def population_std(self) -> float | None:
        """Population standard deviation over seeds (n in the denominator), percent; None with one seed."""
        n = len(self.measured.values)
        return None if self.std is None else self.std * ((n - 1) / n) ** 0.5

    @property
    def difference(self) -> float | None:
        """Measured minus published, in points; None where they must not be compared."""
        return None if self.printed is None or self.why_not else self.measured.mean - self.printed.value

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
    return _compare(results, published.numbers(name))[0]


def _compare(results: Results, rows: tuple[PublishedNumber, ...]) -> tuple[list[Comparison], list[Comparison]]:
    """Return the comparisons that the published table has a place for, unless nothing else was measured; and all."""
    spaces = {row.label_space for row in rows}
    numbers = [one for one in measure(results, rows[0].protocol) if one.label_space in spaces]
    if rows[0].minus:
        numbers = list(differences(numbers, [(row.method, row.minus) for row in rows]))
    numbers.sort(key=lambda one: (shots_rank(one.shots), method_rank(one.label)))
    numbers.sort(key=lambda one: (dataset_rank(one.dataset), one.backbone, one.pretrained))
    found = [beside for one in numbers for beside in _beside(one, rows)]
    places = {_place(row)[1:] for row in rows}
    quantities = {quantity for _, quantity in places}
    inside = [one for one in found if (one.measured.dataset, one.measured.quantity) in places]
    return inside or [one for one in found if one.measured.quantity in quantities] or found, found


def compare_table(results: Results, name: str) -> Table:
    """Return the comparison as a table: measured, interval, published, difference, verdict.

    Raises:
        UsageError: There is no published table of that name.
    """
    rows = published.numbers(name)
    comparisons, everything = _compare(results, rows)
    met = {_number(one.printed) for one in comparisons if one.printed is not None and not one.why_not}
    lacking = [row for row in rows if _number(row) not in met]
    notes = [f"Published: {'; '.join(unique(row.citation for row in rows))}."]
    notes += _said(unique(one.printed for one in comparisons if one.printed is not None))
    notes.append(
        "Interval: Student's t over the seeds. * marks a published number outside of it (rounding allowed for). "
        "Measured: mean ± sample deviation (n - 1); papers print the population deviation (n)."
    )
    precisions = {precision for one in comparisons for precision in one.measured.precisions}
    computed = [unique(row.precision for row in rows if row.precision), sorted(precisions)]
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
    title = f"Measured beside {name}: {published.about(name)['title']}"
    lines = [_line(one) for one in comparisons]
    heads = ["dataset", *["setting"] * any(words["setting"] for words, _ in lines), *_WORDS]
    return laid_out(f"compare-{name}", title, lines, heads, _COLUMNS, notes)


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
                words.append(_QUANTITIES.get(names[0], names[0]) if field == "metric" else names[0])
        yield f"{', '.join(words)}: {sentence}."


def _line(one: Comparison) -> Line:
    measured, printed = one.measured, one.printed
    unknown_split = printed is not None and not one.why_not and not measured.splits
    words = {
        "dataset": measured.dataset,
        "setting": measured.setting or (printed.setting if printed and not one.why_not else ""),
        "method": measured.label,
        "dialect": measured.dialect,
        "shots": measured.shots,
        "quantity": _QUANTITIES.get(measured.quantity, measured.quantity),
    }
    cells = (
        Cell(measured.mean, one.std, len(measured.values), run_ids=measured.run_ids),
        *map(Cell, (one.population_std, one.low, one.high, printed.value if printed else None)),
        Cell(text=f"{printed.source} ({printed.standing})" if printed else ""),
        Cell(one.difference, mark="*" * bool(one.outside) + "?" * unknown_split),
        Cell(text=one.verdict),
    )
    return words, cells


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
    yield from (Comparison(measured, row, why_not, *spread) for row, why_not in firsts.values())


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
    usual = frozenset() if PROTOCOLS[printed.protocol].over_sets else ELEVEN
    return frozenset(row.dataset for row in ours) or usual


def _absent(measured: Measured, rows: tuple[PublishedNumber, ...]) -> list[str]:
    """Return what of the number the table lacks, and what else would keep it from being compared."""
    of_method = [row for row in rows if row.method == measured.method]
    what = "this number" if of_method else f"method {measured.method}"
    if measured.dataset not in {_place(row)[1] for row in rows}:
        what = f"data set {measured.dataset}"
    near = of_method or [replace(rows[0], dialect="", shots=measured.shots)]
    told = measured if of_method else replace(measured, configs=())  # nobody published options of another method
    others = [[*reasons(told, replace(row, dataset=measured.dataset), measured.datasets)] for row in near]
    return unique([f"{what} is not in the published table", *min(others, key=len)])


# -- the measured side -------------------------------------------------------------------------------------------------


def measure(results: Results, protocol: str) -> Iterator[Measured]:
    """Yield every number that the protocol's tables are made of, with its value for each seed, in percent."""
    found = PROTOCOLS[protocol].numbers(results.rows)
    quantities = [column.key for column in found.columns]
    datasets = dict(zip(results.runs["run_id"], results.runs["dataset"], strict=True))
    for settings, group in found.observations.groupby(list(SETTINGS), sort=False, dropna=False):
        words = dict(zip(SETTINGS, map(str, cast("tuple[str, ...]", settings)), strict=True))
        ids = tuple(unique(chain.from_iterable(group["run_id"])))
        records = [results.records[one] for one in ids if one in results.records]
        over = found.sets or frozenset(datasets[one] for one in ids)
        told = {**_told(words, records), "run_ids": ids, "datasets": over}
        every = {quantity: 100 * group[quantity].to_numpy(float) for quantity in quantities}
        for quantity, there in every.items():
            known = ~np.isnan(there)
            if known.any():
                mean = there[known].mean()
                if quantity == "harmonic_mean":
                    mean = metrics.harmonic_mean(every["base"][known].mean(), every["new"][known].mean())
                values, seeds = tuple(there[known].tolist()), tuple(group.loc[known, "seed"].tolist())
                yield Measured(quantity=quantity, mean=float(mean), values=values, seeds=seeds, **told)


def differences(numbers: list[Measured], pairs: list[tuple[str, str]]) -> Iterator[Measured]:
    """Yield, for each pair of methods under the same settings, the difference seed by seed."""
    for one, other in product(numbers, numbers):
        there = dict(zip(other.seeds, other.values, strict=True))
        both = {seed: value - there[seed] for seed, value in zip(one.seeds, one.values, strict=True) if seed in there}
        alike = all(getattr(one, key) == getattr(other, key) for key in ("dataset", "datasets", *_PLACE))
        if both and alike and (one.method, other.method) in pairs:
            told = {key: getattr(one, key) + getattr(other, key) for key in ("run_ids", "configs", "streams")}
            told |= {key: getattr(one, key) | getattr(other, key) for key in _OF_RECORDS}
            told |= {"label": f"{one.label} - {other.label}", "minus": other.method, "quantity": "difference"}
            values = tuple(both.values())
            yield replace(one, mean=fmean(values), values=values, seeds=tuple(both), **told)


def _told(words: Mapping[str, str], records: list[Record]) -> dict[str, Any]:
    """Return what all numbers of the same settings share: their words, and what the records of their runs say."""
    told = [(record, part(record, "config")) for record in records]
    methods = unique(str(config["method"]) for _, config in told if isinstance(config.get("method"), str))
    options = [
        (str(config.get("method", words["method"])), str(record["run"]["dataset"]), dict(part(config, "options")))
        for record, config in told
    ]
    streams = [
        (dict(protocol), classes, int(record["run"]["seed"]))
        for record, config in told
        if (protocol := part(config, "protocol")) and isinstance(classes := part(record, "stream").get("classes"), int)
    ]
    data = [part(record, "data") for record in records]
    backbones = [one for _, config in told if isinstance(one := config.get("backbone"), Mapping)]
    return dict(
        label=" ".join(words[key] for key in ("method", "experiment") if words[key]),
        method=methods[0] if len(methods) == 1 else words["method"],
        configs=tuple(unique(options)),
        streams=tuple(unique(streams)),
        precisions=frozenset(str(one["precision"]) for one in backbones if one.get("precision")),
        resize_modes=frozenset(str(one.get("resize_mode") or "") for one in backbones),
        splits=frozenset(str(split) for one in data if (split := one.get("split"))),
        synthetic=any(one.get("synthetic") is True for one in data),
        **{key: words[key] for key in (*_PLACE, "dialect", "dataset")},
    )


# -- whether the two may stand side by side ----------------------------------------------------------------------------


def reasons(measured: Measured, printed: PublishedNumber, datasets: frozenset[str]) -> Iterator[str]:
    """Yield why the two must not be compared, nothing where they may."""
    alike = measured.backbone == printed.backbone or _architecture(measured) == _architecture(printed)
    kinds = () if alike else _other("backbone", measured.backbone, printed.backbone)
    found = [*(kinds or _other("weights", measured.pretrained, printed.pretrained))]
    for mode in sorted(measured.resize_modes - {printed.resize_mode}):
        found += _other("resize_mode", mode, printed.resize_mode, "what the weights have")
    yield from found
    yield from _other("dialect", measured.dialect, printed.dialect) if printed.dialect else ()
    yield from _data(measured, printed, datasets)
    if printed.protocol_options and not measured.streams:
        yield "steps and class order not known: its runs left no record of them"
    for stream in measured.streams if printed.protocol_options else ():
        yield from _stream(*stream, printed)
    for config in () if found else measured.configs:  # another backbone has a recipe of its own
        yield from _options(*config, measured.shots, printed)


def _other(what: str, ours: str, theirs: str, usual: str = "not named") -> list[str]:
    return [f"other {what}: {ours or usual}, published with {theirs or usual}"] * (ours != theirs)


def _architecture(one: Measured | PublishedNumber) -> str:
    # OpenAI's weights are QuickGELU models under either of open_clip's names; other weights are not.
    name = one.backbone.lower().replace("/", "-")
    return name.removesuffix("-quickgelu") if one.pretrained == "openai" else name


def _data(measured: Measured, printed: PublishedNumber, datasets: frozenset[str]) -> Iterator[str]:
    if measured.method != "zero_shot":
        yield from _other("shots", measured.shots, printed.shots)
    if printed.setting and not printed.protocol_options:
        yield from _other("setting", measured.setting, printed.setting)
    yield from (text for split, text in _SPLITS.items() if split in measured.splits)
    if printed.table in _OF_A_SETTING:
        others = sorted(measured.splits & _OF_A_SETTING - {printed.table})
        yield from (f"split of {split}, published with that of {printed.table}" for split in others)
    if measured.synthetic:
        yield "synthetic data"
    if printed.dataset.startswith(AVERAGE) and measured.datasets != datasets:
        missing, extra = sorted(datasets - measured.datasets), sorted(measured.datasets - datasets)
        parts = [f"without {listed(missing, most=3)}"] * bool(missing) + [f"with {listed(extra, most=3)}"] * bool(extra)
        yield f"average over other data sets: {' and '.join(parts)}"


def _stream(options: Mapping[str, Any], classes: int, seed: int, printed: PublishedNumber) -> Iterator[str]:
    """Yield what a class-incremental stream has other than the published one: sizes of its steps, order of classes."""
    wanted = parse_options(printed.protocol_options)
    sizes = _sizes(classes, options)
    if sizes != _sizes(classes, wanted):
        yield f"other steps: {listed(map(str, sizes), most=3)} classes, published with {printed.setting}"
    order, theirs = options.get("order", "dataset"), wanted["order"]
    ours = _order(classes, json.dumps(order), options.get("order_seed"), seed)
    if ours != _order(classes, json.dumps(theirs), None, seed):
        brief = listed(map(str, order), most=3) if isinstance(order, list | tuple) else word(order)
        yield from _other("class order", brief, "that of RAPF's code" if "digest" in theirs else word(theirs))


def _sizes(classes: int, options: Mapping[str, Any]) -> tuple[int, ...]:
    from lamm_cl.streams.protocols import step_sizes

    try:
        return step_sizes(classes, *(options.get(name) for name in ("steps", "base", "increment")))
    except UsageError:  # published for another number of classes
        return ()


@cache  # every number of a run asks for it, once for each published row of its place
def _order(classes: int, text: str, order_seed: int | None, seed: int) -> str:
    """Return the digest of a class order; of names, which labels cannot be told from, or of no order, some other."""
    from lamm_cl.streams.orders import ORDER_SEED, class_order

    order = json.loads(text)
    if order == "alphabetical" or (isinstance(order, Mapping) and "digest" in order):  # labels alone do not tell them
        return order if isinstance(order, str) else str(order["digest"])
    try:
        names = [f"class {label}" for label in range(classes)]
        return order_digest(class_order(names, order, order_seed or ORDER_SEED, seed))
    except UsageError:
        return "names"


def order_digest(labels: Iterable[int]) -> str:
    """Return what published rows call a class order that is listed in a file.

    >>> order_digest([2, 0, 1])
    'cea67d8b58d7'
    """
    return hashlib.sha256(",".join(map(str, labels)).encode()).hexdigest()[:12]


def _options(
    method: str, dataset: str, options: Mapping[str, Any], shots: str, printed: PublishedNumber
) -> Iterator[str]:
    texts = {printed.minus: printed.minus_options, printed.method: printed.options}
    named = {
        name: value.get(dataset, value.get("others")) if isinstance(value, Mapping) else value
        for name, value in parse_options(texts.get(method, "")).items()
    }
    wanted = _spelled({**defaults(method), **_ORDINARY, **named}, shots)
    for name, value in _spelled(options, shots).items():
        if name == "dialect":
            yield from _other("dialect", str(value), printed.dialect) if printed.dialect else ()
        elif name in wanted and name not in _NOT_THE_RESULT:
            yield from _other(f"option {name}", word(value), word(wanted[name]))


def _spelled(options: Mapping[str, Any], shots: str) -> dict[str, Any]:
    """Return options with defaults that stand for a value replaced by it, so that both compare as the same."""
    out = dict(options)
    out |= {name: depth for name, depth in _DEPTHS.items() if name in out and out[name] is None}
    if "lambda_wc" in out and out["lambda_wc"] is None and shots.isdigit():
        out["lambda_wc"] = 1 / max(int(shots), 1)
    if "ctx_init" in out:
        out["ctx_init"] = str(out["ctx_init"]).replace("_", " ")
        if out.get("n_ctx") == 0:
            out["n_ctx"] = len(out["ctx_init"].split()) or 16
    return out


@cache
def parse_options(text: str) -> Mapping[str, Any]:
    """Return the options that a published row names, written as in a config.

    >>> parse_options("ctx_init: a photo of a, epochs: {imagenet: 50, others: 200}")
    {'ctx_init': 'a photo of a', 'epochs': {'imagenet': 50, 'others': 200}}
    """
    return dict(yaml.safe_load("{" + text + "}"))


@cache
def defaults(method: str) -> Mapping[str, Any]:
    """Return a method's options and recipe as its paper has them; nothing for a method that is not registered."""
    from lamm_cl.methods.registry import get_method

    try:
        found = get_method(method)
    except UsageError:
        return {}
    return {**found.options().model_dump(mode="json"), **found.recipe.model_dump(mode="json")}
