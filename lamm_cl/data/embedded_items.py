"""The items of the embedded data sets, whose splits are fixed."""

from lamm_cl.data.embedded import DIGIT_NAMES, digits
from lamm_cl.data.items import Item

DIGITS_TEST_FROM, DIGITS_VAL_FROM = 898, 718


def items(name: str) -> dict[str, tuple[Item, ...]]:
    """Return the train, val and test items of an embedded data set."""
    return {"digits": _digits_items, "glyphs": _glyphs_items}[name]()


def _digits_items() -> dict[str, tuple[Item, ...]]:
    """Return train (718), val (180) and test (899) items of scikit-learn's 1,797 handwritten digits.

    The order is numpy's permutation of seed 0: the first 718 train, the next 180 val, the rest test, which
    leaves every class at least 65 training and 13 validation images. Within a part, items stand by label,
    then by index.
    """
    import numpy as np

    _, target = digits()
    order = np.random.default_rng(0).permutation(len(target))
    cuts = {
        "train": order[:DIGITS_VAL_FROM],
        "val": order[DIGITS_VAL_FROM:DIGITS_TEST_FROM],
        "test": order[DIGITS_TEST_FROM:],
    }
    parts = {}
    for part, indices in cuts.items():
        pairs = sorted((int(target[i]), int(i)) for i in indices)
        parts[part] = tuple(Item(f"digits/{i:04d}", label, DIGIT_NAMES[label]) for label, i in pairs)
    return parts


def _glyphs_items() -> dict[str, tuple[Item, ...]]:
    from lamm_cl.data.glyphs import CLASS_NAMES, SIZES

    return {
        part: tuple(
            Item(f"glyphs/{part}/{label:02d}/{i:03d}", label, name)
            for label, name in enumerate(CLASS_NAMES)
            for i in range(count)
        )
        for part, count in SIZES.items()
    }
