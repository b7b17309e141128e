"""Streams put together from stand-ins, so that a check of a config finds what building the real ones would refuse.

The catalogue knows how many classes a data set has, and the protocols are asked themselves: no rule of theirs is
repeated here. Nothing is read from disk.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.data.items import Dataset, Item
from lamm_cl.errors import UsageError
from lamm_cl.experiments.problems import Problem
from lamm_cl.methods.values import Key
from lamm_cl.streams.build import build_layout
from lamm_cl.streams.protocols import VARIANTS, find_protocol


def stream_problems(protocol: str, options: Mapping[str, Any], datasets: Sequence[str]) -> list[Problem]:
    """Return what building the streams of a config would refuse.

    Args:
        protocol: A known one.
        options: Its options, of the right types.
        datasets: Names; those that the catalogue does not have are one's own data.
    """
    together = find_protocol(protocol).at_least > 1
    found: dict[tuple[Key, str], list[str]] = {}
    for names in [list(datasets)] if together else [[name] for name in datasets]:
        for problem in _of_one_stream(protocol, options, names):
            found.setdefault((problem.key, problem.text), []).extend(names)
    return [
        Problem(key, text if len(names) == len(datasets) else f"{text} Said of {', '.join(names)}.")
        for (key, text), names in found.items()
    ]


def _of_one_stream(protocol: str, options: Mapping[str, Any], names: Sequence[str]) -> list[Problem]:
    problems: list[Problem] = []
    left = _checkable(protocol, options, names)
    while (error := _refusal(protocol, left, names)) is not None:
        option = error.option if error.option in left else None
        problems.append(Problem(("protocol", option) if option else ("datasets",), str(error)))
        if option != "order":  # which sets there are to evaluate on does not depend on the order
            break
        del left[option]
    return problems


def _checkable(protocol: str, options: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Leave out what only the data can tell: their class names, and how many classes one's own have."""
    left = {key: value for key, value in options.items() if value is not None}
    if protocol != "class_incremental":
        return left
    own = any(name not in CATALOGUE for name in names)
    order = left.get("order")
    if isinstance(order, list) and (own or any(isinstance(entry, str) for entry in order)):
        del left["order"]
    if own and "increment" in left:
        left.pop("evaluate", None)
    return left


def _refusal(protocol: str, options: Mapping[str, Any], names: Sequence[str]) -> UsageError | None:
    listed = list(names)
    if protocol == "domain_generalization":
        # Which classes of one data set are in another is not known here: all have the same single one.
        listed += VARIANTS if listed == ["imagenet"] else ()
        stand_ins = [_stand_in(name, 1) for name in listed]
    else:
        least = max([2, *(options[key] for key in ("steps", "base") if key in options)])
        stand_ins = [_stand_in(name, CATALOGUE[name].classes if name in CATALOGUE else least) for name in listed]
    try:
        build_layout(protocol, stand_ins, 1, 1, None, check_images=False, **options)
    except UsageError as error:
        return error
    return None


def _stand_in(name: str, classes: int) -> Dataset:
    """Return a data set with one image per class that nobody can open."""
    items = tuple(Item(f"{name}/{label}", label, str(label)) for label in range(classes))
    return Dataset(name, tuple(item.class_name for item in items), train=items, val=(), test=items)
