"""Options that every method has beside its own: changes of its recipe, and what trains in which stage."""

from typing import Any, Literal

from pydantic import Field, create_model

from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.values import MOST, Values

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
