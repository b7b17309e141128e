"""What the names in a config stand for, and their options; none of this imports torch."""

import functools
import importlib.util
import inspect
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, create_model

from lamm_cl.clip.families import split_name
from lamm_cl.data.load import OPTIONS
from lamm_cl.data.own_data import KEYS, ONE_SOURCE, SOURCES, is_own, name_of, wrong_values
from lamm_cl.errors import refusal, unknown_name
from lamm_cl.methods.recipe import Recipe, Training
from lamm_cl.methods.registry import get_method, recipe_for
from lamm_cl.methods.values import Values
from lamm_cl.streams.protocols import MEANINGS, VARIANTS, find_protocol

RECIPE = tuple(Recipe.model_fields)
# Left out at their defaults, so that the runs of earlier versions keep their ids.
_LATE = ("optimizer", "adam_eps", "min_lr", "milestones", "gamma", "steps_per_shot", "plugins", "text", "cosine_epochs")


def takes_steps(name: str) -> bool:
    """Whether a method takes training steps, so that the settings of a recipe mean something to it."""
    return get_method(name).recipe.lr > 0


def applicable(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of options that are for several methods is for this one: no recipe where it takes no steps."""
    own = method_options(name).model_fields
    return {key: value for key, value in options.items() if key in own or key not in RECIPE or takes_steps(name)}


@functools.cache
def method_options(name: str) -> type[BaseModel]:
    """Return the model of everything that may stand below a method in a config."""
    method = get_method(name)
    own = method.options
    without = RECIPE if not takes_steps(name) else () if method.recipe.epochs is None else ("steps_per_shot",)
    fields: dict[str, Any] = {
        key: (info.annotation, info)
        for key, info in Training.model_fields.items()
        if key not in own.model_fields and key not in without
    }
    return create_model(f"{name}_options", __base__=own, **fields)


def resolved_method(name: str, options: Mapping[str, Any], backbone: str) -> dict[str, Any]:
    """Return every option of a method with its value: those given, else the recipe's for this backbone."""
    return dict(_resolved_method(name, json.dumps(options, sort_keys=True), backbone))


@functools.cache
def _resolved_method(name: str, given: str, backbone: str) -> dict[str, Any]:
    options = json.loads(given)
    values = method_options(name).model_validate(options).model_dump(mode="json")
    values |= {key: None for key in RECIPE if key not in values}  # part of a run's id also where nothing trains
    recipe = recipe_for(name, backbone).model_dump(mode="json")
    plain = {key: field.default for key, field in Recipe.model_fields.items()}
    found = {key: recipe[key] if value is None and key in recipe else value for key, value in values.items()}
    return {key: value for key, value in found.items() if key not in _LATE or value not in (plain.get(key), [], {})}


@functools.cache
def protocol_options(name: str) -> type[BaseModel]:
    """Return the model of a protocol's options, read from the signature of what builds it."""

    def field(option: str, default: Any) -> Any:
        return Field(default, description=MEANINGS.get(f"{name}.{option}") or MEANINGS[option])

    build = find_protocol(name).build
    hints = typing.get_type_hints(build, include_extras=True)
    fields: dict[str, Any] = {
        parameter.name: (hints[parameter.name], field(parameter.name, parameter.default))
        for parameter in inspect.signature(build).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    fields["evaluate"] = (str | list[str] | None, field("evaluate", None))
    return create_model(f"{name}_options", __base__=Values, **fields)


def resolved_protocol(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a protocol that differ from its defaults."""
    return protocol_options(name).model_validate(options).model_dump(mode="json", exclude_defaults=True)


def takes_all_datasets(protocol: str) -> bool:
    """Whether one run of the protocol takes all data sets of a config; else each data set is a run of its own."""
    return find_protocol(protocol).at_least > 1


def datasets_beside(protocol: str, datasets: Sequence[Any]) -> list[str]:
    """Return the data sets that a protocol reads beside those that it is given."""
    return list(VARIANTS) if protocol == "domain_generalization" and list(datasets) == ["imagenet"] else []


def described_data_problems(description: Mapping[str, Any]) -> list[str]:
    """Say what is wrong, but for files, with a mapping for the user's own data, or for the catalogue's with options."""
    own = is_own(description)
    keys = KEYS if own or "name" not in description else ("name", "root", *OPTIONS)
    texts = [unknown_name("key of a data set", key, KEYS) for key in description if key not in KEYS]
    texts += [f"{key} is for data of one's own only." for key in description if key in KEYS and key not in keys]
    if sum(key in description for key in SOURCES) > 1 or not (own or "name" in description):
        texts.append(ONE_SOURCE)
    if own and description.get("name", "") is None:
        texts.append("name says nothing: leave it out, or put it in quotes if it is a name.")
    if own and "name" not in description and (error := refusal(name_of, description)):
        texts.append(str(error))
    return [*texts, *wrong_values(description)]


@functools.cache
def architectures() -> tuple[str, ...]:
    """Return the names of open_clip's architectures, read from its folder of configs: importing it takes seconds."""
    found = importlib.util.find_spec("open_clip")
    folder = Path(str(found and found.origin)).parent / "model_configs"
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


def backbone_and_weights(name: str, pretrained: str | None = None) -> tuple[str, str | None]:
    """Return a backbone's own name and its weights as far as they are known; `UsageError` where there is none such."""
    if ":" in name or not architectures():
        return name, pretrained
    return split_name(name, pretrained, architectures, "pretrained: openai")
