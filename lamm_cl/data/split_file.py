"""Reading the papers' split files (`split_zhou_*.json`): lists of [path, label, class name] under train, val, test."""

import json
import os
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Any

from lamm_cl.data.images import encodable, show
from lamm_cl.data.items import PARTS, Item
from lamm_cl.errors import UsageError

Parts = dict[str, tuple[Item, ...]]


def read_split(path: Path, image_folder: str) -> Parts:
    """Return the items of a split file, in its order, their paths made absolute under `image_folder`.

    Raises:
        UsageError: the file is no such split; names the file and the entry.
    """
    content = _load(path)
    parts: Parts = {part: _items(path, part, content[part], image_folder) for part in PARTS}
    class_names(path, (item for part in PARTS for item in parts[part]))
    return parts


def class_names(source: object, items: Iterable[Item], repeated: bool = False) -> tuple[str, ...]:
    """Return one class name per label, after checking that labels and names belong together.

    Args:
        source: what to blame in the error, usually the split file.
        items: all items of the data set.
        repeated: two labels may share a name.

    Raises:
        UsageError: a label has two names, a name two labels, or labels do not count 0, 1, 2, ...
    """
    names: dict[int, str] = {}
    for item in items:
        if names.setdefault(item.label, item.class_name) != item.class_name:
            raise UsageError(
                f"{source}: label {item.label} has two class names, {names[item.label]!r} and {item.class_name!r}."
            )
    if not names:
        raise UsageError(f"{source}: lists no image.")
    if max(names) >= len(names):
        gap = next(label for label in range(len(names)) if label not in names)
        raise UsageError(
            f"{source}: labels must count 0, 1, 2, ... without a gap; the largest is {max(names)} and no image has "
            f"label {gap}."
        )
    ordered = tuple(names[label] for label in range(len(names)))
    if not repeated:
        check_names(source, ordered)
    return ordered


def check_names(source: object, names: Iterable[str]) -> None:
    """Refuse a class name that is empty, that cannot stand in a prompt or a table, or that two classes share.

    Names that differ only in case or between `_` and a space give the same prompt, so they count as one name.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not name.strip(" _"):
            raise UsageError(f"{source}: a class name is empty.")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{source}: the class name {show(name)} is not valid UTF-8. Rename it.") from None
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
            raise UsageError(f"{source}: the class name {name!r} holds a line break or control character. Rename it.")
        plain = " ".join(name.replace("_", " ").lower().split())
        if plain in seen:
            first = seen[plain]
            what = f"are called {name!r}" if first == name else f"give the same prompt: {first!r} and {name!r}"
            raise UsageError(f"{source}: two classes {what}. Give each class its own name.")
        seen[plain] = name


def _load(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not valid UTF-8 (byte {error.start}). Fetch the file again.") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise UsageError(f"{path}: is not JSON: {error}. Fetch the file again.") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: must hold an object with the lists train, val and test, not {_type(content)}.")
    for part in PARTS:
        if not isinstance(content.get(part), list):
            found = "nothing" if part not in content else _type(content[part])
            raise UsageError(f"{path}: needs a list under {part!r}, found {found}.")
    return content


def _items(path: Path, part: str, entries: list[Any], image_folder: str) -> tuple[Item, ...]:
    # Checked in bulk first: the usual, sound file with 100,000 entries should not pay for error messages.
    prefix = image_folder + os.sep
    made = []
    for position, entry in enumerate(entries):
        if type(entry) is not list or len(entry) != 3:
            raise UsageError(f"{path}: {part}[{position}] must be [path, label, class name], not {_short(entry)}.")
        relative, label, name = entry
        if type(label) is str and label.isdecimal() and len(label) < 9:
            label = int(label)  # the papers' code reads labels with int()
        if type(relative) is not str or type(label) is not int or label < 0 or type(name) is not str:
            raise UsageError(
                f"{path}: {part}[{position}] must be [path, label from 0, class name], not {_short(entry)}."
            )
        if _escapes(relative):
            raise UsageError(
                f"{path}: {part}[{position}] points outside the data set: {_short(relative)}. Paths must be relative "
                f"to {image_folder} and stay in it."
            )
        made.append(Item(prefix + relative, label, name))
    return tuple(made)


def _escapes(relative: str) -> bool:
    """Whether a path is empty, absolute (on any system), climbs with `..`, or can be no path at all."""
    if not relative or relative[0] in "/\\" or "\0" in relative or not (relative.isascii() or encodable(relative)):
        return True
    if ":" in relative[:2] and PureWindowsPath(relative).drive:
        return True
    return ".." in relative and ".." in relative.replace("\\", "/").split("/")


def _type(value: object) -> str:
    return {
        "dict": "an object",
        "list": "a list",
        "str": "a text",
        "int": "a number",
        "float": "a number",
        "bool": "true or false",
    }.get(type(value).__name__, "null")


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
