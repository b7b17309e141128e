"""What of a data set is there: the one reading behind `lamm-cl data` and `run --available`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lamm_cl.data.catalogue import Entry, find
from lamm_cl.data.exporting import is_written
from lamm_cl.data.folders import sizes_of
from lamm_cl.data.items import Dataset
from lamm_cl.data.load import load_dataset
from lamm_cl.data.misplaced import elsewhere
from lamm_cl.data.own_data import is_own, name_of
from lamm_cl.errors import UsageError

Spec = str | Mapping[str, Any]


class Status(NamedTuple):
    """One data set's state."""

    name: str
    entry: Entry | None  # of the catalogue; None for one's own data
    # "ready", "incomplete" (some images are missing, or empty where sizes were asked), "no images" (only the split),
    # "absent", "broken" (its lists cannot be read) or "embedded".
    state: str
    note: str = ""  # what is missing or odd, in words
    dataset: Dataset | None = None
    expected: int = 0  # different images that the split lists
    missing: tuple[str, ...] = ()  # paths of those that are not there, or empty where sizes were asked
    size: int | None = None  # bytes of the images that are there; None where nobody asked

    @property
    def split(self) -> str:
        """Kind of split, "" where nothing could be read."""
        return self.dataset.split if self.dataset else ""

    @property
    def images(self) -> int:
        """Different images that the split lists and that are there."""
        return self.expected - len(self.missing)

    @property
    def classes(self) -> int:
        """Number of classes found."""
        return len(self.dataset.class_names) if self.dataset else 0

    @property
    def usable(self) -> bool:
        """Whether all of it is there."""
        return self.state in ("ready", "embedded")


def state_of(spec: Spec, root: Path, sizes: bool = False) -> Status:
    """Return the state of a data set of the catalogue or a config; opens no image.

    With `sizes` every image is asked for its size, a system call each; without, folders are listed once.
    """
    entry = _entry_of(spec)
    name = entry.name if entry else name_of(spec)
    if entry and not entry.embedded and not (root / entry.folder).is_dir():
        place = elsewhere(entry, root)
        return Status(name, entry, "absent", f"{root / entry.folder} does not exist{'. ' if place else ''}{place}")
    if not is_written(spec, root):
        return Status(name, entry, "absent", "`lamm-cl data prepare CONFIG.yaml`, or a run, fetches it")
    try:
        dataset = load_dataset(spec, root)
    except UsageError as error:
        bare = entry and not (root / entry.folder / entry.images).is_dir()
        return Status(name, entry, "no images" if bare else "broken", str(error))
    if dataset.split == "embedded":
        return Status(name, entry, "embedded", dataset=dataset, expected=len(dataset.items))
    paths = dict.fromkeys(item.path for item in dataset.items)
    found = dict.fromkeys(paths, 1) if dataset.listed and not sizes else sizes_of(paths, sizes)
    empty = sum(size == 0 for size in found.values())
    missing = tuple(path for path in paths if not found.get(path))
    state = "no images" if not found else "incomplete" if missing else "ready"
    counts = {"missing": len(missing) - empty, "empty files": empty}
    notes = [f"{count:,} of {len(paths):,} images are {what}" for what, count in counts.items() if count]
    notes += [text.removeprefix(f"{dataset.name}: ") for text in dataset.notes]
    if missing and entry and (place := elsewhere(entry, root)):
        notes.append(place)
    size = sum(found.values()) if sizes else None
    return Status(name, entry, state, "; ".join(notes), dataset, len(paths), missing, size)


def readable(spec: Spec, root: Path) -> Dataset | None:
    """Return a data set of a config, None where it is not there or cannot be read; fetches nothing."""
    try:
        return load_dataset(spec, root) if is_written(spec, root) else None
    except UsageError:
        return None


def slow_to_list(spec: Spec) -> bool:
    """Whether a data set is ImageNet or one of its variants, whose folders take seconds to list."""
    entry = _entry_of(spec)
    return entry is not None and entry.reader in ("imagenet", "imagenet_variant")


def _entry_of(spec: Spec) -> Entry | None:
    return None if is_own(spec) else find(spec.get("name", "") if isinstance(spec, Mapping) else spec)
