"""Statistics of features by class: additive, so that nothing depends on batches, order or interruptions."""

from typing import Literal

import torch
from torch import Tensor, nn

STRIP = 512  # rows of a shared Gram matrix that are summed at once: what is left of them is mirrored
Second = Literal["none", "shared", "class"]


class ClassStatistics(nn.Module):
    """Counts, sums and second moments of features, in float64: ridge solves lose three digits in float32.

    Two stages, batches in another order, or a run that was resumed give the same sums up to rounding.

    Args:
        width: of the features.
        second: "shared": the Gram matrix of all features; "class": one of each class; "none": no second moments.

    Attributes:
        count: (C,) images of each class.
        total: (C, width) sum of the features of each class.
        second: (width, width) or (C, width, width) sums of outer products, or None.
    """

    count: Tensor
    total: Tensor
    second: Tensor | None

    def __init__(self, width: int, second: Second = "none") -> None:
        super().__init__()
        self.width, self._kind = width, second
        self.register_buffer("count", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("total", torch.zeros(0, width, dtype=torch.float64))
        shape = {"none": None, "shared": (width, width), "class": (0, width, width)}[second]
        self.register_buffer("second", None if shape is None else torch.zeros(shape, dtype=torch.float64))

    def grow(self, n_classes: int) -> None:
        """Make room for more classes."""
        extra = n_classes - len(self.count)
        self.count = torch.cat([self.count, self.count.new_zeros(extra)])
        self.total = torch.cat([self.total, self.total.new_zeros(extra, self.width)])
        if self._kind == "class":
            assert self.second is not None
            self.second = torch.cat([self.second, self.second.new_zeros(extra, self.width, self.width)])

    def reset(self) -> None:
        """Forget everything: a cumulative stage brings the images of earlier stages again."""
        for buffer in self.buffers():
            buffer.zero_()

    @torch.no_grad()
    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add images.

        Args:
            features: (n, width).
            labels: (n,) class ids.
        """
        exact, labels = features.to(self.total), labels.to(self.total.device)
        self.count.index_add_(0, labels, torch.ones_like(labels, dtype=torch.float64))
        self.total.index_add_(0, labels, exact)
        if self._kind == "shared":
            assert self.second is not None
            for start in range(0, self.width, STRIP):  # on and below the diagonal, with no second matrix of that size
                rows = slice(start, start + STRIP)
                strip = self.second[rows, : rows.stop].addmm_(exact[:, rows].T, exact[:, : rows.stop])
                strip[:, start:] = strip[:, start:].tril() + strip[:, start:].tril(-1).T
                self.second[:start, rows] = strip[:, :start].T
        if self._kind == "class":
            assert self.second is not None
            for class_id in sorted(set(labels.tolist())):
                rows = exact[labels == class_id]
                self.second[class_id] += rows.T @ rows

    @property
    def known(self) -> Tensor:
        """Which classes (C,) have images."""
        return self.count > 0

    @property
    def mean(self) -> Tensor:
        """Mean feature (C, width) of each class; zero where it has no images."""
        return self.total / self.count.clamp(min=1)[:, None]

    def mean_of(self, class_id: int) -> Tensor:
        """Return the mean feature (width,) of one class."""
        return self.total[class_id] / self.count[class_id].clamp(min=1)

    def covariance(self, class_id: int, correction: int = 1) -> Tensor:
        """Return the covariance (width, width) of a class, with second="class".

        Args:
            class_id: a class with more than `correction` images.
            correction: 1: divided by n - 1; 0: by n.
        """
        assert self._kind == "class"
        assert self.second is not None
        n, mean = self.count[class_id], self.mean_of(class_id)
        return (self.second[class_id] - n * torch.outer(mean, mean)) / (n - correction)
