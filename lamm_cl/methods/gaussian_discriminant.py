"""The Gaussian discriminant head: classes with one covariance, in closed form."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.clip.backbone import FeatureKind
from lamm_cl.methods.head import Head, TextLogits, masked
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.stage import Stage

Spread = Literal["merged", "pooled"]


class GaussianDiscriminant(Head):
    """Scores z P m_c - m_c P m_c / 2 - log C of features z of length 1, with m_c the mean of class c and a precision P.

    P = D (S + tr(S) / (n - 1) I)^-1 with S the sum of (z - m)(z - m)^T over n images, D the width of z (Wang et al., "A
    hard-to-beat baseline for training-free CLIP-based adaptation", ICLR 2024). Everything is float64.

    Args:
        width: of the features.
        spread: how stages come together. "merged", as in the released codes of ENGINE and BOFA: with k classes known
            before and n now, P = k/n P_old + (n-k)/n P_stage + k (n-k) / n^3 d d^T, where d is the difference of the
            mean old and the mean new class mean: it averages inverses, and adds to them what belongs to a covariance.
            "pooled": S sums over all images so far, so that two stages give the same as one.
        takes: which image features, in front of any adapter.

    Attributes:
        mean: (C, width) mean of each class's features of length 1.
        count: (C,) images of each class.
        scatter: (width, width) S over all images so far.
        precision: (width, width) P.
        weight, bias: (C, width) and (C,): scores are z weight^T + bias.
    """

    in_front = True
    mean: Tensor
    count: Tensor
    scatter: Tensor
    precision: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, width: int, spread: Spread = "merged", takes: FeatureKind = "unprojected") -> None:
        super().__init__()
        self.takes, self._spread = takes, spread
        shapes = {"mean": (0, width), "count": (0,), "weight": (0, width), "bias": (0,)}
        for name, shape in {**shapes, "scatter": (width, width), "precision": (width, width)}.items():
            self.register_buffer(name, torch.zeros(shape, dtype=torch.float64))

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        extra = n_classes - len(self.count)
        self.mean, self.weight = (F.pad(one, (0, 0, 0, extra)) for one in (self.mean, self.weight))
        self.count, self.bias = F.pad(self.count, (0, extra)), F.pad(self.bias, (0, extra))

    @property
    def known(self) -> Tensor:
        """Which classes (C,) have images."""
        return self.count > 0

    @torch.no_grad()
    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Add the stage's images."""
        if stage.cumulative:
            for buffer in self.buffers():
                buffer.zero_()
        self.add(*data.collect("train", None))

    @torch.no_grad()
    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add the features (n, width) and labels (n,) of a stage."""
        z = F.normalize(features.to(self.mean), dim=-1)
        new = torch.zeros_like(self.count).index_add_(0, labels, torch.ones_like(labels, dtype=torch.float64))
        mean = torch.zeros_like(self.mean).index_add_(0, labels, z) / new.clamp(min=1)[:, None]
        centred = z - mean[labels]
        scatter = centred.T @ centred
        old, own = self.known & (new == 0), new > 0
        if self._spread == "pooled":
            self._pool(scatter, mean, new)
        else:
            self._merge(precision(scatter, len(z)), mean, old, own)
            self.mean = torch.where(own[:, None], mean, self.mean)
            self.count = torch.where(own, new, self.count)
        self.weight = self.mean @ self.precision
        self.bias = -math.log(max(1, int(self.known.sum()))) - (self.weight * self.mean).sum(1) / 2

    def _merge(self, own_precision: Tensor, mean: Tensor, old: Tensor, own: Tensor) -> None:
        k, n = int(old.sum()), int((old | own).sum())
        if not k:
            self.precision = own_precision
            return
        d = self.mean[old].mean(0) - mean[own].mean(0)
        merged = k / n * self.precision + (n - k) / n * own_precision
        self.precision = merged + (k / n) * (n - k) / n**2 * torch.outer(d, d)

    def _pool(self, scatter: Tensor, mean: Tensor, new: Tensor) -> None:
        count = self.count + new
        # A class that comes again moves its mean: what lies between its two means belongs to S.
        gap = mean - self.mean
        weight = self.count * new / count.clamp(min=1)
        self.scatter = self.scatter + scatter + (weight[:, None] * gap).T @ gap
        self.mean = self.mean + gap * (new / count.clamp(min=1))[:, None]
        self.count = count
        self.precision = precision(self.scatter, int(count.sum()))

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return scores (batch, len(columns))."""
        ids = list(columns)
        z = F.normalize(features.to(self.mean), dim=-1)
        return masked((z @ self.weight[ids].T + self.bias[ids]).to(features.dtype), self.known[ids])


def precision(scatter: Tensor, n: int) -> Tensor:
    """Return D (S + tr(S) / (n - 1) I)^-1 for a sum S (D, D) over n images."""
    width = len(scatter)
    ridge = scatter.trace() / max(1, n - 1)
    found: Tensor = width * torch.linalg.pinv(scatter + ridge * torch.eye(width).to(scatter), hermitian=True)
    return found
