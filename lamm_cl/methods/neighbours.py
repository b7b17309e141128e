"""The hinge on neighbours: older classes whose names lie near that of a new class are kept on their side."""

import torch
from torch import Tensor

from lamm_cl.methods.gaussians import Gaussians
from lamm_cl.methods.objective import Batch
from lamm_cl.methods.prompted_clip import PromptedOutput


class Neighbours:
    """Mean of relu(cos(f, new) - cos(f, old) + margin) over drawn features f of older classes (RAPF's hinge).

    Neighbours are pairs of an older class and a class of the stage whose text features, of length 1, are nearer than
    the threshold. Every step draws features of the older class of each pair, and none of the new one's.

    Args:
        gaussians: draw the features.
        threshold: Euclidean distance of text features.
        features: drawn for each pair.
        margin: of the hinge.
    """

    def __init__(self, gaussians: Gaussians, threshold: float, features: int, margin: float) -> None:
        self._gaussians, self._threshold, self._features, self._margin = gaussians, threshold, features, margin
        self._known: tuple[tuple[int, tuple[int, ...]], list[tuple[int, int]]] | None = None

    def hinge(self, batch: Batch) -> Tensor:
        """Return the term, a scalar; 0 outside of training steps, and where there are no neighbours."""
        step, output = self._gaussians.step, batch.output
        pairs = [] if step is None else self.pairs(output)
        if not pairs or not self._features:
            return batch.logits.new_zeros(())
        assert step is not None
        first = len(self._gaussians.turn(step))
        drawn = [self._gaussians.sample(old, self._features, step, first + k) for k, (old, _) in enumerate(pairs)]
        image = output.model.image_features(torch.cat(drawn).to(output.text))
        place = {class_id: row for row, class_id in enumerate(output.columns)}
        rows = torch.tensor([[place[c] for c in pair] for pair in pairs]).repeat_interleave(self._features, 0)
        old, new = (output.text[:, 0][rows[:, side].to(image.device)] for side in (0, 1))
        mean: Tensor = ((image * (new - old)).sum(1) + self._margin).relu().mean()
        return mean

    def pairs(self, output: PromptedOutput) -> list[tuple[int, int]]:
        """Return the neighbours (older class, class of the stage) among the columns of an output."""
        assert self._gaussians.step is not None
        stage = self._gaussians.step.stage
        key = stage.number, output.columns
        if output.text.requires_grad or self._known is None or self._known[0] != key:
            older = set(self._gaussians.older(stage))
            sides = [[c for c in output.columns if c in classes] for classes in (older, stage.classes)]
            place = {class_id: row for row, class_id in enumerate(output.columns)}
            text = output.text[:, 0].detach().float()  # the released code compares in single precision
            old, new = (text[[place[c] for c in side]] for side in sides)
            near = (torch.cdist(old, new) < self._threshold).nonzero().tolist() if len(old) and len(new) else []
            self._known = key, [(sides[0][row], sides[1][column]) for row, column in near]
        return self._known[1]
