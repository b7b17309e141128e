"""Data sets whose split is in their folders: `train/` and `test/`, each with one folder per class."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lamm_cl.data.folders import class_folders, images_in
from lamm_cl.data.items import Item
from lamm_cl.data.split_file import Parts
from lamm_cl.errors import UsageError

if TYPE_CHECKING:
    from lamm_cl.data.entry import Entry


def read_part_folders(entry: "Entry", images: str) -> Parts:
    """Return train and test as the folders have them; there is no val. Labels count the class folders by name.

    Raises:
        UsageError: a part is missing, or the two have different classes.
    """
    folders = {part: Path(images) / part for part in ("train", "test")}
    for folder in folders.values():
        if not folder.is_dir():
            raise UsageError(
                f"data set {entry.name!r}: {folder} does not exist: the images are missing. "
                f"`lamm-cl data prepare {entry.name}` fetches them or says how."
            )
    classes = {part: class_folders(folder) for part, folder in folders.items()}
    odd = sorted(set(classes["train"]) ^ set(classes["test"]))
    if odd:
        raise UsageError(
            f"{images}: train and test must have the same class folders; {len(odd)} stand in one only: "
            f"{', '.join(odd[:5])}."
        )
    parts: Parts = {"val": ()}
    for part, folder in folders.items():
        parts[part] = tuple(
            Item(f"{folder / name}{os.sep}{file}", label, entry.renamed.get(name, name))
            for label, name in enumerate(classes[part])
            for file in images_in(folder / name)
        )
    return parts
