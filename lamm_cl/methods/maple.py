"""MaPLe: text prompts in every layer, image prompts coupled to them (Khattak et al., CVPR 2023)."""

from typing import Any

from pydantic import Field

from lamm_cl.methods import parts
from lamm_cl.methods.method import Layers, Method, Options, Setting, TextTokens, depth_for
from lamm_cl.methods.recipe import Recipe


class MaPLeOptions(Options):
    """Options of MaPLe."""

    n_ctx: TextTokens = Field(2, ge=1, description="number of prompt tokens")
    ctx_init: str = Field("a photo of a", description="initial words, the rest stays as text; empty = random")
    prompt_depth: Layers | None = Field(None, description="layers that get prompts; default: 9 of 12")
    clone_projections: bool = Field(
        True, description="deep projections start as copies of one layer (released code), not each at random"
    )


def compose(setting: Setting, options: Any, variants: int = 1, **more: Any) -> Any:
    """Couple the image tower's prompts to the text tower's: so many a class, with `more` parts beside them."""
    text, image = setting.backbone.text, setting.backbone.image
    layers = min(text.layers, image.layers) if image.supports_prompts else text.layers
    depth = depth_for(options.prompt_depth, 9, layers, "prompt_depth")
    context = parts.LEARNED_CONTEXT(text, options.n_ctx, options.ctx_init, setting.initial, variants=variants)
    clones = options.clone_projections
    deep = parts.COUPLED_PROMPTS(depth, options.n_ctx, text.width, image.width, setting.initial, variants, clones)
    return parts.PARTS(context, deep=deep, **more)


METHOD = Method(
    name="maple",
    title="MaPLe",
    paper="Khattak et al., CVPR 2023",
    options=MaPLeOptions,
    recipe=Recipe(lr=0.0035, epochs=5, batch_size=4),
    parts=(parts.LEARNED_CONTEXT, parts.COUPLED_PROMPTS, *parts.PLAIN),
    compose=compose,
    vision=True,
)
