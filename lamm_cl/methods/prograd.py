"""ProGrad: learned context whose steps do not lead away from zero-shot CLIP, alone or on top of other methods.

Zhu et al., ICCV 2023.
"""

from dataclasses import replace
from typing import Any, Literal, cast

from pydantic import Field, create_model

from lamm_cl.errors import UsageError
from lamm_cl.methods import parts
from lamm_cl.methods.method import Method, Options, Setting
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.zero_shot import PLAIN

SUFFIX = "+prograd"


class ProjectionOptions(Options):
    """Options of the gradient projection."""

    prograd_lambda: float = Field(
        1.0, ge=0, description="share of the gradient against zero-shot CLIP that is taken away; 0 = none"
    )
    prograd_t: float = Field(1.0, gt=0, description="temperature of the distance to zero-shot CLIP")


class ProGradOptions(ProjectionOptions):
    """Options of ProGrad."""

    n_ctx: int = Field(16, ge=1, description="number of context vectors")
    ctx_init: Literal["template", "random"] = Field(
        "template", description="the last vectors start as the template's words and the others at zero; or random"
    )
    template: str | None = Field(
        None,
        description="of zero-shot CLIP and of the context's start; default: the data set's own, turned around as in "
        '"a type of pet, a photo of a {}."',
    )


def turned(template: str) -> str:
    """Return a template with all its words before the name, as the released code writes them.

    >>> turned("a photo of a {}, a type of pet."), turned("{} texture."), turned("a photo of {}.")
    ('a type of pet, a photo of a {}.', 'a texture of {}.', 'a photo of {}.')
    """
    before, _, after = template.partition("{}")
    kind = after.strip(" ,.")
    if not kind:
        return template
    return f"{kind}, {before}{{}}." if before.strip() else f"a {kind} of {{}}."


def with_projection(made: Any, options: ProjectionOptions) -> Any:
    """Put the projection on a method's objective."""
    if not options.prograd_lambda:
        return made
    projection = parts.GRADIENT_PROJECTION(options.prograd_t, options.prograd_lambda)
    return replace(made, objective=made.objective.but(projection=projection))


def compose(setting: Setting, options: ProGradOptions) -> Any:
    """Learn vectors that start, behind zeros, as the words of the template."""
    own = set(setting.templates or [PLAIN])
    template = options.template or (turned(own.pop()) if len(own) == 1 else PLAIN)
    wording = parts.WORDING.load().of(template)
    words = wording.before if options.ctx_init == "template" else ""
    # The released code counts words, not tokens: of "a type of pet, a photo of a" the last one stays fixed.
    zeros = max(0, options.n_ctx - len(words.split())) if words else 0
    context = parts.LEARNED_CONTEXT(setting.backbone.text, options.n_ctx, words, setting.initial, zeros=zeros)
    return with_projection(parts.PARTS(context, teacher_wording=wording), options)


METHOD = Method(
    name="prograd",
    title="ProGrad",
    paper="Zhu et al., ICCV 2023",
    options=ProGradOptions,
    recipe=Recipe(lr=0.002, epochs=100, batch_size=32),
    parts=(parts.LEARNED_CONTEXT, *parts.PLAIN, parts.GRADIENT_PROJECTION),
    compose=compose,
)


def plus_prograd(method: Method) -> Method:
    """Return `method` with projected gradients: "X+prograd".

    Raises:
        UsageError: it has them already, trains nothing, or has no text.
    """
    if parts.GRADIENT_PROJECTION in method.parts:
        raise UsageError(f"{method.name} projects its gradients already: leave {SUFFIX} out")
    if not method.trains:
        raise UsageError(f"{method.name} trains nothing by gradient, so that none can be projected: leave {SUFFIX} out")
    if not method.has_text_prompts:
        raise UsageError(f"{method.name} has no text to compare zero-shot CLIP with: leave {SUFFIX} out")
    fields: dict[str, Any] = {name: (info.annotation, info) for name, info in ProjectionOptions.model_fields.items()}
    options = create_model(f"{method.options.__name__}WithProjection", __base__=method.options, **fields)

    def compose_both(setting: Setting, chosen: Any) -> Any:
        kept = {name: getattr(chosen, name) for name in method.options.model_fields}
        return with_projection(method.compose(setting, method.options(**kept)), chosen)

    return replace(
        method,
        name=method.name + SUFFIX,
        title=f"{method.title}+ProGrad",
        paper=METHOD.paper,
        options=cast(type[Options], options),
        parts=(*method.parts, parts.GRADIENT_PROJECTION),
        compose=compose_both,
    )
