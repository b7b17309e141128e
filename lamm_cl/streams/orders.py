"""Orders of classes and of data sets, and how classes are dealt out to steps: plain numbers and names, no data."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import accumulate
from numbers import Integral
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from lamm_cl.data.images import some
from lamm_cl.data.items import Dataset
from lamm_cl.errors import UsageError, unknown

ORDERS = ("dataset", "alphabetical", "shuffled")
ORDER_SEED = 1993
# {numpy: 1993}, {numpy: seed} and {file: orders.yaml}.
Source = dict[Literal["numpy", "file"], Annotated[int, Field(strict=True, ge=0, lt=2**32)] | str]


def class_order(
    names: Sequence[str],
    order: str | Sequence[int] | Sequence[str] | Mapping[Any, int | str] = "dataset",
    order_seed: int = ORDER_SEED,
    seed: int = 0,
) -> tuple[int, ...]:
    """Return the order in which the classes of a data set are met.

    Args:
        names: class names by label.
        order: "dataset" (by label), "alphabetical" (by name), "shuffled", or all labels or all names, each once;
            {"numpy": 1993} for what "shuffled" gives with that seed, {"numpy": "seed"} with the run's own; or
            {"file": path}, see `read_order`.
        order_seed: seed of "shuffled". numpy's legacy generator, so that 1993 gives the order that iCaRL and those
            who compare with it use (68, 56, 78, 8, 23, ... for 100 classes).
        seed: of the run.

    Raises:
        UsageError: for an unknown order, or a list that leaves a class out or names one twice.
    """
    n = len(names)
    if isinstance(order, Mapping):
        order, order_seed = _source(order, seed)
    if isinstance(order, str):
        if order not in ORDERS:
            raise unknown("class order", order, ORDERS)
        if order == "alphabetical":
            return tuple(sorted(range(n), key=lambda label: (names[label].casefold(), names[label], label)))
        if order == "shuffled":
            from numpy.random import RandomState  # here: to load it is a fifth of the time that a check takes

            return tuple(int(label) for label in RandomState(_seed(order_seed)).permutation(n))
        return tuple(range(n))
    order = getattr(order, "tolist", lambda: order)()  # of an array
    if not isinstance(order, Sequence):
        raise UsageError(
            f"class order must be one of {', '.join(ORDERS)}, or all labels or class names, not {order!r}."
        )
    return _permutation(order, list(names))


def _source(order: Mapping[Any, int | str], seed: int) -> tuple[str | list[Any], int]:
    """Return the order that a source means, and the seed of a shuffled one."""
    if set(order) == {"numpy"}:
        given = order["numpy"]
        return "shuffled", _seed(seed if given == "seed" else given)
    if set(order) == {"file"}:
        return read_order(Path(str(order["file"]))), ORDER_SEED
    raise UsageError(
        "class order must be {numpy: 1993}, {numpy: seed} for the run's own, or {file: PATH}, not "
        f"{dict(order)!r}."
    )


def read_order(path: Path) -> list[Any]:
    """Return the labels or class names of a YAML list, maybe below `class_order`, or of the lines of a text file.

    Raises:
        UsageError: it cannot be read, or holds no list.
    """
    try:
        text = path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"class order: {path} cannot be read: {reason}.") from None
    if path.suffix not in (".yaml", ".yml"):
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return [int(line) for line in lines] if all(line.isdecimal() for line in lines) else list(lines)
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"class order: {path} is no YAML.") from None
    listed = found.get("class_order") if isinstance(found, dict) else found
    if not isinstance(listed, list):
        raise UsageError(f"class order: {path} holds no list, nor one below class_order.")
    return listed


def _seed(seed: object) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise UsageError(f"order_seed must be a whole number from 0 to {2**32 - 1}, not {seed!r}.")
    return seed


def _permutation(order: Sequence[object], names: list[str]) -> tuple[int, ...]:
    labels: list[int] = []
    called: dict[str, list[int]] = {}
    for label, name in enumerate(names):
        called.setdefault(name, []).append(label)
    for entry in order:
        if isinstance(entry, str):
            if entry not in called:
                raise unknown("class in the class order", entry, names)
            if len(called[entry]) > 1:
                raise UsageError(f"class order: two classes are called {entry!r}; give labels instead of names.")
            labels += called[entry]
        elif isinstance(entry, bool) or not isinstance(entry, Integral):
            raise UsageError(f"class order: {entry!r} is neither a label nor a class name.")
        else:
            label = int(entry)
            others = called.get(str(label), [label])
            if label not in others:
                raise UsageError(
                    f"class order: {label} is a label, but class {others[0]} is called {str(label)!r}: give names, in "
                    "quotes, or rename the class."
                )
            labels.append(label)
    if sorted(labels) != list(range(len(names))):
        raise UsageError(
            f"class order is not a permutation of the {len(names)} classes: {_differences(labels, names)}."
        )
    return tuple(labels)


def _differences(labels: list[int], names: list[str]) -> str:
    n = len(names)
    twice = sorted(label for label, count in Counter(labels).items() if count > 1)
    foreign = sorted({label for label in labels if not 0 <= label < n})
    absent = sorted(set(range(n)) - set(labels))
    parts = [("given twice", twice), ("no such label", foreign), ("left out", absent)]
    return "; ".join(f"{what}: {some(list(map(str, which)), 8)}" for what, which in parts if which)


def even_sizes(classes: int, steps: int) -> tuple[int, ...]:
    """Deal `classes` out to `steps` steps as evenly as it goes; the first ones get what is left over.

    Two steps are the papers' base and new: ceil(n/2), then the rest.

    Raises:
        UsageError: for fewer classes than steps, or no step at all.
    """
    steps = _count("steps", steps)
    if classes < steps:
        raise UsageError(f"{steps} steps need at least {steps} classes, but there are {classes}; ask for fewer steps.")
    return tuple(classes // steps + (step < classes % steps) for step in range(steps))


def base_and_increments(classes: int, base: int, increment: int) -> tuple[int, ...]:
    """Deal classes out as "B-base Inc-increment": `base` first, then `increment` a step; the last step may be smaller.

    Raises:
        UsageError: when the base takes more classes than there are, or a number makes no sense.
    """
    base, increment = _count("base", base), _count("increment", increment)
    if base > classes:
        raise UsageError(f"base: {base} classes in the first step, but there are only {classes}; ask for fewer.")
    full, left = divmod(classes - base, increment)
    return (base, *[increment] * full, *([left] if left else []))


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UsageError(f"{name} must be a whole number of at least 1, not {value!r}.")
    return value


def split(order: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Cut `order` into consecutive pieces of the given sizes, which must use it up."""
    if sum(sizes) != len(order):
        raise UsageError(f"steps of {tuple(sizes)} classes take {sum(sizes)} classes, but there are {len(order)}.")
    return [tuple(order[end - size : end]) for size, end in zip(sizes, accumulate(sizes), strict=True)]


