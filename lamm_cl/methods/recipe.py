"""How a method trains: the papers' recipes, those for the embedded backbone, and what a user may change of them."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, create_model

from lamm_cl.methods.values import MOST, Values

# Upper limits far beyond what anybody trains with catch a slip of the keyboard before it runs.
Count = Annotated[int, Field(ge=1, le=MOST)]
Rate = Annotated[float, Field(ge=0, le=MOST)]


class Recipe(Values):
    """Optimisation settings (the papers' prompt learners train with SGD and a cosine schedule per epoch)."""

    lr: Rate = Field(description="learning rate; 0 where nothing trains")
    epochs: Count | None = Field(description="passes over the images of one experience")
    batch_size: Count = Field(description="images a step")
    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="what takes the steps")
    momentum: float = Field(0.9, ge=0, lt=1, description="SGD momentum")
    weight_decay: Rate = Field(5e-4, description="weight decay: in Adam an L2 term, in AdamW decoupled")
    adam_eps: float = Field(1e-8, gt=0, le=MOST, description="epsilon of adam and adamw")
    warmup_epochs: int = Field(1, ge=0, le=MOST, description="first epochs, at warmup_lr")
    warmup_lr: Rate = Field(1e-5, description="rate of the warm-up")
    schedule: Literal["cosine", "constant", "cosine_step", "multistep"] = Field(
        "cosine", description="learning rate per epoch, or with cosine_step per step"
    )
    min_lr: Rate = Field(0.0, description="where cosine and cosine_step end")
    milestones: tuple[int, ...] = Field((), description="epochs at which multistep multiplies the rate by gamma")
    gamma: float = Field(0.1, gt=0, le=1, description="factor of multistep")
    drop_last: bool = Field(True, description="drop the last incomplete batch of an epoch, unless it is the only one")
    steps_per_shot: int = Field(
        0, ge=1, le=MOST, description="where epochs is None: steps of a stage for every image that a class has"
    )
    cosine_epochs: int = Field(
        0, ge=0, le=MOST, description="epochs in which cosine comes down, to go up again; 0: all"
    )

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
        return self.model_copy(update=changes)


NONE = Recipe(lr=0.0, epochs=1, batch_size=128)  # of methods that take no steps


def lr_at(recipe: Recipe, epoch: int, done: float = 0.0) -> float:
    """Return the learning rate during epoch `epoch` (from 0).

    "cosine": Dassl's schedule behind a constant warm-up of w epochs: from lr to `min_lr`, zero there, by the share
    (1 + cos(pi * (epoch - w) / epochs)) / 2. It starts after the warm-up but has the whole run's period, so the last
    rates are small and not zero (Zhou et al., Dassl.pytorch). "cosine_step": from lr to `min_lr` over all mini-batches
    (torch's CosineAnnealingLR, per step). "multistep": lr times `gamma` for each milestone reached.

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
        angle = math.pi * (epoch - recipe.warmup_epochs) / (recipe.cosine_epochs or recipe.epochs)
        return recipe.min_lr + (recipe.lr - recipe.min_lr) * 0.5 * (1 + math.cos(angle))
    if recipe.schedule == "cosine_step":
        return recipe.min_lr + (recipe.lr - recipe.min_lr) * 0.5 * (1 + math.cos(math.pi * done))
    if recipe.schedule == "multistep":
        return recipe.lr * recipe.gamma ** sum(epoch >= milestone for milestone in recipe.milestones)
    return recipe.lr


# Options by the names that earlier builds gave them.
RENAMED = {"label_space": "train_label_space"}
LabelSpace = Literal["own", "seen", "all"]


class Stages(Values):
    """What trains in which stage, on which images, among which classes."""

    train_label_space: LabelSpace = Field("own", description="classes that compete in the loss")
    freeze_context_after: int | None = Field(None, ge=0, le=MOST, description="stage after which the context is frozen")
    regime: Literal["naive", "cumulative", "joint"] = Field("naive", description="which images a stage trains on")


class _More(Values):
    lr: float | None = Field(None, gt=0, le=MOST, description="learning rate")
    plugins: dict[str, dict[str, Any] | None] | None = Field(
        None, description="Avalanche plugins by class name, or one's own by dotted path, with their options"
    )


_CHANGES: dict[str, Any] = {
    name: (info.annotation | None, info.merge_field_infos(info, default=None))  # type: ignore[operator]
    for name, info in Recipe.model_fields.items()
}
# Settings of a recipe, all optional: None leaves a method its own.
Changes: type[Values] = create_model("Changes", __base__=Values, **_CHANGES)
# Everything that may stand below a method in a config beside its own options.
Training: type[Values] = create_model("Training", __base__=(_More, Stages, Changes))
