"""A user's own images as a data set: a folder of class folders, or a CSV of (path, class name, split)."""

import csv
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from lamm_cl.data.folders import class_folders, images_in, missing_files, stray_note
from lamm_cl.data.images import show
from lamm_cl.data.items import Dataset, Item, ViewOptions
from lamm_cl.data.own_split import Classes, split_classes
from lamm_cl.data.split_file import Parts, check_names, class_names
from lamm_cl.errors import UsageError, unknown

KEYS = ("name", "folder", "csv", "root", "template", "rename", "flip", "scale")
PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
PATH_COLUMNS = ("path", "file", "filename", "image")
CLASS_COLUMNS = ("class_name", "class name", "classname", "class", "label")
SPLIT_COLUMNS = ("split", "part", "set")


def load_own(description: Mapping[str, Any]) -> Dataset:
    """Return the data set that `description` describes.

    Args:
        description: `folder` (class folders, either directly or under train/, val/ and test/) or `csv`;
            `name`
            (default: the folder's or file's name); `root`, which relative paths start from (default: the
            working directory for `folder` and `csv`, the CSV's folder for the paths in it); `template`;
            `rename`, from class folder, or class in the CSV, to class name; `flip` and `scale` of the training views.

    Raises:
        UsageError: see the module's checks; every message names the file or key.
    """
    for key in description:
        if key not in KEYS:
            raise unknown("key of a data set", key, KEYS)
    if ("folder" in description) == ("csv" in description):
        raise UsageError(f"a data set of one's own needs either 'folder' or 'csv', got {dict(description)!r}.")
    source = _source(description)
    name = _name(description.get("name"), source)
    rename = _rename(description.get("rename"))
    if "folder" in description:
        parts, notes = _read_folder(name, source, rename)
    else:
        base = path_of("root", description["root"]) if description.get("root") else source.parent
        parts, notes = _read_csv(name, source, base.absolute(), rename)
    items = parts["train"] + parts["val"] + parts["test"]
    folder = source if "folder" in description else (base.absolute())
    return Dataset(
        name=name,
        class_names=class_names(source, items),
        train=parts["train"],
        val=parts["val"],
        test=parts["test"],
        template=template(description.get("template", "a photo of a {}."), name),
        split="own",
        folder=str(folder),
        notes=(f"{name}: own data", *notes),
        views=view_options(description, ViewOptions()),
    )


def path_of(key: str, value: object) -> Path:
    """Return the path that a key gives."""
    if not isinstance(value, str | Path) or not str(value):
        quotes = " Put it in quotes." if isinstance(value, int | float) else ""
        raise UsageError(f"{key} must be a path, not {value!r}.{quotes}")
    return Path(value).expanduser()


def wrong_values(description: Mapping[str, Any]) -> list[str]:
    """Say which values of a description can't be right whatever the files are: all of them at once."""
    checks: dict[str, Callable[[Any], object]] = {
        "name": lambda value: _name(value, Path("name")),
        **{key: partial(path_of, key) for key in ("folder", "csv", "root")},
        "template": lambda value: template(value, str(description.get("name", "of one's own"))),
        "rename": _rename,
        "flip": lambda value: view_options({"flip": value}, ViewOptions()),
        "scale": lambda value: view_options({"scale": value}, ViewOptions()),
    }
    texts = []
    for key, check in checks.items():
        if key in description and not (key == "root" and description[key] is None):
            try:
                check(description[key])
            except UsageError as error:
                texts.append(str(error))
    return texts


def template(text: object, name: str) -> str:
    """Check a prompt template: text with one `{}`."""
    if not isinstance(text, str) or text.count("{}") != 1 or text.count("{") != 1 or text.count("}") != 1:
        raise UsageError(f"data set {name!r}: template must be text with one {{}} for the class name, not {text!r}.")
    return text


def view_options(options: Mapping[str, Any], default: ViewOptions) -> ViewOptions:
    """Return the view options with `flip` and `scale` taken from `options` where given."""
    flip, scale = options.get("flip", default.flip), options.get("scale", default.scale)
    if not isinstance(flip, bool):
        raise UsageError(f"flip must be true or false, not {flip!r}.")
    numbers = isinstance(scale, list | tuple) and len(scale) == 2 and not set(map(type, scale)) - {int, float}
    if not numbers or not 0 < scale[0] <= scale[1] <= 1:
        raise UsageError(f"scale must be two shares of the area, 0 < low <= high <= 1, not {scale!r}.")
    return ViewOptions(scale=(float(scale[0]), float(scale[1])), flip=flip)


def _name(given: object, source: Path) -> str:
    if given is None:
        return source.stem
    if not _is_name(given) or not str(given).strip().isprintable():
        raise UsageError(f"the name of a data set must be a line of text, not {given!r}: put it in quotes.")
    return str(given).strip() or source.stem


def _rename(given: object) -> dict[str, str]:
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(_is_name(v) for pair in given.items() for v in pair):
        raise UsageError(
            "rename must say for class folders, or for the classes of a CSV, what they are called, {folder: name}, not "
            f"{given!r}; put what is not read as text in quotes."
        )
    return {str(old): str(new) for old, new in given.items()}


def _is_name(value: object) -> bool:
    """Whether a value is text, or a number whose digits are what was written; true, 1e5 and 0x10 are not."""
    return isinstance(value, str) or type(value) is int


