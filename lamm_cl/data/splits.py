"""How a data set of the catalogue is split: by the papers' file, by its makers' lists or folders, or else here."""

import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path, PureWindowsPath
from typing import Any, TypeVar

from lamm_cl.data.catalogue import Entry
from lamm_cl.data.folders import class_folders, images_in, lines_of, text_of
from lamm_cl.data.images import encodable, show
from lamm_cl.data.items import PARTS, Item, Parts
from lamm_cl.errors import UsageError
from lamm_cl.seeds import seed_for

AIRCRAFT_LISTS = ("variants.txt", *(f"images_variant_{part}.txt" for part in PARTS))
TRAIN_SHARE, VAL_SHARE = 0.5, 0.2  # CoOp's shares for sets that come without a split
T = TypeVar("T")
Classes = dict[str, list[str]]  # class name -> absolute image paths; labels count the classes in this order


def read_split(path: Path, image_folder: str) -> Parts:
    """Return the items of a split file, or raise; in its order, their paths made absolute under `image_folder`."""
    text = text_of(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise UsageError(f"{path}: is not JSON: {error}. Fetch the file again.") from None
    lists = content if isinstance(content, dict) else {}
    for part in PARTS:
        if not isinstance(lists.get(part), list):
            raise UsageError(f"{path}: must hold the lists train, val and test; {part!r} is {lists.get(part)!r:.80}.")
    parts = Parts(*(_items(path, part, lists[part], image_folder) for part in PARTS))
    class_names(path, parts.items)
    return parts


def class_names(source: object, items: Iterable[Item], repeated: bool = False) -> tuple[str, ...]:
    """Return one class name per label, or raise where labels and names do not belong together, or labels have a gap.

    `source` is what to blame in the error, usually the split file; with `repeated`, two labels may share a name.
    """
    names: dict[int, str] = {}
    for item in items:
        if (first := names.setdefault(item.label, item.class_name)) != item.class_name:
            raise UsageError(f"{source}: label {item.label} has two class names, {first!r} and {item.class_name!r}.")
    if not names:
        raise UsageError(f"{source}: lists no image.")
    if max(names) >= len(names):
        gap = next(label for label in range(len(names)) if label not in names)
        raise UsageError(
            f"{source}: labels must count 0, 1, 2, ... without a gap; the largest is {max(names)} and no image has "
            f"label {gap}."
        )
    ordered = tuple(names[label] for label in range(len(names)))
    if not repeated:
        check_names(source, ordered)
    return ordered


def check_names(source: object, names: Iterable[str]) -> None:
    """Refuse a class name that is empty, that cannot stand in a prompt or a table, or that two classes share.

    Names that differ only in case or between `_` and a space give the same prompt, so they count as one name.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not name.strip(" _"):
            raise UsageError(f"{source}: a class name is empty.")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{source}: the class name {show(name)} is not valid UTF-8. Rename it.") from None
        if any(ord(letter) < 32 or ord(letter) == 127 for letter in name):
            raise UsageError(f"{source}: the class name {name!r} holds a line break or control character. Rename it.")
        plain = " ".join(name.replace("_", " ").lower().split())
        if plain in seen:
            first = seen[plain]
            what = f"are called {name!r}" if first == name else f"give the same prompt: {first!r} and {name!r}"
            raise UsageError(f"{source}: two classes {what}. Give each class its own name.")
        seen[plain] = name


def _items(path: Path, part: str, entries: list[Any], image_folder: str) -> tuple[Item, ...]:
    prefix = image_folder + os.sep
    made: list[Item] = []
    for entry in entries:
        relative, label, name = entry if type(entry) is list and len(entry) == 3 else ("", -1, "")
        if type(label) is str and label.isdecimal() and len(label) < 9:
            label = int(label)  # the papers' code reads labels with int()
        wrong = ""
        if type(relative) is not str or type(label) is not int or label < 0 or type(name) is not str:
            wrong = "must be [path, label from 0, class name]"
        elif escapes(relative):
            wrong = f"points outside the data set: paths must be relative to {image_folder} and stay in it"
        if wrong:
            raise UsageError(f"{path}: {part}[{len(made)}] {wrong}, not {entry!r:.80}.")
        made.append(Item(prefix + relative, label, name))
    return tuple(made)


def escapes(relative: str) -> bool:
    """Whether a path is empty, absolute (on any system), climbs with `..`, or can be no path at all."""
    if not relative or relative[0] in "/\\" or "\0" in relative or not (relative.isascii() or encodable(relative)):
        return True
    if ":" in relative[:2] and PureWindowsPath(relative).drive:
        return True
    return ".." in relative and ".." in relative.replace("\\", "/").split("/")


def read_aircraft(folder: Path, images: str) -> Parts:
    """Return the parts of `images_variant_{train,val,test}.txt`, or raise; labels count the lines of `variants.txt`."""
    variants, *lists = (folder / name for name in AIRCRAFT_LISTS)
    labels = {name: label for label, name in enumerate(lines_of(variants))}
    parts = []
    for path in lists:
        items = []
        for number, line in enumerate(lines_of(path), start=1):
            image, _, name = line.partition(" ")
            if name not in labels or not image.isalnum():
                raise UsageError(
                    f"{path}, line {number}: expected an image number and one of the {len(labels)} names in "
                    f"variants.txt, found {line!r}."
                )
            items.append(Item(f"{images}/{image}.jpg", labels[name], name))
        parts.append(tuple(items))
    return Parts(*parts)


def split_classes(name: str, classes: Classes) -> Parts:
    """Split each class into 50% train, 20% val, 30% test, at least one image each.

    The draw depends on the data set's name, the class's name and the class's file names: one class more or less does
    not change the others. Refused are fewer than three images, and names that cannot be used.
    """
    check_names(f"data set {name!r}", classes)
    parts: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
    for label, (class_name, paths) in enumerate(classes.items()):
        if len(paths) < 3:
            raise UsageError(
                f"data set {name!r}: class {class_name!r} has {len(paths)} image(s); a split needs three at least, one "
                "each for train, val and test. Add images, or say which image belongs to which part."
            )
        n_val = max(1, round(len(paths) * VAL_SHARE))
        n_test = max(1, len(paths) - round(len(paths) * TRAIN_SHARE) - n_val)
        order = sorted(paths)
        random.Random(seed_for("split", name, class_name)).shuffle(order)
        cuts = {"test": order[:n_test], "val": order[n_test : n_test + n_val], "train": order[n_test + n_val :]}
        for part, chosen in cuts.items():
            parts[part] += [Item(path, label, class_name) for path in sorted(chosen)]
    return Parts(*map(tuple, parts.values()))


def own_split(entry: Entry, folder: Path, images: str) -> Parts:
    """Make a split of a catalogue's data set from its images and annotations, or raise where some are missing."""
    gather = {"folders": _folders, "pets": _pets, "cars": _cars, "flowers": _flowers, "scenes": _scenes}
    return split_classes(entry.name, gather[entry.own_split](entry, folder, Path(images)))


def _folders(entry: Entry, folder: Path, images: Path) -> Classes:
    names = class_folders(images, entry.ignored)
    return {entry.renamed.get(n, n): [str(images / n / file) for file in images_in(images / n)] for n in names}


def _scenes(entry: Entry, folder: Path, images: Path) -> Classes:
    """SUN397: `a/apartment_building/outdoor/x.jpg` is an "outdoor apartment_building", as CoOp names it."""
    classes: Classes = {}
    for letter in class_folders(images):
        for file in images_in(images / letter):
            name = " ".join(reversed(file.split("/")[:-1]))
            classes.setdefault(name, []).append(str(images / letter / file))
    return classes


def _pets(entry: Entry, folder: Path, images: Path) -> Classes:
    """OxfordPets: the file name is the breed and a number; the breeds' alphabetical order is that of the labels."""
    classes: Classes = {}
    for file in images_in(images, beside=".mat"):  # the archive holds a few stray MATLAB files
        breed, _, number = Path(file).stem.rpartition("_")
        if not breed or not number.isdecimal():
            raise UsageError(f"{images / file}: expected a name such as Abyssinian_1.jpg, breed and number.")
        classes.setdefault(breed.lower(), []).append(str(images / file))
    return dict(sorted(classes.items()))


def _cars(entry: Entry, folder: Path, images: Path) -> Classes:
    """StanfordCars: names from the devkit, with the year moved to the front as CoOp does."""
    meta = folder / "devkit" / "cars_meta.mat"
    models = _matlab(meta, "class_names", lambda name: str(name[0]).rpartition(" "))
    classes: Classes = {f"{year} {model}": [] for model, _, year in models}
    ordered = list(classes)
    lists = {"cars_train": "devkit/cars_train_annos.mat", "cars_test": "cars_test_annos_withlabels.mat"}
    for part, file in lists.items():
        records = _matlab(folder / file, "annotations", lambda one: (int(one["class"][0, 0]) - 1, str(one["fname"][0])))
        for label, picture in records:
            if not 0 <= label < len(ordered):
                raise UsageError(f"{folder / file}: class {label + 1} is not one of the {len(ordered)} in {meta}.")
            classes[ordered[label]].append(str(folder / part / Path(picture).name))
    return classes


def _flowers(entry: Entry, folder: Path, images: Path) -> Classes:
    """Flowers102: labels from `imagelabels.mat`, names from `cat_to_name.json`, both counting from 1."""
    path = folder / "cat_to_name.json"
    labels, text = _matlab(folder / "imagelabels.mat", "labels", int), text_of(path)
    try:
        names = json.loads(text)
        classes: Classes = {str(names[str(number)]): [] for number in sorted(set(labels))}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: does not name the flowers: {error!r}. Fetch it again.") from None
    for position, label in enumerate(labels, start=1):
        classes[str(names[str(label)])].append(str(images / f"image_{position:05d}.jpg"))
    return classes


def _matlab(path: Path, key: str, read: Callable[[Any], T]) -> list[T]:
    """Return what `read` makes of each cell in the first row of an array in a MATLAB file."""
    from scipy.io import loadmat

    try:
        return [read(cell) for cell in loadmat(str(path))[key][0]]
    except Exception as error:
        # scipy raises whatever its parser stumbles over; every kind means a damaged file.
        raise UsageError(f"{path}: cannot be read as the MATLAB file it should be: {error}. Fetch it again.") from None
