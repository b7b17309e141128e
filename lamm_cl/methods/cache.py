"""Heads that keep every training feature: Tip-Adapter's cache and the kernel ridge."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamm_cl.methods.head import Head, TextLogits, masked
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.method import Selection
from lamm_cl.methods.stage import Split, Stage


class FeatureMemory(nn.Module):
    """Features of training images and their labels; those of the current stage may train.

    Args:
        width: of the features.
        dtype: of the features.

    Attributes:
        features: (n_k, width) for each stage k; empty until `fill`.
        labels: (n,) class ids of all of them, in that order.
    """

    labels: Tensor

    def __init__(self, width: int, dtype: torch.dtype) -> None:
        super().__init__()
        self.features = nn.ParameterList()
        self.register_buffer("labels", torch.zeros(0, dtype=torch.long))
        self.register_buffer("_like", torch.zeros(0, width, dtype=dtype), persistent=False)

    def begin_stage(self, trains: bool = False) -> None:
        """Make room for the features of a stage; those of older stages do not train."""
        for old in self.features:
            old.requires_grad_(False)
        self.features.append(nn.Parameter(self._empty(), requires_grad=trains))

    @torch.no_grad()
    def fill(self, features: Tensor, labels: Tensor, instead: bool = False) -> None:
        """Keep the features of the stage.

        Args:
            features: (n, width).
            labels: (n,) class ids.
            instead: drop those of older stages, which the stage brings again.
        """
        for old in self.features if instead else ():
            old.data = self._empty()
        self.features[-1].data = features.to(self._empty(), copy=True)
        self.labels = torch.cat([self.labels[:0] if instead else self.labels, labels.to(self.labels)])

    @property
    def every(self) -> Tensor:
        """All features (n, width)."""
        return torch.cat([*self.features]) if len(self.features) else self._empty()

    def one_hot(self, columns: Tensor) -> Tensor:
        """Return (n, len(columns)): 1 where a feature is of a class, else 0."""
        return (self.labels[:, None] == columns.to(self.labels)).to(self._empty())

    def _empty(self) -> Tensor:
        like: Tensor = self._buffers["_like"]  # type: ignore[assignment]  # it is never None
        return like.clone()


class Cache(Head):
    """Logits of the text + alpha * exp(-beta (1 - z K^T)) V: K are training features, V their one-hot labels.

    Zhang et al., "Tip-Adapter" (ECCV 2022).
    Each stage adds its images to K; where K trains, that of the stage alone does, with the initial alpha and beta.

    Args:
        width: of the features.
        dtype: of the features.
        alpha, beta: initial values, which train and stay without a selection.
        views: training views whose mean makes a key; 0: the evaluation view.
        selection: images on which alpha and beta are searched when a stage ends.
        scale, step: of the search: beta takes step[0] values from 0.1 up to scale[0], that itself left out; alpha
            step[1] up to scale[1].
        trains: whether K trains.
        best_epoch: images on which the best epoch's K is chosen, by accuracy; the earliest of equals.

    Attributes:
        memory: K, of length 1 to begin with, and labels.
        alpha, beta: values in use.
        best, best_correct: K of the stage's best epoch so far, and the number of images it recognised.
    """

    takes = "raw"
    alpha: Tensor
    beta: Tensor
    best: Tensor
    best_correct: Tensor

    def __init__(
        self,
        width: int,
        dtype: torch.dtype,
        *,
        alpha: float,
        beta: float,
        views: int,
        selection: Selection,
        scale: Sequence[float],
        step: Sequence[int],
        trains: bool = False,
        best_epoch: Selection = "none",
    ) -> None:
        super().__init__()
        self.memory = FeatureMemory(width, dtype)
        self.trains, self.keeps_old_logits = trains, selection == "none"
        self.looks_at: frozenset[Split] = frozenset(s for s in (selection, best_epoch) if s != "none")
        self._initial, self._views, self._scale, self._step = (alpha, beta), views, scale, step
        self._selection, self._best_epoch = selection, best_epoch
        self.register_buffer("alpha", torch.tensor(alpha, dtype=torch.float64))
        self.register_buffer("beta", torch.tensor(beta, dtype=torch.float64))
        self.register_buffer("best", torch.zeros(0, width, dtype=dtype))
        self.register_buffer("best_correct", torch.tensor(0))

    def begin_stage(self, stage: Stage, data: PartData | None) -> None:
        """Take the stage's images into the cache."""
        self.memory.begin_stage(self.trains)
        self._use(*self._initial)
        if data is not None:
            views: list[int | None] = [*range(self._views)] or [None]
            found = [data.collect("train", view) for view in views]
            keys = F.normalize(torch.stack([features for features, _ in found]).mean(0), dim=-1)
            self.memory.fill(keys, found[0][1], instead=stage.cumulative)

    @torch.no_grad()
    def end_epoch(self, stage: Stage, epoch: int, data: PartData) -> None:
        """Remember the keys if they are the best so far."""
        if self._best_epoch == "none":
            return
        features, labels = data.collect(self._best_epoch, None)
        logits = self(features, stage.seen, lambda columns: data.text(features, columns))
        correct = (logits.argmax(1) == _rows(labels, stage.seen)).sum()
        if correct > self.best_correct:
            self.best, self.best_correct = self.memory.features[-1].detach().clone(), correct

    @torch.no_grad()
    def end_stage(self, stage: Stage, data: PartData) -> None:
        """Go back to the best keys, and search alpha and beta."""
        if len(self.best):
            self.memory.features[-1].copy_(self.best)
        self.best, self.best_correct = self.best[:0], torch.zeros_like(self.best_correct)
        if self._selection != "none":
            features, labels = data.collect(self._selection, None)
            self._use(*self._search(features, labels, stage.seen, data.text(features, stage.seen)))

    def forward(self, features: Tensor, columns: Sequence[int], text: TextLogits) -> Tensor:
        """Return logits (batch, len(columns))."""
        values = self.memory.one_hot(torch.tensor(columns))
        return text(columns) + self.alpha * (self._affinity(features) - 1).mul(self.beta).exp() @ values

    def _affinity(self, features: Tensor) -> Tensor:
        return F.normalize(features, dim=-1) @ self.memory.every.T

    def _search(self, features: Tensor, labels: Tensor, columns: Sequence[int], text: Tensor) -> tuple[float, float]:
        """Return alpha and beta with the most images recognised; of equals the smallest beta, then the smallest alpha.

        Both are 0 where no pair recognises any image, as in the released code.
        """
        rows, values = _rows(labels, columns), self.memory.one_hot(torch.tensor(columns))
        affinity, most, found = self._affinity(features), 0, (0.0, 0.0)
        for beta in _grid(self._scale[0], self._step[0]):
            cached = (affinity - 1).mul(beta).exp() @ values
            for alpha in _grid(self._scale[1], self._step[1]):
                correct = int(((text + alpha * cached).argmax(1) == rows).sum())
                if correct > most:
                    most, found = correct, (alpha, beta)
        return found

    def _use(self, alpha: float, beta: float) -> None:
        self.alpha.fill_(alpha)
        self.beta.fill_(beta)


def _grid(scale: float, step: int) -> Iterator[float]:
    return (i * (scale - 0.1) / step + 0.1 for i in range(step))


def _rows(labels: Tensor, columns: Sequence[int]) -> Tensor:
    """Return the place (n,) of each label in ascending columns."""
    return torch.searchsorted(torch.tensor(columns, device=labels.device), labels)


class KernelRidge(Head):
    """One-hot labels regressed on similarities to all training features.

    Scores K(z, Z) alpha with alpha = (K(Z, Z) + r I)^-1 Y and K(a, b) = exp(-gamma |a - b|^2), in float64.

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
