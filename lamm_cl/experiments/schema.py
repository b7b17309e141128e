"""The JSON schema of a config file, so that editors complete keys and underline mistakes."""

from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.experiments.config import FILE_KEYS, Backbone, Evaluation, ExperimentConfig, LoggerName, Override, Slurm
from lamm_cl.experiments.names import method_options, protocol_options
from lamm_cl.methods.registry import method_names
from lamm_cl.streams.protocols import PROTOCOLS


def config_schema() -> dict[str, Any]:
    """Return the schema, made from the same models that check configs."""
    parts: dict[str, Any] = {
        "evaluation": _schema(Evaluation),
        "slurm": _schema(Slurm),
        "backbone": _schema(Backbone),
        "override": _schema(Override),
        **{f"method.{name}": _schema(method_options(name)) for name in method_names()},
        **{f"protocol.{name}": _schema(protocol_options(name)) for name in PROTOCOLS},
    }
    whole = _schema(ExperimentConfig)["properties"]
    plugins = parts["method.zero_shot"]["properties"]["plugins"]
    text = "Avalanche plugins for every method that names none itself, with their options."
    whole["plugins"] = {**plugins, "description": text}
    special = {
        "protocol": _protocol(),
        "datasets": _one_or_several({"anyOf": [_names(CATALOGUE), {"type": "object"}]}),
        "methods": _methods(),
        "backbone": _one_or_several({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/backbone"}]}),
        "import": _one_or_several({"type": "string"}),
        "shots": _one_or_several({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "full"}]}),
        "seeds": _one_or_several({"type": "integer", "minimum": 0}),
        "evaluation": {"$ref": "#/$defs/evaluation"},
        "slurm": {"$ref": "#/$defs/slurm"},
        "loggers": _loggers(),
        "overrides": {"type": "array", "items": {"$ref": "#/$defs/override"}},
    }
    properties = {key: {**special.get(key, whole[key]), "description": whole[key]["description"]} for key in FILE_KEYS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "An experiment of lamm_cl",
        "type": "object",
        "properties": properties,
        "required": ["protocol", "methods"],
        "additionalProperties": False,
        "$defs": parts,
    }


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's schema with what it refers to put in place."""
    made = model.model_json_schema()
    parts = made.pop("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).removeprefix("#/$defs/")
            if name in parts:
                return inline({**parts[name], **{key: item for key, item in value.items() if key != "$ref"}})
            return {key: inline(item) for key, item in value.items()}
        return [inline(item) for item in value] if isinstance(value, list) else value

    result: dict[str, Any] = inline(made)
    result.pop("description", None)
    return result


def _one_or_several(item: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]}


def _names(names: Iterable[str]) -> dict[str, Any]:
    return {"type": "string", "enum": sorted(names)}


def _protocol() -> dict[str, Any]:
    """Return the schema of `protocol`: a name, or a mapping whose other keys depend on the name."""
    cases = []
    for name in PROTOCOLS:
        own = protocol_options(name).model_fields
        keys = {key: {"$ref": f"#/$defs/protocol.{name}/properties/{key}"} for key in own}
        cases.append(
            {
                "type": "object",
                "properties": {"name": {"const": name}, **keys},
                "required": ["name"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": [_names(PROTOCOLS), *cases]}


def _methods() -> dict[str, Any]:
    names = method_names()
    options = {name: {"anyOf": [{"type": "null"}, {"$ref": f"#/$defs/method.{name}"}]} for name in names}
    variant = {"type": "object", "properties": {"method": _names(names)}, "required": ["method"]}
    return {
        "anyOf": [
            _one_or_several(_names(names)),
            {"type": "object", "properties": options, "additionalProperties": variant, "minProperties": 1},
        ]
    }


def _loggers() -> dict[str, Any]:
    names = get_args(LoggerName)
    one = {"anyOf": [{"type": ["null", "boolean", "object"]}]}
    return {
        "anyOf": [
            _one_or_several(_names(names)),
            {"type": "object", "properties": dict.fromkeys(names, one), "additionalProperties": False},
        ]
    }
