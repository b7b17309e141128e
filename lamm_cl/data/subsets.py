"""The subsets of class-incremental papers, MNIST and CIFAR-100, in `train/` and `val/` or `test/` class folders."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lamm_cl.data.catalogue import CATALOGUE, Entry
from lamm_cl.data.folders import class_folders, images_in, lines_of
from lamm_cl.data.imagenet import read_class_names
from lamm_cl.data.images import show, some
from lamm_cl.data.items import Parts
from lamm_cl.data.own_data import items_of, named, renames, source_of
from lamm_cl.data.own_files import Row, read_folder
from lamm_cl.errors import UsageError


def subset_of(description: Mapping[str, Any]) -> Entry | None:
    """Return the subset that a description of one's own folder calls by its name, None where it calls none."""
    entry = CATALOGUE.get(str(description.get("name", "")))
    return entry if entry and entry.reader == "subset" and "folder" in description else None


def read_subset(entry: Entry, description: Mapping[str, Any], root: Path) -> tuple[Parts, str, tuple[str, ...]]:
    """Return the parts of such a data set, where it lies, and what is to be said of it.

    The description is `folder`, and `names`, `rename`, `ignore` and `depth` as of one's own data; CUB-200 may also be
    the makers' folder as it is unpacked. Below `root`, `imagenet/classnames.txt` names WordNet ids. A folder that is
    none, or another data set's, is refused.
    """
    place, rename = source_of(description, "folder"), renames(description)
    notes: list[str] = []
    if not (rows := _makers(place)):
        ignore, depth = description.get("ignore"), description.get("depth")
        rows, notes = read_folder(entry.name, place, ignore=ignore, depth=depth, classes=rename)
    if not {"val", "test"} & {row.part for row in rows}:
        raise UsageError(
            f"data set {entry.name!r}: {show(place)} must hold train/ and test/ (or val/), each with one folder "
            "per class: the papers split it, and no split is made here."
        )
    folders = sorted({row.label for row in rows})
    _refuse_another(entry, place, folders)
    called = _called(entry, place, folders, rename, description.get("names"), root)
    parts = items_of(rows, {folder: called[folder] for folder in folders})  # as text, also numbers: the papers' order
    if not parts.test:
        parts = parts._replace(val=(), test=parts.val)
    return parts, str(place), tuple(notes)


def _makers(place: Path) -> list[Row]:
    """Return the images of CUB-200 as its makers divide them, where their archive lies unpacked; none elsewhere."""
    lists = [place / name for name in ("images.txt", "train_test_split.txt")]
    if not all(map(Path.is_file, lists)):
        return []
    try:
        paths, trained = (dict(line.split(" ", 1) for line in lines_of(one)) for one in lists)
    except ValueError:  # a line of another form, or no text
        paths, trained = {}, {}
    there = {f"{one}/{file}" for one in class_folders(place / "images") for file in images_in(place / "images" / one)}
    if paths.keys() != trained.keys() or set(paths.values()) != there:
        raise UsageError(
            f"{show(lists[0])} and {lists[1].name} list other images than images/ holds: unpack the archive again."
        )
    return [
        Row(str(place / "images" / path), path.partition("/")[0], "train" if trained[number] == "1" else "test")
        for number, path in paths.items()
    ]


def _called(
    entry: Entry, place: Path, folders: list[str], rename: Mapping[str, str], names: Any, root: Path
) -> dict[str, str]:
    """Return the classes' names by folder: as given, CoOp's of WordNet ids, else the folders' without their numbers."""
    given = {folder: name for folder, name in entry.renamed.items() if folder in folders} | dict(rename)
    if names is None and all(re.fullmatch(r"n\d{8}", folder) for folder in folders):
        listed = read_class_names(place, root / "imagenet")
        if odd := next((folder for folder in folders if folder not in listed), ""):
            raise UsageError(f"{show(place)}: class folder {odd!r} is no class of classnames.txt.")
        given = {folder: listed[folder] for folder in folders} | given
    elif names is None and all(re.match(r"\d+\.\D", folder) for folder in folders):
        given = {folder: folder.partition(".")[2] for folder in folders} | given
    return named(place, "class folder in rename", folders, given, names)


def _refuse_another(entry: Entry, place: Path, folders: list[str]) -> None:
    """Refuse class folders that are clearly another data set's."""
    there = {_plain(folder) for folder in folders}
    others = [one for one in CATALOGUE.values() if one.telling and {*map(_plain, one.telling)} <= there]
    if len(folders) > entry.classes:
        what = f"{len(folders)} class folders, and {entry.title} has {entry.classes}"
    elif others and not any(_plain(folder) in there for folder in entry.telling):
        what = f"the classes of {others[0].title}" + f", and none of {some(entry.telling, 2)}" * bool(entry.telling)
    else:
        return
    shown = show(place)
    raise UsageError(
        f"data set {entry.name!r}: {shown} holds {what}: it is another data set. As your own data it needs a name of "
        f"its own, `{{name: mine, folder: {shown}}}`."
    )


def _plain(folder: str) -> str:
    """Return a class folder's letters and digits, without a number before a point."""
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^\d+\.", "", folder).lower())
