"""Regularise to a reference: a term of the objective that keeps what is learned near what is not."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lamm_cl.methods.objective import Batch
from lamm_cl.prompts.losses import DISTANCES, Distance
from lamm_cl.prompts.wording import TextBank

To = Literal["zero_shot", "previous_stage"]
PREVIOUS = "previous_stage"  # what an objective wants of a learner whose terms look back
PLAIN_IMAGE = "zero_shot_image"  # and of one that compares with the plain image tower


@dataclass(frozen=True)
class Reference:
    """The distance of a prompted CLIP's text features, image features or logits from a reference without gradient.

    Attributes:
        what: "text": features of every class of the label space; "image": features of the batch; "logits".
        distance: how far; see `lamm_cl.prompts.losses`.
        bank: the words around the names of zero-shot CLIP; None: the learner's own teacher.
        to: "zero_shot": CLIP without anything learned; "previous_stage": the learner as it was when the stage began.
            In the first stage nothing was learned before, so that zero-shot CLIP is the reference there.
    """

    what: Literal["text", "image", "logits"]
    distance: Distance
    bank: TextBank | None = None
    to: To = "zero_shot"

    def term(self, batch: Batch) -> Tensor:
        """Return the distance, unweighted; of several prompts a class or an image, the mean."""
        output, keep = batch.output, batch.keep
        before = output.previous() if self.to == PREVIOUS else None
        if self.what == "text":
            learned = output.text[..., keep, :, :]
            fixed = output.zero_shot(self.bank)[keep][:, None] if before is None else before.text[..., keep, :, :]
        elif self.what == "image":
            learned = output.image
            fixed = output.zero_shot_image()[:, None] if before is None else before.image
        else:
            learned = batch.logits
            fixed = (output.zero_shot_logits(self.bank) if before is None else before.logits)[:, keep]
        with torch.autocast(learned.device.type, enabled=False):
            return DISTANCES[self.distance](learned, fixed)
