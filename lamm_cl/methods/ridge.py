"""The ridge head: one-hot labels regressed on features, in closed form, equal to a regression on all data so far."""

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.clip.backbone import FeatureKind
from lamm_cl.methods.head import Head, TextLogits, masked
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.stage import Stage
from lamm_cl.methods.statistics import ClassStatistics

GRID = tuple(10.0**exponent for exponent in range(-8, 9))
FIT = 0.8  # share of the stage that is fitted when a ridge is selected
ROWS = 1024  # images expanded at once


class RandomLayer(nn.Module):
    """relu(x W) with a fixed random W.

    Args:
        weight: (width, M); drawn once, before the first stage.
    """

    weight: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())

    @property
    def width(self) -> int:
        """Number M of random features."""
        return int(self.weight.shape[1])

    def forward(self, features: Tensor) -> Tensor:
        """Return random features (n, M), in float64."""
        return (features.double() @ self.weight.double()).relu()


class Ridge(Head):
    """Scores of a class c: h W_c, with W = (G + r I)^-1 Q; G sums h^T h and Q h^T y over all images so far.

    h is the feature, or random features of it. Two stages give the same as one with the images of both; every class's
    scores move with every stage. Everything is float64: in float32 small ridges lose three digits.

    Args:
        width: of the features.
        ridge: the number r, or "select": see `ridge_losses`. It is chosen on the current stage's images alone, and
            used with the sums over all stages (McDonnell et al., RanPAC, algorithm 1).
        layer: makes random features; None: the features themselves.
        takes: which image features.
        cosine: score by the cosine of h and W_c.

    Attributes:
        weight: (C, M) one row a class.
        ridge: the number that was used last.
    """

    weight: Tensor
    ridge: Tensor

    def __init__(
        self,
        width: int,
        ridge: float | Literal["select"],
        layer: RandomLayer | None = None,
        takes: FeatureKind = "unit",
        cosine: bool = False,
    ) -> None:
        super().__init__()
        self.takes, self.layer, self._chosen, self._cosine = takes, layer, ridge, cosine
        self.statistics = ClassStatistics(width if layer is None else layer.width, "shared")
        self.register_buffer("weight", torch.zeros(0, self.statistics.width, dtype=torch.float64))
        self.register_buffer("ridge", torch.tensor(0.0 if ridge == "select" else ridge, dtype=torch.float64))

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        self.statistics.grow(n_classes)
        self.weight = F.pad(self.weight, (0, 0, 0, n_classes - len(self.weight)))

    @torch.no_grad()
    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Add the stage's images to the sums, and solve."""
        if stage.cumulative:
            self.statistics.reset()
        features, labels = data.collect("train", None)
        for rows, ids in zip(torch.split(features, ROWS), torch.split(labels, ROWS), strict=True):
            self.statistics.add(self.expand(rows), ids)
        if self._chosen == "select":
            one_hot = F.one_hot(labels, len(self.weight)).double()
            self.ridge.fill_(GRID[int(ridge_losses(self.expand(features), one_hot).argmin())])
        gram = self.statistics.second
        assert gram is not None
        self.weight = solve(gram, self.ridge, self.statistics.total.T).T.contiguous()

    def expand(self, features: Tensor) -> Tensor:
        """Return h (n, M) of features, in float64."""
        return features.double() if self.layer is None else self.layer(features)

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return scores (batch, len(columns))."""
        ids = list(columns)
        hidden, weight = self.expand(features), self.weight[ids]
        if self._cosine:
            hidden, weight = F.normalize(hidden, dim=-1), F.normalize(weight, dim=-1)
        return masked((hidden @ weight.T).to(features.dtype), self.statistics.known[ids])


def solve(gram: Tensor, ridge: Tensor, right: Tensor) -> Tensor:
    """Return (G + r I)^-1 Q by Cholesky's factors, half the work; by LU where rounding has made G + r I indefinite.

    Args:
        gram: (M, M) G, symmetric; r stands on its diagonal meanwhile, since a copy of it takes a quarter of the time.
        ridge: () r.
        right: (M, C) Q.
    """
    diagonal = gram.diagonal()
    before = diagonal.clone()
    try:
        diagonal.add_(ridge)
        factor, trouble = torch.linalg.cholesky_ex(gram)
        if bool(trouble):
            return cast(Tensor, torch.linalg.solve(gram, right))
    finally:
        diagonal.copy_(before)
    # Two triangular solves are what cholesky_solve does, less its copy of the factor.
    halfway = torch.linalg.solve_triangular(factor, right, upper=False)
    return cast(Tensor, torch.linalg.solve_triangular(factor.mT, halfway, upper=True))


def ridge_losses(hidden: Tensor, targets: Tensor, grid: Sequence[float] = GRID) -> Tensor:
    """Return the error (len(grid),) of each ridge: fitted on the first 80 % of the rows, mean square on the rest.

    One eigendecomposition serves all ridges, of h h^T or h^T h, whichever is smaller.

    Args:
        hidden: (n, M) float64, in random order.
        targets: (n, C) one-hot labels.
        grid: the ridges.
    """
    fitted = int(FIT * len(hidden))
    fit, rest = hidden[:fitted], hidden[fitted:]
    wide = fit.shape[0] < fit.shape[1]
    values, vectors = torch.linalg.eigh(fit @ fit.T if wide else fit.T @ fit)
    basis = rest @ (fit.T @ vectors if wide else vectors)
    goal = vectors.T @ (targets[:fitted] if wide else fit.T @ targets[:fitted])
    errors = [basis @ (goal / (values + ridge)[:, None]) - targets[fitted:] for ridge in grid]
    return torch.stack([error.square().mean() for error in errors])
