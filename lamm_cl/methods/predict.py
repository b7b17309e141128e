"""What a learner says of images: the most probable classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lamm_cl.errors import UsageError
from lamm_cl.methods import inputs
from lamm_cl.methods.learner import Learner

if TYPE_CHECKING:
    from PIL import Image

BATCH = 64


class Guess(NamedTuple):
    """A class and its probability, the softmax of the logits over all classes of the model."""

    class_name: str
    probability: float


@torch.no_grad()
def predict(model: Learner, images: "Sequence[Image.Image | Tensor] | Tensor", top: int = 1) -> list[list[Guess]]:
    """Return the most probable classes of images, the most probable first.

    Args:
        model: what `lamm_cl.load_model` or `build_model` returns.
        images: pictures, or preprocessed images (3, H, W), as a list or as (n, 3, H, W).
        top: how many classes an image.

    Returns:
        A list of `top` guesses an image.

    Raises:
        UsageError: no model, one picture instead of several, or a backbone of given features.
    """
    if not isinstance(model, Learner):
        raise UsageError(f"predict takes a model first, such as lamm_cl.load_model(path), not {model!r}")
    given: object = images
    if isinstance(given, str | bytes) or not hasattr(given, "__len__"):
        raise UsageError(
            "predict takes a list of pictures (PIL.Image.open(path)) or preprocessed images: write [image]"
        )
    if top < 1:
        raise UsageError(f"top is a number of classes an image, at least 1, not {top}")
    found: list[list[Guess]] = []
    for start in range(0, len(images), BATCH):
        x = inputs.preprocessed(model.backbone, images[start : start + BATCH])
        values, places = model(x).double().softmax(1).topk(min(top, len(model.class_names)))
        for row, columns in zip(values.tolist(), places.tolist(), strict=True):
            found.append([Guess(model.class_names[c], value) for value, c in zip(row, columns, strict=True)])
    return found
