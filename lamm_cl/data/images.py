"""Opening image files, those of the papers as the papers' code does, with errors that name the file."""

import hashlib
import os
import stat
import time
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lamm_cl.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

_TICK_NS = 50_000_000


def open_rgb(path: str, clip: bool = False) -> "Image.Image":
    """Return the picture as RGB: `Image.open(path).convert("RGB")`, as the papers' code reads it.

    EXIF rotation is not applied; CMYK, palette and grey pictures are converted by Pillow. Pictures of more than 8 bits,
    which Pillow would clip to white or black, are scaled by the range of their type (see `to_bytes`); with `clip` they
    are left to Pillow all the same, as the papers' numbers on their data sets were made.

    Raises:
        UsageError: the file is missing, empty, truncated, too large to be a photograph, or no image.
    """
    from PIL import Image, UnidentifiedImageError

    _quiet()
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - a Path per image is slow; a pipe would never open
            raise UsageError(f"image {show(path)} is not a file.")
        with Image.open(path) as picture:
            return (to_bytes(picture) if is_deep(picture) and not clip else picture).convert("RGB")
    except FileNotFoundError:
        raise UsageError(f"image {show(path)} does not exist. Fetch it again.") from None
    except UnidentifiedImageError:
        reason = "is not an image that Pillow can read" if Path(path).stat().st_size else "is empty (0 bytes)"
        raise UsageError(f"image {show(path)} {reason}. Fetch the file again.") from None
    except Image.DecompressionBombError as error:
        raise UsageError(f"image {show(path)} is too large: {error}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, UsageError):
            raise
        why = getattr(error, "strerror", None) or error
        raise UsageError(f"image {show(path)} cannot be decoded: {why}. Fetch the file again.") from None


def is_deep(picture: "Image.Image") -> bool:
    """Whether a picture has more than 8 bits a channel: 16 bits, 32 bits or floats."""
    return picture.mode == "F" or picture.mode.startswith("I")


def deep(path: str) -> bool:
    """Whether the file is a picture of more than 8 bits a channel; reads its header alone."""
    from PIL import Image

    _quiet()
    try:
        with Image.open(path) as picture:
            return is_deep(picture)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        return False


def to_bytes(picture: "Image.Image") -> "Image.Image":
    """Return a deep picture in 8 bits, scaled by the range of its type.

    That is 65535 for 16 bits. Makers of 32 bits and floats agree on no range: the smallest of 1 (floats), 255, 65535
    and 2^31 that holds the picture's largest value is taken.
    """
    import numpy as np
    from PIL import Image

    values = np.asarray(picture, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds values that are no numbers")
    # Pillow gives 16 bits of these formats in 32.
    of_16_bits = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))
    tops = (65535.0,) if of_16_bits else (1.0,) * (picture.mode == "F") + (255.0, 65535.0, 2.0**31)
    top = next((top for top in tops if values.max() <= top), tops[-1])
    return Image.fromarray((values.clip(0, top) * (255 / top)).round().astype(np.uint8))


def _quiet() -> None:
    """Silence Pillow's remarks on sound pictures: large ones, and oddities that do not change the pixels.

    Set once for the process and again where someone has reset the filters: `warnings.catch_warnings` around each
    picture would not be safe with threads.
    """
    from PIL import Image

    # Pillow warns above 89 megapixels and raises above twice that; a large photograph is one still.
    if ("ignore", None, Image.DecompressionBombWarning, None, 0) not in warnings.filters:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        # Broken EXIF blocks, transparency given as bytes.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def content_key(path: str) -> str:
    """Return a hex digest of the file's bytes, or raise; files are read once per process while they stay unchanged."""
    try:
        state = os.stat(path)  # noqa: PTH116
        # Copying with times (`cp -p`, `rsync -t`) gives another content the same size and time of change; the number of
        # the file and the time of change of its entry can't be set.
        # What has just changed may change again within one tick of the system's clock, and look the same.
        digest = _digest if time.time_ns() - state.st_ctime_ns > _TICK_NS else _digest.__wrapped__
        return digest(path, (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_dev, state.st_ino))
    except OSError as error:
        raise UsageError(f"image {show(path)} cannot be read: {error.strerror or error}.") from None


@lru_cache(maxsize=1 << 21)
def _digest(path: str, state: tuple[int, ...]) -> str:
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()


def show(path: str | Path) -> str:
    """Return the path in quotes: printable also where its name is not valid UTF-8, cut where it is far too long."""
    text = str(path)
    how = "surrogateescape" if encodable(text) else "backslashreplace"
    whole = text.encode("utf-8", how).decode("utf-8", "backslashreplace")
    cut = whole if len(whole) <= 400 else f"{whole[:200]} ... {whole[-100:]}"
    return "'" + "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in cut) + "'"


def some(words: Sequence[str], most: int, form: Callable[[str], str] = str) -> str:
    """Return the first of many words, in a form, and how many more there are."""
    return ", ".join(map(form, words[:most])) + (f" and {len(words) - most:,} more" if len(words) > most else "")


def encodable(path: str) -> bool:
    """Whether a file could be called so: JSON may hold halves of letters that no file system can store."""
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
