"""Rehearsal: what a learner adds to the mini-batches of a stage to remember older classes by."""

from collections.abc import Callable

from torch import Tensor

from lamm_cl.methods.learner_part import LearnerPart
from lamm_cl.methods.stage import Step


class Rehearsal(LearnerPart):
    """Adds remembered features to mini-batches. Abstract."""

    def look(self, given: Tensor, encode: Callable[[Tensor], Tensor], step: Step) -> None:
        """Look at a mini-batch as the learner was given it, before `rehearse`.

        Args:
            given: images, or features.
            encode: makes features of images, as the learner takes them.
            step: where training is.
        """

    def rehearse(self, x: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """Return the mini-batch that trains: this one first, then what is remembered.

        Args:
            x: (batch, width) features as the learner takes them.
            labels: (batch,) class ids.
            step: where training is. Whatever is drawn must depend on (seed, stage, step) alone, so that a run that was
                stopped goes on with the same bits: `torch.Generator().manual_seed(seed_for(name, *step.place))`.
        """
        raise NotImplementedError
