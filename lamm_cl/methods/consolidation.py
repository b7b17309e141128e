"""Consolidation: what becomes of weights when a stage ends."""

import math

import torch
from torch import Tensor, nn

from lamm_cl.methods.optimizer import trainable


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


class EpochAverage(nn.Module):
    """A Gaussian-weighted mean of everything that trains (PromptSRC, Khattak et al. 2023, section 3.2).

    The weight of epoch e, counted from 1, is N(e; mean, std^2), normalised over the epochs that there were: where a
    stage ends before the mean, its last epochs count. Training itself never sees the mean, which is taken when the
    stage ends. It is kept as a running mean in buffers, so that a checkpoint inside a stage holds it; between stages
    they are empty.

    Args:
        mean: the epoch that counts most.
        std: in epochs.
        dtype: float32, or float64 where the learned values are.
    """

    average: Tensor
    weight: Tensor

    def __init__(self, mean: float, std: float, dtype: torch.dtype) -> None:
        super().__init__()
        self.mean, self.std = mean, std
        self.register_buffer("average", torch.empty(0, dtype=dtype))
        self.register_buffer("weight", torch.full((), -math.inf, dtype=torch.float64))  # logarithm of the weights' sum

    @torch.no_grad()
    def begin(self) -> None:
        """Start a stage."""
        self.average = self.average[:0]
        self.weight.fill_(-math.inf)

    @torch.no_grad()
    def add(self, model: nn.Module, epoch: int) -> None:
        """Take what trains in a model at the end of an epoch, counted from 0."""
        values = torch.cat([p.flatten().to(self.average) for _, p in trainable(model)])
        if len(self.average) != len(values):  # the first epoch, or something was frozen inside a stage
            self.begin()
            self.average = torch.zeros_like(values)
        before, own = float(self.weight), -0.5 * ((epoch + 1 - self.mean) / self.std) ** 2
        # Logarithms, relative to the largest: far from the mean every density would be 0.
        largest = max(before, own)
        both = largest + math.log(math.exp(before - largest) + math.exp(own - largest))
        self.average = self.average * math.exp(before - both) + values * math.exp(own - both)
        self.weight.fill_(both)

    @torch.no_grad()
    def end(self, model: nn.Module) -> None:
        """Put the mean in the place of what trains, where there was an epoch."""
        parameters = [p for _, p in trainable(model)]
        if len(self.average) == sum(p.numel() for p in parameters):
            pieces = torch.split(self.average, [p.numel() for p in parameters])
            for p, values in zip(parameters, pieces, strict=True):
                p.copy_(values.view_as(p))
        self.begin()
