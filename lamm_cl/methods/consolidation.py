"""Consolidation: what becomes of weights when a stage ends."""

import torch
from torch import Tensor, nn


class SingularFusion(nn.Module):
    """Fuses old and new weights in the left singular basis of the old ones (RAPF's decomposed parameter fusion).

    With U S V^T the old weights' decomposition, P = U^T W_new and Q = U^T W_old: U (m P + (1 - m) Q), where
    m = min(1, |P - Q| / max |P - Q| + bias) number by number.

    Args:
        size: of the square weights.
        bias: least share of the new weights.
        dtype: of the weights.

    Attributes:
        before: the weights (size, size) when the stage began.
    """

    before: Tensor

    def __init__(self, size: int, bias: float, dtype: torch.dtype) -> None:
        super().__init__()
        self._bias = bias
        self.register_buffer("before", torch.zeros(size, size, dtype=dtype))

    @torch.no_grad()
    def begin(self, weight: Tensor) -> None:
        """Remember the weights."""
        self.before.copy_(weight)

    @torch.no_grad()
    def fused(self, weight: Tensor) -> Tensor:
        """Return the fusion of the remembered weights with what became of them; the same where nothing changed."""
        basis = torch.linalg.svd(self.before)[0]
        new, old = basis.T @ weight, basis.T @ self.before
        gap = (new - old).abs()
        share = (gap / gap.max().clamp(min=torch.finfo(gap.dtype).tiny) + self._bias).clamp(max=1)
        mixed: Tensor = basis @ (share * new + (1 - share) * old)
        return mixed
