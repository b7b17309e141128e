"""CoOp: learned context words, shared by all classes or one set a class (Zhou et al., IJCV 2022)."""

from typing import Any, Literal

from pydantic import Field

from lamm_cl.errors import UsageError
from lamm_cl.methods import parts
from lamm_cl.methods.method import Method, Options, Setting, TextTokens
from lamm_cl.methods.recipe import Recipe


class CoOpOptions(Options):
    """Options of CoOp."""

    n_ctx: TextTokens = Field(
        0, ge=0, description="number of context vectors; 0 = 16, or one for each word of ctx_init"
    )
    ctx_init: str = Field("", description='initial words, such as "a photo of a"; empty = random')
    csc: bool = Field(False, description="class-specific context: each class has vectors of its own")
    class_token_position: Literal["front", "middle", "end"] = Field("end", description="where the class name stands")


def compose(setting: Setting, options: CoOpOptions) -> Any:
    """Put learned vectors in the place of the words before the names."""
    text, position = setting.backbone.text, options.class_token_position
    n_ctx = options.n_ctx or (0 if options.ctx_init else 16)
    if options.csc:
        if options.ctx_init:
            raise UsageError("csc=true starts from random vectors: leave ctx_init empty")
        return parts.PARTS(parts.CLASS_CONTEXT(text, n_ctx, setting.initial, position))
    return parts.PARTS(parts.LEARNED_CONTEXT(text, n_ctx, options.ctx_init, setting.initial, position))


METHOD = Method(
    name="coop",
    title="CoOp",
    paper="Zhou et al., IJCV 2022",
    options=CoOpOptions,
    recipe=Recipe(lr=0.002, epochs=50, batch_size=32),
    parts=(parts.LEARNED_CONTEXT, parts.CLASS_CONTEXT, *parts.PLAIN),
    compose=compose,
)
