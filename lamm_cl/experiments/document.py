"""A YAML file that remembers on which line each key stands, and what is wrong with it: all of it at once.

Plain values are those of YAML 1.2's core schema; what version 1.1 reads otherwise is ambiguous, and refused. PyYAML
reads version 1.1, in which `016` is 14, `1:30` is 90 and `no` is false. People expect none of that, and other readers
of YAML (editors, other languages) do none of it.
"""

import re
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from lamm_cl.errors import UsageError
from lamm_cl.methods.values import Key

_TAG = "tag:yaml.org,2002:"
_AMBIGUOUS = "!ambiguous"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_PATTERNS = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT}
_VERSION_1_1 = yaml.resolver.Resolver()
_MOST_NODES = 100_000
_MOST_SHOWN = 200


class SpelledInt(int):
    """A whole number whose text is another than its digits: `0x10`, `+7`. It is a number and never a name."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    key: Key  # path from the top of the file
    text: str  # what is wrong and what would be right
    doubt: bool = False  # only the way of writing is in doubt: what else is wrong with the same value says more


def dotted(key: Key) -> str:
    """Write a key path as `--set` takes it: `("methods", "lamm", "lr")` -> `methods.lamm.lr`."""
    return ".".join(map(str, key))


class _Reader(yaml.SafeLoader):
    """Builds the content of one YAML text, and remembers where each key stands and what is wrong."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.places: dict[Key, str] = {}
        self.problems: list[Problem] = []
        self._nodes = 0

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Return the tag of a node; a plain value that the versions read differently has one of its own."""
        tag = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        if kind is not yaml.ScalarNode or not implicit[0]:
            return tag
        old = _VERSION_1_1.resolve(kind, value, (True, False))  # type: ignore[no-untyped-call]
        other = old != tag and old not in (f"{_TAG}str", f"{_TAG}value")
        return _AMBIGUOUS if other or _LEADING_ZERO.fullmatch(value) else tag

    def build(self, node: yaml.Node, key: Key) -> Any:
        """Return what a node says; raises `RecursionError` for aliases without end."""
        self.places.setdefault(key, f"line {node.start_mark.line + 1}")
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise RecursionError
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, key)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        return [self.build(item, (*key, index)) for index, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        seen: dict[str, int] = {}
        for name_node, _ in node.value:
            if name_node.tag == f"{_TAG}merge":
                continue
            name, line = _key_of(name_node), name_node.start_mark.line + 1
            if name in seen:
                lines = f", on lines {seen[name]} and {line}" if line > seen[name] else ""
                self.problems.append(Problem((*key, name), f"is given twice{lines}."))
            seen.setdefault(name, line)
        self.flatten_mapping(node)
        result = {}
        for name_node, value in node.value:
            name = _key_of(name_node)
            self.places[(*key, name)] = f"line {name_node.start_mark.line + 1}"
            result[name] = self.build(value, (*key, name))
        return result

    def _scalar(self, node: yaml.ScalarNode, key: Key) -> Any:
        written, doubt = str(node.value), False
        try:
            ambiguous = node.tag == _AMBIGUOUS or (node.tag == f"{_TAG}int" and _LEADING_ZERO.fullmatch(written))
            value = yaml.safe_load(written) if ambiguous else self._plain(node, written)
            plain = isinstance(value, str | int | float | None)
            if plain and not ambiguous:
                return value
            doubt = plain
            wrong = _difference(written, value) if plain else f"is read as a {type(value).__name__}; put it in quotes."
        except ValueError as error:  # 2020-99-99 looks like a date, and Python reads no number of 5000 digits
            wrong = f"cannot be read ({error}); put it in quotes if it is text."
        self.problems.append(Problem(key, wrong, doubt))
        return written

    def _plain(self, node: yaml.ScalarNode, written: str) -> Any:
        kind = node.tag.removeprefix(_TAG)
        pattern = _PATTERNS.get(kind)
        if pattern and not pattern.fullmatch(written) and not (kind == "float" and _INT.fullmatch(written)):
            raise ValueError(f"{written!r} is no {kind} of YAML 1.2")
        if kind != "int":
            return self.construct_object(node)
        number = int(written, 0) if written[:2] in ("0o", "0x") else int(written)
        return number if str(number) == written else SpelledInt(number)


_Reader.yaml_implicit_resolvers = {}
for _name, _pattern in {**_PATTERNS, "merge": re.compile("<<")}.items():
    _Reader.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_pattern.pattern})\Z"), None)


def _key_of(node: yaml.Node) -> str:
    """Return a key as it is written: keys are names, also where they look like numbers."""
    return str(node.value if isinstance(node, yaml.ScalarNode) else node.tag)


def _difference(written: str, old: Any) -> str:
    """Say how the two versions read a value; `old` is what it is in version 1.1."""
    shown = written if len(written) <= 40 else written[:37] + "..."
    if isinstance(old, bool):
        plain = str(old).lower()
        said, remedy = f"is {plain} in YAML 1.1 and text in YAML 1.2", f"write {plain} if that is meant"
    elif _LEADING_ZERO.fullmatch(written):
        said = "begins with a zero, which YAML 1.1 reads as octal and YAML 1.2 as decimal"
        remedy = "write the number without it"
    else:
        said, remedy = f"is {old} in YAML 1.1 and text in YAML 1.2", "write the number in plain digits"
    return f"{shown} {said}: {remedy}, or put it in quotes if it is text."


def _parse(text: str, source: str) -> tuple[Any, _Reader]:
    """Return what a text says, and its reader; raises `UsageError` where it is not YAML."""
    try:
        reader = _Reader(text)
        node = reader.get_single_node()
        return None if node is None else reader.build(node, ()), reader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{source}{where}: not YAML: {error.problem or error.context}.") from error
    except RecursionError as error:
        raise UsageError(f"{source}: its aliases (&, *) expand without end, or it is nested too deep.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{source}: not YAML: {' '.join(str(error).split())}.") from error


class Document:
    """What a config file and the `--set` options say together."""

    def __init__(self, text: str, name: str) -> None:
        """Read a text, called `name` in messages; raises `UsageError` where it is no YAML, or no mapping of keys."""
        self.name = name
        data, reader = _parse(text, name)
        if not isinstance(data, dict):
            raise UsageError(f"{name}: a config is a mapping of keys (experiment, protocol, datasets, methods, ...).")
        self.data: dict[str, Any] = data  # dicts, lists and plain values
        # What is wrong with it as YAML (keys given twice and the like), and where each key stands.
        self.problems, self._places = reader.problems, reader.places

    @classmethod
    def read(cls, path: Path) -> "Document":
        """Read a file; raises `UsageError` where it cannot be read, is not text, or as the constructor does."""
        try:
            return cls(path.read_text(encoding="utf-8-sig"), str(path))
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not a text file in UTF-8 (byte {error.start}).") from error
        except FileNotFoundError as error:
            raise UsageError(f"there is no config file {path}.") from error
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}.") from error

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Raise one `UsageError` that names every problem with its place; do nothing when there is none."""
        lines = []
        for problem in dict.fromkeys(problems):
            where, key = self.place(problem.key)
            lines.append(f"{where}, {dotted(key)}: {problem.text}" if key else f"{where}: {problem.text}")
        if len(lines) == 1:
            raise UsageError(f"{self.name}, {lines[0]}")
        if lines:
            raise UsageError(f"{self.name} has {len(lines)} errors:\n  " + "\n  ".join(lines))

    def place(self, key: Key) -> tuple[str, Key]:
        """Return where a key stands ("line 4", or a `--set`) and its path as the file writes it.

        Checked configs know lists where a file may say a single thing: their indices are passed over.
        """
        best: Key = ()
        plain = tuple(part for part in key if not isinstance(part, int))
        for path in (key, plain):
            while path and path not in self._places:
                path = path[:-1]
            best = max(best, path, key=len)
        missing = plain[len([part for part in best if not isinstance(part, int)]) :]
        return self._places.get(best, "line 1"), (*best, *missing)

    def set(self, assignment: str) -> None:
        """Apply one `--set key=value`; the value is YAML, the key a dotted path through what has keys."""
        source = f"--set {assignment if len(assignment) <= _MOST_SHOWN else assignment[:_MOST_SHOWN] + '...'}"
        name, equals, text = assignment.partition("=")
        path = [part.strip() for part in name.split(".")]
        if not equals or not all(path):
            raise UsageError(f"{source}: write it as key=value, e.g. --set methods.lamm.lr=0.01.")
        value, reader = _parse(text.strip(), source)
        if not reader.places:
            raise UsageError(
                f"{source}: there is no value after the `=` (an empty shell variable?). For the default, leave this "
                "--set out or write null."
            )
        holder: Any = self.data
        key: Key = ()
        for part in path[:-1]:
            key = (*key, _position(holder, part, source))
            holder = _enter(holder, key, source)
        key = (*key, _position(holder, path[-1], source))
        holder[key[-1]] = value
        self.problems += [replace(problem, key=(*key, *problem.key)) for problem in reader.problems]
        self._places = {place: line for place, line in self._places.items() if place[: len(key)] != key}
        for length in range(1, len(key)):
            self._places.setdefault(key[:length], source)
        self._places |= {(*key, *below): source for below in reader.places}  # () too, which every value has


