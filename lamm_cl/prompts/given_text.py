"""Text features that the user gave, in the place of a text tower."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.feature_backbone import FeatureBackbone
from lamm_cl.prompts.matching import Side
from lamm_cl.prompts.wording import TextBank

Ids = tuple[int, ...]


class GivenText:
    """What `TextSide` is for a backbone without a text tower: every feature is fixed."""

    def __init__(self, backbone: FeatureBackbone, unit: bool = True) -> None:
        self.names: tuple[str, ...] = ()
        self.groups: list[Ids] = []
        self._backbone, self._unit = backbone, unit

    def add(self, names: Sequence[str], distinct: bool = True) -> None:
        """Add classes; `distinct` asks nothing here, where no prompt is written.

        Raises:
            UsageError: the backbone has no features of one of them.
        """
        every = (*self.names, *names)
        self._backbone.class_features(every)
        self.names = every

    def encode(self, columns: Ids) -> tuple[Side, None]:
        """Return the classes' features (n, v, E); see `TextSide.encode`."""
        features = self._backbone.class_features(self.names)[list(columns)]
        return Side(self._joined(features)[:, None] if self._unit else features), None

    def original(self, columns: Ids, bank: TextBank | None = None) -> Tensor:
        """Return the classes' features (n, E), normalised; they stand for every bank."""
        return self._joined(self._backbone.class_features(self.names)[list(columns)])

    def current(self, columns: Ids) -> Tensor:
        """Return the same as `original`: no context is learned."""
        return self.original(columns)

    def forget(self) -> None:
        """Do nothing: nothing is remembered."""

    @staticmethod
    def _joined(features: Tensor) -> Tensor:
        """Return one feature a class: the mean of its normalised features, normalised."""
        return F.normalize(F.normalize(features, dim=-1).mean(1), dim=-1)
