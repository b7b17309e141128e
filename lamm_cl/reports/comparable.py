"""Whether a measured number may stand beside a printed one, and if not, why."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import yaml

from lamm_cl.errors import UsageError
from lamm_cl.reports.names import AVERAGE
from lamm_cl.reports.published import PublishedNumber

T = TypeVar("T")

# What a record must say of a method's options; the rest of them changes the machine's work, not the result's meaning.
# `label_space` is what records of earlier builds call `train_label_space`.
_ORDINARY = {
    "train_label_space": "own",
    "label_space": "own",
    "freeze_context_after": None,
    "regime": "naive",
    "plugins": None,
}
_USUAL = "what the weights have"
_NOT_THE_RESULT = frozenset({"device", "threads", "eval_mb_size", "precision", "compile", "chunk", "workers"})
# What methods take for no depth on the 12 layers of ViT-B/16, with which everything published here was measured.
_DEPTHS = {"prompt_depth": 9, "prompt_depth_text": 12, "prompt_depth_vision": 12}
_SPLITS = {
    "own": "own split, not the official one",
    "other": "another split than the papers', though of its name and sizes",
    "embedded": "data set that no paper uses",
}
_OF_A_SETTING = frozenset({"setting-a", "setting-b"})


@dataclass(frozen=True)
class Measured:
    """One measured number with what its runs' records say.

    Attributes:
        label: What tables call the method.
        method: The registered method behind the label.
        dialect, dataset, quantity, shots, label_space, setting, backbone, pretrained: As in `tables.collect`.
        minus: The other method, where the number is a difference of two methods; else "".
        mean: What tables print, in percent: the mean over seeds, of H the harmonic mean of two such means.
        values: One per seed, in percent.
        seeds: Those seeds.
        run_ids: The runs behind it.
        datasets: The data sets that an average is over; else one.
        configs: The distinct (method, data set, options) of its runs; empty where no record tells them.
        streams: The distinct protocols of its runs, with their options, number of classes and seed; likewise.
        precisions: What the records say of the precision.
        resize_modes: How images came to the tower's size; empty text where a run took what its weights have.
        splits: What the records say of the split: see `lamm_cl.data.items.Dataset`.
        synthetic: Whether a record calls the data synthetic.
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


def found_in(record: Any, name: str) -> Iterator[Any]:
    """Yield every value under the key `name` in a record, at any depth, apart from its config and its rows."""
    if isinstance(record, Mapping):
        for key, value in record.items():
            if key == name:
                yield value
            elif key not in ("config", "rows"):
                yield from found_in(value, name)
    elif isinstance(record, list | tuple):
        for value in record:
            yield from found_in(value, name)


def reasons(measured: Measured, printed: PublishedNumber, datasets: frozenset[str]) -> list[str]:
    """Return why the two must not be compared, nothing where they may.

    Args:
        measured: The measured number.
        printed: The published one with the same method, data set and metric.
        datasets: What the paper's averages are over.
    """
    backbone = list(_backbone(measured, printed))
    # Another backbone has a recipe of its own: its options need not be named as well.
    configs = () if backbone else measured.configs
    options = [text for one in configs for text in _options(*one, measured.shots, printed)]
    streams = [text for one in measured.streams for text in _stream(*one, printed)]
    if printed.protocol_options and not measured.streams:
        streams = ["steps and class order not known: its runs left no record of them"]
    return [*backbone, *_dialect(measured.dialect, printed), *_data(measured, printed, datasets), *streams, *options]


def _backbone(measured: Measured, printed: PublishedNumber) -> Iterator[str]:
    if _architecture(measured.backbone, measured.pretrained) != _architecture(printed.backbone, printed.pretrained):
        yield f"other backbone: {measured.backbone}, published with {printed.backbone}"
    elif measured.pretrained != printed.pretrained:
        yield f"other weights: {measured.pretrained or 'not named'}, published with {printed.pretrained}"
    for mode in sorted(measured.resize_modes - {printed.resize_mode}):
        yield f"other resize_mode: {mode or _USUAL}, published with {printed.resize_mode or _USUAL}"


def _dialect(dialect: str, printed: PublishedNumber) -> Iterator[str]:
    if printed.dialect and dialect != printed.dialect:
        yield f"other dialect: {dialect or 'not named'}, published with {printed.dialect}"


def _architecture(backbone: str, pretrained: str) -> str:
    # OpenAI's weights are QuickGELU models under either of open_clip's names; other weights are not.
    name = backbone.lower().replace("/", "-")
    return name.removesuffix("-quickgelu") if pretrained == "openai" else name


def _data(measured: Measured, printed: PublishedNumber, datasets: frozenset[str]) -> Iterator[str]:
    if measured.shots != printed.shots and measured.method != "zero_shot":
        yield f"other shots: {measured.shots or 'not named'}, published with {printed.shots}"
    if printed.setting and not printed.protocol_options and measured.setting != printed.setting:
        yield f"other setting: {measured.setting or 'not named'}, published with {printed.setting}"
    yield from (text for split, text in _SPLITS.items() if split in measured.splits)
    if printed.table in _OF_A_SETTING:
        others = sorted(measured.splits & _OF_A_SETTING - {printed.table})
        yield from (f"split of {split}, published with that of {printed.table}" for split in others)
    if measured.synthetic:
        yield "synthetic data"
    if printed.dataset.startswith(AVERAGE) and measured.datasets != datasets:
        missing, extra = sorted(datasets - measured.datasets), sorted(measured.datasets - datasets)
        parts = [f"without {_few(missing)}"] * bool(missing) + [f"with {_few(extra)}"] * bool(extra)
        yield f"average over other data sets: {' and '.join(parts)}"


