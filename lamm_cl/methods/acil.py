"""ACIL: recursive least squares on a random buffer layer, which is ridge on all data (Zhuang et al., NeurIPS 2022)."""

from typing import Any

from pydantic import Field

from lamm_cl.methods import parts
from lamm_cl.methods.method import Features, Method, Options, Setting
from lamm_cl.methods.recipe import NONE


class ACILOptions(Options):
    """Options of ACIL."""

    buffer_size: int = Field(
        8192, ge=0, le=100_000, description="number of random features; 0: the features themselves"
    )
    ridge: float = Field(0.1, gt=0, description="weight of the squared norm (gamma in the released code)")
    image_features: Features = Field("raw", description="as the tower gives them, of length 1, or unprojected")


def compose(setting: Setting, options: ACILOptions) -> Any:
    """Draw the buffer layer as torch draws a linear one, and regress on it."""
    width, layer = setting.backbone.width(options.image_features), None
    if options.buffer_size:
        layer = parts.RANDOM_LAYER(setting.initial.uniform("buffer", width**-0.5, width, options.buffer_size))
    return parts.PARTS(head=parts.RIDGE(width, options.ridge, layer, options.image_features))


METHOD = Method(
    name="acil",
    title="ACIL",
    paper="Zhuang et al., NeurIPS 2022",
    options=ACILOptions,
    recipe=NONE,
    parts=(parts.RANDOM_LAYER, parts.RIDGE, parts.STATISTICS),
    compose=compose,
)
