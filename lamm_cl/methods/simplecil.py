"""SimpleCIL: class means of frozen features (Zhou et al., IJCV 2024; "RanPAC without a ridge", NCM)."""

from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods import parts
from lamm_cl.methods.method import Method, Options, Setting
from lamm_cl.methods.recipe import Recipe


class SimpleCILOptions(Options):
    """Options of SimpleCIL."""

    features: Literal["raw", "unit"] = Field(
        "raw", description="what is averaged: features as the tower gives them (released codes), or of length 1"
    )


def compose(setting: Setting, options: SimpleCILOptions) -> Any:
    """Score by the cosine to each class's mean."""
    return parts.PARTS(head=parts.PROTOTYPES(setting.backbone.embed_dim, options.features))


METHOD = Method(
    name="simplecil",
    title="SimpleCIL",
    paper="Zhou et al., IJCV 2024",
    options=SimpleCILOptions,
    recipe=Recipe(lr=0.0, epochs=1, batch_size=128),
    parts=(parts.PROTOTYPES, parts.STATISTICS),
    compose=compose,
)
