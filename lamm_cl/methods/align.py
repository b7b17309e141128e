"""ALIGN: several coupled prompts, matched by two-level optimal transport (Wang et al., NeurIPS 2023)."""

from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods import maple, parts
from lamm_cl.methods.method import ImageTokens, Layers, Method, Options, Setting, TextTokens
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.values import MOST


class ALIGNOptions(Options):
    """Options of ALIGN."""

    n_prompts: ImageTokens = Field(4, ge=2, description="number of prompts of each class and of each image")
    n_ctx: TextTokens = Field(2, ge=1, description="number of tokens of a prompt")
    ctx_init: str = Field("a photo of a", description="initial words of the first prompt; the others are random")
    prompt_depth: Layers | None = Field(None, description="layers that get prompts; default: 9 of 12")
    clone_projections: bool = Field(
        True, description="deep projections start as copies of one layer (released code), not each at random"
    )
    hierarchical: bool = Field(True, description="whether token-level transport shapes the prompt-level cost")
    eps: float = Field(0.1, gt=0, le=MOST, description="entropic regularisation")
    max_iter: int = Field(100, ge=1, le=MOST, description="most Sinkhorn iterations")
    thresh: float = Field(1e-2, gt=0, le=MOST, description="Sinkhorn stops at this mean change")
    sign: Literal["released", "paper"] = Field(
        "released", description="token level as a similarity (released code) or as a distance (paper)"
    )


def compose(setting: Setting, options: ALIGNOptions) -> Any:
    """Give each class and each image several coupled prompts."""
    matching = parts.TRANSPORT(options.hierarchical, options.eps, options.max_iter, options.thresh, options.sign)
    return maple.compose(setting, options, options.n_prompts, matching=matching)


METHOD = Method(
    name="align",
    title="ALIGN",
    paper="Wang et al., NeurIPS 2023",
    options=ALIGNOptions,
    recipe=Recipe(lr=0.0025, epochs=20, batch_size=4),
    parts=(
        parts.LEARNED_CONTEXT.called("several, learned"),
        parts.NAMES,
        parts.COUPLED_PROMPTS.called("several, text -> vision"),
        parts.TRANSPORT,
        parts.CROSS_ENTROPY,
    ),
    compose=compose,
    vision=True,
)
