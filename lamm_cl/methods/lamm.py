"""LAMM: a trainable embedding for every class name, alone or on top of any other method (Gao et al., AAAI 2024)."""

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from lamm_cl.errors import UsageError
from lamm_cl.methods import parts
from lamm_cl.methods.method import Method, Options, Setting, Suffix, Weight, composed
from lamm_cl.methods.recipe import Recipe

SUFFIX = "+lamm"


class LabelOptions(Options):
    """Options of learned labels and the hierarchical loss."""

    dialect: Literal["official", "paper"] = Field(
        "official", description="the released code or the paper's text, where they differ"
    )
    label_init: Literal["words", "random"] = Field("words", description="labels start from their names or at random")
    lambda_wc: Weight | None = Field(None, description="weight of L_WC; default 1 / shots; 0 = off")
    lambda_cos: Weight = Field(1.0, description="weight of L_COS; 0 = off")
    lambda_kd: Weight = Field(0.05, description="weight of L_KD; 0 = off")
    kd_target: Literal["learned", "zero_shot"] = Field("learned", description="which probabilities are the target")


class LAMMOptions(LabelOptions):
    """Options of LAMM alone."""

    template: str = Field("a photo of a {}.", description="fixed template around the learned labels")


def with_labels(setting: Setting, made: Any, options: Any) -> Any:
    """Replace the labels of a method's parts by learned ones and add the hierarchical loss."""
    official, context = options.dialect == "official", made.context
    if context.whole:
        raise UsageError("learned names need a place in every sentence: write {} for the name in the descriptions")
    several = context.variants > 1
    # MaPLe's released code puts the label after the learned words and keeps the whole name.
    place = "after_context" if official and made.deep.coupled and not several else None
    labels = parts.LEARNED_LABELS(setting.backbone, options.dialect, options.label_init, setting.initial, place)
    # The released code's teacher reads the original names in the current context; where a prompt depends on the image,
    # or a class has several, the papers name no teacher and the fixed template serves.
    drifts = official and context.n_ctx and not context.conditioned and not several
    lambda_wc = 1 / max(setting.shots, 1) if options.lambda_wc is None else options.lambda_wc
    loss = parts.HIERARCHICAL("current" if drifts else "original", options.dialect, options.kd_target)
    terms = loss.terms(lambda_wc, options.lambda_cos, options.lambda_kd)
    objective = made.objective.plus(terms, ["current_names"] if drifts else [])
    objective = objective.but(logits=None)  # those that score: the labels are in them
    return replace(made, labels=labels, objective=objective)


def compose(setting: Setting, options: LAMMOptions) -> Any:
    """Put learned labels into a fixed template."""
    wording = parts.WORDING.load().of(options.template)
    made = parts.PARTS(parts.FIXED_TEMPLATE([[options.template]]), teacher_wording=wording)
    return with_labels(setting, made, options)


METHOD = Method(
    name="lamm",
    title="LAMM",
    paper="Gao et al., AAAI 2024",
    options=LAMMOptions,
    recipe=Recipe(lr=0.002, epochs=50, batch_size=32),
    parts=(parts.FIXED_TEMPLATE, parts.LEARNED_LABELS, parts.COSINE, parts.CROSS_ENTROPY, parts.HIERARCHICAL),
    compose=compose,
)


def unfit(method: Method) -> str:
    """Say why a method cannot have learned labels."""
    if not method.has_text_prompts:
        return "has no text prompts, so that no names can be learned"
    if parts.LEARNED_LABELS in method.parts:
        return "learns its names already"
    return ""


def plus_lamm(method: Method) -> Method:
    """Return `method` with learned labels and the hierarchical loss: "X+lamm"."""
    others = [part for part in method.parts if part.slot not in ("labels", "objective")]
    objective = [part for part in method.parts if part.slot == "objective"] or [parts.CROSS_ENTROPY]
    both = (*others, parts.LEARNED_LABELS, *objective, parts.HIERARCHICAL)
    trained = method if method.trains else METHOD
    changes = {"paper": METHOD.paper, "recipe": trained.recipe, "tiny": trained.tiny}
    return composed(method, SUFFIX, PLUS.title, LabelOptions, with_labels, both, **changes)


PLUS = Suffix(SUFFIX, "+LAMM", "learned labels and the hierarchical loss", unfit, plus_lamm)
