"""Sorts keyword options into those of the method, of its recipe and of the strategy."""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lamm_cl.errors import UsageError, unknown
from lamm_cl.methods.recipe import RENAMED, Changes, Recipe
from lamm_cl.methods.registry import get_method, recipe_for
from lamm_cl.strategies.settings import Settings

# Avalanche's words for parts of a recipe.
_ALIASES = {"train_epochs": "epochs", "train_mb_size": "batch_size"}
_RECIPE = tuple(Recipe.model_fields)
_SETTINGS = tuple(Settings.model_fields)


@dataclass(frozen=True)
class Choices:
    """What a user chose, sorted.

    Attributes:
        method: Options of the method.
        recipe: The recipe with the user's changes.
        settings: Those of the strategy.
        rest: Options that the caller named besides these.
    """

    method: dict[str, Any]
    recipe: Recipe
    settings: Settings
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
    chosen: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for given_name, value in options.items():
        name = RENAMED.get(given_name, given_name)
        if name != given_name:
            warnings.warn(f"{given_name} is called {name} now.", FutureWarning, stacklevel=3)
        if name in own:
            chosen[name] = value
        elif name in _SETTINGS:
            settings[name] = value
        elif name in others and not (name in _RECIPE and isinstance(value, str)):  # an optimizer, or its name
            rest[name] = value
        elif _ALIASES.get(name, name) in _RECIPE:
            changes[_ALIASES.get(name, name)] = value
        else:
            raise unknown(f"option of {method}", name, {*own, *_RECIPE, *_ALIASES, *_SETTINGS, *others})
    given = Changes.read(method, changes).model_dump(exclude_none=True)
    plain = recipe_for(method, backbone)
    if plain.epochs is not None and "steps_per_shot" in given:
        raise UsageError(
            f"steps_per_shot has no effect on {method}, which trains for {plain.epochs} epochs: set epochs."
        )
    return Choices(chosen, plain.but(**given), Settings.read(method, settings), rest)


def defaults_of(method: str) -> dict[str, Any]:
    """Return every option of a method's strategy with its default; None where it depends on the backbone."""
    own = {name: field.default for name, field in get_method(method).options.model_fields.items()}
    recipe = dict.fromkeys(name for name in (*_ALIASES, *_RECIPE) if name not in _ALIASES.values())
    settings = {name: field.default for name, field in Settings.model_fields.items()}
    return {**recipe, **settings, **own}
