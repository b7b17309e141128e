"""From a name, or a description of one's own data, to a `Dataset`. Reads lists and folders, never an image."""

import hashlib
import os
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

from lamm_cl.data import embedded
from lamm_cl.data.catalogue import CATALOGUE, Entry, find
from lamm_cl.data.folders import stray_note
from lamm_cl.data.imagenet import read_imagenet, read_variant
from lamm_cl.data.images import show, some
from lamm_cl.data.items import Dataset, Item, Parts, SplitKind, ViewOptions
from lamm_cl.data.misplaced import elsewhere
from lamm_cl.data.own_data import check_description, check_values, is_number, is_own, load_own
from lamm_cl.data.splits import class_names, own_split, read_aircraft, read_split
from lamm_cl.data.subsets import read_subset, subset_of
from lamm_cl.errors import UsageError, check_known

OPTIONS = ("template", "flip", "scale")


class DatasetOptions(TypedDict, total=False):
    """How a data set is prompted and how its training views are drawn."""

    template: str
    flip: bool
    scale: tuple[float, float]


def load_dataset(
    name: str | Mapping[str, Any],
    root: str | os.PathLike[str] | None = None,
    check_images: bool = False,
    **options: Unpack[DatasetOptions],
) -> Dataset:
    """Load a data set: of the catalogue by name, or one's own by description.

    Its `split` is "official" only where the lists are the papers' own, in full.

    Args:
        name: a name of the catalogue (any spelling of its title works), or a mapping such as
            `{"name": "mine", "folder": "photos"}` or `{"csv": "list.csv"}` (keys: see `lamm_cl/data/README.md`); a
            folder that is called as a subset of the catalogue is read as that one. A mapping that says no such source
            is a name of the catalogue with options.
        root: the folder that holds the data sets' folders; default: the environment's LAMM_CL_DATA, else `./data`.
        check_images: check that every file is there and not empty (not that it decodes, as `lamm-cl data verify` does).
        **options: `template`, `flip`, `scale`.

    Raises:
        UsageError: unknown name or option, missing or damaged files; the message says which and what to do.
    """
    given: dict[str, Any] = {**(name if isinstance(name, Mapping) else {}), **options}
    if isinstance(name, Mapping):
        if not is_own(given):
            return load_dataset(given.pop("name", ""), given.pop("root", root), check_images, **given)
        check_description(given)
        subset, folder = subset_of(given), data_root(root)
        dataset = _subset(subset, given, folder) if subset else load_own(given, folder)
    else:
        check_known("option of a data set", options, OPTIONS)
        check_values(options)
        entry, folder = find(name), data_root(root)
        try:
            dataset = _load(entry, folder)
        except UsageError as error:
            raise UsageError(f"{error} {_what_helps(entry, folder)}") from None
    low, high = given.get("scale", dataset.views.scale)
    views = ViewOptions((float(low), float(high)), given.get("flip", dataset.views.flip))
    numbered = all(map(is_number, dataset.class_names)) and not given.get("numbers_are_names")
    dataset = replace(dataset, template=given.get("template", dataset.template), views=views, numbered=numbered)
    dataset = replace(dataset, notes=(*dataset.notes, *_remarks(dataset)))
    if check_images:
        require_images(dataset)
    return dataset


def _remarks(dataset: Dataset) -> Iterator[str]:
    """Say what some methods cannot do with a data set."""
    if dataset.numbered:
        yield f"{dataset.name}: its classes are called by numbers, of which no prompt can be made: give `names`"
    tested = {item.label for item in dataset.test}
    absent = [name for label, name in enumerate(dataset.class_names) if label not in tested]
    if tested and absent:
        count = f"{len(absent)} of {len(dataset.class_names)}"
        yield f"{dataset.name}: {count} classes have no test image: {some(absent, 5)}"


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the data sets: `root`, else the environment's LAMM_CL_DATA, else `./data`; no file."""
    folder = Path(root or os.environ.get("LAMM_CL_DATA") or "data").expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"root {folder} is not a folder. Give the folder that holds the data sets' folders.")
    return folder


def require_images(dataset: Dataset, items: Iterable[Item] | None = None) -> None:
    """Raise unless the images of these items (default: of all) are files that are not empty. Opens none."""
    wanted = dataset.items if items is None else tuple(items)
    missing = dataset.missing(wanted)
    if not missing:
        return
    n, shown = len({item.path for item in wanted}), some(missing, 3, show)
    what = f"{len(missing):,} of {n:,} images" if items is None else f"{len(missing):,} of the {n:,} images to be used"
    raise UsageError(f"data set {dataset.name!r}: {what} are missing or empty: {shown}. {_cure(dataset)}")


def _cure(dataset: Dataset) -> str:
    entry, folders = CATALOGUE.get(dataset.name), Path(dataset.folder).parts
    place = Path(entry.folder, entry.images).parts if entry else ()
    if entry is None or folders[-len(place) :] != place:
        return f"Put them there, or correct the description of {dataset.name!r}."
    root = Path(*folders[: -len(place)])
    verify = f"`lamm-cl data verify {dataset.name} --root {shlex.quote(str(root))}` lists all that are bad."
    return f"{_what_helps(entry, root)} {verify}"


def _what_helps(entry: Entry, root: Path) -> str:
    """Say where that which is missing lies, or what brings it."""
    prepare = f"`lamm-cl data prepare {entry.name} --root {shlex.quote(str(root))}`"
    return elsewhere(entry, root) or f"{prepare} fetches what is missing, or says what to do."


