"""What is wrong with a config: all of it at once, each with its place and the nearest right word."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from lamm_cl.errors import UsageError
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
