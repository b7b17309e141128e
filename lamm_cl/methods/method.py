"""What a method is: a name, options, a recipe, and how its parts are put together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from lamm_cl.methods.recipe import Recipe

if TYPE_CHECKING:
    from lamm_cl.clip.backbone import ClipBackbone
    from lamm_cl.prompts.prompted_clip import Parts
    from lamm_cl.prompts.vectors import Initial


class Options(BaseModel):
    """Options of a method, under the names of its paper's code. Unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Setting:
    """Where a method is put together.

    Attributes:
        backbone: the frozen CLIP.
        class_names: the classes.
        templates: each class's own template (from its data set), or None.
        shots: images a class, which LAMM's weight of L_WC depends on.
        initial: source of random initial values.
    """

    backbone: "ClipBackbone"
    class_names: Sequence[str]
    templates: Sequence[str] | None
    shots: int
    initial: "Initial"


@dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes:
        name: what users write.
        title: how tables print it.
        paper: where it comes from.
        options: model of its options.
        recipe: the paper's optimisation settings.
        algebra: its row in the table of parts: context, labels, deep, matching, objective.
        compose: puts its parts together; imports torch only when called.
        vision: whether prompts enter the image tower.
        tiny: settings in which the recipe for the embedded backbone differs.
    """

    name: str
    title: str
    paper: str
    options: type[Options]
    recipe: Recipe
    algebra: Mapping[str, str]
    compose: Callable[[Setting, Any], "Parts"]
    vision: bool = False
    tiny: Mapping[str, Any] = field(default_factory=dict)


ALGEBRA = ("context", "labels", "deep prompts", "matching", "objective")


def algebra(
    context: str, labels: str = "fixed", deep: str = "-", matching: str = "cosine", objective: str = "CE"
) -> dict[str, str]:
    """Return a row of the table of parts."""
    return dict(zip(ALGEBRA, (context, labels, deep, matching, objective), strict=True))
