"""What is wrong with a config: all of it at once, each with its place and the nearest right word."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lamm_cl.errors import UsageError, nearest

Key = tuple[str | int, ...]
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$"
DEVICE = r"^(auto|cpu|cuda(:\d+)?)$"
PATTERNS = {
    NAME: "a name of letters (a to z), digits and _ . + - that begins with a letter or digit",
    DEVICE: "cpu, cuda, cuda:N or auto",
}
# What pydantic calls the kinds of its findings, and what they want.
_WANTED = {
    "string_type": "text",
    "dict_type": "a mapping of keys",
    "model_": "a mapping of keys",
    "list_type": "a list",
    "tuple_type": "a list",
    "bool_": "true or false",
    "int_": "a whole number",
    "float_": "a number",
}
_KIND = re.compile(r"(constrained-\w+|(literal|list|dict)\[.*\]|str|int|float|bool|none)")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        key: Path of the key from the top of the file.
        text: What is wrong and what would be right.
        doubt: Only the way of writing is in doubt: what else is wrong with the same value says more.
    """

    key: Key
    text: str
    doubt: bool = False


def dotted(key: Key) -> str:
    """Write a key path as `--set` takes it: `("methods", "lamm", "lr")` -> `methods.lamm.lr`."""
    return ".".join(map(str, key))


def unknown_name(kind: str, name: object, choices: Iterable[str]) -> str:
    """Say that a name is none of `choices`, with the nearest and, where they are few, all of them."""
    names = sorted(choices)
    guess = nearest(str(name), names)
    hint = f" Did you mean {guess!r}?" if guess else ""
    return f"unknown {kind} {str(name)!r}.{hint} Choices: {', '.join(names)}."


def from_pydantic(error: ValidationError, prefix: Key, keys: Mapping[Key, Sequence[str]]) -> list[Problem]:
    """Translate pydantic's findings.

    Args:
        error: What validation raised.
        prefix: Key path of what was validated.
        keys: For each place that takes named keys (relative to `prefix`), their names.
    """
    texts: dict[Key, list[str]] = {}
    said: dict[Key, Any] = {}
    for found in error.errors(include_url=False):
        # Where several kinds of value are right, pydantic adds the kind that it tried last to the path.
        key: Key = tuple(part for part in found["loc"] if not (isinstance(part, str) and _KIND.fullmatch(part)))
        if found["type"] == "extra_forbidden":
            text = unknown_name("key", key[-1], keys.get(key[:-1], ()))
        elif key[-1:] == ("[key]",):
            key = key[:-1]
            text = unknown_name("key", key[-1], re.findall("'([^']*)'", found.get("ctx", {}).get("expected", "")))
        elif found["type"] == "missing":
            text = "is missing."
        elif found["type"] == "too_short":
            text = "is empty: the experiment would expand to no run."
        else:
            text = _plain(found)
            said[key] = found.get("input")
        texts.setdefault(key, []).append(text)
    return [
        Problem(
            (*prefix, *key),
            " or ".join(dict.fromkeys(wrong)) + (f" ({_what_it_says(said[key], wrong)})." if key in said else ""),
        )
        for key, wrong in texts.items()
    ]


def _plain(found: Mapping[str, Any]) -> str:
    kind = str(found["type"])
    if kind == "string_pattern_mismatch":
        pattern = found["ctx"]["pattern"]
        return f"should be {PATTERNS.get(pattern, f'text like {pattern}')}"
    for start, wanted in _WANTED.items():
        if kind.startswith(start):
            return f"should be {wanted}"
    message = str(found["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
    return message.replace("Input should", "should").replace("String should", "should").replace("a valid ", "a ")


def _what_it_says(value: Any, wrong: Iterable[str]) -> str:
    plain = (
        json.dumps(value, ensure_ascii=False, default=repr) if isinstance(value, bool | list | dict) else repr(value)
    )
    text = f"it says {'nothing' if value is None else plain if len(plain) <= 60 else plain[:57] + '...'}"
    unquoted = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, int | float)]
    return text + (", in quotes it would be text" if unquoted and any("text" in one for one in wrong) else "")


def raise_all(source: str, problems: Sequence[Problem], place: Any) -> None:
    """Raise one error that names every problem; do nothing when there is none.

    Args:
        source: The file's name.
        problems: What is wrong.
        place: Function from a key path to ("line 4" or the `--set` text, the key path as the file writes it).

    Raises:
        UsageError: When there is a problem.
    """
    if not problems:
        return
    lines = []
    for problem in dict.fromkeys(problems):
        where, key = place(problem.key)
        lines.append(f"{where}, {dotted(key)}: {problem.text}" if key else f"{where}: {problem.text}")
    if len(lines) == 1:
        raise UsageError(f"{source}, {lines[0]}")
    raise UsageError(f"{source} has {len(lines)} errors:\n  " + "\n  ".join(lines))
