"""Plain values of YAML by version 1.2's core schema; what version 1.1 reads otherwise is ambiguous, and refused.

PyYAML reads version 1.1, in which `016` is 14, `1:30` is 90 and `no` is false. People expect none of that, and other
readers of YAML (editors, other languages) do none of it.
"""

import re
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_AMBIGUOUS = "!ambiguous"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_VERSION_1_1 = yaml.resolver.Resolver()


class SpelledInt(int):
    """A whole number whose text is another than its digits: `0x10`, `+7`. It is a number and never a name."""


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the plain values of YAML 1.2."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Return the tag of a node; a plain value that the versions read differently has one of its own."""
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        if kind is not yaml.ScalarNode or not implicit[0]:
            return tag
        old = _VERSION_1_1.resolve(kind, value, (True, False))  # type: ignore[no-untyped-call]
        other = old != tag and old not in (f"{_TAG}str", f"{_TAG}value")
        return _AMBIGUOUS if other or _LEADING_ZERO.fullmatch(value) else tag


_PATTERNS = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT}
Loader.yaml_implicit_resolvers = {}
for _name, _pattern in {**_PATTERNS, "merge": re.compile("<<")}.items():
    Loader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern.pattern})\Z"), None)


def value_of(loader: Loader, node: yaml.ScalarNode) -> tuple[Any, str, bool]:
    """Return the value of a node, what is wrong with it, and whether only the way of writing is in doubt.

    Raises:
        yaml.YAMLError: Its tag names nothing that a config can hold.
    """
    written = str(node.value)
    try:
        if node.tag == _AMBIGUOUS or (node.tag == f"{_TAG}int" and _LEADING_ZERO.fullmatch(written)):
            return written, *_ambiguity(written)
        value = _read(loader, node, written)
    except ValueError as error:  # 2020-99-99 looks like a date, and Python reads no number of 5000 digits
        return written, f"cannot be read ({error}); put it in quotes if it is text.", False
    if not isinstance(value, str | int | float | None):
        return str(value), f"is read as a {type(value).__name__}; put it in quotes.", False
    return value, "", False


def _read(loader: Loader, node: yaml.ScalarNode, written: str) -> Any:
    kind = node.tag.removeprefix(_TAG)
    pattern = _PATTERNS.get(kind)
    if pattern is None:
        return loader.construct_object(node)
    if not pattern.fullmatch(written) and not (kind == "float" and _INT.fullmatch(written)):
        raise ValueError(f"{written!r} is no {kind} of YAML 1.2")
    if kind == "null":
        return None
    if kind == "bool":
        return written.lower() == "true"
    if kind == "float":
        return float(re.sub(r"\.(?=[in])", "", written.lower()))
    number = int(written, 0) if written[:2] in ("0o", "0x") else int(written)
    return number if str(number) == written else SpelledInt(number)


def _ambiguity(written: str) -> tuple[str, bool]:
    """Say how the two versions read a value, and whether the context may tell what is meant: not for a date.

    Raises:
        ValueError: Version 1.1 takes it for a date that there is not, or a number too long to read.
    """
    old = yaml.safe_load(written)
    shown = written if len(written) <= 40 else written[:37] + "..."
    if isinstance(old, bool):
        plain = str(old).lower()
        text = (
            f"{shown} is {plain} in YAML 1.1 and text in YAML 1.2: write {plain} if that is meant, or put it in quotes "
            "if it is text."
        )
    elif not isinstance(old, int | float | str):
        return f"is read as a {type(old).__name__}; put it in quotes.", False
    elif _LEADING_ZERO.fullmatch(written):
        text = (
            f"{shown} begins with a zero, which YAML 1.1 reads as octal and YAML 1.2 as decimal: write the number "
            "without it, or put it in quotes if it is text."
        )
    else:
        text = (
            f"{shown} is {old} in YAML 1.1 and text in YAML 1.2: write the number in plain digits, or put it in quotes "
            "if it is text."
        )
    return text, True
