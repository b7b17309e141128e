"""What a method is: a name, options, a recipe, and the parts it is composed of; and what a suffix puts on top."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import Field, create_model

from lamm_cl.errors import UsageError
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


def depth_for(asked: int | None, default: int, layers: int, option: str) -> int:
    """Return the number of layers that get prompts.

    Args:
        asked: the user's choice, or None.
        default: the paper's choice, for towers of 12 layers; shorter towers get the same share.
        layers: layers of the tower.
        option: the option's name, for the message.

    Raises:
        UsageError: more layers are asked for than there are.
    """
    if asked is None:
        return default if layers >= 12 else max(1, round(layers * default / 12))
    if layers and asked > layers:
        raise UsageError(f"{option}={asked} is more than the {layers} layers of this backbone")
    return asked


@dataclass(frozen=True)
class Suffix:
    """What can be put on top of other methods: "X+lamm" is method X with more parts, without code of its own.

    Attributes:
        name: with its plus: "+lamm".
        title: how tables print it behind a method's own title.
        adds: what it adds, in words.
        unfit: says why a method cannot have it, as in "coop has ..."; empty where it can.
        plus: returns the method with it.
    """

    name: str
    title: str
    adds: str
    unfit: Callable[[Method], str]
    plus: Callable[[Method], Method]


def composed(
    method: Method,
    suffix: str,
    title: str,
    options: type[Options],
    more: Callable[[Setting, Any, Any], Any],
    parts: tuple[Part, ...],
    **changes: Any,
) -> Method:
    """Return a method on top of which something is put.

    Args:
        method: the method.
        suffix: what is added to its name.
        title: what is added to its title.
        options: options of what is added.
        more: (setting, the method's `Parts`, all options) -> `Parts` with what is added.
        parts: what the whole is composed of.
        **changes: other fields of `Method` that change.
    """
    both = _options_of_both(method.options, options)

    def compose(setting: Setting, chosen: Any) -> Any:
        own = {name: getattr(chosen, name) for name in method.options.model_fields}
        return more(setting, method.compose(setting, method.options(**own)), chosen)

    name = method.name + suffix
    return replace(method, name=name, title=method.title + title, options=both, parts=parts, compose=compose, **changes)


@functools.cache  # a config asks for a method many times, and a model takes milliseconds to make
def _options_of_both(own: type[Options], added: type[Options]) -> type[Options]:
    fields: Mapping[str, Any] = {name: (info.annotation, info) for name, info in added.model_fields.items()}
    return cast(type[Options], create_model(f"{own.__name__}With{added.__name__}", __base__=own, **fields))
