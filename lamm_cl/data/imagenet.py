"""ImageNet, whose validation images come without class folders, and its variants, with CoOp's `classnames.txt`."""

import csv
import gc
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Mapping
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from lamm_cl.data.folders import class_folders, images_in, text_of
from lamm_cl.data.images import show, some
from lamm_cl.data.items import Item, Parts
from lamm_cl.errors import UsageError, refusal

# Of CoOp's list: its lines with single spaces, joined by line feeds.
CLASS_NAMES_SHA256 = "51b5b1d8b800502030c5556eb206abaafdd682ef363ff7a7077591ea3c9befa5"
ClassNames = dict[str, str]  # WordNet id -> class name, in the order of the labels
DEVKIT = "ILSVRC2012_devkit_t12"
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
KAGGLE = "LOC_val_solution.csv"
_FLAT = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


def read_imagenet(folder: Path, images: str) -> tuple[Parts, tuple[str, ...]]:
    """Return ImageNet's parts and the WordNet id of each label: train, and val as both val and test, as CoOp has it.

    CoOp draws its shots from folders in the order of the file system, so they differ between machines. Here files are
    sorted, so they do not.
    """
    names = read_class_names(folder)
    train_folder, val_folder = Path(images) / "train", Path(images) / "val"
    if flat_images(val_folder):
        raise UsageError(what_to_do(folder))
    ids = {wnid: wnid for wnid in class_folders(val_folder)}
    train: tuple[Item, ...] = ()
    if train_folder.is_dir():
        if odd := sorted(ids.keys() ^ class_folders(train_folder)):
            raise UsageError(f"{images}: {len(odd)} class folders stand in train or in val only: {some(odd, 5)}.")
        train = _items(train_folder, ids, names)
    val = _items(val_folder, ids, names)
    return Parts(train, val, val), tuple(ids)


def read_variant(folder: Path, images: str) -> tuple[Parts, tuple[str, ...]]:
    """Return a variant's parts (test only) and the WordNet id of each label.

    ImageNetV2 names its folders by ImageNet's label, 0 to 999; one release names them by WordNet id, as the others do.
    """
    names = read_class_names(folder)
    found = class_folders(Path(images))
    if all(name.isdecimal() for name in found):
        ids = list(names)
        if max(map(int, found)) >= len(ids):
            raise UsageError(f"{images}: folder {max(found, key=int)} has no class: there are {len(ids)} class names.")
        wnids = {name: ids[int(name)] for name in sorted(found, key=int)}
    else:
        wnids = {name: name for name in found}
    return Parts((), (), _items(Path(images), wnids, names)), tuple(wnids.values())


def read_class_names(folder: Path, imagenet: Path | None = None) -> ClassNames:
    """Read `classnames.txt` from the data set's folder, or else from ImageNet's (default: `imagenet/` beside it)."""
    places = (folder / "classnames.txt", (imagenet or folder.parent / "imagenet") / "classnames.txt")
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        how = "`lamm-cl data prepare imagenet` fetches it; the variants read that copy too."
        raise UsageError(f"{places[0]} is missing. {how}")
    return parse_class_names(path)


def parse_class_names(path: Path) -> ClassNames:
    """Read a file of lines such as `n01440764 tench`; a UsageError names a line that is not a WordNet id and a name."""
    names: ClassNames = {}
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        wnid, _, name = line.strip().partition(" ")
        if not wnid:
            continue
        if not wnid.startswith("n") or not wnid[1:].isdecimal() or not name or wnid in names:
            raise UsageError(f"{path}, line {number}: expected a new WordNet id and a class name, found {line!r}.")
        names[wnid] = name
    return names


def check_class_names(path: Path) -> str:
    """Say what is wrong with a `classnames.txt`, "" where it is CoOp's."""
    if error := refusal(parse_class_names, path):
        return str(error)
    names = parse_class_names(path)
    text = "\n".join(f"{wnid} {name}" for wnid, name in names.items())
    same = hashlib.sha256(text.encode()).hexdigest() == CLASS_NAMES_SHA256
    return "" if same else f"its {len(names)} names are not CoOp's 1000"


