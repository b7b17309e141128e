"""Training views as the papers augment them, each a function of (image, seed, epoch).

A view is a random resized crop, bicubic, and a horizontal flip. The numbers come from a generator keyed by
the image's content, the seed and the epoch, not from the order of loading: the same view whatever the worker
count or the method, so that a frozen image tower needs to see it once.
"""

import math
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lamm_cl.errors import UsageError, unknown
from lamm_cl.seeds import seed_for

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image
    from torch import Tensor

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
TRIES = 10
INTERPOLATIONS = ("bicubic", "bilinear", "nearest", "lanczos", "box", "hamming")


class View(NamedTuple):
    """A crop in whole pixels of the picture, and whether it is mirrored."""

    left: int
    top: int
    width: int
    height: int
    flip: bool


def view_box(
    key: str,
    seed: int,
    epoch: int,
    width: int,
    height: int,
    scale: tuple[float, float] = SCALE,
    flip: bool = True,
) -> View:
    """Draw the view of one image in one epoch, distributed as torchvision's `RandomResizedCrop` and flip.

    Args:
        key: the image's content key (`Dataset.content_key`).
        seed: the data seed.
        epoch: counted from 0.
        width: the picture's width in pixels.
        height: the picture's height in pixels.
        scale: smallest and largest share of the area; the papers use 0.08 to 1.
        flip: whether half of the views are mirrored.
    """
    generator = np.random.Generator(np.random.PCG64(seed_for("view", key, seed, epoch)))
    mirrored = bool(generator.random() < 0.5) and flip
    for _ in range(TRIES):
        area = width * height * generator.uniform(*scale)
        ratio = math.exp(generator.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(generator.integers(height - h + 1))
            left = int(generator.integers(width - w + 1))
            return View(left, top, w, h, mirrored)
    return _central(width, height, mirrored)


def _central(width: int, height: int, mirrored: bool) -> View:
    """Return the largest central crop whose aspect ratio lies within RATIO (torchvision's fallback)."""
    w, h = width, height
    if width / height < RATIO[0]:
        h = round(w / RATIO[0])
    elif width / height > RATIO[1]:
        w = round(h * RATIO[1])
    return View((width - w) // 2, (height - h) // 2, w, h, mirrored)


class TrainView:
    """Turns a picture into the normalised tensor of its view in one epoch.

    Crop and resize are Pillow's, as torchvision does on Pillow images, so the pixels equal the papers' for
    the same box. Pictures smaller than `size` (8 x 8 digits) are enlarged by the same filter.

    Args:
        size: output (height, width) in pixels, or one number for a square.
        mean, std: per channel, of pixels in 0..1.
        interpolation: one of INTERPOLATIONS.
        scale, flip: see `view_box`.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        interpolation: str = "bicubic",
        *,
        scale: tuple[float, float] = SCALE,
        flip: bool = True,
    ) -> None:
        if interpolation not in INTERPOLATIONS:
            raise unknown("interpolation", interpolation, INTERPOLATIONS)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise UsageError(f"scale must be two shares of the area with 0 < low <= high <= 1, not {scale!r}.")
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self.mean, self.std = tuple(mean), tuple(std)
        self.interpolation = interpolation
        self.scale, self.flip = (float(scale[0]), float(scale[1])), flip

    def __call__(self, image: "Image.Image", key: str, seed: int, epoch: int) -> "Tensor":
        """Return the view as a float32 tensor (3, height, width)."""
        import torch

        return torch.from_numpy(self.array(image, key, seed, epoch))

    def array(self, image: "Image.Image", key: str, seed: int, epoch: int) -> "NDArray[np.float32]":
        """Return the view as a float32 array (3, height, width)."""
        picture = self.picture(image, key, seed, epoch)
        pixels = np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        mean, std = self._statistics
        return np.ascontiguousarray((pixels - mean) / std, dtype=np.float32)

    def picture(self, image: "Image.Image", key: str, seed: int, epoch: int) -> "Image.Image":
        """Return the view as a picture, before normalisation."""
        from PIL import Image

        view = view_box(key, seed, epoch, *image.size, scale=self.scale, flip=self.flip)
        box = (view.left, view.top, view.left + view.width, view.top + view.height)
        height, width = self.size
        resampling = Image.Resampling[self.interpolation.upper()]
        # Crop first, then resize: with resize's `box` argument the filter would see pixels outside the crop.
        picture = image.crop(box).resize((width, height), resampling)
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if view.flip else picture

    @property
    def tag(self) -> str:
        """Names all that the view's pixels depend on besides (image, seed, epoch), for cache keys."""
        height, width = self.size
        flip = "flip" if self.flip else "noflip"
        mean, std = ("_".join(map(repr, values)) for values in (self.mean, self.std))
        return f"rrc-{height}x{width}-{self.interpolation}-{self.scale[0]}-{self.scale[1]}-{flip}-{mean}-{std}"

    @cached_property
    def _statistics(self) -> "tuple[NDArray[np.float32], NDArray[np.float32]]":
        mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (self.mean, self.std))
        return mean, std
