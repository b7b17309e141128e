"""Tip-Adapter and Tip-Adapter-F: a cache of training features beside CLIP's text (Zhang et al., ECCV 2022)."""

from typing import Annotated, Any

from pydantic import Field

from lamm_cl.methods import parts, zero_shot
from lamm_cl.methods.method import Method, Selection, Setting
from lamm_cl.methods.recipe import NONE, Recipe

TEXT_AND_CACHE = (*zero_shot.TEXT, parts.CACHE, parts.SUM, parts.FEATURE_MEMORY)

Number = Annotated[float, Field(ge=0)]
Steps = Annotated[int, Field(ge=1, le=10_000)]


class TipAdapterOptions(zero_shot.ZeroShotOptions):
    """Options of Tip-Adapter; the defaults are those of the released config of ImageNet."""

    logit_scale: float | None = Field(100, gt=0, description="factor of the cosines; null = the backbone's own")
    init_alpha: float = Field(1.17, ge=0, description="weight of the cache, where it is not searched")
    init_beta: float = Field(1.0, ge=0, description="sharpness of the cache, where it is not searched")
    augment_epoch: int = Field(
        10, ge=0, le=1000, description="training views whose mean feature is a key; 0: the evaluation view"
    )
    selection: Selection = Field(
        "val", description="where alpha and beta are searched after each stage: val, none, or test (released ImageNet)"
    )
    search_scale: list[Number] = Field(
        [7.0, 3.0], min_length=2, max_length=2, description="upper ends of the search of beta and alpha"
    )
    search_step: list[Steps] = Field(
        [200, 20], min_length=2, max_length=2, description="how many values of beta and alpha are tried"
    )


class TipAdapterFOptions(TipAdapterOptions):
    """Options of Tip-Adapter-F."""

    best_epoch: Selection = Field(
        "val", description="where the keys of the best epoch are chosen: val, none (the last epoch), or test (released)"
    )


def compose(setting: Setting, options: TipAdapterOptions) -> Any:
    """Add a cache to zero-shot CLIP; its keys train where there is a best epoch to choose."""
    cache = parts.CACHE(
        setting.backbone.embed_dim,
        setting.initial.dtype,
        alpha=options.init_alpha,
        beta=options.init_beta,
        views=options.augment_epoch,
        selection=options.selection,
        scale=options.search_scale,
        step=options.search_step,
        trains=isinstance(options, TipAdapterFOptions),
        best_epoch=getattr(options, "best_epoch", "none"),
    )
    return zero_shot.compose(setting, options, head=cache, logit_scale=options.logit_scale)


METHOD = Method(
    name="tip_adapter",
    title="Tip-Adapter",
    paper="Zhang et al., ECCV 2022",
    options=TipAdapterOptions,
    recipe=NONE,
    parts=TEXT_AND_CACHE,
    compose=compose,
)
TIP_ADAPTER_F = Method(
    name="tip_adapter_f",
    title="Tip-Adapter-F",
    paper="Zhang et al., ECCV 2022",
    options=TipAdapterFOptions,
    recipe=Recipe(
        lr=0.001,
        epochs=20,
        batch_size=256,
        optimizer="adamw",
        weight_decay=0.01,
        adam_eps=1e-4,
        warmup_epochs=0,
        schedule="cosine_step",
        drop_last=False,
    ),
    parts=(*TEXT_AND_CACHE, parts.CROSS_ENTROPY),
    compose=compose,
)
