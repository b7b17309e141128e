"""The cache head: similarities to kept training features on top of the text's logits (Zhang et al., ECCV 2022)."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lamm_cl.methods.feature_memory import FeatureMemory
from lamm_cl.methods.head import Head, TextLogits
from lamm_cl.methods.learner_part import PartData
from lamm_cl.methods.method import Selection
from lamm_cl.methods.stage import Split, Stage


class Cache(Head):
    """Logits of the text + alpha * exp(-beta (1 - z K^T)) V: K are training features, V their one-hot labels.

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