_FIRST = (
    "fgvc_aircraft",
    "caltech101",
    "cifar100",
    "dtd",
    "eurosat",
    "oxford_flowers",
    "food101",
    "mnist",
    "oxford_pets",
    "stanford_cars",
    "sun397",
)
_SECOND = (9, 6, 7, 8, 5, 10, 0, 1, 3, 4, 2)
DOMAIN_ORDERS: dict[str, tuple[str, ...]] = {
    # Zheng et al. (ZSCL), ICCV 2023, section 5.1: alphabetical, and a random one.
    "mtil-1": _FIRST,
    "mtil-2": tuple(_FIRST[k] for k in _SECOND),
    # Xu et al. (RAIL), NeurIPS 2024: MTIL's two without CIFAR-100.
    "x-tail": tuple(name for name in _FIRST if name != "cifar100"),
    "x-tail-2": tuple(_FIRST[k] for k in _SECOND if _FIRST[k] != "cifar100"),
}
ORDER_NAMES = ("given", "alphabetical", *DOMAIN_ORDERS)


def sequence(datasets: Sequence[Dataset], order: str | Sequence[str] = "given") -> list[Dataset]:
    """Put data sets in order, each once.

    It is "given"; "alphabetical"; a name of `DOMAIN_ORDERS`, of which they may be a part; or all names, each once.

    Raises:
        UsageError: for an unknown order, a data set that the order does not name, or a list that is no permutation.
    """
    by_name = {dataset.name: dataset for dataset in datasets}
    if isinstance(order, str):
        if order == "given":
            return list(datasets)
        if order == "alphabetical":
            return [by_name[name] for name in sorted(by_name, key=str.casefold)]
        if order not in DOMAIN_ORDERS:
            raise unknown("order of data sets", order, ORDER_NAMES)
        listed = DOMAIN_ORDERS[order]
        strangers = [name for name in by_name if name not in listed]
        if strangers:
            raise UsageError(
                f"order {order!r} has no place for {', '.join(strangers)}; it orders {', '.join(listed)}. "
                "Use order: given, or a list of names."
            )
        return [by_name[name] for name in listed if name in by_name]
    if not isinstance(order, Sequence):
        raise UsageError(
            f"order must be one of {', '.join(ORDER_NAMES)}, or the names of all data sets, not {order!r}."
        )
    if sorted(map(str, order)) != sorted(by_name):
        raise UsageError(
            f"order {list(order)} is not a permutation of the data sets {', '.join(by_name)}; name each exactly once."
        )
    return [by_name[str(name)] for name in order]
