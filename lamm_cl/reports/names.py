"""The order in which methods and data sets are shown, and how their names read."""

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.errors import UsageError
from lamm_cl.evaluation.summary import LABEL_SPACES
from lamm_cl.methods.registry import METHODS, get_method

# What the papers call "11 data sets".
ELEVEN = frozenset(list(CATALOGUE)[:11])
AVERAGE = "average"


def method_rank(name: str) -> tuple[int, int, str]:
    """Return a sort key: methods in the order of the registry, then LAMM, then each `X+lamm`; variants `X_...` with X.

    >>> sorted(["maple+lamm", "lamm_text", "lamm", "rail", "coop_16", "coop", "mine"], key=method_rank)
    ['coop', 'coop_16', 'rail', 'mine', 'lamm', 'lamm_text', 'maple+lamm']
    """
    head, plus, _ = name.partition(" ")[0].partition("+")
    known = [one for one in METHODS if head == one or head.startswith(f"{one}_")]
    base = max(known, key=len, default="")
    group = 1 if plus or base == "lamm" else 0
    return (group, -1 if base == "lamm" else _place(base, METHODS), name)


@cache
def method_title(label: str) -> str:
    """Return what papers call a method: its title where `label` is a registered name, else the label itself.

    >>> method_title("coop+lamm"), method_title("lamm_text")
    ('CoOp+LAMM', 'lamm_text')
    """
    try:
        return get_method(label).title
    except UsageError:
        return label


def dataset_rank(name: str) -> tuple[int, str]:
    """Return a sort key: the catalogue's order, which is the papers', then other names, averages last."""
    return (_place(name, CATALOGUE) + (name == AVERAGE), name)


def _place(name: str, order: Collection[str]) -> int:
    return list(order).index(name) if name in order else len(order)


def shots_rank(shots: str) -> int:
    """Return a sort key for shots as words: none named, then numbers, then "full"."""
    return int(shots) if shots.isdigit() else 10**9 if shots else -1


def shots_in_words(shots: str) -> str:
    """Return a number of shots with its noun.

    >>> shots_in_words("1"), shots_in_words("16"), shots_in_words("full")
    ('1 shot', '16 shots', 'full training sets')
    """
    return "full training sets" if shots == "full" else f"{shots} shot{'s' * (shots != '1')}"


def space_rank(name: str) -> tuple[int, str]:
    """Return a sort key for label spaces: own, seen, all."""
    return (_place(name, LABEL_SPACES), name)


def number_word(value: Any) -> str:
    """Return a seed, or another number of a frame, as a word; "" where it is missing.

    >>> number_word(1.0), number_word(float("nan")), number_word("16")
    ('1', '', '16')
    """
    if isinstance(value, float):
        return "" if value != value else f"{value:g}"
    return str(value)


def anchor(name: str, other: str = "-") -> str:
    """Return `name` as an id or a file's name: `other` stands for what is no letter, number, dash or underscore."""
    return "".join(one if one.isalnum() or one in "-_" else other for one in name)


def spelled_out(value: Any) -> Any:
    """Return JSON `value` with every half of a letter, which no file or terminal takes, spelled as an escape."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {spelled_out(key): spelled_out(item) for key, item in value.items()}
    return [spelled_out(item) for item in value] if isinstance(value, list | tuple) else value
