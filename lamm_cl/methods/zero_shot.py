"""Zero-shot CLIP: hand-written templates, nothing learned (Radford et al. 2021)."""

from typing import TYPE_CHECKING

from pydantic import Field

from lamm_cl.methods.method import Method, Options, Setting, algebra
from lamm_cl.methods.recipe import Recipe

if TYPE_CHECKING:
    from lamm_cl.prompts.prompted_clip import Parts

PLAIN = "a photo of a {}."


class ZeroShotOptions(Options):
    """Options of zero-shot CLIP."""

    templates: str | list[str] | None = Field(
        None, description="one template, or several whose features are averaged; default: the data set's own"
    )


def compose(setting: Setting, options: ZeroShotOptions) -> "Parts":
    """Put fixed templates around the names."""
    from lamm_cl.prompts.context import FixedContext
    from lamm_cl.prompts.deep import Deep
    from lamm_cl.prompts.labels import FixedLabels
    from lamm_cl.prompts.matching import Cosine
    from lamm_cl.prompts.objective import Objective
    from lamm_cl.prompts.prompted_clip import Parts

    if options.templates is not None:
        own = [options.templates] if isinstance(options.templates, str) else options.templates
        context = FixedContext([own])
    else:
        context = FixedContext([[template] for template in setting.templates or [PLAIN]])
    return Parts(context, FixedLabels(), Deep(), Cosine(), Objective(), average_variants=True)


METHOD = Method(
    name="zero_shot",
    title="CLIP (zero-shot)",
    paper="Radford et al., ICML 2021",
    options=ZeroShotOptions,
    recipe=Recipe(lr=0.0, epochs=1, batch_size=100),
    algebra=algebra("fixed template", objective="-"),
    compose=compose,
)
