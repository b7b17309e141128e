"""The kernel ridge head: one-hot labels regressed on similarities to all training features, which it keeps."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.methods.feature_memory import FeatureMemory
from lamm_cl.methods.head import Head, TextLogits, masked
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.stage import Stage


class KernelRidge(Head):
    """Scores K(z, Z) alpha with alpha = (K(Z, Z) + r I)^-1 Y and K(a, b) = exp(-gamma |a - b|^2), in float64.

    Args:
        width: of the features.
        dtype: of the features.
        ridge: the number r.
        gamma: of the kernel.

    Attributes:
        memory: every training feature so far, Z.
        alpha: (n, C).
    """

    alpha: Tensor

    def __init__(self, width: int, dtype: torch.dtype, ridge: float, gamma: float) -> None:
        super().__init__()
        self.memory = FeatureMemory(width, dtype)
        self._ridge, self._gamma = ridge, gamma
        self.register_buffer("alpha", torch.zeros(0, 0, dtype=torch.float64))

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        self.alpha = F.pad(self.alpha, (0, n_classes - self.alpha.shape[1]))

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Make room for the stage's features."""
        self.memory.begin_stage()

    @torch.no_grad()
    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Keep the stage's features, and solve for all."""
        self.memory.fill(*data.collect("train", None), instead=stage.cumulative)
        kernel = self._kernel(self.memory.every)
        damped = kernel + self._ridge * torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
        one_hot = F.one_hot(self.memory.labels, self.alpha.shape[1]).double()
        self.alpha = torch.linalg.solve(damped, one_hot)

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return scores (batch, len(columns))."""
        ids = torch.tensor(columns, device=features.device)
        scores = self._kernel(features) @ self.alpha[:, ids]
        return masked(scores.to(features.dtype), torch.isin(ids, self.memory.labels))

    def _kernel(self, features: Tensor) -> Tensor:
        a, b = features.double(), self.memory.every.double()
        squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
        return torch.exp(-self._gamma * squares.clamp(min=0))
