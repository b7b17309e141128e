"""RAIL: ridge regression on CLIP features, gated by zero-shot CLIP (Xu et al., NeurIPS 2024)."""

from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods import parts, zero_shot
from lamm_cl.methods.method import Method, Setting
from lamm_cl.methods.recipe import NONE

RIDGES = {"primal": 0.1, "dual": 0.001}  # the released dual form ignores its config's 0.1


class RAILOptions(zero_shot.ZeroShotOptions):
    """Options of RAIL."""

    templates: str | list[str] | None = Field(
        zero_shot.PLAIN, description="one template, or several whose features are averaged; null: the data set's own"
    )
    form: Literal["primal", "dual"] = Field(
        "primal", description="primal: sums over random features; dual: a kernel, which keeps every training feature"
    )
    hidden: int = Field(
        15_000, ge=0, le=100_000, description="number of random features of the primal form; 0: the features themselves"
    )
    ridge: float | None = Field(None, gt=0, description="weight of the squared norm; default: primal 0.1, dual 0.001")
    kernel_gamma: float = Field(0.1, gt=0, description="the dual form's kernel is exp(-kernel_gamma |a - b|^2)")
    logit_scale: float | None = Field(100, gt=0, description="factor of the cosines; null = the backbone's own")
    fusion: float = Field(0.8, ge=0, le=1, description="weight of the regression where the gate opens")
    gate: Literal["all", "seen"] = Field(
        "all", description="the gate asks zero-shot CLIP among all classes, also future ones, or among those seen"
    )


def compose(setting: Setting, options: RAILOptions) -> Any:
    """Regress on features of length 1, and gate it."""
    width, ridge, initial = setting.backbone.embed_dim, options.ridge or RIDGES[options.form], setting.initial
    if options.form == "dual":
        head = parts.KERNEL_RIDGE(width, initial.dtype, ridge, options.kernel_gamma)
    else:
        layer = None
        if options.hidden:
            layer = parts.RANDOM_LAYER(initial.uniform("expansion", width**-0.5, width, options.hidden))
        head = parts.RIDGE(width, ridge, layer, "unit")
    gate = parts.GATE(head, options.fusion, options.gate)
    return zero_shot.compose(setting, options, head=gate, logit_scale=options.logit_scale)


METHOD = Method(
    name="rail",
    title="RAIL",
    paper="Xu et al., NeurIPS 2024",
    options=RAILOptions,
    recipe=NONE,
    parts=(
        *zero_shot.TEXT,
        parts.RANDOM_LAYER,
        parts.RIDGE.called("ridge or kernel ridge"),
        parts.KERNEL_RIDGE.called("ridge or kernel ridge"),
        parts.GATE,
        parts.STATISTICS,
        parts.FEATURE_MEMORY,
    ),
    compose=compose,
)
