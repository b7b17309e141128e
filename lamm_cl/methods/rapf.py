"""RAPF: a linear adapter, pseudo-features of neighbouring classes, fused parameters (Huang et al., ECCV 2024)."""

from typing import Any

from pydantic import Field

from lamm_cl.methods import parts, zero_shot
from lamm_cl.methods.method import Method, Setting
from lamm_cl.methods.recipe import Recipe


class RAPFOptions(zero_shot.ZeroShotOptions):
    """Options of RAPF; the defaults are those of the released config of CIFAR-100 in steps of 10."""

    templates: str | list[str] | None = Field(
        "a good photo of a {}.",
        description="one template, or several whose features are averaged; null: the data set's own",
    )
    beta: float = Field(
        2, ge=0, description="a step draws 10 beta pseudo-features of an older class, 20 beta of a neighbour"
    )
    replay_classes: int = Field(
        2, ge=0, description="older classes a step (released code: 2; ImageNet-R 5, CUB 10, CIFAR-100 in steps of 5: 4)"
    )
    shrinkage: bool = Field(
        False, description="add the mean variance and the mean covariance to each covariance (ImageNet-R, CUB)"
    )
    threshold: float = Field(0.55, ge=0, le=2, description="classes are neighbours if their texts are nearer than this")
    margin: float = Field(0.1, ge=0, le=2, description="of the hinge on neighbours")
    mix_bias: float = Field(0.6, ge=0, le=1, description="least share of the new weights in the fusion; 1: no fusion")


def compose(setting: Setting, options: RAPFOptions) -> Any:
    """Put a linear map behind the image tower, before its features are normalised."""
    width = setting.backbone.embed_dim
    gaussians = parts.GAUSSIANS(width, options.replay_classes, int(10 * options.beta), options.shrinkage)
    neighbours = parts.NEIGHBOURS(gaussians, options.threshold, int(20 * options.beta), options.margin)
    fusion = parts.SINGULAR_FUSION(width, options.mix_bias, setting.initial.dtype)
    return zero_shot.compose(
        setting,
        options,
        adapter=parts.LINEAR(width, setting.initial, fusion),
        rehearsal=gaussians,
        objective=parts.CROSS_ENTROPY({"hinge": (neighbours.hinge, 1.0)}),
    )


METHOD = Method(
    name="rapf",
    title="RAPF",
    paper="Huang et al., ECCV 2024",
    options=RAPFOptions,
    recipe=Recipe(
        lr=0.001,
        epochs=15,
        batch_size=100,
        optimizer="adam",
        weight_decay=0.0,
        warmup_epochs=0,
        schedule="multistep",
        milestones=(4, 10),
        drop_last=False,
    ),
    parts=(
        *zero_shot.TEXT,
        parts.LINEAR,
        parts.GAUSSIANS,
        parts.STATISTICS.called("class Gaussians"),
        parts.CROSS_ENTROPY,
        parts.NEIGHBOURS,
        parts.SINGULAR_FUSION,
    ),
    compose=compose,
)
