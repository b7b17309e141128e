"""ENGINE's two further terms: texts near sentences about their class, images near a second view of themselves."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.methods.contrast import diagonal, own_text
from lamm_cl.methods.noisy_means import NoisyMeans
from lamm_cl.methods.objective import Batch
from lamm_cl.methods.stage import Step
from lamm_cl.prompts.pair_texts import PairTexts
from lamm_cl.seeds import seed_for


class Described:
    """Contrast inside the mini-batch with features of the frozen towers; cosines are not scaled.

    Args:
        means: knows the step, its images and their second view.
        texts: sentences that tell one class from another; None: there are none.
    """

    def __init__(self, means: NoisyMeans, texts: PairTexts | None) -> None:
        self._means, self._texts = means, texts

    def descriptions(self, batch: Batch) -> Tensor:
        """Return the term of the texts, each against one sentence about its class, drawn anew in each step."""
        step = self._means.step
        if step is None or self._texts is None:
            return batch.logits.new_zeros(())
        ids = torch.tensor(batch.output.columns, device=batch.rows.device)[batch.keep][batch.rows].tolist()
        wanted = []
        for place, class_id in enumerate(ids):
            listed = self._texts.listed(class_id)
            wanted.append((class_id, *listed[self.pick(len(listed), step, place)]))
        text = own_text(batch)
        return diagonal(text, F.normalize(self._texts.features(wanted).to(text), dim=-1))

    def second_view(self, batch: Batch) -> Tensor:
        """Return the term of the images, each against a second view of itself; older classes have none."""
        if self._means.view is None:
            return batch.logits.new_zeros(())
        image = batch.output.image[: self._means.real, 0]
        return diagonal(image, F.normalize(self._means.view.to(image), dim=-1))

    @staticmethod
    def pick(n: int, step: Step, place: int) -> int:
        """Return which of n sentences an item of the mini-batch gets."""
        return seed_for("sentence", *step.place, place) % n
