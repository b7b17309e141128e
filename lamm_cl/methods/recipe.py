"""How long and how fast a method trains: the papers' recipes, and those for the embedded backbone."""

import math
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Optimisation settings (the papers' codes train with SGD and a cosine schedule per epoch).

    Attributes:
        lr: learning rate.
        epochs: passes over the training set of one experience.
        batch_size: images a step.
        momentum: SGD momentum.
        weight_decay: SGD weight decay; it acts on every trained vector.
        warmup_epochs: first epochs, which run at `warmup_lr`.
        warmup_lr: constant rate of the warm-up.
        schedule: "cosine" (per epoch, to zero) or "constant".
        drop_last: drop the last incomplete batch of an epoch, unless it is the only one.
    """

    lr: float
    epochs: int
    batch_size: int
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: int = 1
    warmup_lr: float = 1e-5
    schedule: str = "cosine"
    drop_last: bool = True

    def but(self, **changes: Any) -> "Recipe":
        """Return the same recipe with some settings changed."""
        return replace(self, **changes)


def lr_at(recipe: Recipe, epoch: int) -> float:
    """Return the learning rate during epoch `epoch` (from 0).

    Dassl's cosine schedule behind a constant warm-up of w epochs: lr * (1 + cos(pi * (epoch - w) / epochs)) / 2. The
    cosine starts after the warm-up but has the whole run's period, so the last rates are small and not zero (Zhou et
    al., Dassl.pytorch).

    >>> round(lr_at(Recipe(lr=0.002, epochs=50, batch_size=32), 26), 6)
    0.001
    """
    if epoch < recipe.warmup_epochs:
        return recipe.warmup_lr
    if recipe.schedule == "constant":
        return recipe.lr
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * (epoch - recipe.warmup_epochs) / recipe.epochs))
