"""What a method is: a name, options, a recipe, and the parts it is composed of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from lamm_cl.methods import parts as algebra
from lamm_cl.methods.parts import Part
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.values import MOST, Values

if TYPE_CHECKING:
    from lamm_cl.clip.feature_backbone import Backbone
    from lamm_cl.prompts.vectors import Initial

# Image features that a method may be given: as the tower gives them, of length 1, or before CLIP's projection.
Features = Literal["raw", "unit", "unprojected"]
# Images by which something is chosen; those of the test set are offered to compare with codes that use them.
Selection = Literal["val", "test", "none"]
# Limits of options: a text tower reads 77 tokens, and memory ends somewhere.
TextTokens = Annotated[int, Field(le=77)]
ImageTokens = Annotated[int, Field(le=1000)]
Layers = Annotated[int, Field(ge=1, le=1000)]
Weight = Annotated[float, Field(ge=0, le=MOST)]


class Options(Values):
    """Options of a method, under the names of its paper's code. Unknown names are errors."""


@dataclass(frozen=True)
class Setting:
    """Where a method is composed.

    Attributes:
        backbone: the frozen CLIP, or given features.
        class_names: the classes.
        templates: each class's own template (from its data set), or None.
        shots: images a class, which LAMM's weight of L_WC depends on.
        initial: source of random initial values.
        repeated_names: whether a name may stand for several classes.
    """

    backbone: "Backbone"
    class_names: Sequence[str]
    templates: Sequence[str] | None
    shots: int
    initial: "Initial"
    repeated_names: bool = False


@dataclass(frozen=True)
class Method:
    """A registered method.

    Attributes:
        name: what users write.
        title: how tables print it.
        paper: where it comes from.
        options: model of its options.
        recipe: the paper's optimisation settings.
        parts: what it is composed of: its row in the table of methods.
        compose: (setting, options) -> `Parts` of a prompted CLIP or of a feature learner, or a `Learner`; imports torch
            only when called.
        vision: whether something learned acts inside the image tower.
        tiny: settings in which the recipe for the embedded backbone differs.
    """

    name: str
    title: str
    paper: str
    options: type[Options]
    recipe: Recipe
    parts: tuple[Part, ...]
    compose: Callable[[Setting, Any], Any]
    vision: bool = False
    tiny: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, str]:
        """What it has in each slot of the algebra."""
        return algebra.row(self.parts)

    @property
    def has_text_prompts(self) -> bool:
        """Whether it scores by prompts, so that the names in them can be learned."""
        return any(part.slot == "context" for part in self.parts)

    @property
    def prompts_only(self) -> bool:
        """Whether prompts are all it has: no delta, no adapter, no memory, no head of its own."""
        heads = [part for part in self.parts if part.slot == "head"]
        others = any(part.slot in ("delta", "adapter", "memory") for part in self.parts)
        return self.has_text_prompts and not others and all("lamm_cl.prompts." in head.home for head in heads)

    @property
    def learns(self) -> frozenset[str]:
        """The towers in which something is learned: "text", "image"."""
        return frozenset(tower for part in self.parts for tower in part.learns)

    @property
    def unprojected(self) -> bool:
        """Whether it takes image features before CLIP's projection, unless something acts inside the tower."""
        return any(part.unprojected for part in self.parts)

    @property
    def trains(self) -> bool:
        """Whether anything in it is trained by gradient."""
        return any(part.slot == "objective" for part in self.parts)
