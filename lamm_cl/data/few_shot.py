"""Few-shot selection, image by image as the papers' codes select.

The codes of CoOp, MaPLe and LAMM (Dassl's `generate_fewshot_dataset`) call `random.seed(seed)` once and then draw train
first, val after it. `random.Random(seed)` gives those numbers without touching Python's global generator.
"""

import random
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

from lamm_cl.data.images import some
from lamm_cl.data.items import Dataset, Item, counts
from lamm_cl.errors import UsageError

VAL_SHOTS = 4


class FewShot(NamedTuple("_Pair", [("train", tuple[Item, ...]), ("val", tuple[Item, ...])])):
    """The selected `(train, val)`; `notes` names the classes with fewer images than shots, taken whole."""

    notes: tuple[str, ...] = ()


def few_shot(dataset: Dataset, shots: int | None, seed: int) -> FewShot:
    """Select `shots` training and `min(shots, 4)` validation images per class, as the papers' codes do.

    Args:
        dataset: the whole data set. Select classes (base, new) afterwards, as the papers do: else the draw differs.
        shots: images per class, at least 1; None keeps all images.
        seed: the papers' seeds are 1, 2, 3.

    Raises:
        UsageError: `shots` or `seed` makes no sense, or a class has no training image.
    """
    if shots is not None and (isinstance(shots, bool) or not isinstance(shots, int) or shots < 1):
        raise UsageError(f"shots must be a whole number of at least 1 (or None for all images), not {shots!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UsageError(f"seed must be a whole number, not {seed!r}.")
    present = counts(dataset.train)
    missing = [name for label, name in enumerate(dataset.class_names) if label not in present]
    if missing:
        raise UsageError(
            f"data set {dataset.name!r} has no training image for {len(missing)} of its {len(dataset.class_names)} "
            f"classes: {some(missing, 5)}. Few-shot training needs one."
        )
    if shots is None:
        return FewShot(dataset.train, dataset.val)
    generator = random.Random(seed)
    train, val = sample(dataset.train, shots, generator), dataset.val
    if val != dataset.test:  # ImageNet: the papers keep the whole validation set as val and draw nothing for it
        val = sample(val, min(shots, VAL_SHOTS), generator)
    chosen = FewShot(train, val)
    chosen.notes = shortfalls(dataset, shots)
    return chosen


def sample(items: Iterable[Item], shots: int, generator: random.Random) -> tuple[Item, ...]:
    """Draw `shots` items per label, in order of appearance; a class with fewer is whole and draws nothing (Dassl)."""
    by_label: dict[int, list[Item]] = {}
    for label, run in groupby(items, key=itemgetter(1)):  # lists mostly stand by label, and runs are fast
        by_label.setdefault(label, []).extend(run)
    chosen: list[Item] = []
    for members in by_label.values():
        chosen += generator.sample(members, shots) if len(members) >= shots else members
    return tuple(chosen)


def shortfalls(dataset: Dataset, shots: int) -> tuple[str, ...]:
    """Return one note per part (train, val) in which classes have fewer images than asked for."""
    notes = []
    for part, wanted in (("train", shots), ("val", min(shots, VAL_SHOTS))):
        found = counts(getattr(dataset, part)).items()
        few = [f"{dataset.class_names[label]} ({n})" for label, n in found if n < wanted]
        if few:
            notes.append(f"{dataset.name}: fewer than {wanted} {part} images, taken whole: {some(few, 5)}")
    return tuple(notes)
