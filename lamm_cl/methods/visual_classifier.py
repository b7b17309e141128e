"""The visual classifier of MG-CLIP: a row for each class, trained on the features that its stage ends with.

Huang et al., "Mind the Gap" (ICCV 2025).
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.methods.head import Head, TextLogits, masked
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.stage import Stage
from lamm_cl.seeds import seed_for

FINAL = 0.01  # of the rate, where the cosine ends


class VisualClassifier(Head):
    """Rows of cosines beside the text, trained when a stage ends; both are mixed to one score.

    The rows of a stage start at the means of its classes' features of length 1, and train on the cross entropy among
    the stage's classes, of cosines without a temperature. Those of older classes stay as they are, though the deltas
    that made their features have gone on.

    Args:
        width: of the features.
        dtype: of the rows.
        lr: Adam's rate, which falls along a cosine to a hundredth, step by step.
        epochs: passes over the features of a stage.
        batch_size: features a step.
        weight: of the rows' probabilities; those of the text count once.
        fusion: "official": the released code, which takes the softmax of the text's probabilities once more, and that
            of the cosines as they are: nearly flat both, so that p_text + weight * cosine decides; "probabilities":
            p_text and the softmax of the cosines times CLIP's own factor; "text" or "visual": one of them alone.
        scale: CLIP's own factor of cosines.
    """

    takes = "unit"
    weights: Tensor
    known: Tensor

    def __init__(
        self,
        width: int,
        dtype: torch.dtype,
        *,
        lr: float,
        epochs: int,
        batch_size: int,
        weight: float,
        fusion: Literal["official", "probabilities", "text", "visual"],
        scale: Tensor,
    ) -> None:
        super().__init__()
        self._lr, self._epochs, self._batch_size = lr, epochs, batch_size
        self._weight, self._fusion, self._scale = weight, fusion, scale
        self.register_buffer("weights", torch.zeros(0, width, dtype=dtype))
        self.register_buffer("known", torch.zeros(0, dtype=torch.bool))

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        more = n_classes - len(self.known)
        self.weights = torch.cat([self.weights, self.weights.new_zeros(more, self.weights.shape[1])])
        self.known = torch.cat([self.known, self.known.new_zeros(more)])

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Add the rows of the stage's classes, and train them."""
        features, labels = data.collect("train", None)
        features = F.normalize(features, dim=-1).to(self.weights)
        self.start(features, labels, stage.classes if stage.cumulative else stage.new)
        batches: list[Tensor] = []
        for epoch in range(self._epochs):
            # The features come in an order that depends on the seed.
            generator = torch.Generator().manual_seed(seed_for("visual classifier", stage.number, epoch))
            batches += torch.split(torch.randperm(len(labels), generator=generator), self._batch_size)
        self.train_rows(features, labels, stage.classes, batches)

    def start(self, features: Tensor, labels: Tensor, classes: Sequence[int]) -> None:
        """Set the rows of some classes to the means of their features (n, width)."""
        for class_id in classes:
            if (labels == class_id).any():
                self.weights[class_id] = features[labels == class_id].mean(0)
                self.known[class_id] = True

    def train_rows(
        self, features: Tensor, labels: Tensor, classes: Sequence[int], batches: Sequence[Tensor]
    ) -> list[float]:
        """Train the rows of some classes among themselves.

        Args:
            features: (n, width), of length 1.
            labels: (n,) class ids.
            classes: whose rows train.
            batches: the features of each step.

        Returns:
            The loss of each step, before its update.
        """
        ids = torch.tensor(classes, device=labels.device)
        with torch.enable_grad(), torch.autocast(features.device.type, enabled=False):
            rows = nn.Parameter(self.weights[ids].clone())
            optimizer = torch.optim.Adam([rows], lr=self._lr)
            targets, losses = torch.searchsorted(ids, labels), []
            for step, batch in enumerate(batches):
                share = 0.5 * (1 + math.cos(math.pi * step / len(batches)))
                optimizer.param_groups[0]["lr"] = self._lr * (FINAL + (1 - FINAL) * share)
                loss = F.cross_entropy(features[batch] @ F.normalize(rows, dim=-1).t(), targets[batch])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                losses.append(loss.detach())
        self.weights[ids] = rows.detach()
        return [float(loss) for loss in losses]

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return mixed probabilities (batch, len(columns)) over the classes that have a row; before any, the text's."""
        every = tuple(range(len(self.known)))
        if not self.known.any():
            return text(every).softmax(1)[:, list(columns)]
        ids = self.known.nonzero()[:, 0]
        cosines = F.normalize(features, dim=-1).to(self.weights) @ F.normalize(self.weights[ids], dim=-1).t()
        p_text = text(every)[:, ids].softmax(1)
        found = torch.zeros(len(features), len(every), dtype=p_text.dtype, device=p_text.device)
        found[:, ids] = self.fuse(p_text, cosines).to(p_text)
        return masked(found, self.known)[:, list(columns)]

    def fuse(self, p_text: Tensor, cosines: Tensor) -> Tensor:
        """Return the score (batch, n) of the text's probabilities and the rows' cosines."""
        if self._fusion == "text":
            return p_text
        if self._fusion == "visual":
            return cosines
        official = self._fusion == "official"
        first = p_text.softmax(1) if official else p_text
        second = (cosines if official else self._scale.to(cosines) * cosines).softmax(1)
        return (first + self._weight * second) / (1 + self._weight)