def _stream(options: Mapping[str, Any], classes: int, seed: int, printed: PublishedNumber) -> Iterator[str]:
    """Yield what a class-incremental stream has other than the published one: sizes of its steps, order of classes."""
    if not printed.protocol_options:
        return
    wanted = parse_options(printed.protocol_options)
    sizes = (_sizes(classes, options), _sizes(classes, wanted))
    if sizes[0] != sizes[1]:
        yield f"other steps: {_few([str(size) for size in sizes[0]])} classes, published with {printed.setting}"
    order, published_order = options.get("order", "dataset"), wanted["order"]
    if _order(classes, order, options.get("order_seed"), seed) != _order(classes, published_order, None, seed):
        words = "that of RAPF's code" if "digest" in published_order else _word(published_order)
        yield f"other class order: {_brief(order)}, published with {words}"


def _sizes(classes: int, options: Mapping[str, Any]) -> tuple[int, ...]:
    from lamm_cl.streams.protocols import step_sizes

    try:
        return step_sizes(classes, *(options.get(name) for name in ("steps", "base", "increment")))
    except UsageError:  # published for another number of classes
        return ()


def _order(classes: int, order: Any, order_seed: int | None, seed: int) -> str:
    """Return the digest of a class order; of names, which labels cannot be told from, or of no order, some other."""
    from lamm_cl.streams.steps import ORDER_SEED, class_order

    if isinstance(order, Mapping) and "digest" in order:
        return str(order["digest"])
    if order == "alphabetical":
        return "alphabetical"
    try:
        # Labels alone say what the order is, but for `alphabetical`.
        labels = class_order([f"class {label}" for label in range(classes)], order, order_seed or ORDER_SEED, seed)
    except UsageError:
        return "names"
    return order_digest(labels)


def order_digest(labels: Iterable[int]) -> str:
    """Return what published rows call a class order that is listed in a file.

    >>> order_digest([2, 0, 1])
    'cea67d8b58d7'
    """
    return hashlib.sha256(",".join(map(str, labels)).encode()).hexdigest()[:12]


def _brief(order: Any) -> str:
    return _few([str(one) for one in order]) if isinstance(order, list | tuple) else _word(order)


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _options(
    method: str, dataset: str, options: Mapping[str, Any], shots: str, printed: PublishedNumber
) -> Iterator[str]:
    texts = {printed.minus: printed.minus_options, printed.method: printed.options}
    named = {name: _on(dataset, value) for name, value in parse_options(texts.get(method, "")).items()}
    wanted = _spelled({**defaults(method), **_ORDINARY, **named}, shots)
    for name, value in _spelled(options, shots).items():
        if name == "dialect":
            yield from _dialect(str(value), printed)
        elif name in wanted and name not in _NOT_THE_RESULT and not _same(value, wanted[name]):
            yield f"other option {name}: {_word(value)}, published with {_word(wanted[name])}"


def _on(dataset: str, value: Any) -> Any:
    return value.get(dataset, value.get("others")) if isinstance(value, Mapping) else value


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


def _word(value: Any) -> str:
    if value is None or value == "":
        return "default" if value is None else "none"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_word(one)}" for key, one in value.items() if one is not None) + "}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, list | tuple) and isinstance(second, list | tuple):
        return list(first) == list(second)  # records have no tuples
    if isinstance(first, Mapping) and isinstance(second, Mapping):  # what is not given is None in records
        given = [{key: value for key, value in one.items() if value is not None} for one in (first, second)]
        return given[0] == given[1]
    if isinstance(first, int | float) and isinstance(second, int | float):
        return abs(first - second) <= 1e-12
    return bool(first == second)


def parse_options(text: str) -> dict[str, Any]:
    """Return the options that a published row names, written as in a config.

    >>> parse_options("ctx_init: a photo of a, epochs: {imagenet: 50, others: 200}")
    {'ctx_init': 'a photo of a', 'epochs': {'imagenet': 50, 'others': 200}}
    """
    return dict(_parsed(text))


@cache
def _parsed(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load("{" + text + "}"))


def defaults(method: str) -> dict[str, Any]:
    """Return a method's options and recipe as its paper has them; nothing for a method that is not registered."""
    try:
        return dict(_registered(method))
    except UsageError:
        return {}


@cache
def _registered(method: str) -> dict[str, Any]:
    from lamm_cl.methods.registry import get_method

    found = get_method(method)
    return {**found.options().model_dump(), **found.recipe.model_dump()}


def unique(values: Iterable[T]) -> list[T]:
    """Return each value once, in order."""
    return list(dict.fromkeys(values))
