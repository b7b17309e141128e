"""ImageNet and its four variants, read from their folders and CoOp's `classnames.txt`."""

import gc
import hashlib
import os
from functools import partial
from itertools import repeat
from pathlib import Path

from lamm_cl.data.folders import class_folders, images_in
from lamm_cl.data.imagenet_val import flat_images, what_to_do
from lamm_cl.data.items import Item
from lamm_cl.data.split_file import Parts
from lamm_cl.errors import UsageError

# Of CoOp's list: its lines with single spaces, joined by line feeds.
CLASS_NAMES_SHA256 = "51b5b1d8b800502030c5556eb206abaafdd682ef363ff7a7077591ea3c9befa5"
ClassNames = dict[str, str]  # WordNet id -> class name, in the order of the labels


def read_imagenet(folder: Path, images: str) -> tuple[Parts, tuple[str, ...]]:
    """Return ImageNet's parts and the WordNet id of each label: train, and val as both val and test, as CoOp has it.

    CoOp lists a class folder in the order of the file system and draws its shots from that, so its ImageNet
    shots differ between machines. Here files are sorted, so they do not.
    """
    names = read_class_names(folder)
    train_folder, val_folder = Path(images) / "train", Path(images) / "val"
    train: tuple[Item, ...] = ()
    _require(val_folder)
    if flat_images(val_folder):
        raise UsageError(what_to_do(folder))
    ids = class_folders(val_folder)
    if train_folder.is_dir():
        train_ids = class_folders(train_folder)
        if train_ids != ids:
            odd = sorted(set(train_ids) ^ set(ids))
            raise UsageError(
                f"{images}: train and val must have the same class folders; {len(odd)} stand in one only: "
                f"{', '.join(odd[:5])}."
            )
        train = _items(train_folder, [(wnid, wnid) for wnid in ids], names)
    val = _items(val_folder, [(wnid, wnid) for wnid in ids], names)
    return {"train": train, "val": val, "test": val}, tuple(ids)


def read_variant(folder: Path, images: str) -> tuple[Parts, tuple[str, ...]]:
    """Return a variant's parts (test only) and the WordNet id of each label.

    ImageNetV2 names its folders by ImageNet's label, 0 to 999; one release names them by WordNet id, as the
    others do.
    """
    names = read_class_names(folder)
    _require(Path(images))
    found = class_folders(Path(images))
    if all(name.isdecimal() for name in found):
        ids = list(names)
        if max(map(int, found)) >= len(ids):
            raise UsageError(f"{images}: folder {max(found, key=int)} has no class: there are {len(ids)} class names.")
        pairs = sorted(((name, ids[int(name)]) for name in found), key=lambda pair: int(pair[0]))
    else:
        pairs = [(name, name) for name in found]
    items = _items(Path(images), pairs, names)
    return {"train": (), "val": (), "test": items}, tuple(wnid for _, wnid in pairs)


def read_class_names(folder: Path, imagenet: Path | None = None) -> ClassNames:
    """Read `classnames.txt` from the data set's folder, or else from ImageNet's (default: `imagenet/` beside it).

    Raises:
        UsageError: there is none, or a line is not a WordNet id and a name.
    """
    places = (folder / "classnames.txt", (imagenet or folder.parent / "imagenet") / "classnames.txt")
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise UsageError(
            f"{places[0]} is missing. `lamm-cl data prepare imagenet` fetches it; the variants read that copy too."
        )
    return parse_class_names(path)


def parse_class_names(path: Path) -> ClassNames:
    """Read a file of lines such as `n01440764 tench`.

    Raises:
        UsageError: a line is not a WordNet id and a name.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: is not valid UTF-8 (byte {error.start}). Fetch the file again.") from None
    names: ClassNames = {}
    for number, line in enumerate(lines, start=1):
        wnid, _, name = line.strip().partition(" ")
        if not line.strip():
            continue
        if not wnid.startswith("n") or not wnid[1:].isdecimal() or not name or wnid in names:
            raise UsageError(f"{path}, line {number}: expected a new WordNet id and a class name, found {line!r}.")
        names[wnid] = name
    return names


def check_class_names(path: Path) -> str:
    """Say what is wrong with a `classnames.txt`, "" where it is CoOp's."""
    try:
        names = parse_class_names(path)
    except UsageError as error:
        return str(error)
    text = "\n".join(f"{wnid} {name}" for wnid, name in names.items())
    same = hashlib.sha256(text.encode()).hexdigest() == CLASS_NAMES_SHA256
    return "" if same else f"its {len(names)} names are not CoOp's 1000"


def _require(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(
            f"{folder} does not exist: the images are missing. `lamm-cl data prepare` says how to get them."
        )


def _items(folder: Path, pairs: list[tuple[str, str]], names: ClassNames) -> tuple[Item, ...]:
    unknown = [directory for directory, wnid in pairs if wnid not in names]
    if unknown:
        raise UsageError(f"{folder / unknown[0]}: {unknown[0]!r} is no class of classnames.txt.")
    items: list[Item] = []
    make = partial(tuple.__new__, Item)  # what Item._make does, without a Python call for each of a million
    collecting = gc.isenabled()
    gc.disable()  # nothing here forms a cycle, and looking for some among a million new items doubles the time
    try:
        for label, (directory, wnid) in enumerate(pairs):
            prefix = f"{folder / directory}{os.sep}"
            paths = map(prefix.__add__, images_in(folder / directory))
            items.extend(map(make, zip(paths, repeat(label), repeat(names[wnid]))))
    finally:
        if collecting:
            gc.enable()
    return tuple(items)
