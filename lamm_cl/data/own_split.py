"""Splits made here, where the papers' split file is missing: deterministic, and marked `own`."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamm_cl.data.folders import class_folders, images_in
from lamm_cl.data.items import Item
from lamm_cl.data.split_file import Parts, check_names
from lamm_cl.errors import UsageError
from lamm_cl.seeds import seed_for

if TYPE_CHECKING:
    from lamm_cl.data.catalogue import Entry

TRAIN_SHARE, VAL_SHARE = 0.5, 0.2  # CoOp's shares for sets that come without a split
Classes = dict[str, list[str]]  # class name -> absolute image paths; labels count the classes in this order


def split_classes(name: str, classes: Classes) -> Parts:
    """Split each class into 50% train, 20% val, 30% test, at least one image each.

    The draw depends on the data set's name, the class's name and the class's file names: one class more or
    less does not change the others.

    Raises:
        UsageError: a class has fewer than three images, or a name that cannot be used.
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
    return {part: tuple(items) for part, items in parts.items()}


def own_split(entry: "Entry", folder: Path, images: str) -> Parts:
    """Make a split of a catalogue's data set from its images and annotations.

    Args:
        entry: the catalogue's entry.
        folder: the data set's folder.
        images: the folder of its images, absolute.

    Raises:
        UsageError: images or annotations are missing.
    """
    gather = {"folders": _folders, "pets": _pets, "cars": _cars, "flowers": _flowers, "scenes": _scenes}
    return split_classes(entry.name, gather[entry.own_split](entry, folder, Path(images)))


def _folders(entry: "Entry", folder: Path, images: Path) -> Classes:
    names = class_folders(images, entry.ignored)
    return {entry.renamed.get(n, n): [str(images / n / file) for file in images_in(images / n)] for n in names}


def _scenes(entry: "Entry", folder: Path, images: Path) -> Classes:
    """SUN397: `a/apartment_building/outdoor/x.jpg` is an "outdoor apartment_building", as CoOp names it."""
    classes: Classes = {}
    for letter in class_folders(images):
        for file in images_in(images / letter):
            name = " ".join(reversed(file.split("/")[:-1]))
            classes.setdefault(name, []).append(str(images / letter / file))
    return classes


def _pets(entry: "Entry", folder: Path, images: Path) -> Classes:
    """OxfordPets: the file name is the breed and a number; the breeds' alphabetical order is that of the labels."""
    classes: Classes = {}
    for file in images_in(images, beside=".mat"):  # the archive holds a few stray MATLAB files
        breed, _, number = Path(file).stem.rpartition("_")
        if not breed or not number.isdecimal():
            raise UsageError(f"{images / file}: expected a name such as Abyssinian_1.jpg, breed and number.")
        classes.setdefault(breed.lower(), []).append(str(images / file))
    return dict(sorted(classes.items()))


def _cars(entry: "Entry", folder: Path, images: Path) -> Classes:
    """StanfordCars: names from the devkit, with the year moved to the front as CoOp does."""
    meta = folder / "devkit" / "cars_meta.mat"
    names = [str(name[0]) for name in _matlab(entry, meta, "class_names")]
    classes: Classes = {}
    for name in names:
        model, _, year = name.rpartition(" ")
        classes[f"{year} {model}"] = []
    ordered = list(classes)
    lists = {"cars_train": "devkit/cars_train_annos.mat", "cars_test": "cars_test_annos_withlabels.mat"}
    for part, file in lists.items():
        for record in _matlab(entry, folder / file, "annotations"):
            try:
                label, picture = int(record["class"][0, 0]) - 1, str(record["fname"][0])
            except (LookupError, TypeError, ValueError) as error:
                raise UsageError(f"{folder / file}: holds no such list of cars: {error}. Fetch it again.") from None
            if not 0 <= label < len(ordered):
                raise UsageError(f"{folder / file}: class {label + 1} is not one of the {len(ordered)} in {meta}.")
            classes[ordered[label]].append(str(folder / part / Path(picture).name))
    return classes


def _flowers(entry: "Entry", folder: Path, images: Path) -> Classes:
    """Flowers102: labels from `imagelabels.mat`, names from `cat_to_name.json`, both counting from 1."""
    names_file, labels_file = folder / "cat_to_name.json", folder / "imagelabels.mat"
    if not names_file.is_file():
        raise _incomplete(entry, names_file)
    try:
        names = json.loads(names_file.read_bytes())
        labels = [int(label) for label in _matlab(entry, labels_file, "labels")]
        classes: Classes = {str(names[str(number)]): [] for number in sorted(set(labels))}
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(
            f"{names_file} and {labels_file.name}: are not the names and labels of the flowers: {error!r}. Fetch them "
            "again."
        ) from None
    for position, label in enumerate(labels, start=1):
        classes[str(names[str(label)])].append(str(images / f"image_{position:05d}.jpg"))
    return classes


def check_flower_names(path: Path) -> str:
    """Say what is wrong with the names of the flowers: one for each of the numbers 1 to 102."""
    try:
        names = json.loads(path.read_bytes())
        right = set(names) == {str(number) for number in range(1, 103)} and len(set(names.values())) == 102
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        return f"is not JSON of names by number: {error!r}"
    return "" if right else "does not name the flowers 1 to 102"


def _matlab(entry: "Entry", path: Path, key: str) -> Sequence[Any]:
    """Return the first row of an array in a MATLAB file."""
    from scipy.io import loadmat

    if not path.is_file():
        raise _incomplete(entry, path)
    try:
        row: Sequence[Any] = loadmat(str(path))[key][0]
    except Exception as error:
        # scipy raises whatever its parser stumbles over; every kind means a damaged file.
        raise UsageError(f"{path}: cannot be read as the MATLAB file it should be: {error}. Fetch it again.") from None
    return row


def _incomplete(entry: "Entry", path: Path) -> UsageError:
    return UsageError(
        f"data set {entry.name!r}: neither the papers' split {entry.split_file} nor {path}, from which a split could "
        f"be made, is there. `lamm-cl data prepare {entry.name}` fetches them or says where they are."
    )
