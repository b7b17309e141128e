"""What the classes of one's own data are called: as they are written, renamed, or named by number."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lamm_cl.data.images import show
from lamm_cl.data.split_file import check_names
from lamm_cl.errors import UsageError, unknown

FORMULA = "begins as a formula does, which a spreadsheet with the results would run: give it another name"


def named(
    place: Path, what: str, labels: Iterable[str], rename: Mapping[str, str], names: Any = None
) -> dict[str, str]:
    """Return what the classes are called, by what they are called in the data, in the order of the labels.

    Args:
        place: the folder or file, for messages.
        what: what `rename` renames, for messages.
        labels: the classes; they are sorted, numbers as numbers.
        rename: other names for some.
        names: for numbers, a list of words or a file of one a line, in their order; for others, a file of lines such
            as `n01443537 goldfish`, class and name parted by a tab or a space, a number and a tab before them or not.

    Raises:
        UsageError: a name is for no class, is missing, or cannot be used.
    """
    distinct = set(labels)
    ordered = sorted(distinct, key=float) if all(map(is_number, distinct)) else sorted(distinct)
    for old in rename:
        if old not in distinct:
            raise unknown(what, old, ordered)
    # With `depth: leaf` a class is a path of folders, and called as the last one is.
    called = {label: rename.get(label, label.rpartition("/")[2] if place.is_dir() else label) for label in ordered}
    if names is not None:
        if all(map(is_number, ordered)) or not isinstance(names, str | Path):
            called = dict(zip(ordered, _by_number(names, ordered), strict=True))
        else:
            called = _by_class(names, ordered)
    check_names(show(str(place)), called.values())
    formula = next(filter(is_formula, called.values()), None)
    if formula is not None:
        raise UsageError(f"{show(str(place))}: the class {formula!r} {FORMULA}, e.g. by `rename`.")
    return called


def is_formula(text: str) -> bool:
    """Whether spreadsheets that open a table take a word for a formula; a number is none."""
    start = text.lstrip()[:1]
    return bool(start) and start in "=+-@\uff1d\uff0b\uff0d\uff20" and not is_number(text.strip())


def is_number(label: str) -> bool:
    """Whether a class is called by a number, as a table of labels has it: 7, 007, 7.0."""
    return re.fullmatch(r"[+-]?\d+(\.0*)?", label) is not None and label.isascii()


def is_name(value: object) -> bool:
    """Whether a value is text, or a number whose digits are what was written; true, 1e5 and 0x10 are not."""
    return isinstance(value, str) or type(value) is int


def list_of_names(key: str, given: object) -> list[str]:
    """Check a key's list of words."""
    if not isinstance(given, list | tuple) or not all(map(is_name, given)):
        raise UsageError(f"{key} must be a list of words, not {given!r}; put what is not read as text in quotes.")
    return [str(word) for word in given]


def renames(given: object) -> dict[str, str]:
    """Check `rename`."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(is_name(v) for pair in given.items() for v in pair):
        raise UsageError(
            "rename must say for class folders, or for the classes of a CSV, what they are called, {folder: name}, not "
            f"{given!r}; put what is not read as text in quotes."
        )
    return {str(old): str(new) for old, new in given.items()}


def _by_number(given: Any, labels: list[str]) -> list[str]:
    if not all(map(is_number, labels)):
        raise UsageError(f"names is for classes that are numbers, not {labels[-1]!r}; `rename` gives others a name.")
    names = _lines(Path(given).expanduser()) if isinstance(given, str | Path) else list_of_names("names", given)
    if len(names) != len(labels):
        raise UsageError(
            f"names has {len(names)} names for {len(labels)} classes ({labels[0]} to {labels[-1]}): one each, in the "
            "order of the numbers."
        )
    return names


def _by_class(given: str | Path, labels: list[str]) -> dict[str, str]:
    path = Path(given).expanduser()
    names: dict[str, str] = {}
    for line in _lines(path):
        fields = line.split("\t") if "\t" in line else line.split(" ", 1)
        if len(fields) == 3 and is_number(fields[0]):
            del fields[0]
        label, name = (fields[0].strip(), fields[-1].strip()) if len(fields) == 2 else ("", "")
        if label in labels and names.setdefault(label, name) != name:
            raise UsageError(f"names {show(str(path))} calls {label!r} both {names[label]!r} and {name!r}.")
    missing = [label for label in labels if label not in names]
    if missing:
        raise UsageError(
            f"names {show(str(path))} has no line for {len(missing)} of {len(labels)} classes, e.g. {missing[0]!r}. A "
            "line is a class, as the data call it, a tab, and its name; names alone are for classes that are numbers."
        )
    return {label: names[label] for label in labels}


def _lines(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"names {show(str(path))} cannot be read: {getattr(error, 'strerror', error)}.") from None
