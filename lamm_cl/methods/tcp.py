"""TCP: learned context, and tokens of each class inside the text tower (Yao et al., CVPR 2024)."""

from dataclasses import replace
from typing import Any

from pydantic import Field

from lamm_cl.methods import kgcoop, parts
from lamm_cl.methods.method import Method, Setting, depth_for
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.zero_shot import PLAIN


class TCPOptions(kgcoop.KgOptions):
    """Options of TCP."""

    n_ctx: int = Field(4, ge=0, description="number of context vectors")
    ctx_init: str = Field("", description="initial words; empty = random")
    prompt: str | None = Field(
        None,
        description="words of the learned prompt; the first n_ctx tokens are the context; default: the data set's own",
    )
    teacher: str | None = Field(None, description="template of the zero-shot features; default: the data set's own")
    layer: int | None = Field(
        None, ge=1, description="layers before the class tokens come in; default: 8, or 8 of 12 of a smaller tower"
    )


def compose(setting: Setting, options: TCPOptions) -> Any:
    """Put learned vectors before the names, and tokens of each class into a layer."""
    backbone, own = setting.backbone, setting.templates or [PLAIN]
    layer = depth_for(options.layer, 8, backbone.text.layers, "layer")
    prompts = own if options.prompt is None else [options.prompt]
    given = setting if options.teacher is None else replace(setting, templates=[options.teacher])
    bank = parts.TEXT_BANK.load().of(given.templates or [PLAIN])
    width, initial = backbone.embed_dim, setting.initial
    context = parts.CLASS_AWARE_CONTEXT(
        backbone.text, width, options.n_ctx, options.ctx_init, initial, prompts, bank, layer
    )
    return kgcoop.with_kg(given, parts.PARTS(context), options)


METHOD = Method(
    name="tcp",
    title="TCP",
    paper="Yao et al., CVPR 2024",
    options=TCPOptions,
    recipe=Recipe(lr=0.002, epochs=50, batch_size=32, optimizer="adam", adam_eps=1e-3),
    parts=(parts.CLASS_AWARE_CONTEXT, *parts.PLAIN, parts.REFERENCE.called("text near zero-shot")),
    compose=compose,
)
