"""KgCoOp: learned context whose text features stay near the zero-shot ones (Yao et al., CVPR 2023); and X+kg."""

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods import coop, parts
from lamm_cl.methods.method import Method, Options, Setting, Suffix, composed
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.zero_shot import PLAIN


class KgOptions(Options):
    """Options of the knowledge-guided term."""

    w: float = Field(8.0, ge=0, description="weight of the distance of the text features from the reference; 0 = off")
    distance: Literal["cosine", "l1", "l2"] = Field("cosine", description="distance of two text features")
    reference: Literal["zero_shot", "previous_stage"] = Field(
        "zero_shot",
        description="features of the data set's own template, or those of the model before the stage (from stage 2)",
    )


class KgCoOpOptions(KgOptions):
    """Options of KgCoOp."""

    n_ctx: int = Field(0, ge=0, description="number of context vectors; 0 = 16, or one for each word of ctx_init")
    ctx_init: str = Field("a photo of a", description="initial words; empty = random")


def with_kg(setting: Setting, made: Any, options: Any) -> Any:
    """Add the knowledge-guided term to a method's parts."""
    bank = parts.TEXT_BANK.load().of(setting.templates or [PLAIN])
    term = parts.REFERENCE("text", options.distance, bank, options.reference).term
    wants = {*made.objective.wants, *([options.reference] if options.reference != "zero_shot" else [])}
    return replace(made, objective=made.objective.plus({"kg": (term, options.w)}, wants))


def compose(setting: Setting, options: KgCoOpOptions) -> Any:
    """Learn a context, near the zero-shot text."""
    words = coop.CoOpOptions.model_validate({"n_ctx": options.n_ctx, "ctx_init": options.ctx_init})
    return with_kg(setting, coop.compose(setting, words), options)


METHOD = Method(
    name="kgcoop",
    title="KgCoOp",
    paper="Yao et al., CVPR 2023",
    options=KgCoOpOptions,
    recipe=Recipe(lr=0.002, epochs=100, batch_size=128),
    parts=(parts.LEARNED_CONTEXT, *parts.PLAIN, parts.REFERENCE.called("text near zero-shot")),
    compose=compose,
)


def unfit(method: Method) -> str:
    """Say why a method cannot have the term."""
    if "text" not in method.learns:
        return "learns nothing that reaches its text features"
    if parts.REFERENCE.home in {part.home for part in method.parts}:
        return "keeps its text near a reference already"
    return ""


def plus_kg(method: Method) -> Method:
    """Return `method` with the knowledge-guided term: "X+kg"."""
    term = parts.REFERENCE.called("text near zero-shot")
    return composed(method, PLUS.name, PLUS.title, KgOptions, with_kg, (*method.parts, term))


PLUS = Suffix("+kg", "+Kg", "KgCoOp's term: its text features stay near the zero-shot ones", unfit, plus_kg)
