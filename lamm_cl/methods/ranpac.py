"""RanPAC: ridge regression on random features of a frozen tower (McDonnell et al., NeurIPS 2023)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from lamm_cl.methods import parts
from lamm_cl.methods.method import Features, Method, Options, Setting
from lamm_cl.methods.recipe import NONE


class RanPACOptions(Options):
    """Options of RanPAC."""

    M: int = Field(10_000, ge=0, le=100_000, description="number of random features; 0: the features themselves")
    ridge: Literal["select"] | Annotated[float, Field(gt=0)] = Field(
        "select", description="a number, or select: the best of 1e-8 ... 1e8 on a fifth of the current stage"
    )
    image_features: Features = Field(
        "raw", description="as the tower gives them, of length 1, or unprojected (released code: 768 of ViT-B)"
    )
    score: Literal["linear", "cosine"] = Field("linear", description="linear (released code) or cosine (LAMDA-PILOT)")


def compose(setting: Setting, options: RanPACOptions) -> Any:
    """Draw the random layer from N(0, 1), and regress on it."""
    width = setting.backbone.width(options.image_features)
    layer = parts.RANDOM_LAYER(setting.initial.normal("W_rand", width, options.M, std=1.0)) if options.M else None
    return parts.PARTS(
        head=parts.RIDGE(width, options.ridge, layer, options.image_features, cosine=options.score == "cosine")
    )


METHOD = Method(
    name="ranpac",
    title="RanPAC",
    paper="McDonnell et al., NeurIPS 2023",
    options=RanPACOptions,
    recipe=NONE,
    parts=(parts.RANDOM_LAYER, parts.RIDGE, parts.STATISTICS),
    compose=compose,
)
