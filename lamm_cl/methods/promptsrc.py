"""PromptSRC: prompts in both towers, near zero-shot CLIP, averaged over epochs (Khattak et al., ICCV 2023); X+src."""

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods import independent, parts
from lamm_cl.methods.method import Method, Options, Setting, Suffix, composed
from lamm_cl.methods.recipe import Recipe
from lamm_cl.prompts.ensembles import ENSEMBLES

RECIPE = Recipe(lr=0.0025, epochs=20, batch_size=4)
DEPTH = 9  # of 12 layers


class SrcOptions(Options):
    """Options of PromptSRC's terms and average."""

    text_loss_weight: float = Field(25.0, ge=0, description="weight of the L1 distance of text features; 0 = off")
    image_loss_weight: float = Field(10.0, ge=0, description="weight of the L1 distance of image features; 0 = off")
    kl_loss_weight: float = Field(1.0, ge=0, description="weight of KL(reference || learned) of the logits; 0 = off")
    gpa_mean: float | None = Field(
        None, gt=0, description="epoch, from 1, that counts most in the average; default: the recipe's times 3/4"
    )
    gpa_std: float | None = Field(
        None, gt=0, description="spread of the average in epochs; default: the recipe's / 20, at least 1; see `average`"
    )
    average: bool = Field(True, description="whether the prompts are averaged over the epochs of a stage")
    teacher_templates: str | list[str] | None = Field(
        None, min_length=1, description="templates of the zero-shot text; default: 60 written for ImageNet"
    )
    reference: Literal["zero_shot", "previous_stage"] = Field(
        "zero_shot", description="zero-shot CLIP, or the model before the stage (from stage 2)"
    )


class PromptSRCOptions(SrcOptions):
    """Options of PromptSRC."""

    n_ctx_vision: int = Field(4, ge=1, description="number of tokens in the image tower")
    n_ctx_text: int = Field(4, ge=1, description="number of tokens in the text tower")
    prompt_depth_vision: int | None = Field(None, ge=0, description="default: 9 of 12 layers; 0 = no image tokens")
    prompt_depth_text: int | None = Field(None, ge=1, description="default: 9 of 12 layers")
    ctx_init: str = Field(independent.WORDS, description="initial words; empty = random")


def with_src(epochs: int | None, made: Any, setting: Setting, options: SrcOptions) -> Any:
    """Add PromptSRC's three terms and its average to a method's parts.

    Args:
        epochs: those of the recipe.
        made: the method's parts.
        setting: where it is composed.
        options: PromptSRC's.
    """
    given = options.teacher_templates
    rows = ENSEMBLES["imagenet60"] if given is None else (given,) if isinstance(given, str) else tuple(given)
    bank = parts.TEXT_BANK.load().of([rows], unit=False)  # as released: their mean is normalised, they are not
    kinds = (("text", "text_l1", "l1"), ("image", "image_l1", "l1"), ("logits", "kl", "kl"))
    terms = {name: parts.REFERENCE(what, distance, bank, options.reference).term for what, name, distance in kinds}
    weights = (options.text_loss_weight, options.image_loss_weight, options.kl_loss_weight)
    wants = {str(options.reference)} - {"zero_shot"}
    if options.reference == "zero_shot" and (options.image_loss_weight or options.kl_loss_weight):
        wants = {"zero_shot_image"}  # see `PromptedOutput`
    weighted = {name: (term, weight) for (name, term), weight in zip(terms.items(), weights, strict=True)}
    average = None
    if options.average:
        length = epochs or 1
        mean = 0.75 * length if options.gpa_mean is None else options.gpa_mean
        std = max(1.0, length / 20) if options.gpa_std is None else options.gpa_std
        average = parts.EPOCH_AVERAGE(mean, std, setting.initial.at_least_float.dtype)
    return replace(made, objective=made.objective.plus(weighted, {*made.objective.wants, *wants}), average=average)


def compose(setting: Setting, options: PromptSRCOptions) -> Any:
    """Put learned tokens into both towers, near zero-shot CLIP."""
    own = {name: getattr(options, name) for name in independent.IVLPOptions.model_fields}
    made = independent.compose(setting, independent.IVLPOptions.model_construct(**own), DEPTH)
    return with_src(RECIPE.epochs, made, setting, options)


NEAR = parts.REFERENCE.called("text, image, logits near zero-shot")
METHOD = Method(
    name="promptsrc",
    title="PromptSRC",
    paper="Khattak et al., ICCV 2023",
    options=PromptSRCOptions,
    recipe=RECIPE,
    parts=(parts.LEARNED_CONTEXT, parts.INDEPENDENT_PROMPTS, *parts.PLAIN, NEAR, parts.EPOCH_AVERAGE),
    compose=compose,
    vision=True,
)


def unfit(method: Method) -> str:
    """Say why a method cannot have the terms and the average."""
    if not {"text", "image"} <= method.learns:
        return "learns nothing in one of the towers"
    homes = {part.home for part in method.parts}
    if parts.REFERENCE.home in homes or parts.EPOCH_AVERAGE.home in homes:
        return "keeps near a reference already"
    return ""


def plus_src(method: Method) -> Method:
    """Return `method` with PromptSRC's terms and average: "X+src"."""

    def more(setting: Setting, made: Any, options: Any) -> Any:
        return with_src(method.recipe.epochs, made, setting, options)

    both = (*method.parts, NEAR, parts.EPOCH_AVERAGE)
    return composed(method, PLUS.name, PLUS.title, SrcOptions, more, both)


PLUS = Suffix(
    "+src",
    "+SRC",
    "PromptSRC's terms and average: text, image features and logits stay near zero-shot CLIP's",
    unfit,
    plus_src,
)
