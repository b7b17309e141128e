"""CoCoOp: learned context plus a bias from each image (Zhou et al., CVPR 2022)."""

from typing import TYPE_CHECKING

from pydantic import Field

from lamm_cl.methods.method import Method, Options, Setting, algebra
from lamm_cl.methods.recipe import Recipe

if TYPE_CHECKING:
    from lamm_cl.prompts.prompted_clip import Parts


class CoCoOpOptions(Options):
    """Options of CoCoOp."""

    n_ctx: int = Field(4, ge=0, description="number of context vectors")
    ctx_init: str = Field("a photo of a", description="initial words; empty = random")


def compose(setting: Setting, options: CoCoOpOptions) -> "Parts":
    """Put vectors that depend on the image in the place of the words before the names."""
    from lamm_cl.prompts.context import ConditionedContext
    from lamm_cl.prompts.deep import Deep
    from lamm_cl.prompts.labels import FixedLabels
    from lamm_cl.prompts.matching import Cosine
    from lamm_cl.prompts.objective import Objective
    from lamm_cl.prompts.prompted_clip import Parts

    backbone = setting.backbone
    context = ConditionedContext(backbone.text, backbone.embed_dim, options.n_ctx, options.ctx_init, setting.initial)
    return Parts(context, FixedLabels(), Deep(), Cosine(), Objective())


METHOD = Method(
    name="cocoop",
    title="CoCoOp",
    paper="Zhou et al., CVPR 2022",
    options=CoCoOpOptions,
    recipe=Recipe(lr=0.002, epochs=10, batch_size=1),
    algebra=algebra("learned, image-conditioned"),
    compose=compose,
)