def _load(entry: Entry, root: Path) -> Dataset:
    if entry.embedded:
        parts = Parts(*(tuple(map(Item._make, rows)) for rows in embedded.rows(entry.name).values()))
        return _dataset(entry, parts, "", class_names(entry.name, parts.items))
    folder = root / entry.folder
    if not folder.is_dir():
        where = f"Give the folder that holds {entry.folder}/ as root (or in LAMM_CL_DATA)."
        raise UsageError(f"data set {entry.name!r} is not there: {folder} does not exist. {where}")
    images = str(folder / entry.images) if entry.images else str(folder)
    if entry.reader == "split_file":
        return _from_split_file(entry, folder, images)
    if entry.reader == "aircraft":
        parts = read_aircraft(folder, images)
        return judge(entry, parts, images, class_names(folder, parts.items))
    if entry.reader in ("subset", "part_folders"):
        return _subset(entry, {"folder": images}, root)
    read = read_imagenet if entry.reader == "imagenet" else read_variant
    parts, ids = read(folder, images)
    names = class_names(images, parts.test, entry.repeated_names)
    return replace(judge(entry, parts, images, names), class_ids=ids)


def _subset(entry: Entry, description: Mapping[str, Any], root: Path) -> Dataset:
    parts, place, notes = read_subset(entry, description, root)
    dataset = judge(entry, parts, place)
    return replace(dataset, notes=(*dataset.notes, *notes))


def _from_split_file(entry: Entry, folder: Path, images: str) -> Dataset:
    split = folder / entry.split_file
    if split.is_file():
        parts = read_split(split, images)
        return judge(entry, parts, images, what=f"{entry.split_file} lists")
    try:
        parts = own_split(entry, folder, images)
    except UsageError as error:
        raise UsageError(f"the papers' split {split} is missing, and none can be made: {error}") from None
    names = class_names(images, parts.items)
    notes = [f"{entry.name}: {entry.split_file} is missing: the split was made here and is not the papers'"]
    found, expected = len(parts.items), sum(entry.sizes)
    if (found, len(names)) != (expected, entry.classes):
        theirs = f"{expected:,} of {entry.classes}"
        notes.append(f"{entry.name}: found {found:,} images of {len(names)} classes, the papers have {theirs}")
    if entry.own_split == "folders":
        notes += stray_note(entry.name, Path(images))
    listed = entry.own_split not in ("cars", "flowers")
    return replace(_dataset(entry, parts, images, names), notes=tuple(notes), listed=listed)


def judge(entry: Entry, parts: Parts, images: str, names: tuple[str, ...] = (), what: str = "") -> Dataset:
    """Call a split official when it is the papers', or, where nobody knows theirs, has their numbers of all things.

    CoOp's code, where a split file is missing, draws a split at random and keeps it under the papers' name, in the
    papers' sizes.
    """
    names = names or class_names(images, parts.items)
    dataset = _dataset(entry, parts, images, names)
    sizes = tuple(map(len, parts))
    split: SplitKind = "official"
    notes = []
    known = dict.fromkeys((entry.sizes, *entry.settings.values()))
    if sizes not in known or len(names) != entry.classes:
        split = "own"
        here, theirs = f"{_sizes(sizes)} images of {len(names)} classes", " or ".join(map(_sizes, known))
        notes.append(f"not the papers' data: {what or 'found'} {here}, the papers have {theirs} of {entry.classes}")
    elif entry.settings:
        split = _setting(entry, sizes, parts.train)
        other = "of the papers' sizes, and its training images are not those of their list"
        notes.append(other if split == "other" else f"split as in {split.replace('-', ' ')}")
    elif entry.fingerprint and dataset.fingerprint != entry.fingerprint:
        split = "other"
        notes.append(
            f"{entry.split_file} is not the papers' split, though it has its name and its numbers of images (the "
            "papers' codes draw such a split at random when the file is missing)"
        )
    elif entry.split_file and not entry.fingerprint:
        notes.append("official by its numbers of classes and images; nobody compared it image by image")
    if entry.repeated_names and len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        notes.append(f"two classes each are called {' and '.join(repeated)}, as in the papers")
    said = tuple(f"{entry.name}: {note}" for note in notes)
    return replace(dataset, split=split, notes=said, listed=entry.reader not in ("split_file", "aircraft"))


def _setting(entry: Entry, sizes: tuple[int, ...], train: tuple[Item, ...]) -> SplitKind:
    """Return the setting that splits a subset so: by the list of its training images, else by its sizes."""
    listed, digest = entry.train_list
    paths = sorted("/".join(item.path.replace("\\", "/").split("/")[-2:]) for item in train)
    if listed and hashlib.sha256("\n".join(paths).encode("utf-8", "surrogateescape")).hexdigest() == digest:
        return listed
    return next((name for name, its in entry.settings.items() if its == sizes and name != listed), "other")


def check_split(entry: Entry, path: Path) -> str:
    """Say what is wrong with a split file, "" where it is the papers'."""
    try:
        dataset = judge(entry, read_split(path, str(path.parent)), str(path.parent))
    except UsageError as error:
        return str(error)
    return "" if dataset.split == "official" else dataset.notes[0]


def _sizes(sizes: tuple[int, ...]) -> str:
    return " / ".join(f"{size:,}" for size in sizes) + " train / val / test"


def _dataset(entry: Entry, parts: Parts, images: str, names: tuple[str, ...]) -> Dataset:
    kind: SplitKind = "embedded" if entry.embedded else "own"
    return Dataset(entry.name, names, *parts, entry.template, kind, entry.synthetic, images, views=entry.views)
