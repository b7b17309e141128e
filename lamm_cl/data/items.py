"""What a data set is: three lists of items, the class names, and how an item becomes a picture."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import TYPE_CHECKING, Literal, NamedTuple

from lamm_cl.data import embedded, images

if TYPE_CHECKING:
    from PIL import Image

SplitKind = Literal["official", "setting-a", "setting-b", "other", "own", "embedded"]
PAPERS: frozenset[SplitKind] = frozenset({"official", "setting-a", "setting-b"})
PARTS: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")


class Item(NamedTuple):
    """One labelled image. `path` is an absolute file path, or a virtual one such as `digits/0012`.

    A tuple, because ImageNet has 1.3 million and a dataclass takes three times as long to make.
    """

    path: str
    label: int
    class_name: str


class Parts(NamedTuple):
    """The items of a data set's three parts, as `PARTS` names them."""

    train: tuple[Item, ...]
    val: tuple[Item, ...]
    test: tuple[Item, ...]

    @property
    def items(self) -> tuple[Item, ...]:
        """All of them, in that order."""
        return self.train + self.val + self.test


@dataclass(frozen=True)
class ViewOptions:
    """How the training views of a data set are drawn (see `lamm_cl.data.views`)."""

    scale: tuple[float, float] = (0.08, 1.0)  # smallest and largest share of the picture's area that a crop covers
    flip: bool = True  # half of the views are mirrored; False where a mirrored picture is another thing (digits)


@dataclass(frozen=True)
class Dataset:
    """A data set split in three, its images untouched on disk until `open` is called.

    Its `split` is "official" (the papers'), "setting-a" and "setting-b" (where the papers of these settings split one
    data set in two ways), "other" (of the papers' sizes under the papers' name, and another one), "own" (made here, or
    of other data), "embedded" (a set that ships with the package and has one fixed split). Only numbers from the
    papers' splits (`PAPERS`) are comparable with the papers'.
    """

    name: str  # the catalogue's, or the user's
    class_names: tuple[str, ...]  # by label, spelled as CoOp spells them (prompts turn their underscores into spaces)
    train: tuple[Item, ...]  # as the others, in the order of the split file
    val: tuple[Item, ...]
    test: tuple[Item, ...]
    template: str = "a photo of a {}."  # the papers' prompt, with `{}` for the class name
    split: SplitKind = "own"
    synthetic: bool = False  # drawn by code
    folder: str = ""  # that relative item paths start from; "" for embedded sets
    notes: tuple[str, ...] = ()  # what a reader of the results must know
    views: ViewOptions = ViewOptions()
    class_ids: tuple[str, ...] = ()  # WordNet ids by label of ImageNet and its variants, whose names are not unique
    listed: bool = False  # the items were found by listing folders, so that their files were there
    numbered: bool = False  # the class names are numbers that nobody has called names: no prompt can be made of them

    @property
    def items(self) -> tuple[Item, ...]:
        """All items: train, val, test."""
        return self.train + self.val + self.test

    def open(self, item: Item) -> "Image.Image":
        """Return the item's picture as RGB, as the papers' code reads theirs; a UsageError names a file that is bad."""
        if self.split == "embedded":
            return embedded.open_picture(item.path)
        return images.open_rgb(item.path, clip=self.split in PAPERS)

    def content_key(self, item: Item) -> str:
        """Return a hex digest of the picture's content, whatever the file is called and wherever it lies."""
        return embedded.content_key(item.path) if self.split == "embedded" else images.content_key(item.path)

    def missing(self, items: Iterable[Item]) -> list[str]:
        """Return the paths, each once, of those items whose file is not there or empty; opens none."""
        from lamm_cl.data.folders import missing_files

        return [] if self.split == "embedded" else missing_files(dict.fromkeys(item.path for item in items))

    def relative(self, item: Item) -> str:
        """Return the item's path from the data set's folder, with forward slashes."""
        return item.path.removeprefix(self._prefix).replace("\\", "/")

    @property
    def _prefix(self) -> str:
        return self.folder + os.sep if self.folder else ""

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of the class names and of which images are where; touches no image."""
        digest, prefix = hashlib.sha256(json.dumps([self.name, self.class_names]).encode()), self._prefix
        for part in PARTS:
            items: Sequence[Item] = getattr(self, part)
            digest.update(f"\x1e{part}\x1e{len(items)}".encode())
            lines = [f"{path.removeprefix(prefix)}\x1f{label}" for path, label, _ in items]
            digest.update("\x1e".join(lines).replace("\\", "/").encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def counts(items: Iterable[Item]) -> dict[int, int]:
    """Return the number of items per label, in the order in which the labels first appear."""
    return Counter(map(itemgetter(1), items))  # by position: a million items in 0.1 s
