"""One's own images in a CSV: the columns that people call so, and no guess where two are called alike."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from lamm_cl.data.folders import sizes_of
from lamm_cl.data.images import show
from lamm_cl.data.own_folder import PART_NAMES, Row
from lamm_cl.errors import UsageError

# What each column may be called, in lower case, without `-`, `_` and spaces.
COLUMNS = {
    "path": ("path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "imagename", "img", "imgpath"),
    "class_name": ("classname", "class", "label", "labelname", "category", "categoryname", "target", "species"),
    "split": ("split", "part", "partition", "set", "subset", "fold"),
}
_DELIMITERS = ",;\t"


def read_table(name: str, path: Path, base: Path, columns: Mapping[str, str]) -> tuple[list[Row], list[str]]:
    """Return a CSV's images in its order, and what a reader must know.

    Args:
        name: of the data set.
        path: the file; its columns are parted by commas, semicolons or tabs.
        base: the folder that the paths in it start from.
        columns: the columns that the user has named, by role.

    Raises:
        UsageError: a column is missing or doubtful, a row is damaged, an image is not there; names file and line.
    """
    lines = _lines(path)
    header = [column.strip() for column in lines[0][1]] if lines else []
    places = {role: _place(path, header, role, columns.get(role)) for role in COLUMNS}
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
    _check_exist(path, dict(zip((row.path for row in rows), seen.values(), strict=True)))
    if not rows:
        raise UsageError(f"{path}: lists no image.")
    unused = [column for place, column in enumerate(header) if place not in places.values()]
    notes = [f"{name}: columns that are not used: {', '.join(unused)}"] * bool(unused)
    if at_split is None:
        rows, more = _by_folder(name, base, rows)
        notes += more
    return rows, notes


def _place(path: Path, header: list[str], role: str, named: str | None) -> int | None:
    """Return the position of a role's column; None where the table has none."""
    if named is not None:
        if header.count(named) != 1:
            raise UsageError(f"{path}: has {header.count(named)} columns {named!r}; it has {', '.join(header)}.")
        return header.index(named)
    plain = ["".join(letter for letter in column.lower() if letter not in "-_ ") for column in header]
    found = [place for place, column in enumerate(plain) if column in COLUMNS[role]]
    if len(found) > 1:
        both = " and ".join(repr(header[place]) for place in found[:2])
        raise UsageError(
            f"{path}, line 1: {both} may both be the {role}. Say `columns: {{{role}: {header[found[0]]}}}` to take the "
            "first."
        )
    return found[0] if found else None


def _by_folder(name: str, base: Path, rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Take the split from paths such as train/1.png, as Hugging Face's folders have it, where all paths look so."""
    parts = [PART_NAMES.get(Path(os.path.relpath(row.path, base)).parts[0].lower(), "") for row in rows]
    if not all(parts):
        return rows, []
    split = [row._replace(part=part) for row, part in zip(rows, parts, strict=True)]
    return split, [f"{name}: the split is that of the folders train, val and test"]


def _check_exist(path: Path, lines: Mapping[str, int]) -> None:
    sizes = sizes_of(lines)
    missing = [file for file in lines if not sizes.get(file)]
    if missing:
        shown = ", ".join(f"line {lines[file]}: {show(file)}" for file in missing[:3])
        windows = os.sep == "/" and any("\\" in file for file in missing)
        hint = " Their paths have backslashes, as on Windows: write / between folders." * windows
        raise UsageError(f"{path}: {len(missing)} of {len(lines)} images are missing or empty ({shown}).{hint}")


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Return (line number, cells) of all rows that are not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(_DELIMITERS, key=header.count), strict=True)
            return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not valid UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except (csv.Error, OSError) as error:
        raise UsageError(f"{path}: cannot be read as CSV: {error}.") from None
