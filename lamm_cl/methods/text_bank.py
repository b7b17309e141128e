"""The text bank: what stands for a class beside one template; an ensemble of templates, or sentences from a file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from lamm_cl.errors import UsageError
from lamm_cl.methods.values import Values
from lamm_cl.prompts.ensembles import ENSEMBLES

Descriptions = dict[str, list[str]] | str
Pairs = dict[str, dict[str, list[str]]] | str
STAMP = "#sha256="  # between a file and the digest of what it held when a run was planned


class Text(Values):
    """What stands for a class; exactly one of the two."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ensemble: Literal["imagenet7", "cifar18", "imagenet60", "ucf48"] | None = Field(
        None,
        description="templates that are averaged: CLIP's seven or 60 of ImageNet, its 18 of CIFAR or 48 of UCF101",
    )
    descriptions: Descriptions | None = Field(
        None, description="{class: [sentences]}, or a JSON file of them; {} in a sentence stands for the name"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.ensemble is None) == (self.descriptions is None):
            raise ValueError("takes ensemble or descriptions, one of the two")
        return self


def sentences(text: Text, names: Sequence[str]) -> list[list[str]]:
    """Return the templates or sentences of each class; one list for all classes where they are an ensemble.

    Raises:
        UsageError: a file that cannot be read, or whose classes are not exactly these.
    """
    if text.ensemble is not None:
        return [list(ENSEMBLES[text.ensemble])]
    assert text.descriptions is not None
    found, source = text.descriptions, "descriptions"
    if isinstance(found, str):
        source = str(_file(found)[0])
        found = _read(found)
    if not isinstance(found, dict) or not all(_are_sentences(row) for row in found.values()):
        raise UsageError(f"{source}: must hold {{class name: [sentences]}}, each class with at least one")
    missing, strange = [n for n in names if not found.get(n)], [n for n in found if n not in set(names)]
    for kind, some in (("nothing on", missing), ("what is no class,", strange)):
        if some:
            more = f" and {len(some) - 1} more" if len(some) > 1 else ""
            raise UsageError(
                f"{source}: has {kind} {some[0]!r}{more}: give sentences for exactly the {len(names)} classes"
            )
    return [found[name] for name in names]


def read_pairs(pairs: Pairs | None) -> dict[str, dict[str, list[str]]] | None:
    """Return sentences that tell classes apart, from a file where that is given.

    Raises:
        UsageError: a file that cannot be read.
    """
    if not isinstance(pairs, str):
        return pairs
    found = _read(pairs)
    rows = found.values() if isinstance(found, dict) else [None]
    if not all(isinstance(row, dict) and all(_are_sentences(one) for one in row.values()) for row in rows):
        raise UsageError(f"{_file(pairs)[0]}: must hold {{class name: {{name of another class: [sentences]}}}}")
    return found  # type: ignore[no-any-return]


def stamped(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a method's options with the digest of each file of sentences behind its name, where there is the file."""

    def stamp(name: str) -> str:
        file = folder / Path(name).expanduser()
        return f"{name}{STAMP}{_digest(file)}" if STAMP not in name and file.is_file() else name

    return _with_files(options, stamp)


def placed(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a method's options with files of sentences looked for in a folder."""
    return _with_files(options, lambda name: str(folder / Path(name).expanduser()))


def embedded(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a method's options with what is in files of sentences in the place of their names.

    Raises:
        UsageError: a file that cannot be read.
    """
    return _with_files(options, _read)


def names_classes(options: Mapping[str, Any]) -> bool:
    """Return whether a method's options hold sentences of classes by name."""
    text = options.get("text")
    return bool(options.get("pairs") or (isinstance(text, Mapping) and text.get("descriptions")))


def _with_files(options: Mapping[str, Any], change: Any) -> dict[str, Any]:
    found = dict(options)
    text = found.get("text")
    if isinstance(text, Mapping) and isinstance(text.get("descriptions"), str):
        found["text"] = {**text, "descriptions": change(text["descriptions"])}
    if isinstance(found.get("pairs"), str):
        found["pairs"] = change(found["pairs"])
    return found


def _read(name: str) -> Any:
    path, digest = _file(name)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{path}: is no JSON: {error}") from None
    if digest and _digest(path) != digest:
        raise UsageError(f"{path} has changed since the run was planned: start the command again.")
    return content


def _file(name: str) -> tuple[Path, str]:
    path, _, digest = name.partition(STAMP)
    return Path(path).expanduser(), digest


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _are_sentences(row: Any) -> bool:
    return isinstance(row, list) and bool(row) and all(isinstance(one, str) and one.strip() for one in row)
