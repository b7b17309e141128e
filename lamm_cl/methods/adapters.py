"""Adapters: small learned maps of features, in front of a head."""

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.backbone import FeatureKind
from lamm_cl.clip.feature_backbone import Backbone, projected
from lamm_cl.methods.consolidation import SingularFusion
from lamm_cl.methods.learner_part import LearnerPart, PartData
from lamm_cl.methods.stage import Stage
from lamm_cl.prompts.vectors import Initial


class Adapter(LearnerPart):
    """Maps features (..., width) to features (..., E). Abstract.

    Attributes:
        takes: which image features it wants: most published adapters mix features before they are normalised.
    """

    takes: FeatureKind = "raw"

    def forward(self, features: Tensor) -> Tensor:
        """Return the mapped features, not normalised."""
        raise NotImplementedError

    def in_training(self, features: Tensor) -> Tensor:
        """Return the mapped features that the loss sees, not normalised."""
        mapped: Tensor = self(features)
        return mapped


class Bottleneck(Adapter):
    """Two linear layers without bias, each with a ReLU, mixed with the feature itself (CLIP-Adapter).

    Args:
        width: of the features.
        reduction: the inner width is width / reduction.
        ratio: share of the mapped feature; the rest is the feature itself.
        initial: source of random values.
    """

    def __init__(self, width: int, reduction: int, ratio: float, initial: Initial) -> None:
        super().__init__()
        self.ratio, inner = ratio, max(1, width // reduction)
        self.fc = nn.Sequential(
            initial.linear("adapter/fc.0", width, inner, bias=False),
            nn.ReLU(),
            initial.linear("adapter/fc.2", inner, width, bias=False),
            nn.ReLU(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return ratio * MLP(f) + (1 - ratio) * f."""
        mapped: Tensor = self.fc(features)
        return self.ratio * mapped + (1 - self.ratio) * features


class Linear(Adapter):
    """One linear map without bias or residual, from a random start: nothing of zero-shot CLIP is kept (RAPF).

    Args:
        width: of the features.
        initial: source of random values.
        consolidation: fuses the map with what it was before the stage, after every stage but the first; None: nothing.
    """

    def __init__(self, width: int, initial: Initial, consolidation: SingularFusion | None = None) -> None:
        super().__init__()
        self.map = initial.linear("adapter/linear", width, width, bias=False)
        self.consolidation = consolidation

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Remember the map."""
        if self.consolidation is not None:
            self.consolidation.begin(self.map.weight)

    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Fuse it, unless the stage brought all older images again."""
        if self.consolidation is not None and stage.old and not stage.cumulative:
            self.map.weight.data = self.consolidation.fused(self.map.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Return W f."""
        mapped: Tensor = self.map(features)
        return mapped


class StageSum(Adapter):
    """The sum of one linear map with bias a stage, each from a random start; those of older stages are frozen.

    The feature itself is no part of the sum (ENGINE, PROOF): only before the first stage it stands alone.

    Args:
        width: of the features that are mapped.
        initial: source of random values.
        name: of the map in them.
        backbone: whose projection comes first, where features before CLIP's projection are taken.
        all_train: whether those of older stages train on (the texts' of PROOF's released code).
    """

    def __init__(
        self, width: int, initial: Initial, name: str, backbone: Backbone | None = None, all_train: bool = False
    ) -> None:
        super().__init__()
        self.maps = nn.ModuleList()
        self.takes = "raw" if backbone is None else "unprojected"
        self._width, self._initial, self._name, self._backbone = width, initial, name, backbone
        self._all_train = all_train

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Start a new map."""
        self.maps.requires_grad_(self._all_train)
        where = f"{self._name}/{len(self.maps)}"
        self.maps.append(self._initial.linear(where, self._width, self._width))

    def forward(self, features: Tensor) -> Tensor:
        """Return the sum over stages of W f + b, as one map of the summed W and b."""
        if self._backbone is not None:
            features = projected(features, self._backbone)
        if not self.maps:
            return features
        weight, bias = (reduce(torch.add, [getattr(one, name) for one in self.maps]) for name in ("weight", "bias"))
        return F.linear(features, weight, bias)
