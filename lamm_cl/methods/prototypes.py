"""The prototype head: cosine to each class's mean feature."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.backbone import FeatureKind
from lamm_cl.methods.head import Head, TextLogits, masked
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.stage import Stage
from lamm_cl.methods.statistics import ClassStatistics


class Prototypes(Head):
    """Cosine of an image's feature and the mean feature of each class.

    Args:
        width: of the features.
        takes: "raw": means of features as the tower gives them; "unit": of features of length 1.
    """

    keeps_old_logits = True

    def __init__(self, width: int, takes: FeatureKind = "raw") -> None:
        super().__init__()
        self.takes = takes
        self.statistics = ClassStatistics(width)

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        self.statistics.grow(n_classes)

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Add the stage's images to the means of their classes."""
        if stage.cumulative:
            self.statistics.reset()
        self.statistics.add(*data.collect("train", None))

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return cosines (batch, len(columns))."""
        ids = list(columns)
        means = F.normalize(self.statistics.mean[ids].to(features), dim=-1)
        return masked(F.normalize(features, dim=-1) @ means.T, self.statistics.known[ids])
