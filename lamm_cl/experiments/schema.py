"""The JSON schema of a config file, so that editors complete keys and underline mistakes."""

from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel

from lamm_cl.data.catalogue import CATALOGUE
from lamm_cl.experiments.config import FILE_KEYS, Backbone, Evaluation, ExperimentConfig, LoggerName, Override, Slurm
from lamm_cl.experiments.names import method_options, protocol_options
from lamm_cl.methods.registry import method_names
from lamm_cl.streams.protocols import PROTOCOLS

_MORE = {
    "experiment": "Name of the experiment and of its directory [the file's name].",
    "protocol": "How data sets become a stream and test sets; options stand beside the name.",
    "datasets": "One run each, except where the protocol takes them all; own data as a mapping. "
    "May be left out where a named order of multi_domain says them.",
    "methods": "A list of names, or a mapping from name to options; `method` in the options names a variant's method.",
    "backbone": "Which CLIP, one or several.",
    "shots": 'Training images per class, one or several numbers, or "full".',
    "seeds": "One run each.",
    "import": "Python files (from the config's folder) or modules to import first, one or several.",
    "plugins": "Avalanche plugins for every method that names none itself, with their options.",
}


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
    whole["import"] = _one_or_several({"type": "string"})
    whole["plugins"] = parts["method.zero_shot"]["properties"]["plugins"]
    special = {
        "protocol": _protocol(),
        "datasets": _one_or_several({"anyOf": [_names(CATALOGUE), {"type": "object"}]}),
        "methods": _methods(),
        "backbone": _one_or_several({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/backbone"}]}),
        "shots": _one_or_several({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "full"}]}),
        "seeds": _one_or_several({"type": "integer", "minimum": 0}),
        "evaluation": {"$ref": "#/$defs/evaluation"},
        "slurm": {"$ref": "#/$defs/slurm"},
        "loggers": _loggers(),
        "overrides": {"type": "array", "items": {"$ref": "#/$defs/override"}},
    }
    properties = {key: {**special.get(key, whole[key])} for key in FILE_KEYS}
    for key, text in _MORE.items():
        properties[key]["description"] = text
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