def _position(holder: Any, part: str, source: str) -> str | int:
    """Return a key or, in a list, a place that it has."""
    if isinstance(holder, dict):
        return part
    if not part.isdecimal() or len(part) > 9 or int(part) >= len(holder):
        raise UsageError(f"{source}: {part!r} is no position in a list of {len(holder)}; positions count from 0.")
    return int(part)


def _enter(holder: Any, key: Key, source: str) -> Any:
    """Return what a key's last part holds as something that has keys: a name becomes a mapping with that name."""
    part = key[-1]
    found = holder.get(part) if isinstance(holder, dict) else holder[part]
    if key == ("methods",):
        found = as_methods(found)
    elif isinstance(found, str):
        found = {"name": found}
    elif found is None:
        if key[:-1] == ("methods",) and part not in holder:
            raise UsageError(f"{source}: this config has no method {part!r}; it has {', '.join(map(str, holder))}.")
        found = {}
    if not isinstance(found, dict | list):
        raise UsageError(f"{source}: {dotted(key)} is {found!r} and has no keys below it.")
    holder[part] = found
    return found


def as_methods(value: Any) -> Any:
    """Return methods as a mapping from name to options, where a list or a single name was given."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, list):
        return dict(named_methods(value))
    return {} if value is None else value


def named_methods(entries: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the name and the options of each method in a list."""
    for entry in entries:
        if isinstance(entry, dict) and len(entry) == 1:
            yield next(iter(entry.items()))
        else:
            yield entry if isinstance(entry, Hashable) else str(entry), {}
