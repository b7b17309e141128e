"""Pictures that need no file of the user's: made from a library's arrays, or drawn by code."""

import hashlib
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lamm_cl.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Rows = list[tuple[str, int, str]]  # virtual path, label, class name


def open_picture(path: str) -> "Image.Image":
    """Return the RGB picture of a virtual path such as `digits/0012`; a UsageError where there is none."""
    kind, _, rest = path.partition("/")
    if kind == "digits" and rest.isdecimal() and int(rest) < len(digits()[0]):
        from PIL import Image

        # The scans hold 17 grey levels, 0 to 16.
        return Image.fromarray((digits()[0][int(rest)] * 255 / 16).round().astype("uint8")).convert("RGB")
    part, label, index = (*rest.split("/", 2), "", "")[:3]
    if kind == "glyphs" and label.isdecimal() and index.isdecimal():
        from lamm_cl.data.glyphs import draw

        return draw(part, int(label), int(index))
    raise UsageError(f"no embedded picture {path!r}: they are called like 'digits/0012' and 'glyphs/train/07/003'.")


@lru_cache(maxsize=1 << 16)
def content_key(path: str) -> str:
    """Return a hex digest of the picture's pixels; it changes when a library ships another picture."""
    picture = open_picture(path)
    digest = hashlib.blake2b(f"{picture.mode}{picture.size}".encode(), digest_size=32)
    digest.update(picture.tobytes())
    return digest.hexdigest()


@cache
def digits() -> "tuple[NDArray[np.float64], NDArray[np.int64]]":
    """Return scikit-learn's images (1797, 8, 8) and labels, from its file where it lies: importing it takes seconds."""
    import numpy as np

    package = find_spec("sklearn")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            table = np.loadtxt(path, delimiter=",")
            return table[:, :64].reshape(-1, 8, 8), table[:, 64].astype(np.int64)
    from sklearn.datasets import load_digits

    data = load_digits()
    return data.images, data.target


def rows(name: str) -> dict[str, Rows]:
    """Return the train, val and test rows of an embedded data set, whose split is fixed.

    Those of scikit-learn's 1,797 digits stand in numpy's permutation of seed 0: the first 718 train, the next 180 val,
    the rest test, which leaves every class at least 65 training and 13 validation images. Within a part, rows stand by
    label, then by index.
    """
    if name == "glyphs":
        from lamm_cl.data.glyphs import CLASS_NAMES, SIZES

        classes = list(enumerate(CLASS_NAMES))
        return {
            part: [(f"glyphs/{part}/{label:02d}/{i:03d}", label, name) for label, name in classes for i in range(count)]
            for part, count in SIZES.items()
        }
    import numpy as np

    _, target = digits()
    order = np.random.default_rng(0).permutation(len(target))
    parts = dict(zip(("train", "val", "test"), np.split(order, (718, 898)), strict=True))
    pairs = {part: sorted((int(target[i]), int(i)) for i in found) for part, found in parts.items()}
    return {part: [(f"digits/{i:04d}", label, DIGIT_NAMES[label]) for label, i in both] for part, both in pairs.items()}
