"""The gate: zero-shot CLIP decides whether a fitted head has a say (Xu et al., RAIL, NeurIPS 2024)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lamm_cl.methods.head import Head, TextLogits
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.stage import Stage


class Gate(Head):
    """Probabilities p of the text; where they name a class that the head knows, (1 - w) p + w * its scores.

    Args:
        head: gives the scores; they are used as they are, and count as 0 for classes that it does not know.
        weight: w.
        over: which classes p is over: "all" of the stream, also of stages to come (the released code), or "seen".
            With "seen" every image goes to the head, and classes that it does not know read -inf.
    """

    def __init__(self, head: Head, weight: float, over: Literal["all", "seen"] = "all") -> None:
        super().__init__()
        self.takes, self.head, self._weight, self._over = head.takes, head, weight, over
        self._n_classes = 0

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        self._n_classes = n_classes
        self.head.grow(n_classes)

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Start a stage."""
        self.head.begin_stage(stage, data)

    def end_epoch(self, stage: Stage, epoch: int, data: PartData) -> None:
        """Finish an epoch of a stage."""
        self.head.end_epoch(stage, epoch, data)

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Fit the head."""
        self.head.end_stage(stage, data)

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return probabilities mixed with scores (batch, len(columns))."""
        every = tuple(range(self._n_classes))
        logits, scores = text(every), self.head(features, every, text)
        known = ~torch.isneginf(scores)
        if self._over == "seen" and known.any():
            logits = torch.where(known, logits, -torch.inf)
        p = logits.softmax(1)
        mixed = (1 - self._weight) * p + self._weight * torch.where(known, scores, 0)
        fused = torch.where(known.gather(1, p.argmax(1, keepdim=True)), mixed, p)
        if self._over == "seen":
            fused = torch.where(known | ~known.any(), fused, -torch.inf)
        return fused[:, list(columns)]
