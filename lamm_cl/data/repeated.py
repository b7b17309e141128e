"""The same picture twice in one's own data: in train and in test, or under two classes."""

import contextlib
from collections.abc import Iterator
from functools import lru_cache

from lamm_cl.data.folders import sizes_of
from lamm_cl.data.images import content_key, show
from lamm_cl.data.items import Dataset, Item
from lamm_cl.errors import UsageError

_NAMED = 3
_KNOWN = 64  # data sets whose notes are kept: every run of a worker reads its data set again


def repeated_pictures(dataset: Dataset) -> tuple[str, ...]:
    """Say which pictures are repeated, by their files' content; one note for each kind, with the first three.

    A file is asked for its size, and read only where another one is as large.
    """
    return _repeated(_ByFingerprint(dataset))


class _ByFingerprint:
    """A data set that equals another one of the same files: what a cache needs."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._key = (dataset.folder, dataset.fingerprint)

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByFingerprint) and other._key == self._key


@lru_cache(maxsize=_KNOWN)
def _repeated(one: _ByFingerprint) -> tuple[str, ...]:
    dataset = one.dataset
    train = {item.path for item in dataset.train}
    kinds: dict[str, list[tuple[Item, Item]]] = {"in train and again in val or test": [], "under two classes": []}
    across, classes = kinds.values()
    for group in _same_content({item.path: item for item in dataset.items}):
        trained = [item for item in group if item.path in train]
        held_out = [item for item in group if item.path not in train]
        others = [item for item in group if item.label != group[0].label]
        across += [(trained[0], held_out[0])] if trained and held_out else []
        classes += [(group[0], others[0])] if others else []
    notes = []
    for what, pairs in kinds.items():
        shown = [f"{show(dataset.relative(a))} = {show(dataset.relative(b))}" for a, b in pairs[:_NAMED]]
        more = f" and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
        number = "1 picture is" if len(pairs) == 1 else f"{len(pairs)} pictures are"
        if pairs:
            notes.append(f"{dataset.name}: {number} {what}, by content: {', '.join(shown)}{more}")
    return tuple(notes)


def _same_content(items: dict[str, Item]) -> Iterator[list[Item]]:
    """Yield the items of each content that several files have, in their order."""
    sizes = sizes_of(items)
    by_size: dict[int, list[Item]] = {}
    for path, item in items.items():
        if sizes.get(path):
            by_size.setdefault(sizes[path], []).append(item)
    found: dict[str, list[Item]] = {}
    for same in by_size.values():
        for item in same if len(same) > 1 else ():
            with contextlib.suppress(UsageError):  # whoever opens it says what is wrong with it
                found.setdefault(content_key(item.path), []).append(item)
    order = {path: place for place, path in enumerate(items)}
    groups = [group for group in found.values() if len(group) > 1]
    yield from sorted(groups, key=lambda group: order[group[0].path])
