"""CoCoOp: learned context plus a bias from each image (Zhou et al., CVPR 2022)."""

from typing import Any

from pydantic import Field

from lamm_cl.methods import parts
from lamm_cl.methods.method import Method, Options, Setting, TextTokens
from lamm_cl.methods.recipe import Recipe


class CoCoOpOptions(Options):
    """Options of CoCoOp."""

    n_ctx: TextTokens = Field(4, ge=0, description="number of context vectors")
    ctx_init: str = Field("a photo of a", description="initial words; empty = random")


def compose(setting: Setting, options: CoCoOpOptions) -> Any:
    """Put vectors that depend on the image in the place of the words before the names."""
    text, width = setting.backbone.text, setting.backbone.embed_dim
    return parts.PARTS(parts.CONDITIONED_CONTEXT(text, width, options.n_ctx, options.ctx_init, setting.initial))


METHOD = Method(
    name="cocoop",
    title="CoCoOp",
    paper="Zhou et al., CVPR 2022",
    options=CoCoOpOptions,
    recipe=Recipe(lr=0.002, epochs=10, batch_size=1),
    parts=(parts.CONDITIONED_CONTEXT, *parts.PLAIN),
    compose=compose,
)
