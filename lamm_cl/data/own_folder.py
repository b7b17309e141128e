"""One's own images in folders: which folders are parts, which are classes, and no guess where that is not clear."""

import posixpath
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lamm_cl.data.folders import class_folders, images_in, stray_note
from lamm_cl.data.images import show
from lamm_cl.errors import UsageError

PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
NO_CLASSES = frozenset(("annotations", "annotation", "labels", "masks", "metadata", "trimaps", "xmls", "bboxes"))
JUNK_FOLDERS = ("__MACOSX", "lost+found", "$RECYCLE.BIN")


class Row(NamedTuple):
    """One image as a user lists it: its absolute path, its class, and its part ("" where no split is given)."""

    path: str
    label: str
    part: str


def read_folder(
    name: str, folder: Path, *, ignore: Sequence[str] | None, depth: str | None, classes: Sequence[str]
) -> tuple[list[Row], list[str]]:
    """Return the images below a folder, class by class, and what a reader must know.

    Args:
        name: of the data set.
        folder: holds class folders, or train/, val/ and test/ with class folders; or one folder that does.
        ignore: folders that are neither; None where the user said nothing, and what looks like none is refused.
        depth: "top" where each folder is one class whatever it holds, "leaf" where each folder of images is; None where
            the user said nothing, and folders of nothing but folders are refused.
        classes: folders that the user calls classes.

    Raises:
        UsageError: it can be read in two ways, or in none; names the key that decides.
    """
    shown = _folders(folder, ignore)
    notes = []
    parts = _parts(folder, shown)
    if not parts:
        below = [n for n in shown if n not in classes and _parts(folder / n, _folders(folder / n, ignore, empty=True))]
        if len(below) > 1 or (below and len(shown) > 1):
            raise UsageError(
                f"{show(str(folder))}: {below[0]}/ holds train, val or test, and {_listed(set(shown) - {below[0]})} "
                f"stands beside it. Say `folder: {folder / below[0]}` if that is the data set."
            )
        if below:
            folder = folder / below[0]
            notes.append(f"{name}: train/, val/ and test/ are those of {below[0]}/")
            shown = _folders(folder, ignore)
            parts = _parts(folder, shown)
    if not parts:
        notes += stray_note(name, folder)
        return _rows(folder, "", ignore, depth, classes), notes
    others = [n for n in shown if n not in parts.values()]
    if others:
        raise UsageError(
            f"{show(str(folder))}: holds {next(iter(parts.values()))}/ and also {', '.join(map(repr, others[:5]))}. "
            "Expected either parts (train, val, test) or class folders, not both: move the others, or leave them out "
            f"with `ignore: [{', '.join(others[:5])}]`."
        )
    if "train" not in parts:
        first = next(iter(parts.values()))
        raise UsageError(
            f"{show(str(folder))}: holds {first}/ and no train/. Put train/ beside it, or say `folder: "
            f"{folder / first}` to split its images."
        )
    if set(parts) == {"train"}:
        notes.append(f"{name}: only train/ is there")
    rows = [
        row
        for part in ("train", "val", "test")
        if part in parts
        for row in _rows(folder / parts[part], part if len(parts) > 1 else "", ignore, depth, classes)
    ]
    known = {row.label for row in rows if row.part != "val" and row.part != "test"}
    odd = next((row for row in rows if row.label not in known), None)
    if odd:
        raise UsageError(
            f"{show(str(folder / parts[odd.part]))}: class {odd.label!r} has no folder in {folder / parts['train']}."
        )
    return rows, [*notes, *(note for part in parts.values() for note in stray_note(name, folder / part))]


def _folders(folder: Path, ignore: Sequence[str] | None, empty: bool = False) -> list[str]:
    """Return the folders in `folder` that may be parts or classes; with `empty`, none is no error."""
    try:
        return class_folders(folder, (*JUNK_FOLDERS, *(ignore or ())))
    except UsageError:
        if empty:
            return []
        raise


def _parts(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return which of these folders is which part."""
    parts: dict[str, str] = {}
    for name in names:
        part = PART_NAMES.get(name.lower())
        if part and parts.setdefault(part, name) != name:
            raise UsageError(
                f"{show(str(folder))}: {parts[part]}/ and {name}/ are both called as {part} is. Leave one out with "
                f"`ignore: [{name}]`, or rename it."
            )
    return parts


def _rows(
    folder: Path, part: str, ignore: Sequence[str] | None, depth: str | None, classes: Sequence[str]
) -> list[Row]:
    names = _folders(folder, ignore)
    doubtful = [name for name in names if name.lower() in NO_CLASSES and name not in classes]
    if ignore is None and doubtful:
        raise UsageError(
            f"{show(str(folder))}: {doubtful[0]}/ does not look like a class. Say `ignore: [{', '.join(doubtful)}]` to "
            "leave it out, or `ignore: []` if it is a class."
        )
    rows = []
    for name in names:
        files = images_in(folder / name)
        if depth is None and name not in classes and all("/" in file for file in files):
            inside = sorted({file.partition("/")[0] for file in files})
            alone = f"`folder: {folder / name}` if these are all, " if len(names) == 1 else ""
            raise UsageError(
                f"{show(str(folder))}: {name}/ holds no image but {_listed(inside)}. Are these the classes? Say "
                f"{alone}`depth: leaf` if each folder of images is a class, or `depth: top` if {name} is one class."
            )
        for file in files:
            label = posixpath.dirname(f"{name}/{file}") if depth == "leaf" else name
            rows.append(Row(str(folder / name / file), label, part))
    return rows


def _listed(names: "set[str] | list[str]") -> str:
    ordered = sorted(names)
    return ", ".join(f"{name}/" for name in ordered[:3]) + (", ..." if len(ordered) > 3 else "")
