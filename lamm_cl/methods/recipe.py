"""How long and how fast a method trains: the papers' recipes, and those for the embedded backbone."""

import math
from dataclasses import dataclass, replace
from typing import Any

OPTIMIZERS = ("sgd", "adam", "adamw")
# Rates change per epoch, or, with "cosine_step", per mini-batch.
SCHEDULES = ("cosine", "constant", "cosine_step", "multistep")


@dataclass(frozen=True)
class Recipe:
    """Optimisation settings (the papers' prompt learners train with SGD and a cosine schedule per epoch).

    Attributes:
        lr: learning rate.
        epochs: passes over the training set of one experience; None: as many as `steps_per_shot` needs.
        batch_size: images a step.
        optimizer: "sgd", "adam" or "adamw".
        momentum: SGD momentum.
        weight_decay: acts on every trained vector; in Adam as an L2 term, in AdamW decoupled.
        adam_eps: Adam's and AdamW's epsilon.
        warmup_epochs: first epochs, which run at `warmup_lr`.
        warmup_lr: constant rate of the warm-up.
        schedule: one of `SCHEDULES`.
        min_lr: where "cosine_step" ends.
        milestones: epochs at which "multistep" multiplies the rate by `gamma`.
        gamma: factor of "multistep".
        drop_last: drop the last incomplete batch of an epoch, unless it is the only one.
        steps_per_shot: where `epochs` is None, the mini-batches of a stage for every image that a class has in its
            training set; the last epoch is cut short.
    """

    lr: float
    epochs: int | None
    batch_size: int
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 5e-4
    adam_eps: float = 1e-8
    warmup_epochs: int = 1
    warmup_lr: float = 1e-5
    schedule: str = "cosine"
    min_lr: float = 0.0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    drop_last: bool = True
    steps_per_shot: int = 0

    def length(self, images: int, classes: int, batches: int) -> tuple[int, int]:
        """Return the epochs and the mini-batches of a stage.

        Args:
            images: in its training set.
            classes: in its training set.
            batches: mini-batches of an epoch.

        >>> Recipe(lr=2e-4, epochs=None, batch_size=32, steps_per_shot=500).length(16 * 10, 10, 5)
        (1600, 8000)
        """
        if self.epochs is not None:
            return self.epochs, self.epochs * batches
        steps = self.steps_per_shot * max(1, round(images / classes))
        return -(-steps // batches), steps

    def but(self, **changes: Any) -> "Recipe":
        """Return the same recipe with some settings changed."""
        return replace(self, **changes)


NONE = Recipe(lr=0.0, epochs=1, batch_size=128)  # of methods that take no steps


def lr_at(recipe: Recipe, epoch: int, done: float = 0.0) -> float:
    """Return the learning rate during epoch `epoch` (from 0).

    "cosine": Dassl's schedule behind a constant warm-up of w epochs, lr * (1 + cos(pi * (epoch - w) / epochs)) / 2. It
    starts after the warm-up but has the whole run's period, so the last rates are small and not zero (Zhou et al.,
    Dassl.pytorch). "cosine_step": from lr to `min_lr` over all mini-batches (torch's CosineAnnealingLR, per step).
    "multistep": lr times `gamma` for each milestone reached.

    Args:
        recipe: the settings.
        epoch: counted from 0.
        done: share of the stage's mini-batches that are done, for "cosine_step".

    >>> round(lr_at(Recipe(lr=0.002, epochs=50, batch_size=32), 26), 6)
    0.001
    """
    if epoch < recipe.warmup_epochs:
        return recipe.warmup_lr
    if recipe.schedule == "cosine":
        assert recipe.epochs is not None, "see `Recipe.length`"
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * (epoch - recipe.warmup_epochs) / recipe.epochs))
    if recipe.schedule == "cosine_step":
        return recipe.min_lr + (recipe.lr - recipe.min_lr) * 0.5 * (1 + math.cos(math.pi * done))
    if recipe.schedule == "multistep":
        return recipe.lr * recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)
    return recipe.lr