def _source(description: Mapping[str, Any]) -> Path:
    key = "folder" if "folder" in description else "csv"
    value = description[key]
    path = path_of(key, value)
    if not path.is_absolute() and description.get("root"):
        path = path_of("root", description["root"]) / path
    path = path.absolute()
    if not (path.is_dir() if key == "folder" else path.is_file()):
        raise UsageError(f"{key} {show(str(path))} does not exist or is no {'folder' if key == 'folder' else 'file'}.")
    return path


def _read_folder(name: str, folder: Path, rename: dict[str, str]) -> tuple[Parts, list[str]]:
    present = {PART_NAMES[n.lower()]: folder / n for n in class_folders(folder) if n.lower() in PART_NAMES}
    if "train" not in present:
        classes = _classes(folder, rename)
        notes = [f"{name}: split made here, 50% train, 20% val, 30% test of each class", *stray_note(name, folder)]
        return split_classes(name, classes), notes
    others = [n for n in class_folders(folder) if n.lower() not in PART_NAMES]
    if others:
        raise UsageError(
            f"{show(str(folder))}: holds train/ and also {', '.join(map(repr, others[:5]))}. Expected either parts "
            "(train, val, test) or class folders, not both."
        )
    by_part = {part: _classes(path, rename) for part, path in present.items()}
    if set(present) == {"train"}:
        notes = [f"{name}: only train/ is there; split made here, 50% train, 20% val, 30% test of each class"]
        return split_classes(name, by_part["train"]), notes
    labels = {class_name: label for label, class_name in enumerate(by_part["train"])}
    for part, classes in by_part.items():
        odd = sorted(set(classes) - set(labels))
        if odd:
            raise UsageError(f"{show(str(present[part]))}: class {odd[0]!r} has no folder in {present['train']}.")
    parts = {
        part: tuple(Item(path, labels[n], n) for n, paths in by_part.get(part, {}).items() for path in paths)
        for part in ("train", "val", "test")
    }
    notes = [note for path in present.values() for note in stray_note(name, path)]
    if "test" not in present:
        parts["test"] = parts["val"]
        notes.append(f"{name}: no test/ is there: val/ is also the test set")
    return parts, notes


def _classes(folder: Path, rename: dict[str, str]) -> Classes:
    names = class_folders(folder)
    called = _called(show(str(folder)), "class folder in rename", names, rename)
    return {
        new: [str(folder / name / file) for file in images_in(folder / name)]
        for name, new in zip(names, called, strict=True)
    }


def _called(source: object, what: str, names: list[str], rename: dict[str, str]) -> list[str]:
    """Return what the classes are called after renaming, in their order."""
    for old in rename:
        if old not in names:
            raise unknown(what, old, names)
    called = [rename.get(name, name) for name in names]
    check_names(source, called)
    return called


def _read_csv(name: str, path: Path, base: Path, rename: dict[str, str]) -> tuple[Parts, list[str]]:
    rows = _rows(path)
    header = [column.strip().lower() for column in rows[0][1]] if rows else []
    columns = {
        key: next((header.index(c) for c in choices if c in header), None)
        for key, choices in (("path", PATH_COLUMNS), ("class", CLASS_COLUMNS), ("split", SPLIT_COLUMNS))
    }
    at_path, at_class, at_split = columns["path"], columns["class"], columns["split"]
    if at_path is None or at_class is None:
        raise UsageError(
            f"{path}, line 1: expected a header with the columns path, class_name and (if the split is given) split; "
            f"found {', '.join(header) or 'nothing'}."
        )
    seen: dict[str, int] = {}
    found: list[tuple[str, str, str]] = []
    for line, row in rows[1:]:
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
        found.append((full, class_name, part))
    _check_exist(path, dict(zip((full for full, _, _ in found), seen.values(), strict=True)))
    if not found:
        raise UsageError(f"{path}: lists no image.")
    classes = sorted({class_name for _, class_name, _ in found})
    called = dict(zip(classes, _called(path, f"class in rename for {path}", classes, rename), strict=True))
    renamed = [(file, called[class_name], part) for file, class_name, part in found]
    return _csv_parts(name, path, list(called.values()), renamed, at_split is not None)


def _csv_parts(
    name: str, path: Path, names: list[str], found: list[tuple[str, str, str]], given: bool
) -> tuple[Parts, list[str]]:
    if not given:
        classes = {n: [file for file, class_name, _ in found if class_name == n] for n in names}
        return split_classes(name, classes), [f"{name}: split made here, 50% train, 20% val, 30% test of each class"]
    labels = {class_name: label for label, class_name in enumerate(names)}
    parts = {
        part: tuple(Item(file, labels[n], n) for file, n, its_part in found if its_part == part)
        for part in ("train", "val", "test")
    }
    if parts["test"]:
        return parts, []
    if not parts["val"]:
        raise UsageError(f"{path}: no row is in test (nor val): there is nothing to evaluate on.")
    return {**parts, "test": parts["val"]}, [f"{name}: no row is in test: val is also the test set"]


def _check_exist(path: Path, lines: Mapping[str, int]) -> None:
    missing = missing_files(lines)
    if missing:
        shown = ", ".join(f"line {lines[file]}: {show(file)}" for file in missing[:3])
        raise UsageError(f"{path}: {len(missing)} of {len(lines)} images are missing or empty ({shown}).")


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """Return (line number, cells) of all rows that are not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not valid UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except (csv.Error, OSError) as error:
        raise UsageError(f"{path}: cannot be read as CSV: {error}.") from None
