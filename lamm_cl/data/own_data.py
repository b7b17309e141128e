"""A user's own images as a data set: class folders, a CSV, or a data set of torchvision or Hugging Face."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lamm_cl.data.exporting import fetched
from lamm_cl.data.folders import lines_of
from lamm_cl.data.images import deep, show
from lamm_cl.data.items import PARTS, Dataset, Item, Parts
from lamm_cl.data.own_files import COLUMNS, Row, read_folder, read_table
from lamm_cl.data.splits import check_names, split_classes
from lamm_cl.data.verify import repeated_pictures
from lamm_cl.errors import UsageError, check_known, refusal, unknown_name

SOURCES = ("folder", "csv", "torchvision", "hf")
OPTIONS = ("template", "rename", "names", "numbers_are_names", "ignore", "depth", "columns", "flip", "scale")
KEYS = ("name", *SOURCES, "root", *OPTIONS)
ONE_SOURCE = (
    "a data set of one's own needs either 'folder' or 'csv'. One of a library needs either 'torchvision' or 'hf'."
)
PATHS = ("folder", "csv", "root", "names", "hf")
_DEEP_SUFFIXES = (".png", ".tif", ".tiff", ".pgm", ".ppm", ".jp2")
FORMULA = "begins as a formula does, which a spreadsheet with the results would run: give it another name"


def is_own(spec: object) -> bool:
    """Whether a data set of a config is one's own, not one of the catalogue."""
    return isinstance(spec, Mapping) and any(key in spec for key in SOURCES)


def name_of(spec: "str | Mapping[str, Any]") -> str:
    """Return what tables call a data set of a config: its name, or that of its folder or file."""
    if isinstance(spec, str):
        return spec
    given = spec.get("name")
    name = "" if given is None else str(given).strip()
    if given is not None and not (is_name(given) and name.isprintable()):
        raise UsageError(f"the name of a data set must be a line of text, not {given!r}: put it in quotes.")
    if not name:
        key = next((key for key in SOURCES if key in spec), "name")
        place = Path(str(spec.get(key, "")))
        name = (place.expanduser().absolute() if key in ("folder", "csv") else place).stem or "own"
    if is_formula(name):
        raise UsageError(f"the name {name!r} of a data set {FORMULA} (`name: ...`).")
    return name


def load_own(description: Mapping[str, Any], store: Path) -> Dataset:
    """Return the data set that a checked `description` describes, by the README's keys, but for its options.

    Its name is by default that of the folder or file. Relative paths start from `root`, by default the working
    directory, and those in a CSV from its folder. `store` is the folder where a library's data sets are kept. Every
    message names the file or key.
    """
    name, rename, what = name_of(description), renames(description), "class folder in rename"
    ignore, depth = description.get("ignore"), description.get("depth")
    if "csv" in description:
        place = source_of(description, "csv")
        base = Path(description.get("root") or place.parent).expanduser().absolute()
        rows, notes = read_table(name, place, base, description.get("columns") or {})
        what = f"class in rename for {place}"
    elif "folder" in description:
        place = base = source_of(description, "folder")
        rows, notes = read_folder(name, place, ignore=ignore, depth=depth, classes=rename)
    else:  # made here, from a library: each folder is a class
        place = base = fetched(description, store)
        rows, notes = read_folder(name, place, ignore=ignore or [], depth=depth or "top", classes=rename)
    called = named(place, what, (row.label for row in rows), rename, description.get("names"))
    parts, more = _parts(name, place, rows, called)
    notes = [f"{name}: own data", *notes, *more, *_deep_note(name, parts.items)]
    dataset = Dataset(name, tuple(called.values()), *parts, folder=str(base), listed="csv" not in description)
    return replace(dataset, notes=(*notes, *repeated_pictures(dataset)))


def check_description(description: Mapping[str, Any]) -> None:
    """Raise unless a description has known keys, one source, and values that can be right whatever the files are."""
    check_known("key of a data set", description, KEYS)
    if sum(key in description for key in SOURCES) != 1:
        raise UsageError(f"{ONE_SOURCE} Got {dict(description)!r}.")
    check_values(description)


