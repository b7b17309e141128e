"""Contrast inside a mini-batch: each image against the texts of the mini-batch, and each text against its images."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.methods.objective import Batch


class Contrast:
    """CLIP's symmetric cross entropy with one text an image: images of one class are negatives of each other.

    Args:
        scale: factor of the cosines, or what gives it, where it trains.
    """

    def __init__(self, scale: float | Callable[[], Tensor]) -> None:
        self._scale = scale

    def ce(self, batch: Batch) -> Tensor:
        """Return the mean of both directions, a scalar."""
        image, text = batch.output.image[:, 0], own_text(batch)
        scale = self._scale() if callable(self._scale) else self._scale
        return (diagonal(image, text, scale) + diagonal(text, image, scale)) / 2


def own_text(batch: Batch) -> Tensor:
    """Return the text feature (batch, E) of each image's class."""
    rows: Tensor = batch.output.text[:, 0][batch.keep][batch.rows]
    return rows


def diagonal(one: Tensor, other: Tensor, scale: float | Tensor = 1.0) -> Tensor:
    """Return the cross entropy of scale * one @ other^T, where row i belongs to column i."""
    return F.cross_entropy(scale * one @ other.T, torch.arange(len(one), device=one.device))
