"""The head: makes logits from image features, from what it keeps of the training set and from the text's logits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lamm_cl.clip.backbone import FeatureKind
from lamm_cl.errors import UsageError
from lamm_cl.methods.learner_part import LearnerPart
from lamm_cl.methods.stage import Step

TextLogits = Callable[[Sequence[int]], Tensor]


@dataclass(frozen=True)
class Text:
    """The text of a prompted CLIP, for the images that a head is given.

    Attributes:
        logits: class ids -> logits (batch, len(ids)).
        features: class ids -> text features (len(ids), E), normalised.
        found: what a head leaves there, the terms of the objective read with `PromptedOutput.found`.
        training: whether the loss will see the output.
    """

    logits: TextLogits
    features: TextLogits
    found: dict[str, Tensor]
    training: bool

    def __call__(self, ids: Sequence[int]) -> Tensor:
        """Return logits (batch, len(ids))."""
        return self.logits(ids)


class Head(LearnerPart):
    """Scores classes. Abstract: a subclass gives at least `forward`.

    Attributes:
        takes: which image features it wants.
        in_front: whether it is given features in front of the adapter, as it `takes` them.
        trains: whether the loss goes through it; otherwise prompts learn from the logits of the text alone, and it is
            fitted in `end_stage`.
        keeps_old_logits: see `Learner.keeps_old_logits`.
    """

    takes: FeatureKind = "unit"
    in_front: bool = False
    trains: bool = False
    keeps_old_logits: bool = False

    def begin_step(self, step: Step | None) -> None:
        """Hear where training is, or, with None, that no step is under way."""

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return logits (batch, len(columns)); a class that cannot be scored yet reads -inf.

        Args:
            features: (batch, width), behind the adapter; without one, or `in_front` of it, as `takes` says.
            columns: class ids.
            text: class ids -> logits (batch, len(ids)) of the text for the same images; a `Text`, where there is text.
        """
        raise NotImplementedError


def no_text(*arguments: object) -> Tensor:
    """Refuse to give logits of the text."""
    raise UsageError("this learner has no text: its head must not ask for the text's logits")


def masked(logits: Tensor, known: Tensor) -> Tensor:
    """Return logits (batch, n) that read -inf where `known` (n,) is false."""
    return torch.where(known, logits, torch.full((), -torch.inf, dtype=logits.dtype, device=logits.device))
