"""Adapters: small learned maps of features, in front of a head."""

from torch import Tensor

from lamm_cl.clip.backbone import FeatureKind
from lamm_cl.methods.learner_part import LearnerPart


class Adapter(LearnerPart):
    """Maps features (..., width) to features (..., E). Abstract.

    Attributes:
        takes: which image features it wants: most published adapters mix features before they are normalised.
    """

    takes: FeatureKind = "raw"

    def forward(self, features: Tensor) -> Tensor:
        """Return the mapped features, not normalised."""
        raise NotImplementedError
