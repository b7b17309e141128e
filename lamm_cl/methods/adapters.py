"""Adapters: small learned maps of features, in front of a head."""

from torch import Tensor, nn

from lamm_cl.clip.backbone import FeatureKind
from lamm_cl.methods.stage import Stage


class Adapter(nn.Module):
    """Maps features (..., width) to features (..., E). Abstract.

    Attributes:
        takes: which image features it wants: most published adapters mix features before they are normalised.
    """

    takes: FeatureKind = "raw"

    def begin_stage(self, stage: Stage) -> None:
        """Start a stage, for adapters that grow with it."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the mapped features, not normalised."""
        raise NotImplementedError
