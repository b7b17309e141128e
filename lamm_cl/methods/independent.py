"""Independent prompts in one tower or both: VPT, deep language prompting, IVLP (siblings in MaPLe's code)."""

from typing import Any

from pydantic import Field

from lamm_cl.methods import parts
from lamm_cl.methods.method import ImageTokens, Layers, Method, Options, Setting, TextTokens, depth_for
from lamm_cl.methods.recipe import Recipe

WORDS = "a photo of a"


class VPTOptions(Options):
    """Options of visual prompt tuning."""

    n_ctx_vision: ImageTokens = Field(8, ge=1, description="number of tokens in the image tower")
    prompt_depth_vision: Layers | None = Field(
        None, description="layers that get tokens: 1 = shallow; default: 12, or all of a smaller tower"
    )


class LanguagePromptingOptions(Options):
    """Options of deep language prompting."""

    n_ctx_text: TextTokens = Field(4, ge=1, description="number of tokens in the text tower")
    prompt_depth_text: Layers | None = Field(
        None, description="layers that get tokens; default: 12, or all of a smaller tower"
    )
    ctx_init: str = Field(WORDS, description="initial words; empty = random")


class IVLPOptions(Options):
    """Options of independent vision-language prompting."""

    n_ctx_vision: ImageTokens = Field(2, ge=1, description="number of tokens in the image tower")
    n_ctx_text: TextTokens = Field(2, ge=1, description="number of tokens in the text tower")
    prompt_depth_vision: Layers | None = Field(None, description="default: 12, or all of a smaller tower")
    prompt_depth_text: Layers | None = Field(None, description="default: 12, or all of a smaller tower")
    ctx_init: str = Field(WORDS, description="initial words; empty = random")


def compose(
    setting: Setting, options: VPTOptions | LanguagePromptingOptions | IVLPOptions, default_depth: int = 12
) -> Any:
    """Put learned tokens into the towers for which the options name a number of tokens.

    Args:
        setting: where the method is composed.
        options: those of one of the three methods.
        default_depth: layers, of 12, that get tokens where the options do not say.
    """
    text, image = setting.backbone.text, setting.backbone.image
    vision, language = (0, 0, 0), (0, 0, 0)
    context = parts.FIXED_TEMPLATE([[f"{WORDS} {{}}."]])
    if not isinstance(options, LanguagePromptingOptions):
        depth = depth_for(options.prompt_depth_vision, default_depth, image.layers, "prompt_depth_vision")
        vision = (options.n_ctx_vision, image.width, depth)
    if not isinstance(options, VPTOptions):
        depth = depth_for(options.prompt_depth_text, default_depth, text.layers, "prompt_depth_text")
        language = (options.n_ctx_text, text.width, depth)
        context = parts.LEARNED_CONTEXT(text, options.n_ctx_text, options.ctx_init, setting.initial)
    return parts.PARTS(context, deep=parts.INDEPENDENT_PROMPTS(vision, language, setting.initial))


VPT = Method(
    name="vpt",
    title="VPT",
    paper="Jia et al., ECCV 2022",
    options=VPTOptions,
    recipe=Recipe(lr=0.0025, epochs=5, batch_size=4),
    parts=(parts.FIXED_TEMPLATE, parts.INDEPENDENT_PROMPTS.called("vision", learns=("image",)), *parts.PLAIN),
    compose=compose,
    vision=True,
)
LANGUAGE_PROMPTING = Method(
    name="language_prompting",
    title="Deep language prompting",
    paper="Khattak et al., CVPR 2023",
    options=LanguagePromptingOptions,
    recipe=Recipe(lr=0.0025, epochs=5, batch_size=4),
    parts=(parts.LEARNED_CONTEXT, parts.INDEPENDENT_PROMPTS.called("text", learns=("text",)), *parts.PLAIN),
    compose=compose,
)
IVLP = Method(
    name="ivlp",
    title="IVLP",
    paper="Khattak et al., CVPR 2023",
    options=IVLPOptions,
    recipe=Recipe(lr=0.0035, epochs=5, batch_size=4),
    parts=(parts.LEARNED_CONTEXT, parts.INDEPENDENT_PROMPTS, *parts.PLAIN),
    compose=compose,
    vision=True,
)
