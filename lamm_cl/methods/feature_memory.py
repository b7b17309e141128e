"""The feature memory: training features that are kept, one tensor a stage."""

import torch
from torch import Tensor, nn


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
