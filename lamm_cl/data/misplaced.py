"""A data set's files that lie elsewhere than its reader looks: where they are, and how to put them in place."""

import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from lamm_cl.data.catalogue import Entry, called_so
from lamm_cl.data.folders import JUNK, SUFFIXES
from lamm_cl.data.splits import AIRCRAFT_LISTS, read_split
from lamm_cl.errors import UsageError

_DEEP, _WIDE, _MOST = 5, 64, 3000  # folders below each other, looked into in one folder, and in all
_FLAT = ("pets", "cars", "flowers")  # images lie directly in their folder


class Misplaced(NamedTuple):
    """Something that a reader wants at one place and that lies at another."""

    wanted: Path
    found: Path

    def __str__(self) -> str:
        return f"{self.wanted} is wanted and lies at {self.found}"

    def put(self) -> str:
        """Link it into place, or move it up where it lies too deep, or raise; returns what was done."""
        try:
            if self.found.is_relative_to(self.wanted):  # too deep, in a folder of the name that it should have
                outer = self.wanted.with_name(f"{self.wanted.name}.outer")
                self.wanted.rename(outer)
                (outer / self.found.relative_to(self.wanted)).rename(self.wanted)
                with suppress(OSError):  # of folders that hold more
                    os.removedirs((outer / self.found.relative_to(self.wanted)).parent)
                return f"moved {self.found} up to {self.wanted}"
            if self.wanted.is_dir() and not self.wanted.is_symlink():
                self.wanted.rmdir()
            self.wanted.parent.mkdir(parents=True, exist_ok=True)
            self.wanted.symlink_to(os.path.relpath(self.found, self.wanted.parent))
        except OSError as error:
            raise UsageError(f"{self}: cannot be put there: {error.strerror}. Move it by hand.") from None
        return f"linked {self.wanted} to {self.found}"


def find_misplaced(entry: Entry, root: Path) -> Iterator[Misplaced]:
    """Look for what a data set's reader wants and does not find: below its folder, under other spellings, in the root.

    A folder counts only where it holds images that the split names, or what such a folder must hold.
    """
    folder = root / entry.folder
    places = _places(entry, root)
    if not folder.exists():
        for place in places:
            if place != root and any(want.fits(place / want.path) for want in _wants(entry, place)):
                yield Misplaced(folder, place)
                return
    for want in _wants(entry, folder):
        if not want.fits(folder / want.path):
            candidates = (path for place in (folder, *places) for path in _below(place))
            if found := next((path for path in candidates if want.is_at(path, folder)), None):
                yield Misplaced(folder / want.path, found)


def elsewhere(entry: Entry, root: Path) -> str:
    """Say where that which a data set's reader does not find lies, and what to do; "" where it was not found."""
    what = "; ".join(map(str, find_misplaced(entry, root)))
    cure = f"`lamm-cl data prepare {entry.name} --root {shlex.quote(str(root))} --fix` puts it there."
    if root.name == entry.folder:
        cure = f"This root is its own folder: give the one above it, {shlex.quote(str(root.parent))}."
    return f"{what}. {cure}" if what else ""


class _Want(NamedTuple):
    """A path in the data set's folder; what proves another to be it, whatever it is called where any name will do."""

    path: str
    fits: Callable[[Path], bool] = Path.is_file
    any_name: bool = False

    def is_at(self, path: Path, folder: Path) -> bool:
        wanted = folder / self.path
        # Files of the cars' training and test images are called alike: there the folder's name decides.
        named = self.any_name or wanted.name.lower() in (path.name.lower(), path.parent.name.lower())
        return named and path != wanted and not wanted.is_relative_to(path) and self.fits(path)


def _wants(entry: Entry, folder: Path) -> list[_Want]:
    if entry.reader == "subset":
        return []
    if entry.reader == "imagenet":
        fits = _holds(r"n\d{8}|ILSVRC2012_val_\d{8}\.JPEG")
        return [_Want("classnames.txt"), _Want("images/train", fits), _Want("images/val", fits)]
    if entry.reader == "imagenet_variant":
        return [_Want(entry.images, _holds(r"n\d{8}|\d{1,4}"), any_name=True)]
    if entry.reader == "part_folders":
        fits = _holds(r"\d" if entry.renamed else r"[a-z_]+")
        return [_Want("images/train", fits), _Want("images/test", fits)]
    if entry.reader == "aircraft":
        return [*map(_Want, AIRCRAFT_LISTS), _Want(entry.images, _holds(r"\d{7}\.jpg"), any_name=True)]
    plain = _holds(rf"(?i).*({'|'.join(map(re.escape, SUFFIXES))})" if entry.own_split in _FLAT else r"[^.]+")
    samples = _samples(entry, folder)
    folders = [entry.images] if entry.images else ["cars_train", "cars_test"]
    any_name = bool(samples and entry.images)
    return [_Want(entry.split_file), *(_Want(name, samples.get(name, plain), any_name) for name in folders)]


def _holds(pattern: str) -> Callable[[Path], bool]:
    """Return whether some of what lies directly in a folder is called so."""
    return lambda folder: any(re.fullmatch(pattern, name) for name in _listed(folder))


def _samples(entry: Entry, folder: Path) -> dict[str, Callable[[Path], bool]]:
    """Return, for each image folder, whether a folder has at least half of some images that the split names in it."""
    try:
        parts = read_split(folder / entry.split_file, "")
    except UsageError:
        return {}
    named: dict[str, list[str]] = {}
    for item in parts.items:
        path = item.path.removeprefix(os.sep)
        first, _, rest = (entry.images, "", path) if entry.images else path.partition("/")
        named.setdefault(first, []).append(rest)
    return {name: partial(_has_half, paths[:: max(1, len(paths) // 16)]) for name, paths in named.items()}


def _has_half(paths: list[str], folder: Path) -> bool:
    return 2 * sum((folder / path).exists() for path in paths) >= len(paths)


def _places(entry: Entry, root: Path) -> list[Path]:
    """Return folders that may be the data set's: those of other spellings in the root, and the root itself."""
    found = [root / name for name in _listed(root) if name != entry.folder and called_so(entry, name)]
    telling = [name for name in (entry.split_file, entry.images or "cars_train") if name not in ("", "images", "jpg")]
    itself = called_so(entry, root.name) or any((root / name).exists() for name in telling)
    return [place for place in found if place.is_dir()] + [root] * itself


def _below(top: Path) -> Iterator[Path]:
    """Yield what lies below a folder, the nearest first; folders of very many are not searched."""
    found = [(top, 1)]
    for folder, depth in islice(found, _MOST):  # which grows meanwhile
        folders = 0
        for path in (folder / name for name in _listed(folder)):
            if path.suffix.lower() in SUFFIXES:
                continue
            yield path
            if depth < _DEEP and folders < _WIDE and path.is_dir() and not path.is_symlink():
                found.append((path, depth + 1))
                folders += 1


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if name[0] != "." and name.lower() not in JUNK)  # noqa: PTH208
    except OSError:
        return []
