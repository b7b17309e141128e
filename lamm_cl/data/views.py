"""Training views as the papers augment them: a random resized crop, bicubic, and a horizontal flip.

The numbers come from a generator keyed by the image's content, the seed and the epoch, not from the order of loading:
the same view whatever the worker count or the method, so that a frozen image tower needs to see it once.
"""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lamm_cl.errors import check_known
from lamm_cl.seeds import seed_for

if TYPE_CHECKING:
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
    key: str, seed: int, epoch: int, width: int, height: int, scale: tuple[float, float] = SCALE, flip: bool = True
) -> View:
    """Draw the view of one image in one epoch, from 0, distributed as torchvision's `RandomResizedCrop` and flip.

    `key` is the image's content key, `seed` the data seed, `scale` the smallest and largest share of the area; the
    papers use 0.08 to 1. With `flip`, half of the views are mirrored.
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
    # torchvision's fallback: the largest central crop whose aspect ratio lies within RATIO.
    w = round(height * RATIO[1]) if width / height > RATIO[1] else width
    h = round(width / RATIO[0]) if width / height < RATIO[0] else height
    return View((width - w) // 2, (height - h) // 2, w, h, mirrored)


class TrainView:
    """Turns a picture into the normalised tensor of its view in one epoch.

    Crop and resize are Pillow's, as torchvision does on Pillow images, so the pixels equal the papers' for the same
    box. Pictures smaller than `size`, (height, width) in pixels or one number for a square, are enlarged by the same
    filter. Mean and deviation are per channel, of pixels in 0..1; for `scale` and `flip` see `view_box`.
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
        check_known("interpolation", [interpolation], INTERPOLATIONS)
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self.mean, self.std, self.interpolation = tuple(mean), tuple(std), interpolation
        self.scale, self.flip = (float(scale[0]), float(scale[1])), flip

    def __call__(self, image: "Image.Image", key: str, seed: int, epoch: int) -> "Tensor":
        """Return the view as a float32 tensor (3, height, width)."""
        import torch
        from PIL import Image

        left, top, width, height, flip = view_box(key, seed, epoch, *image.size, scale=self.scale, flip=self.flip)
        # Crop first, then resize: with resize's `box` argument the filter would see pixels outside the crop.
        crop = image.crop((left, top, left + width, top + height))
        picture = crop.resize(self.size[::-1], Image.Resampling[self.interpolation.upper()])
        if flip:
            picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        mean, std = (np.array(values, dtype=np.float32)[:, None, None] for values in (self.mean, self.std))
        return torch.from_numpy(np.ascontiguousarray((pixels - mean) / std, dtype=np.float32))

    @property
    def tag(self) -> str:
        """Names all that the view's pixels depend on besides (image, seed, epoch), for cache keys."""
        height, width = self.size
        flip = "flip" if self.flip else "noflip"
        mean, std = ("_".join(map(repr, values)) for values in (self.mean, self.std))
        return f"rrc-{height}x{width}-{self.interpolation}-{self.scale[0]}-{self.scale[1]}-{flip}-{mean}-{std}"
