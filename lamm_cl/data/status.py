"""What of the catalogue is on disk: found by listing folders, without opening an image."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lamm_cl.data.catalogue import CATALOGUE, Entry
from lamm_cl.data.folders import is_file
from lamm_cl.data.load import load_dataset
from lamm_cl.errors import UsageError


@dataclass(frozen=True)
class Status:
    """One data set's state.

    Attributes:
        state: "ready", "incomplete" (some images are missing or empty), "no images" (only the split), "absent",
            "broken" (its lists cannot be read) or "embedded".
        split: "official", "own", "embedded" or "" where nothing could be read.
        images: different images that the split lists and that are there.
        expected: different images that the split lists.
        size: bytes of those images.
        note: what is missing or odd, in words.
        classes: number of classes found.
    """

    entry: Entry
    state: str
    split: str = ""
    images: int = 0
    expected: int = 0
    size: int = 0
    note: str = ""
    classes: int = 0


def status(root: Path, names: Iterable[str] | None = None) -> list[Status]:
    """Return the state of the named data sets (default: all)."""
    return [_status(CATALOGUE[name], root) for name in (CATALOGUE if names is None else names)]


def is_absent(entry: Entry, root: Path) -> bool:
    """Whether a data set needs a folder under `root` and has none."""
    return not entry.embedded and not (root / entry.folder).is_dir()


def _status(entry: Entry, root: Path) -> Status:
    if is_absent(entry, root):
        return Status(entry, "absent", note=f"{root / entry.folder} does not exist")
    try:
        dataset = load_dataset(entry.name, root)
    except UsageError as error:
        part = {"imagenet": "val", "part_folders": "train"}.get(entry.reader, "")
        images = root / entry.folder / entry.images / part
        # These have no list besides their folders.
        listless = entry.reader in ("imagenet", "imagenet_variant", "part_folders") and not images.is_dir()
        return Status(entry, "no images" if listless else "broken", note=str(error))
    paths = {item.path for item in dataset.items}
    if entry.embedded:
        return Status(entry, "embedded", dataset.split, len(paths), len(paths), classes=len(dataset.class_names))
    sizes = _sizes(paths)
    found, empty = len(sizes), sum(size == 0 for size in sizes.values())
    state = "no images" if not found else "incomplete" if found < len(paths) or empty else "ready"
    missing = [f"{len(paths) - found:,} of {len(paths):,} images are missing"] if found < len(paths) else []
    missing += [f"{empty:,} of {len(paths):,} images are empty files"] if empty else []
    note = "; ".join([*missing, *(text.removeprefix(f"{entry.name}: ") for text in dataset.notes)])
    classes = len(dataset.class_names)
    return Status(entry, state, dataset.split, found, len(paths), sum(sizes.values()), note, classes)


def _sizes(paths: Iterable[str]) -> dict[str, int]:
    """Return the size of each path that is a file, one folder listing at a time."""
    wanted: dict[str, set[str]] = {}
    for path in paths:
        parent, name = os.path.split(path)
        wanted.setdefault(parent, set()).add(name)
    found: dict[str, int] = {}
    for parent, names in wanted.items():
        try:
            with os.scandir(parent) as entries:
                for entry in entries:
                    if entry.name in names and is_file(entry):
                        found[f"{parent}{os.sep}{entry.name}"] = entry.stat().st_size
        except OSError:
            continue
    return found
