"""Image features held in memory: one row per picture, for one view at a time."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class FeatureBank:
    """Features of some of `n` pictures, for one view of each."""

    def __init__(self, n: int) -> None:
        """Start empty, for pictures 0..n-1."""
        self._row = np.full(n, -1, dtype=np.int64)
        self._chunks: list[Tensor] = []
        self._rows: Tensor | None = None
        self._size = 0

    def missing(self, indices: Sequence[int]) -> list[int]:
        """Return the pictures without a row, each once, in the order given."""
        return [i for i in dict.fromkeys(indices) if self._row[i] < 0]

    def add(self, indices: Sequence[int], features: Tensor) -> None:
        """Add rows (len(indices), d)."""
        self._row[list(indices)] = np.arange(self._size, self._size + len(indices))
        self._size += len(indices)
        self._chunks.append(features)
        self._rows = None

    def __getitem__(self, index: int) -> Tensor:
        """Return the row (d,) of one picture."""
        return self._matrix()[self._row[index]]

    def gather(self, indices: Sequence[int]) -> Tensor:
        """Return the rows (len(indices), d)."""
        return self._matrix()[torch.from_numpy(self._row[list(indices)])]

    def _matrix(self) -> Tensor:
        if self._rows is None:
            self._rows = self._chunks[0] if len(self._chunks) == 1 else torch.cat(self._chunks)
            self._chunks = [self._rows]
        return self._rows
