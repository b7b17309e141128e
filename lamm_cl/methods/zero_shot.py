"""Zero-shot CLIP: hand-written templates, nothing learned (Radford et al. 2021)."""

from typing import Any

from pydantic import Field

from lamm_cl.methods import parts, text_bank
from lamm_cl.methods.method import Method, Options, Setting
from lamm_cl.methods.recipe import Recipe

PLAIN = "a photo of a {}."
TEXT = (parts.FIXED_TEMPLATE, parts.NAMES, parts.COSINE)  # what it is composed of


class ZeroShotOptions(Options):
    """Options of zero-shot CLIP."""

    templates: str | list[str] | None = Field(
        None, description="one template, or several whose features are averaged; default: the data set's own"
    )
    text: text_bank.Text | None = Field(
        None,
        description="in place of templates: {ensemble: NAME}, or {descriptions: FILE} with sentences by class name",
    )


def compose(setting: Setting, options: ZeroShotOptions, **more: Any) -> Any:
    """Put fixed templates around the names; `more` parts of other methods beside them."""
    if options.text is not None:
        context = parts.FIXED_TEMPLATE(text_bank.sentences(options.text, setting.class_names))
    elif options.templates is not None:
        own = [options.templates] if isinstance(options.templates, str) else options.templates
        context = parts.FIXED_TEMPLATE([own])
    else:
        context = parts.FIXED_TEMPLATE([[template] for template in setting.templates or [PLAIN]])
    return parts.PARTS(context, average_variants=True, **more)


METHOD = Method(
    name="zero_shot",
    title="CLIP (zero-shot)",
    paper="Radford et al., ICML 2021",
    options=ZeroShotOptions,
    recipe=Recipe(lr=0.0, epochs=1, batch_size=100),
    parts=TEXT,
    compose=compose,
)
