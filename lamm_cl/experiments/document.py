"""A YAML file that remembers on which line each key stands, and what is wrong with it: all of it at once."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lamm_cl.errors import UsageError
from lamm_cl.experiments.yaml_scalars import Loader, value_of
from lamm_cl.methods.values import Key, findings


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


def from_pydantic(error: ValidationError, prefix: Key, keys: Mapping[Key, Sequence[str]]) -> list[Problem]:
    """Return what pydantic found as problems.

    Args:
        error: What validation raised.
        prefix: Key path of what was validated.
        keys: For each place that takes named keys (relative to `prefix`), their names.
    """
    said = findings(error, keys)
    if not prefix:
        said = {
            key: text.replace("is empty.", "is empty: the experiment would expand to no run.")
            for key, text in said.items()
        }
    return [Problem((*prefix, *key), text) for key, text in said.items()]


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


_MOST_NODES = 100_000
_MOST_SHOWN = 200


class _Reader:
    """Builds the content of one YAML text, and remembers where each key stands and what is wrong."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.places: dict[Key, str] = {}
        self.problems: list[Problem] = []
        self._open: list[yaml.Node] = []
        self._nodes = 0

    def parse(self, text: str) -> Any:
        """Return what a text says.

        Raises:
            UsageError: It is not YAML.
        """
        try:
            loader = Loader(text)
            try:
                node = loader.get_single_node()
                return None if node is None else self._build(loader, node, ())
            finally:
                loader.dispose()
        except UsageError:
            raise
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f", line {mark.line + 1}" if mark else ""
            raise UsageError(f"{self.name}{where}: not YAML: {error.problem or error.context}.") from error
        except RecursionError as error:
            raise UsageError(f"{self.name}: its brackets are nested too deep.") from error
        except (yaml.YAMLError, ValueError) as error:
            raise UsageError(f"{self.name}: not YAML: {' '.join(str(error).split())}.") from error

    def _build(self, loader: Loader, node: yaml.Node, key: Key) -> Any:
        self.places.setdefault(key, f"line {node.start_mark.line + 1}")
        self._nodes += 1
        if self._nodes > _MOST_NODES or any(node is parent for parent in self._open):
            raise UsageError(f"{self.name}: its aliases (&, *) expand without end.")
        self._open.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return self._mapping(loader, node, key)
            if isinstance(node, yaml.SequenceNode):
                return [self._build(loader, item, (*key, index)) for index, item in enumerate(node.value)]
        finally:
            self._open.pop()
        assert isinstance(node, yaml.ScalarNode)
        value, wrong, doubt = value_of(loader, node)
        if wrong:
            self.problems.append(Problem(key, wrong, doubt))
        return value

    def _mapping(self, loader: Loader, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        seen: dict[str, int] = {}
        for name_node, _ in node.value:
            if name_node.tag == "tag:yaml.org,2002:merge":
                continue
            name, line = _name(name_node), name_node.start_mark.line + 1
            if name in seen:
                lines = f", on lines {seen[name]} and {line}" if line > seen[name] else ""
                self.problems.append(Problem((*key, name), f"is given twice{lines}."))
            seen.setdefault(name, line)
        loader.flatten_mapping(node)
        result = {}
        for name_node, value in node.value:
            name = _name(name_node)
            self.places[(*key, name)] = f"line {name_node.start_mark.line + 1}"
            result[name] = self._build(loader, value, (*key, name))
        return result


class Document:
    """What a config file and the `--set` options say together.

    Attributes:
        name: How to call the file in messages.
        data: The content: dicts, lists and plain values.
        problems: What is wrong with it as YAML (keys given twice and the like).
    """

    def __init__(self, text: str, name: str) -> None:
        """Read a text.

        Raises:
            UsageError: It is not YAML, or not a mapping of keys.
        """
        self.name = name
        reader = _Reader(name)
        data = reader.parse(text)
        if not isinstance(data, dict):
            raise UsageError(f"{name}: a config is a mapping of keys (experiment, protocol, datasets, methods, ...).")
        self.data: dict[str, Any] = data
        self.problems, self._places = reader.problems, reader.places

    @classmethod
    def read(cls, path: Path) -> "Document":
        """Read a file.

        Raises:
            UsageError: It cannot be read, is not text, or is not YAML.
        """
        try:
            return cls(path.read_text(encoding="utf-8-sig"), str(path))
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not a text file in UTF-8 (byte {error.start}).") from error
        except FileNotFoundError as error:
            raise UsageError(f"there is no config file {path}.") from error
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}.") from error

    def place(self, key: Key) -> tuple[str, Key]:
        """Return where a key stands ("line 4") and its path as the file writes it.

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
        """Apply one `--set key=value`; the value is YAML, the key a dotted path.

        Raises:
            UsageError: It has no `=`, no key, no value, a value that is not YAML, or leads through something without
            keys.
        """
        source = f"--set {assignment if len(assignment) <= _MOST_SHOWN else assignment[:_MOST_SHOWN] + '...'}"
        name, equals, text = assignment.partition("=")
        path = [part.strip() for part in name.split(".")]
        if not equals or not all(path):
            raise UsageError(f"{source}: write it as key=value, e.g. --set methods.lamm.lr=0.01.")
        reader = _Reader(source)
        value = reader.parse(text.strip())
        if not reader.places:
            raise UsageError(
                f"{source}: there is no value after the `=` (an empty shell variable?). For the default, leave this "
                "--set out or write null."
            )
        holder: Any = self.data
        key: Key = ()
        for part in path[:-1]:
            holder = _enter(holder, part, source, key)
            key = (*key, part)
        _assign(holder, path[-1], value, source, key)
        key = (*key, path[-1])
        self.problems += [replace(problem, key=(*key, *problem.key)) for problem in reader.problems]
        self._places = {place: line for place, line in self._places.items() if place[: len(key)] != key}
        for length in range(1, len(key)):
            self._places.setdefault(key[:length], source)
        self._places |= {(*key, *below): source for below in reader.places}
        self._places[key] = source


def _name(node: yaml.Node) -> str:
    """Return a key as it is written: keys are names, also where they look like numbers."""
    return str(node.value if isinstance(node, yaml.ScalarNode) else node.tag)


def _enter(holder: Any, part: str, source: str, key: Key) -> Any:
    """Return what `part` holds, as something that has keys: a single name becomes a mapping with that name."""
    place: Any = _index(holder, part, source) if isinstance(holder, list) else part
    found = holder[place] if isinstance(holder, list) else holder.get(part)
    if place == "methods":
        found = as_methods(found)
    elif isinstance(found, str):
        found = {"name": found}
    elif found is None:
        if key == ("methods",) and place not in holder:
            raise UsageError(f"{source}: this config has no method {part!r}; it has {', '.join(holder)}.")
        found = {}
    if not isinstance(found, dict | list):
        raise UsageError(f"{source}: {'.'.join((*map(str, key), part))} is {found!r} and has no keys below it.")
    holder[place] = found
    return found


def _assign(holder: Any, part: str, value: Any, source: str, key: Key) -> None:
    if isinstance(holder, list):
        holder[_index(holder, part, source)] = value
    else:
        holder[part] = value


def _index(holder: Sequence[Any], part: str, source: str) -> int:
    if not part.isdecimal() or len(part) > 9 or int(part) >= len(holder):
        raise UsageError(f"{source}: {part!r} is no position in a list of {len(holder)}; positions count from 0.")
    return int(part)


def as_methods(value: Any) -> Any:
    """Return methods as a mapping from name to options, where a list or a single name was given."""
    if isinstance(value, str):
        return {value: {}}
    if isinstance(value, list):
        return dict(_named(value))
    return {} if value is None else value


def _named(items: list[Any]) -> Iterator[tuple[Any, Any]]:
    for item in items:
        if isinstance(item, dict) and len(item) == 1:
            yield next(iter(item.items()))
        else:
            yield item if isinstance(item, Hashable) else str(item), {}
