"""One's own images in folders or in a CSV: which are parts, which are classes, and no guess where that is not clear."""

import csv
import io
import os
import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lamm_cl.data.folders import class_folders, images_in, missing_files, stray_note, text_of
from lamm_cl.data.images import show, some
from lamm_cl.data.items import PARTS
from lamm_cl.errors import UsageError

PART_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
NO_CLASSES = frozenset(("annotations", "annotation", "labels", "masks", "metadata", "trimaps", "xmls", "bboxes"))
JUNK_FOLDERS = ("__MACOSX", "lost+found", "$RECYCLE.BIN")
# What each column may be called, in lower case, without `-`, `_` and spaces.
COLUMNS = {
    "path": ("path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "imagename", "img", "imgpath"),
    "class_name": ("classname", "class", "label", "labelname", "category", "categoryname", "target", "species"),
    "split": ("split", "part", "partition", "set", "subset", "fold"),
}
_DELIMITERS = ",;\t"
Names = Collection[str]


class Row(NamedTuple):
    """One image as a user lists it: its absolute path, its class, and its part ("" where no split is given)."""

    path: str
    label: str
    part: str


def read_folder(
    name: str, folder: Path, *, ignore: Names | None, depth: str | None, classes: Names
) -> tuple[list[Row], list[str]]:
    """Return the images below a folder, class by class, and what a reader must know.

    The folder holds class folders, or train/, val/ and test/ with class folders; or one folder that does. Where it can
    be read in two ways, or in none, a UsageError names the key that decides:

    - `ignore`: folders that are neither; None where the user said nothing, and what looks like none is refused.
    - `depth`: "top" where each folder is one class whatever it holds, "leaf" where each folder of images is; None where
      the user said nothing, and folders of nothing but folders are refused.
    - `classes`: folders that the user calls classes.
    """
    shown = _folders(folder, ignore)
    parts = _parts(folder, shown)
    if not parts:
        below = [n for n in shown if n not in classes and _parts(folder / n, _folders(folder / n, ignore, empty=True))]
        if below and len(shown) > 1:
            beside = some([n for n in shown if n != below[0]], 3, "{}/".format)
            raise UsageError(
                f"{show(folder)}: {below[0]}/ holds train, val or test, and {beside} stands beside it. "
                f"Say `folder: {folder / below[0]}` if that is the data set."
            )
        if below:
            rows, notes = read_folder(name, folder / below[0], ignore=ignore, depth=depth, classes=classes)
            return rows, [f"{name}: train/, val/ and test/ are those of {below[0]}/", *notes]
        return _rows(folder, "", ignore, depth, classes), list(stray_note(name, folder))
    others, first = [n for n in shown if n not in parts.values()], next(iter(parts.values()))
    if others:
        raise UsageError(
            f"{show(folder)}: holds {first}/ and also {', '.join(map(repr, others[:5]))}. Expected either parts "
            "(train, val, test) or class folders, not both: move the others, or leave them out with "
            f"`ignore: [{', '.join(others[:5])}]`."
        )
    if "train" not in parts:
        raise UsageError(
            f"{show(folder)}: holds {first}/ and no train/. Put train/ beside it, or say `folder: "
            f"{folder / first}` to split its images."
        )
    notes = [f"{name}: only train/ is there"] if len(parts) == 1 else []
    rows = []
    for part in (part for part in PARTS if part in parts):
        rows += _rows(folder / parts[part], part if len(parts) > 1 else "", ignore, depth, classes)
    known = {row.label for row in rows if row.part not in ("val", "test")}
    if odd := next((row for row in rows if row.label not in known), None):
        place, train = show(folder / parts[odd.part]), folder / parts["train"]
        raise UsageError(f"{place}: class {odd.label!r} has no folder in {train}.")
    return rows, [*notes, *(note for part in parts.values() for note in stray_note(name, folder / part))]


def _folders(folder: Path, ignore: Names | None, empty: bool = False) -> list[str]:
    """Return the folders in `folder` that may be parts or classes; with `empty`, none is no error."""
    try:
        return class_folders(folder, (*JUNK_FOLDERS, *map(str, ignore or ())))
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
                f"{show(folder)}: {parts[part]}/ and {name}/ are both called as {part} is. Leave one out with "
                f"`ignore: [{name}]`, or rename it."
            )
    return parts