def placed(description: Mapping[str, Any], base: Path) -> tuple[dict[str, Any], list[str]]:
    """Return a config's description with its relative paths made absolute, and what is to be said of them.

    They start from the config's folder `base`; those that only the working directory has are taken from there. With a
    `root`, the others start from that.
    """
    out, notes = dict(description), []
    for key in PATHS if not description.get("root") else ("root",):
        value = description.get(key)
        if isinstance(value, str | Path) and str(value):
            found = find_from(base, value)
            if key != "hf" or found.exists():
                out[key] = str(found)
            if found.exists() and found != base / Path(value).expanduser():
                notes.append(f"{key} {value} is that of the working directory: {base} has none")
    return out, notes


def find_from(base: Path, value: str | Path) -> Path:
    """Return the path that `value` means in a config of the folder `base`."""
    here, there = base / Path(value).expanduser(), Path(value).expanduser().absolute()
    return there if there.exists() and not here.exists() else here


def check_values(description: Mapping[str, Any]) -> None:
    """Raise unless the values of a description can be right whatever the files are."""
    for problem in wrong_values(description):
        raise UsageError(problem)


def wrong_values(description: Mapping[str, Any]) -> list[str]:
    """Say which values of a description can't be right whatever the files are: all of them at once."""
    given = {key: value for key, value in description.items() if value is not None or key not in _NOTHING}
    texts = [str(error)] if "name" in given and (error := refusal(name_of, {**given, "folder": "x"})) else []
    for key, (fits, what) in _RULES.items():
        if key in given and not fits(given[key]):
            quotes = " Put what is not read as text in quotes." if key in _OF_TEXT else ""
            texts.append(f"{key} must {what}, not {given[key]!r}.{quotes}")
        elif key == "columns" and key in given:
            texts += [unknown_name("role of a column", role, COLUMNS) for role in given[key] if role not in COLUMNS]
    return texts


def is_name(value: object) -> bool:
    """Whether a value is text, or a number whose digits are what was written; true, 1e5 and 0x10 are not."""
    return isinstance(value, str) or type(value) is int


def _is_path(value: object) -> bool:
    return isinstance(value, str | Path) and bool(str(value))


def _is_words(value: object) -> bool:
    return isinstance(value, list | tuple) and all(map(is_name, value))


def _is_scale(value: Any) -> bool:
    numbers = isinstance(value, list | tuple) and len(value) == 2 and not set(map(type, value)) - {int, float}
    return numbers and 0 < value[0] <= value[1] <= 1


# What may stand below a key, and how that is said.
_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys((*SOURCES, "root"), (_is_path, "be a path")),
    **dict.fromkeys(("numbers_are_names", "flip"), (lambda value: isinstance(value, bool), "be true or false")),
    "template": (
        lambda value: isinstance(value, str) and [value.count(part) for part in ("{}", "{", "}")] == [1, 1, 1],
        "be text with one {} for the class name",
    ),
    "rename": (
        lambda value: isinstance(value, Mapping) and _is_words([*value, *value.values()]),
        "say for class folders, or for the classes of a CSV, what they are called, {folder: name}",
    ),
    "columns": (
        lambda value: isinstance(value, Mapping) and _is_words([*value, *value.values()]),
        "say which column is what, {class_name: label}",
    ),
    "names": (lambda value: _is_path(value) or _is_words(value), "be a list of words, or a file of them"),
    "ignore": (_is_words, "be a list of words"),
    "depth": (("top", "leaf").__contains__, "be top or leaf"),
    "scale": (_is_scale, "be two shares of the area, 0 < low <= high <= 1"),
}
_OF_TEXT = (*SOURCES, "root", "rename", "names", "ignore")
_NOTHING = ("root", "name", "rename")  # keys of which null says as much as none


def source_of(description: Mapping[str, Any], key: str) -> Path:
    """Return the folder or file that a description reads, which must exist."""
    path = Path(description.get("root") or "").expanduser().joinpath(Path(description[key]).expanduser()).absolute()
    kind, there = ("folder", path.is_dir()) if key == "folder" else ("file", path.is_file())
    if not there:
        raise UsageError(f"{key} {show(path)} does not exist or is no {kind}.")
    return path


def _parts(name: str, place: Path, rows: list[Row], called: Mapping[str, str]) -> tuple[Parts, list[str]]:
    if not any(row.part for row in rows):
        classes: dict[str, list[str]] = {class_name: [] for class_name in called.values()}
        for row in rows:
            classes[called[row.label]].append(row.path)
        return split_classes(name, classes), [f"{name}: split made here, 50% train, 20% val, 30% test of each class"]
    parts = items_of(rows, called)
    if parts.test:
        return parts, []
    if not parts.val:
        raise UsageError(f"{place}: no row is in test (nor val): there is nothing to evaluate on.")
    return parts._replace(test=parts.val), [f"{name}: there is no test/: val/ is also the test set"]


