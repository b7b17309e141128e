"""Where each data set's files come from, and where they go in CoOp's layout: what `catalogue.yaml` says of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lamm_cl.data.catalogue import CATALOGUE, Entry
from lamm_cl.data.download.unpack import Reader, read_cifar, read_mnist
from lamm_cl.data.imagenet import check_class_names
from lamm_cl.data.splits import check_flower_names


@dataclass(frozen=True)
class Source:
    """One file to fetch."""

    url: str = ""  # or `drive:ID`; "" for an archive that must be fetched by hand and is unpacked where it lies
    name: str = ""  # what it is called in the data set's folder, where its address does not end so
    md5: str = ""  # "" where none is published
    moves: Mapping[str, str] = field(default_factory=dict)  # for an archive, what goes where (see `unpack.unpack`)
    by_hand: str = ""  # what a user can do when the address is dead
    beside: str = ""  # another place where the readers find it, from the data set's folder
    optional: str = ""  # what it is good for, where no reader of the papers' split needs it: it is not fetched

    @property
    def file(self) -> str:
        """What it is called in the data set's folder."""
        return self.name or self.url.rpartition("/")[2]

    @property
    def check(self) -> Callable[[Path], str]:
        """Says what is wrong with what the file holds, "" where nothing is."""
        return CHECKS.get(self.name, lambda path: "")

    @property
    def makes(self) -> tuple[str, ...]:
        """The paths, in the data set's folder, whose presence says that this file is not needed any more."""
        return tuple(self.moves.values()) if self.moves else (self.file,)


class ByHand(NamedTuple):
    """What no program may or can fetch: what to do, and which of it is unpacked when it lies in the folder."""

    text: str
    makes: tuple[str, ...]
    archives: tuple[Source, ...] = ()


class Arrays(NamedTuple):
    """Pictures that come as arrays of pixels, in one or more files; every picture becomes a file."""

    read: Reader
    files: tuple[Source, ...]
    makes: tuple[str, ...] = ("images/train", "images/test")


_READERS = {"cifar": read_cifar, "mnist": read_mnist}
CHECKS = {"classnames.txt": check_class_names, "cat_to_name.json": check_flower_names}


def _what_to_fetch(said: Mapping[str, Any]) -> Source | ByHand | Arrays:
    files = tuple(Source(**file) for file in said.get("archives", said.get("files", ())))
    if "text" in said:
        return ByHand(said["text"], said["makes"], files)
    return Arrays(_READERS[said["read"]], files) if "read" in said else Source(**said)


def _of(entry: Entry) -> tuple[Source | ByHand | Arrays, ...]:
    if entry.files or entry.reader != "subset":
        return tuple(map(_what_to_fetch, entry.files))
    text = (
        f"Get {entry.source}, and put train/ and test/ (or val/), each with one folder per class, into {{folder}}. "
        f"Where they lie elsewhere, a config can say `{{{{name: {entry.name}, folder: PATH}}}}`."
    )
    return (ByHand(text, ("train",)),)


SOURCES = {entry.name: _of(entry) for entry in CATALOGUE.values() if not entry.embedded}
