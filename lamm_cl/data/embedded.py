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


def class_names(name: str) -> tuple[str, ...]:
    """Return the class names of an embedded data set."""
    from lamm_cl.data.glyphs import CLASS_NAMES

    return {"digits": DIGIT_NAMES, "glyphs": CLASS_NAMES}[name]


def open_picture(path: str) -> "Image.Image":
    """Return the RGB picture of a virtual path such as `digits/0012`.

    Raises:
        UsageError: there is no such picture.
    """
    kind, _, rest = path.partition("/")
    if kind == "digits":
        return _digit(rest)
    if kind == "glyphs":
        return _glyph(path, rest)
    raise UsageError(f"no embedded picture {path!r}: virtual paths look like 'digits/0012'.")


@lru_cache(maxsize=1 << 16)
def content_key(path: str) -> str:
    """Return a hex digest of the picture's pixels; it changes when a library ships another picture."""
    picture = open_picture(path)
    digest = hashlib.blake2b(f"{picture.mode}{picture.size}".encode(), digest_size=32)
    digest.update(picture.tobytes())
    return digest.hexdigest()


def _glyph(path: str, rest: str) -> "Image.Image":
    from lamm_cl.data.glyphs import SIZES, draw

    part, _, numbers = rest.partition("/")
    label, _, index = numbers.partition("/")
    for known in SIZES:
        if part == known and label.isdecimal() and index.isdecimal():
            return draw(known, int(label), int(index))
    raise UsageError(f"no embedded picture {path!r}: glyphs are called like 'glyphs/train/07/003'.")


def _digit(index: str) -> "Image.Image":
    from PIL import Image

    images, _ = digits()
    if not index.isdecimal() or int(index) >= len(images):
        raise UsageError(f"no embedded picture 'digits/{index}': the last one is 'digits/{len(images) - 1:04d}'.")
    # The scans hold 17 grey levels, 0 to 16.
    grey = (images[int(index)] * 255 / 16).round().astype("uint8")
    return Image.fromarray(grey).convert("RGB")


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
