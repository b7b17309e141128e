"""BOFA: CLIP's visual projection trained in directions that older stages do not use (C3Box's released code)."""

import math
from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods import parts, zero_shot
from lamm_cl.methods.method import Method, Setting
from lamm_cl.methods.recipe import Recipe


class BOFAOptions(zero_shot.ZeroShotOptions):
    """Options of BOFA; the defaults are those of the one released config, CIFAR-100 in steps of 10 after 50."""

    Kt: int = Field(64, ge=1, le=100_000, description="directions in which a later stage may change the projection")
    tuned_epoch: int = Field(15, ge=1, le=100_000, description="epochs that train it whole; the rest is kept to those")
    own_lr: float = Field(0.001, ge=0, description="learning rate inside the directions, and of the stages' own heads")
    own_decay: float = Field(0.001, ge=0, description="weight decay of the same")
    stat: float = Field(0.1, ge=0, le=1, description="weight of the Gaussian discriminant in the score")
    spread: Literal["merged", "pooled"] = Field(
        "merged", description="the discriminant averages the stages' precision matrices (released code) or pools images"
    )
    mix: Literal["swapped", "searched"] = Field(
        "swapped", description="the share of text and image prototypes: swapped after its search (released code) or not"
    )
    loss_scale: Literal["parameter", "exponential"] = Field(
        "parameter", description="the loss scales cosines by CLIP's parameter (4.6, released code) or its exponential"
    )
    prefilter: bool = Field(
        False, description="only the best class of each stage's own head competes (written, never called)"
    )


def compose(setting: Setting, options: BOFAOptions) -> Any:
    """Put the bridge in the place of the projection, and score by prototypes, text and discriminant."""
    backbone = setting.backbone
    rate = options.own_lr, options.own_decay
    bridge = parts.BRIDGE(backbone, options.Kt, options.tuned_epoch, rate, setting.initial)
    scale = float(backbone.exp_logit_scale)
    head = parts.MIXED_PROTOTYPES(
        parts.GAUSSIAN_DISCRIMINANT(backbone.width("unprojected"), options.spread),
        backbone,
        bridge,
        stat=options.stat,
        mix=options.mix,
        scale=math.log(scale) if options.loss_scale == "parameter" else scale,
        prefilter=options.prefilter,
        rate=rate,
    )
    objective = parts.CROSS_ENTROPY({"own_head": (head.own, 1.0)}, logits=head.logits)
    return zero_shot.compose(setting, options, adapter=bridge, head=head, objective=objective, trains_on_first=True)


METHOD = Method(
    name="bofa",
    title="BOFA",
    paper="LAMDA-CL/C3Box",
    options=BOFAOptions,
    recipe=Recipe(
        lr=0.05,
        epochs=17,
        batch_size=128,
        weight_decay=0.05,
        warmup_epochs=0,
        cosine_epochs=15,
        drop_last=False,
    ),
    parts=(
        *zero_shot.TEXT,
        parts.BRIDGE,
        parts.MIXED_PROTOTYPES,
        parts.GAUSSIAN_DISCRIMINANT,
        parts.STATISTICS,
        parts.CROSS_ENTROPY.called("CE to mixed prototypes"),
    ),
    compose=compose,
)