def _items(folder: Path, ids: Mapping[str, str], names: ClassNames) -> tuple[Item, ...]:
    """Return the items of class folders, in the order of `ids`, which says the WordNet id of each."""
    items: list[Item] = []
    make = partial(tuple.__new__, Item)  # what Item._make does, without a Python call for each of a million
    collecting = gc.isenabled()
    gc.disable()  # nothing here forms a cycle, and looking for some among a million new items doubles the time
    try:
        for label, (directory, wnid) in enumerate(ids.items()):
            if wnid not in names:
                raise UsageError(f"{folder / directory}: {directory!r} is no class of classnames.txt.")
            paths = map(f"{folder / directory}{os.sep}".__add__, images_in(folder / directory))
            items.extend(map(make, zip(paths, repeat(label), repeat(names[wnid]))))
    finally:
        if collecting:
            gc.enable()
    return tuple(items)


def flat_images(folder: Path) -> list[str]:
    """Return the names of the validation images that lie in no class folder."""
    return sorted(path.name for path in folder.iterdir() if _FLAT.fullmatch(path.name)) if folder.is_dir() else []


def what_to_do(folder: Path) -> str:
    """Say what flat validation images are and how to sort them."""
    labels = str(refusal(_where, folder) or f"the labels are in {_where(folder)}")
    return (
        f"{show(folder / 'images' / 'val')} holds ImageNet's validation images as the archive has them, not in "
        f"class folders: `lamm-cl data prepare imagenet --root {folder.parent} --fix` sorts them "
        f"({labels.rstrip('.')})."
    )


def sort_images(folder: Path) -> int:
    """Move each flat validation image into its class's folder, or none without labels; returns how many.

    It may be repeated after a kill.
    """
    val = folder / "images" / "val"
    names, wnids = flat_images(val), labels_of(folder)
    if names and int(names[-1][15:23]) > len(wnids):
        raise UsageError(f"{_where(folder)} has {len(wnids):,} labels, none for {names[-1]}.")
    for name in names:
        place = val / wnids[int(name[15:23]) - 1]
        place.mkdir(exist_ok=True)
        (val / name).rename(place / name)
    return len(names)


def labels_of(folder: Path) -> list[str]:
    """Return the WordNet ids of the validation images 1, 2, ..., from the devkit or Kaggle's list, or raise."""
    path = _where(folder)
    try:
        if path.name == KAGGLE:
            with path.open(encoding="utf-8", newline="") as file:
                found = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
            wnids = [found[name] for name in sorted(found)]
        else:
            from scipy.io import loadmat

            truth, meta = (
                (path / "data" / name).read_bytes() if path.is_dir() else member_of(path, f"{DEVKIT}/data/{name}")
                for name in (TRUTH, "meta.mat")
            )
            synsets: Any = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
            wnid_of = {int(synset["ILSVRC2012_ID"]): str(synset["WNID"]) for synset in synsets}
            wnids = [wnid_of[int(line)] for line in truth.split()]
    except Exception as error:
        # scipy raises whatever its parser stumbles over; every kind means a damaged file.
        raise UsageError(f"{path}: does not hold the labels that it should: {error!r}. Fetch it again.") from None
    if not all(re.fullmatch(r"n\d{8}", wnid) for wnid in wnids):
        raise UsageError(f"{path}: does not hold WordNet ids. Fetch it again.")
    return wnids


def _where(folder: Path) -> Path:
    for place in (folder / "images", folder, folder / "images" / "val"):
        for name in (f"{DEVKIT}.tar.gz", DEVKIT, KAGGLE):
            if (place / name).exists():
                return place / name
    raise UsageError(
        f"the labels come with the devkit, which is not there: put {DEVKIT}.tar.gz from https://image-net.org "
        f"(registration), or Kaggle's {KAGGLE}, into {folder / 'images'}."
    )


def member_of(archive: Path, name: str) -> bytes:
    """Return what a file in a tar archive holds, or raise a KeyError."""
    with tarfile.open(archive, "r:*") as tar:
        if file := tar.extractfile(name):
            return file.read()
    raise KeyError(name)
