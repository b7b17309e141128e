"""Which classes an image competes with while something trains."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def columns_of(space: str, own: Iterable[int], seen: Iterable[int], n_columns: int) -> tuple[int, ...]:
    """Return the columns of a label space, ascending.

    Args:
        space: `own` (the classes that train now), `seen` (those and every earlier one) or `all`.
        own: Columns that train now.
        seen: Columns that trained in an earlier stage.
        n_columns: Number of columns of the model.
    """
    if space == "all":
        return tuple(range(n_columns))
    if space == "seen":
        return tuple(sorted({*own, *seen}))
    return tuple(sorted(set(own)))


def spread(logits: Tensor, places: Tensor, n_columns: int) -> Tensor:
    """Put logits of some columns at their places in the full width; the other columns become -inf.

    Args:
        logits: (batch, len(places)).
        places: Their column ids.
        n_columns: Full width.

    Returns:
        (batch, n_columns).
    """
    full = logits.new_full((logits.shape[0], n_columns), -torch.inf)
    return full.index_copy(1, places, logits)


class LabelSpaceLoss:
    """Cross-entropy in a label space, for the plugins that ask a strategy for its criterion (EWC, A-GEM).

    An image of the label space competes inside it. Any other image (an old one that a plugin remembered)
    competes among the wider columns. Chosen per image with a mask, so nothing waits for the device.
    """

    def __init__(self) -> None:
        self._spaces: Tensor | None = None
        self._inside: Tensor | None = None

    def restrict(self, columns: Sequence[int], wider: Sequence[int], n_columns: int) -> None:
        """Set the label space, and the wider one for images whose class is not in it."""
        if len(columns) == n_columns:
            self._spaces = self._inside = None
            return
        spaces = torch.zeros(2, n_columns, dtype=torch.bool)
        spaces[0, list(wider)] = True
        spaces[1, list(columns)] = True
        self._spaces, self._inside = spaces, spaces[1].long()

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (batch, n_columns) for labels (batch,), a scalar."""
        if self._spaces is None or self._inside is None:
            return F.cross_entropy(logits, labels)
        self._spaces, self._inside = self._spaces.to(logits.device), self._inside.to(logits.device)
        allowed = self._spaces[self._inside[labels]]
        return F.cross_entropy(logits.masked_fill(~allowed, -torch.inf), labels)
