"""Data sets of torchvision and of Hugging Face's `datasets`: written once as class folders under the root."""

import hashlib
import importlib.util
import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamm_cl.data.exporting import export
from lamm_cl.data.own_folder import PART_NAMES
from lamm_cl.errors import UsageError, unknown

# What torchvision's data sets call their parts.
_SPLITS = {"train": ("train", "trainval"), "val": ("val", "valid", "validation"), "test": ("test",)}


def cached(description: Mapping[str, Any], store: Path) -> Path:
    """Return the folder where a library's data set is, or will be, under the root."""
    kind = "torchvision" if "torchvision" in description else "hf"
    name = str(description[kind])
    told = json.dumps([name, description.get("columns") or {}], sort_keys=True)
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(name).name if Path(name).exists() else name).strip("-.")
    return store / kind / f"{plain}-{hashlib.sha256(told.encode()).hexdigest()[:8]}" / "images"


def from_library(description: Mapping[str, Any]) -> bool:
    """Whether a data set is one of a library's."""
    return "torchvision" in description or "hf" in description


def is_written(description: Mapping[str, Any], store: Path) -> bool:
    """Whether a library's data set is under the root already."""
    folder = cached(description, store)
    return folder.is_dir() and any(folder.iterdir())


def fetched(description: Mapping[str, Any], store: Path, columns: Mapping[str, str]) -> Path:
    """Return the folder of a library's data set; where it is not there, let the library fetch it and write it.

    Raises:
        UsageError: the library is not installed, does not know the name, or cannot get the data.
    """
    folder = cached(description, store)
    if is_written(description, store):
        return folder
    get = _torchvision if "torchvision" in description else _hugging_face
    name = str(description.get("torchvision", description.get("hf")))
    try:
        export(get(name, folder.parent / "source"), folder, columns=columns)
    except UsageError:
        if not is_written(description, store):  # else another process was faster
            raise
    except Exception as error:
        # The libraries pass on what the network, the disk and their own checks raise; each means the same to the user.
        raise UsageError(f"data set {name!r}: cannot be had: {type(error).__name__}: {error}") from error
    return folder


def _torchvision(name: str, source: Path) -> dict[str, Any]:
    import torchvision.datasets

    known = [one for one in torchvision.datasets.__all__ if inspect.isclass(getattr(torchvision.datasets, one))]
    if name not in known:
        raise unknown("data set of torchvision", name, known)
    make: Any = getattr(torchvision.datasets, name)
    takes = inspect.signature(make).parameters
    options: dict[str, Any] = {"download": True} if "download" in takes else {}
    source.mkdir(parents=True, exist_ok=True)
    if "train" in takes:
        return {part: make(str(source), train=part == "train", **options) for part in ("train", "test")}
    if "split" not in takes:
        return {"train": make(str(source), **options)}
    parts = {}
    for part, words in _SPLITS.items():
        for word in words:
            try:
                parts[part] = make(str(source), split=word, **options)
                break
            except ValueError:
                continue  # it has no part of that name
    return parts


def _hugging_face(name: str, source: Path) -> dict[str, Any]:
    if importlib.util.find_spec("datasets") is None:
        raise UsageError("a data set of Hugging Face needs the package: pip install 'lamm_cl[hf]'.")
    import datasets

    found = datasets.load_dataset(name, cache_dir=str(source))
    parts: dict[str, Any] = {}
    for split, rows in found.items():
        part = PART_NAMES.get(str(split).lower())
        if part is None or part in parts:
            raise UsageError(
                f"data set {name!r}: has the parts {', '.join(map(str, found))}; train, val and test expected."
            )
        parts[part] = rows
    return parts
