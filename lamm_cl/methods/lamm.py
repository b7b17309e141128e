"""LAMM: a trainable embedding for every class name, alone or on top of any other method (Gao et al., AAAI 2024)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, create_model

from lamm_cl.methods.method import Method, Options, Setting, algebra
from lamm_cl.methods.recipe import Recipe

if TYPE_CHECKING:
    from lamm_cl.prompts.prompted_clip import Parts
    from lamm_cl.prompts.wording import LabelPlace

SUFFIX = "+lamm"


class LabelOptions(Options):
    """Options of learned labels and the hierarchical loss."""

    dialect: Literal["official", "paper"] = Field(
        "official", description="the released code or the paper's text, where they differ"
    )
    label_init: Literal["words", "random"] = Field("words", description="labels start from their names or at random")
    lambda_wc: float | None = Field(None, ge=0, description="weight of L_WC; default 1 / shots; 0 = off")
    lambda_cos: float = Field(1.0, ge=0, description="weight of L_COS; 0 = off")
    lambda_kd: float = Field(0.05, ge=0, description="weight of L_KD; 0 = off")
    kd_target: Literal["learned", "zero_shot"] = Field("learned", description="which probabilities are the target")


class LAMMOptions(LabelOptions):
    """Options of LAMM alone."""

    template: str = Field("a photo of a {}.", description="fixed template around the learned labels")


def with_labels(setting: Setting, parts: "Parts", options: Any, after_context: bool = False) -> "Parts":
    """Replace the labels of a method by learned ones and add the hierarchical loss."""
    from lamm_cl.prompts.labels import LearnedLabels
    from lamm_cl.prompts.objective import Hierarchical, Objective

    official = options.dialect == "official"
    place: LabelPlace | None = "after_context" if after_context and official else None
    labels = LearnedLabels(setting.backbone, options.dialect, options.label_init, setting.initial, place)
    lambda_wc = 1 / max(setting.shots, 1) if options.lambda_wc is None else options.lambda_wc
    loss = Hierarchical(options.dialect, options.kd_target)
    terms = loss.terms(lambda_wc, options.lambda_cos, options.lambda_kd)
    # The released code's teacher reads the original names in the current context; where a prompt depends on the image,
    # or a class has several, the papers name no teacher and the fixed template serves.
    context = parts.context
    drifts = official and context.n_ctx and not context.conditioned and context.variants == 1
    objective = Objective({**parts.objective.terms, **terms}, "current" if drifts else "original")
    return replace(parts, labels=labels, objective=objective)


def compose(setting: Setting, options: LAMMOptions) -> "Parts":
    """Put learned labels into a fixed template."""
    from lamm_cl.prompts.context import FixedContext
    from lamm_cl.prompts.deep import Deep
    from lamm_cl.prompts.labels import FixedLabels
    from lamm_cl.prompts.matching import Cosine
    from lamm_cl.prompts.objective import Objective
    from lamm_cl.prompts.prompted_clip import Parts
    from lamm_cl.prompts.wording import Wording

    context = FixedContext([[options.template]])
    wording = Wording.of(options.template)
    parts = Parts(context, FixedLabels(), Deep(), Cosine(), Objective(), teacher_wording=wording)
    return with_labels(setting, parts, options)


METHOD = Method(
    name="lamm",
    title="LAMM",
    paper="Gao et al., AAAI 2024",
    options=LAMMOptions,
    recipe=Recipe(lr=0.002, epochs=50, batch_size=32),
    algebra=algebra("fixed template", labels="learned", objective="CE + hierarchical"),
    compose=compose,
)


def plus_lamm(method: Method) -> Method:
    """Return `method` with learned labels and the hierarchical loss: "X+lamm"."""
    fields: dict[str, Any] = {name: (info.annotation, info) for name, info in LabelOptions.model_fields.items()}
    options = create_model(f"{method.options.__name__}WithLabels", __base__=method.options, **fields)

    def compose_both(setting: Setting, chosen: Any) -> "Parts":
        kept = {name: getattr(chosen, name) for name in method.options.model_fields}
        parts = method.compose(setting, method.options(**kept))
        # MaPLe's released code puts the label after the learned words and keeps the whole name.
        return with_labels(setting, parts, chosen, after_context=method.name == "maple")

    row = {**method.algebra, "labels": "learned", "objective": f"{method.algebra['objective']} + hierarchical"}
    row["objective"] = row["objective"].replace("- +", "CE +")
    recipe = METHOD.recipe if method.name == "zero_shot" else method.recipe
    tiny = METHOD.tiny if method.name == "zero_shot" else method.tiny
    return replace(
        method,
        name=method.name + SUFFIX,
        title=f"{method.title}+LAMM",
        paper=METHOD.paper,
        options=options,
        recipe=recipe,
        algebra=row,
        compose=compose_both,
        tiny=tiny,
    )
