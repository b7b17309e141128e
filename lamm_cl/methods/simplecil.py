"""SimpleCIL: class means of frozen features (Zhou et al., IJCV 2024); NCM in RanPAC's code."""

from typing import Any

from pydantic import Field

from lamm_cl.methods import parts
from lamm_cl.methods.method import Features, Method, Options, Setting
from lamm_cl.methods.recipe import NONE


class SimpleCILOptions(Options):
    """Options of SimpleCIL."""

    image_features: Features = Field(
        "raw",
        description="what is averaged: features as the tower gives them (released codes), of length 1, or unprojected",
    )


def compose(setting: Setting, options: SimpleCILOptions) -> Any:
    """Score by the cosine to each class's mean."""
    return parts.PARTS(head=parts.PROTOTYPES(setting.backbone.width(options.image_features), options.image_features))


METHOD = Method(
    name="simplecil",
    title="SimpleCIL",
    paper="Zhou et al., IJCV 2024",
    options=SimpleCILOptions,
    recipe=NONE,
    parts=(parts.PROTOTYPES, parts.STATISTICS),
    compose=compose,
)
