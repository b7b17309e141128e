"""Whether a data set on disk is whole: every image is there, decodes, and stands in one part and one class only."""

import contextlib
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from lamm_cl.data.folders import sizes_of
from lamm_cl.data.images import content_key, deep, show, some
from lamm_cl.data.items import PAPERS, PARTS, Dataset, Item
from lamm_cl.errors import UsageError

_known: dict[tuple[str, str], tuple[str, ...]] = {}  # every run of a worker reads its data set again


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
    warnings = list(dict.fromkeys((*dataset.notes, *_repeated(dataset, keys))))
    if deep_ones:
        how = "clipped to 8, as the papers' code does" if dataset.split in PAPERS else "scaled to 8"
        count = f"{len(deep_ones):,} of {len(unique):,} images have more than 8 bits"
        warnings.append(f"{dataset.name}: {count} and are {how}, e.g. {show(min(deep_ones))}")
    return Verification(dataset.name, len(unique), tuple(problems), tuple(warnings), dataset.fingerprint, content)


def content_digest(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a hex digest of (relative path, content key) pairs, each of which counts once, in any order."""
    lines = sorted({f"{path}\x1f{key}" for path, key in pairs})
    return hashlib.sha256("\x1e".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def repeated_pictures(dataset: Dataset) -> tuple[str, ...]:
    """Say which pictures are repeated, by content; files are read only where another one has their size."""
    known = (dataset.folder, dataset.fingerprint)
    if known not in _known:
        sizes = sizes_of(dict.fromkeys(item.path for item in dataset.items))
        shared = Counter(sizes.values())
        keys: dict[str, str] = {}
        for path, size in sizes.items():
            if size and shared[size] > 1:
                with contextlib.suppress(UsageError):  # whoever opens it says what is wrong with it
                    keys[path] = content_key(path)
        _known[known] = _repeated(dataset, keys)
    return _known[known]


def _repeated(dataset: Dataset, keys: Mapping[str, str]) -> tuple[str, ...]:
    """Return one note for each kind of repetition; `keys` tell the content of those files that may be repeated."""
    groups: dict[str, list[tuple[str, Item]]] = {}
    notes = []
    # val and test are one set in ImageNet (and where a user has no test part): that is no leak.
    for part in PARTS if dataset.val != dataset.test else ("train", "test"):
        items: tuple[Item, ...] = getattr(dataset, part)
        for item in items:
            groups.setdefault(keys.get(item.path, item.path), []).append((part, item))
        if twice := sorted(path for path, n in Counter(item.path for item in items).items() if n > 1):
            notes.append(f"{dataset.name}: {part} lists {len(twice)} image(s) more than once, e.g. {show(twice[0])}")
    across, classes = [], []
    for (place, first), *others in groups.values():
        across += [(first, other) for part, other in others if part != place][:1]
        classes += [(first, other) for _, other in others if other.label != first.label][:1]
    for what, pairs in (("in more than one of train, val and test", across), ("under two classes", classes)):
        shown = [f"{show(dataset.relative(a))} = {show(dataset.relative(b))}" for a, b in pairs]
        number = "1 picture is" if len(pairs) == 1 else f"{len(pairs)} pictures are"
        if pairs:
            notes.append(f"{dataset.name}: {number} {what}, by content: {some(shown, 3)}")
    return tuple(notes)