def items_of(rows: Sequence[Row], called: Mapping[str, str]) -> Parts:
    """Return the items of rows, whose labels count the classes in the order in which they are `called`."""
    labels = {label: number for number, label in enumerate(called)}
    return Parts(
        *(tuple(Item(row.path, labels[row.label], called[row.label]) for row in rows if row.part == p) for p in PARTS)
    )


def _deep_note(name: str, items: Sequence[Item]) -> list[str]:
    """Look at one image of each class: whether 16 bits or floats are scaled to 8 bits is to be said before a run."""
    firsts = {item.label: item.path for item in reversed(items)}.values()
    found = [path for path in firsts if path.lower().endswith(_DEEP_SUFFIXES) and deep(path)]
    note = "{}: images of more than 8 bits, e.g. {}, are scaled to 8 by the range of their type"
    return [note.format(name, show(min(found)))] if found else []


def named(
    place: Path, what: str, labels: Iterable[str], rename: Mapping[str, str], names: Any = None
) -> dict[str, str]:
    """Return what the classes are called, by what they are called in the data: numbers by size, others by name.

    `names` are, for numbers, a list of words or a file of one a line, in their order; for others, a file of lines such
    as `n01443537 goldfish`, class and name parted by a tab or a space, a number and a tab before them or not. `what` is
    what `rename` renames. A UsageError says which name is for no class, is missing, or cannot be used.
    """
    distinct = set(labels)
    numbers = all(map(is_number, distinct))
    ordered = sorted(distinct, key=float if numbers else str)
    check_known(what, rename, distinct)
    # With `depth: leaf` a class is a path of folders, and called as the last one is.
    called = {label: rename.get(label, label.rpartition("/")[2] if place.is_dir() else label) for label in ordered}
    if names is not None:
        by_class = isinstance(names, str | Path) and not numbers
        called = _by_class(names, ordered) if by_class else dict(zip(ordered, _by_number(names, ordered), strict=True))
    check_names(show(place), called.values())
    for formula in filter(is_formula, called.values()):
        raise UsageError(f"{show(place)}: the class {formula!r} {FORMULA}, e.g. by `rename`.")
    return called


def is_formula(text: str) -> bool:
    """Whether spreadsheets that open a table take a word for a formula; a number is none."""
    start = text.lstrip()[:1]
    return bool(start) and start in "=+-@\uff1d\uff0b\uff0d\uff20" and not is_number(text.strip())


def is_number(label: str) -> bool:
    """Whether a class is called by a number, as a table of labels has it: 7, 007, 7.0."""
    return re.fullmatch(r"[+-]?\d+(\.0*)?", label) is not None and label.isascii()


def renames(description: Mapping[str, Any]) -> dict[str, str]:
    """Return what a description renames."""
    return {str(old): str(new) for old, new in (description.get("rename") or {}).items()}


def _by_number(given: Any, labels: list[str]) -> list[str]:
    if not all(map(is_number, labels)):
        raise UsageError(f"names is for classes that are numbers, not {labels[-1]!r}; `rename` gives others a name.")
    names = lines_of(Path(given).expanduser(), "names ") if _is_path(given) else list(map(str, given))
    if len(names) != len(labels):
        raise UsageError(
            f"names has {len(names)} names for {len(labels)} classes ({labels[0]} to {labels[-1]}): one each, in the "
            "order of the numbers."
        )
    return names


def _by_class(given: str | Path, labels: list[str]) -> dict[str, str]:
    path = Path(given).expanduser()
    names: dict[str, str] = {}
    for line in lines_of(path, "names "):
        fields = line.split("\t") if "\t" in line else line.split(" ", 1)
        if len(fields) == 3 and is_number(fields[0]):
            del fields[0]
        label, name = (fields[0].strip(), fields[-1].strip()) if len(fields) == 2 else ("", "")
        if label in labels and names.setdefault(label, name) != name:
            raise UsageError(f"names {show(path)} calls {label!r} both {names[label]!r} and {name!r}.")
    if missing := [label for label in labels if label not in names]:
        raise UsageError(
            f"names {show(path)} has no line for {len(missing)} of {len(labels)} classes, e.g. {missing[0]!r}. A "
            "line is a class, as the data call it, a tab, and its name; names alone are for classes that are numbers."
        )
    return {label: names[label] for label in labels}
