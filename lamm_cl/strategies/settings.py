"""What can be chosen about a strategy apart from its method, and the sorting of keyword options."""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from lamm_cl.errors import UsageError, unknown
from lamm_cl.methods.recipe import RENAMED, Changes, Recipe, Stages
from lamm_cl.methods.registry import get_method, recipe_for

PrecisionName = Literal["fp32", "tf32", "bf16", "fp16", "pure_fp16"]
PURE: PrecisionName = "pure_fp16"
# cuBLAS repeats its bits where its work space is fixed; it reads this variable before its first product.
WORKSPACE, FIXED = "CUBLAS_WORKSPACE_CONFIG", (":4096:8", ":16:8")
_MOST_WORKERS = 16


class Settings(Stages):
    """The choices of a `LearnerStrategy`, these and those of `Stages`; README.md beside this file has them all."""

    seed: int = 0  # names the order of mini-batches and starts the generators that plugins draw from
    # fp32 (on a GPU without TF32), tf32 (a GPU's products and convolutions round their factors), bf16, fp16 (autocast;
    # prompts and scale stay fp32), pure_fp16 (weights, prompts and momentum too, as in the released trainers).
    precision: PrecisionName = "fp32"
    deterministic: bool = False  # take the deterministic form of every operation, so that a GPU repeats its bits
    # Record the training steps of a GPU as CUDA graphs where method and plugins allow it, or launch every operator.
    graph: Literal["auto", "never"] = "auto"
    eval_mb_size: int = Field(256, ge=1)  # images a mini-batch when nothing trains
    # Processes that read the images of methods that take images; None for `default_workers`. Changes no bit.
    num_workers: int | None = Field(None, ge=0)
    # Where the features of images are kept, for methods that leave the image tower alone on benchmarks that have a
    # picture source: "memory", a folder that later runs share, or a `FeatureStore`. None encodes images as they come.
    features: Any = "memory"
    source: Any = None  # picture source of a benchmark whose experiences do not lead to it
    on_epoch_end: Callable[[Any], None] | None = None  # called with the strategy after every epoch and its plugins


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(device: str, runs: int = 1) -> int:
    """Return how many processes read images unless the user says, where some runs share the machine's cores."""
    # On a CPU steps need the cores themselves.
    return max(1, min(_MOST_WORKERS, cores() // runs - 1)) if device == "cuda" else 0


# Avalanche's words for parts of a recipe.
_ALIASES = {"train_epochs": "epochs", "train_mb_size": "batch_size"}
_RECIPE = tuple(Recipe.model_fields)
_SETTINGS = tuple(Settings.model_fields)


@dataclass(frozen=True)
class Choices:
    """What a user chose, sorted."""

    method: dict[str, Any]
    recipe: Recipe  # with the user's changes
    settings: Settings
    rest: dict[str, Any]  # what the caller named besides these


def sort_options(method: str, backbone: str, options: Mapping[str, Any], others: Iterable[str] = ()) -> Choices:
    """Sort what a user gave by what it belongs to; None for a part of the recipe means the recipe's own.

    `others` are further options that the caller knows.

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
