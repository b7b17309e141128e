"""Whether a data set on disk is whole: every image is there, decodes, and stands in one part and one class only."""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from lamm_cl.data.folders import sizes_of
from lamm_cl.data.images import content_key, deep, show
from lamm_cl.data.items import PAPERS, PARTS, Dataset, Item
from lamm_cl.errors import UsageError

_NAMED = 3
_KNOWN = 64  # data sets whose notes are kept: every run of a worker reads its data set again
_known: dict[tuple[str, str], tuple[str, ...]] = {}


class Verification(NamedTuple):
    """What `verify` found."""

    name: str
    images: int  # different ones
    problems: tuple[str, ...]
    warnings: tuple[str, ...]  # oddities that do not stop a run
    fingerprint: str
    content: str | None  # fingerprint of all images' content; None when some cannot be read


def verify(dataset: Dataset, progress: Callable[[int, int], None] = lambda done, total: None) -> Verification:
    """Open every image once and compare counts; `progress` is called with (images done, images in all)."""
    unique = list({item.path: item for item in dataset.items}.values())
    keys: dict[str, str] = {}
    problems: list[str] = []
    deep_ones: list[str] = []

    def look(item: Item) -> str:
        try:
            dataset.open(item)
            if dataset.split != "embedded" and deep(item.path):
                deep_ones.append(item.path)
            keys[item.path] = dataset.content_key(item)
        except UsageError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for done, problem in enumerate(pool.map(look, unique), start=1):
            if problem:
                problems.append(problem)
            progress(done, len(unique))
    content = None if problems else content_digest((dataset.relative(item), keys[item.path]) for item in unique)
    warnings = _warnings(dataset, keys)
    if deep_ones:
        how = "clipped to 8, as the papers' code does" if dataset.split in PAPERS else "scaled to 8"
        count = f"{len(deep_ones):,} of {len(unique):,} images have more than 8 bits"
        warnings.append(f"{dataset.name}: {count} and are {how}, e.g. {show(min(deep_ones))}")
    return Verification(dataset.name, len(unique), tuple(problems), tuple(warnings), dataset.fingerprint, content)


def content_digest(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a hex digest of (relative path, content key) pairs, each of which counts once, in any order."""
    lines = sorted({f"{path}\x1f{key}" for path, key in pairs})
    return hashlib.sha256("\x1e".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _warnings(dataset: Dataset, keys: dict[str, str]) -> list[str]:
    found = list(dataset.notes)
    # val and test are one set in ImageNet (and where a user has no test part): that is no leak.
    parts = [part for part in PARTS if not (part == "val" and dataset.val == dataset.test)]
    where: dict[str, set[str]] = {}
    for part in parts:
        for item in getattr(dataset, part):
            where.setdefault(keys.get(item.path, item.path), set()).add(part)
    leaks = sum(len(places) > 1 for places in where.values())
    if leaks:
        found.append(f"{dataset.name}: {leaks} image(s) stand in more than one of train, val and test, by content")
    for part in parts:
        twice = sorted(path for path, n in Counter(item.path for item in getattr(dataset, part)).items() if n > 1)
        if twice:
            found.append(f"{dataset.name}: {part} lists {len(twice)} image(s) more than once, e.g. {show(twice[0])}")
    return found


def repeated_pictures(dataset: Dataset) -> tuple[str, ...]:
    """Say which pictures are repeated, by their files' content; one note for each kind, with the first three."""
    key = (dataset.folder, dataset.fingerprint)
    if key not in _known:
        if len(_known) >= _KNOWN:
            _known.clear()
        _known[key] = _repeated(dataset)
    return _known[key]


def _repeated(dataset: Dataset) -> tuple[str, ...]:
    train, across, classes = {item.path for item in dataset.train}, [], []
    for group in _same_content({item.path: item for item in dataset.items}):
        trained = [item for item in group if item.path in train]
        held_out = [item for item in group if item.path not in train]
        others = [item for item in group if item.label != group[0].label]
        across += [(trained[0], held_out[0])] if trained and held_out else []
        classes += [(group[0], others[0])] if others else []
    notes = []
    for what, pairs in (("in train and again in val or test", across), ("under two classes", classes)):
        shown = [f"{show(dataset.relative(a))} = {show(dataset.relative(b))}" for a, b in pairs[:_NAMED]]
        more = f" and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
        number = "1 picture is" if len(pairs) == 1 else f"{len(pairs)} pictures are"
        if pairs:
            notes.append(f"{dataset.name}: {number} {what}, by content: {', '.join(shown)}{more}")
    return tuple(notes)


def _same_content(items: dict[str, Item]) -> Iterator[list[Item]]:
    """Yield the items of each content that several files have, in their order; reads files only that share a size."""
    sizes = sizes_of(items)
    shared = Counter(sizes.values())
    found: dict[str, list[Item]] = {}
    for path, item in items.items():
        if sizes.get(path) and shared[sizes[path]] > 1:
            with contextlib.suppress(UsageError):  # whoever opens it says what is wrong with it
                found.setdefault(content_key(path), []).append(item)
    yield from (group for group in found.values() if len(group) > 1)
