"""ProGrad: learned context whose steps do not lead away from zero-shot CLIP, alone or on top of other methods.

Zhu et al., ICCV 2023.
"""

from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from lamm_cl.methods import parts
from lamm_cl.methods.method import Method, Options, Setting, Suffix, composed
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.zero_shot import PLAIN


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


def unfit(method: Method) -> str:
    """Say why a method cannot have the projection."""
    if parts.GRADIENT_PROJECTION in method.parts:
        return "projects its gradients already"
    if not method.trains:
        return "trains nothing by gradient, so that none can be projected"
    if not method.has_text_prompts:
        return "has no text to compare zero-shot CLIP with"
    return ""


def plus_prograd(method: Method) -> Method:
    """Return `method` with projected gradients: "X+prograd"."""
    both = (*method.parts, parts.GRADIENT_PROJECTION)

    def project(setting: Setting, made: Any, options: Any) -> Any:
        return with_projection(made, options)

    return composed(method, PLUS.name, PLUS.title, ProjectionOptions, project, both, paper=METHOD.paper)


PLUS = Suffix("+prograd", "+ProGrad", "no steps against zero-shot CLIP", unfit, plus_prograd)
