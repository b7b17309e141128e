"""Whether a data set on disk is whole: every image is there, decodes, and stands in one part only."""

import hashlib
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lamm_cl.data.images import deep, show
from lamm_cl.data.items import PAPERS, PARTS, Dataset, Item
from lamm_cl.errors import UsageError


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Attributes:
        images: number of different images.
        problems: one line each; empty when all is well.
        warnings: oddities that do not stop a run.
        fingerprint: of the split (`Dataset.fingerprint`).
        content: of all images' content; None when some cannot be read.
    """

    name: str
    images: int
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    fingerprint: str
    content: str | None


def verify(dataset: Dataset, progress: Callable[[int, int], None] = lambda done, total: None) -> Verification:
    """Open every image once and compare counts.

    Args:
        dataset: the data set.
        progress: called with (images done, images in all).
    """
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


def content_fingerprint(dataset: Dataset, items: Iterable[Item]) -> str:
    """Return a hex digest of which of these images hold what, for records: it tells copies of a data set apart."""
    unique = {item.path: item for item in items}.values()
    return content_digest((dataset.relative(item), dataset.content_key(item)) for item in unique)


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
        paths = [item.path for item in getattr(dataset, part)]
        twice = sorted({path for path in paths if paths.count(path) > 1}) if len(set(paths)) < len(paths) else []
        if twice:
            found.append(f"{dataset.name}: {part} lists {len(twice)} image(s) more than once, e.g. {show(twice[0])}")
    return found