def _rows(folder: Path, part: str, ignore: Names | None, depth: str | None, classes: Names) -> list[Row]:
    names = _folders(folder, ignore)
    doubtful = [name for name in names if name.lower() in NO_CLASSES and name not in classes]
    if ignore is None and doubtful:
        raise UsageError(
            f"{show(folder)}: {doubtful[0]}/ does not look like a class. Say `ignore: [{', '.join(doubtful)}]` to "
            "leave it out, or `ignore: []` if it is a class."
        )
    rows = []
    for name in names:
        files = images_in(folder / name)
        if depth is None and name not in classes and all("/" in file for file in files):
            inside = some(sorted({file.partition("/")[0] for file in files}), 3, "{}/".format)
            alone = f"`folder: {folder / name}` if these are all, " if len(names) == 1 else ""
            raise UsageError(
                f"{show(folder)}: {name}/ holds no image but {inside}. Are these the classes? Say "
                f"{alone}`depth: leaf` if each folder of images is a class, or `depth: top` if {name} is one class."
            )
        for file in files:
            label = posixpath.dirname(f"{name}/{file}") if depth == "leaf" else name
            rows.append(Row(str(folder / name / file), label, part))
    return rows


def read_table(name: str, path: Path, base: Path, columns: Mapping[str, str]) -> tuple[list[Row], list[str]]:
    """Return a CSV's images in its order, and what a reader must know, or raise: every message names file and line.

    Its columns are parted by commas, semicolons or tabs; `columns` names those of a role, and paths start from `base`.
    """
    lines = _lines(path)
    header = [column.strip() for column in lines[0][1]] if lines else []
    named = {role: str(column) for role, column in columns.items()}  # a number names a column as its digits do
    places = {role: _place(path, header, role, named.get(role)) for role in COLUMNS}
    at_path, at_class, at_split = (places[role] for role in COLUMNS)
    if at_path is None or at_class is None:
        accepted = "; ".join(f"{role}: {', '.join(names)}" for role, names in COLUMNS.items())
        raise UsageError(
            f"{path}, line 1: expected a header with a column for the path, one for the class name and, if the split "
            f"is given, one for it; found {', '.join(header) or 'nothing'}. They may be called ({accepted}), or be "
            "named by `columns: {path: ..., class_name: ..., split: ...}`."
        )
    seen: dict[str, int] = {}
    rows: list[Row] = []
    for line, row in lines[1:]:
        if len(row) != len(header):
            raise UsageError(f"{path}, line {line}: has {len(row)} columns, the header {len(header)}.")
        image, class_name = row[at_path].strip(), row[at_class].strip()
        part = "" if at_split is None else PART_NAMES.get(row[at_split].strip().lower(), "?")
        if not image or not class_name or part == "?":
            raise UsageError(
                f"{path}, line {line}: needs a path, a class name and a split of train, val or test; found {row!r}."
            )
        full = str(base / image)
        plain = os.path.normpath(full)  # "./x.png" is "x.png"
        if plain in seen:
            raise UsageError(f"{path}, line {line}: {image!r} stands on line {seen[plain]} already.")
        seen[plain] = line
        rows.append(Row(full, class_name, part))
    lines_of = dict(zip((row.path for row in rows), seen.values(), strict=True))
    if missing := missing_files(lines_of):
        shown = ", ".join(f"line {lines_of[file]}: {show(file)}" for file in missing[:3])
        windows = os.sep == "/" and any("\\" in file for file in missing)
        hint = " Their paths have backslashes, as on Windows: write / between folders." * windows
        raise UsageError(f"{path}: {len(missing)} of {len(rows)} images are missing or empty ({shown}).{hint}")
    if not rows:
        raise UsageError(f"{path}: lists no image.")
    unused = [column for place, column in enumerate(header) if place not in places.values()]
    notes = [f"{name}: columns that are not used: {', '.join(unused)}"] * bool(unused)
    if at_split is None:  # where all paths look like train/1.png, as in Hugging Face's folders, they say the split
        parts = [PART_NAMES.get(Path(os.path.relpath(row.path, base)).parts[0].lower(), "") for row in rows]
        if all(parts):
            rows = [row._replace(part=part) for row, part in zip(rows, parts, strict=True)]
            notes.append(f"{name}: the split is that of the folders train, val and test")
    return rows, notes


def _place(path: Path, header: list[str], role: str, named: str | None) -> int | None:
    """Return the position of a role's column; None where the table has none."""
    if named is not None:
        if header.count(named) != 1:
            raise UsageError(f"{path}: has {header.count(named)} columns {named!r}; it has {', '.join(header)}.")
        return header.index(named)
    found = [place for place, column in enumerate(header) if re.sub("[-_ ]", "", column.lower()) in COLUMNS[role]]
    if len(found) > 1:
        first, second = (header[place] for place in found[:2])
        how = f"Say `columns: {{{role}: {first}}}` to take the first."
        raise UsageError(f"{path}, line 1: {first!r} and {second!r} may both be the {role}. {how}")
    return found[0] if found else None


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return (line number, cells) of all rows that are not blank."""
    text = text_of(path)
    delimiter = max(_DELIMITERS, key=text.partition("\n")[0].count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UsageError(f"{path}: cannot be read as CSV: {error}.") from None
