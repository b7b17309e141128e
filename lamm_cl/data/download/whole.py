"""Whether what lies in a data set's folder is whole, and how to get what is not."""

import os
from collections.abc import Iterator
from pathlib import Path

from lamm_cl.data.download.sources import SOURCES, ByHand
from lamm_cl.data.entry import Entry
from lamm_cl.data.images import show
from lamm_cl.data.items import Dataset
from lamm_cl.data.load import load_dataset
from lamm_cl.data.split_file import read_split
from lamm_cl.errors import UsageError

_AGAIN = "and run this command again: it fetches what is gone, or says how"


def look(entry: Entry, root: Path) -> tuple[list[str], list[str]]:
    """Read a data set's lists and ask for its images; opens none.

    Args:
        entry: the data set, whose files are all there by name.
        root: the folder of the data sets.

    Returns:
        What is damaged, one sentence each with its cure; and the data set's notes.
    """
    folder = root / entry.folder
    try:
        dataset = load_dataset(entry.name, root)
    except UsageError as error:
        return [f"{error} Remove {_unreadable(entry, folder)} {_AGAIN}."], []
    return list(_missing(entry, folder, dataset)), list(dataset.notes)


def _unreadable(entry: Entry, folder: Path) -> str:
    split = folder / entry.split_file
    try:
        if entry.split_file:
            read_split(split, str(folder))
    except UsageError:
        return str(split)
    return "the file or folder that this names"


def _missing(entry: Entry, folder: Path, dataset: Dataset) -> Iterator[str]:
    missing = dataset.missing(dataset.items)
    if not missing:
        return
    shown = ", ".join(map(show, missing[:3])) + (", ..." if len(missing) > 3 else "")
    count = f"{len(missing):,} of {len({item.path for item in dataset.items}):,} images are missing or empty"
    yield f"{count}: {shown}. {_cure(entry, folder, missing)}"


def _cure(entry: Entry, folder: Path, missing: list[str]) -> str:
    """Say how to get images anew: what is removed here is fetched again, by this command or by hand."""
    cures = []
    for source in SOURCES[entry.name]:
        places = [str(folder / made) for made in source.makes]
        hit = [place for place in places if any(path.startswith(place + os.sep) for path in missing)]
        if hit and isinstance(source, ByHand):
            cures.append(f"By hand: {source.text.format(folder=folder)}")
        elif hit:
            cures.append(f"Put them there by hand, or remove {', '.join(hit)} {_AGAIN}.")
    return " ".join(cures) or "Put them there by hand."
