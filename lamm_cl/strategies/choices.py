"""Sorts keyword options into those of the method, of its recipe and of the strategy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from lamm_cl.errors import UsageError, unknown
from lamm_cl.methods.recipe import OPTIMIZERS, SCHEDULES, Recipe
from lamm_cl.methods.registry import get_method, recipe_for
from lamm_cl.strategies.settings import Settings

# Avalanche's words for parts of a recipe.
_ALIASES = {"train_epochs": "epochs", "train_mb_size": "batch_size"}
_RECIPE = tuple(field.name for field in fields(Recipe))
_SETTINGS = tuple(field.name for field in fields(Settings))


@dataclass(frozen=True)
class Choices:
    """What a user chose, sorted.

    Attributes:
        method: Options of the method.
        recipe: The recipe with the user's changes.
        settings: Options of the strategy.
        rest: Options that the caller named besides these.
    """

    method: dict[str, Any]
    recipe: Recipe
    settings: dict[str, Any]
    rest: dict[str, Any]


def sort_options(method: str, backbone: str, options: Mapping[str, Any], others: Iterable[str] = ()) -> Choices:
    """Sort options by what they belong to.

    Args:
        method: Name of the method.
        backbone: Name of the backbone, which recipes depend on.
        options: What the user gave; None for a part of the recipe means the recipe's own.
        others: Further options that the caller knows.

    Raises:
        UsageError: For an unknown option, with the nearest match, or a recipe that cannot be followed.
    """
    own = tuple(get_method(method).options.model_fields)
    choices = Choices({}, recipe_for(method, backbone), {}, {})
    changes: dict[str, Any] = {}
    for name, value in options.items():
        if name in own:
            choices.method[name] = value
        elif name in _SETTINGS:
            choices.settings[name] = value
        elif name in others and not (name in _RECIPE and isinstance(value, str)):  # an optimizer, or its name
            choices.rest[name] = value
        elif _ALIASES.get(name, name) in _RECIPE:
            if value is not None:
                changes[_ALIASES.get(name, name)] = value
        else:
            raise unknown(f"option of {method}", name, {*own, *_RECIPE, *_ALIASES, *_SETTINGS, *others})
    recipe = choices.recipe.but(**changes)
    check_recipe(recipe)
    if recipe.epochs is not None and recipe.steps_per_shot != choices.recipe.steps_per_shot:
        raise UsageError(
            f"steps_per_shot has no effect on {method}, which trains for {recipe.epochs} epochs: set epochs."
        )
    return Choices(choices.method, recipe, choices.settings, choices.rest)


def check_recipe(recipe: Recipe) -> None:
    """Check that a recipe can be followed.

    Raises:
        UsageError: Names the option and what it may be.
    """
    for name in ("batch_size", "steps_per_shot" if recipe.epochs is None else "epochs"):
        value = getattr(recipe, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{name} is a whole number of at least 1, not {value!r}.")
    if isinstance(recipe.warmup_epochs, bool) or not isinstance(recipe.warmup_epochs, int) or recipe.warmup_epochs < 0:
        raise UsageError(f"warmup_epochs is a whole number of at least 0, not {recipe.warmup_epochs!r}.")
    for name in ("lr", "momentum", "weight_decay", "adam_eps", "warmup_lr", "min_lr", "gamma"):
        value = getattr(recipe, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise UsageError(f"{name} is a number of at least 0, not {value!r}.")
    for what, value, known in (("schedule", recipe.schedule, SCHEDULES), ("optimizer", recipe.optimizer, OPTIMIZERS)):
        if value not in known:
            raise unknown(what, value, known)
    if not isinstance(recipe.drop_last, bool):
        raise UsageError(f"drop_last is true or false, not {recipe.drop_last!r}.")


def defaults_of(method: str) -> dict[str, Any]:
    """Return every option of a method's strategy with its default; None where it depends on the backbone."""
    own = {name: field.default for name, field in get_method(method).options.model_fields.items()}
    recipe = dict.fromkeys(name for name in (*_ALIASES, *_RECIPE) if name not in _ALIASES.values())
    settings = {field.name: field.default for field in fields(Settings)}
    return {**recipe, **settings, **own}
