"""Predictions of one test set in several label spaces at once, counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamm_cl.clip.precision import at_least_float
from lamm_cl.evaluation.metrics import CALIBRATION_BINS, calibration_bins, calibration_error

NOTHING = -1  # predicted column where every logit is -inf


class Score(NamedTuple):
    """How one test set was classified in one label space, in plain numbers and lists."""

    n: int  # images
    columns: int  # of the label space
    correct: int  # images whose class was predicted
    bins: list[list[float]]  # (3, 15) images, confidence and correct predictions per bin of confidence
    confusion: list[list[int]]  # (k, 3) true column, predicted column, images; pairs that never occurred are left out

    @property
    def accuracy(self) -> float:
        """Share of the images that were recognised; NaN without images."""
        return self.correct / self.n if self.n else float("nan")

    @property
    def calibration(self) -> float:
        """Expected calibration error."""
        return calibration_error(self.bins)

    def class_accuracies(self) -> dict[int, tuple[float, int]]:
        """Return (accuracy, images) per true column, ascending; columns without images are left out."""
        true, predicted, counts = np.array(self.confusion, dtype=np.int64).reshape(-1, 3).T
        images, right = np.bincount(true, counts), np.bincount(true, counts * (true == predicted))
        return {c: (float(right[c] / images[c]), int(images[c])) for c in np.unique(true).tolist()}


@dataclass
class Tally:
    """Collects predictions batch by batch. Nothing leaves the device, and so nothing waits, until `scores`."""

    spaces: Mapping[str, Sequence[int]]  # columns of each label space; one without is left out of the scores
    _labels: list[Tensor] = field(default_factory=list)
    _found: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)  # predictions and confidences
    _columns: dict[str, Tensor] = field(default_factory=dict)

    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch of logits (batch, columns of the benchmark) with true columns (batch,)."""
        logits = at_least_float(logits.detach())
        self._labels.append(labels.detach())
        for space, columns in self.spaces.items():
            if not columns:
                continue
            if space not in self._columns:
                self._columns[space] = torch.tensor(columns, device=logits.device)
            own = self._columns[space]
            competing = logits if len(columns) == logits.shape[1] else logits[:, own]
            best, place = competing.max(dim=1)
            # A learner that cannot score any of the classes yet says nothing: no class was predicted.
            prediction = torch.where(best > -torch.inf, own[place], NOTHING)
            confidence = competing.softmax(dim=1).max(dim=1).values
            self._found.setdefault(space, []).append((prediction, confidence))

    def scores(self) -> dict[str, Score]:
        """Return one score per label space that has columns."""
        if not self._labels:
            return {}
        true = torch.cat(self._labels).cpu().numpy()
        return {
            space: _score(true, len(self.spaces[space]), *map(torch.cat, zip(*found, strict=True)))
            for space, found in self._found.items()
        }


def _score(true: NDArray[np.int64], columns: int, predictions: Tensor, confidences: Tensor) -> Score:
    predicted = predictions.cpu().numpy()
    right = predicted == true
    pairs, counts = np.unique(np.stack([true, predicted], axis=1), axis=0, return_counts=True)
    # A confidence that is not a number belongs to no bin; the step that made it is reported where it is made.
    confidence = np.nan_to_num(confidences.cpu().numpy().astype(np.float64), nan=0.0)
    bins = calibration_bins(confidence, right, CALIBRATION_BINS)
    return Score(len(true), columns, int(right.sum()), bins.tolist(), np.column_stack([pairs, counts]).tolist())
