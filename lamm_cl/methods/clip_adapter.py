"""CLIP-Adapter: a bottleneck MLP on image features, mixed with them (Gao et al., IJCV 2024)."""

from typing import Any

from pydantic import Field

from lamm_cl.methods import parts, zero_shot
from lamm_cl.methods.method import Method, Setting
from lamm_cl.methods.recipe import Recipe


class CLIPAdapterOptions(zero_shot.ZeroShotOptions):
    """Options of CLIP-Adapter."""

    ratio: float = Field(0.2, ge=0, le=1, description="share of the adapted feature; the rest is CLIP's own")
    reduction: int = Field(4, ge=1, le=10_000, description="the inner width is the feature's divided by this")


def compose(setting: Setting, options: CLIPAdapterOptions) -> Any:
    """Put the adapter behind the image tower, before its features are normalised."""
    width = setting.backbone.embed_dim
    return zero_shot.compose(
        setting, options, adapter=parts.BOTTLENECK(width, options.reduction, options.ratio, setting.initial)
    )


METHOD = Method(
    name="clip_adapter",
    title="CLIP-Adapter",
    paper="Gao et al., IJCV 2024",
    options=CLIPAdapterOptions,
    recipe=Recipe(lr=0.002, epochs=200, batch_size=32),
    parts=(parts.FIXED_TEMPLATE, parts.BOTTLENECK, *parts.PLAIN),
    compose=compose,
)
