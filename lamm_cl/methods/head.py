"""The head: makes logits from image features, from what it keeps of the training set and from the text's logits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamm_cl.clip.backbone import FeatureKind
from lamm_cl.errors import UsageError
from lamm_cl.methods.stage import Part, Stage

TextLogits = Callable[[Sequence[int]], Tensor]


@dataclass(frozen=True)
class HeadData:
    """What a head may ask for when an epoch or a stage ends.

    Attributes:
        collect: (part, epoch) -> features (n, width) and labels (n,); see `StageData.batches`.
        text: (features, class ids) -> logits (n, len(ids)) of the text, where the learner has text.
    """

    collect: Callable[[Part, int | None], tuple[Tensor, Tensor]]
    text: Callable[[Tensor, Sequence[int]], Tensor] | None = None


class Head(nn.Module):
    """Scores classes. Abstract: a subclass gives at least `forward`.

    What it keeps is buffers and parameters: see `Learner`.

    Attributes:
        takes: which image features it wants.
    """

    takes: FeatureKind = "unit"

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""

    def begin_stage(self, stage: Stage) -> None:
        """Start a stage."""

    def end_epoch(self, stage: Stage, epoch: int, data: HeadData) -> None:
        """Finish an epoch of a stage."""

    def end_stage(self, stage: Stage, data: HeadData) -> None:
        """Take what is kept of the stage's training set."""

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return logits (batch, len(columns)); a class that cannot be scored yet reads -inf.

        Args:
            features: (batch, width) as `takes` says.
            columns: class ids.
            text: class ids -> logits (batch, len(ids)) of the text for the same images.
        """
        raise NotImplementedError


def no_text(columns: Sequence[int]) -> Tensor:
    """Refuse to give logits of the text."""
    raise UsageError("this learner has no text: its head must not ask for the text's logits")


def masked(logits: Tensor, known: Tensor) -> Tensor:
    """Return logits (batch, n) that read -inf where `known` (n,) is false."""
    return torch.where(known, logits, torch.full((), -torch.inf, dtype=logits.dtype, device=logits.device))
