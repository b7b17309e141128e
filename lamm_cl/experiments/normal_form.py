"""The one form that a config's many ways of saying things come down to."""

from collections.abc import Collection, Mapping
from typing import Any

from lamm_cl.experiments import known
from lamm_cl.experiments.yaml_file import as_methods
from lamm_cl.methods.training import RENAMED


def normal_form(data: Mapping[str, Any], keys: Collection[str], default_name: str) -> dict[str, Any]:
    """Return a config's content with every list a list and every name with its options beside it.

    Args:
        data: The file's content.
        keys: Those that a file may have; others are left out.
        default_name: Of the experiment.
    """
    plain = {key: value for key, value in data.items() if key in keys and value is not None}
    plain.setdefault("experiment", default_name)
    if type(plain["experiment"]) is int:  # digits as they were written, unlike true, 1e5 and 0x10
        plain["experiment"] = str(plain["experiment"])
    for key in ("datasets", "shots", "seeds"):
        if key in plain and not isinstance(plain[key], list):
            plain[key] = [plain[key]]
    if isinstance(plain.get("datasets"), list):
        plain["datasets"] = [_as_dataset(entry) for entry in plain["datasets"]]
    if "backbone" in plain:
        given = plain.pop("backbone")
        plain["backbones"] = [_as_backbone(entry) for entry in (given if isinstance(given, list) else [given])]
    if "protocol" in plain:
        plain["protocol"] = _split_protocol(plain["protocol"])
    if "datasets" not in plain and isinstance(plain.get("protocol"), dict):
        order = plain["protocol"]["options"].get("order")
        listed: list[Any] = known.datasets_of_order(plain["protocol"].get("name"), order)
        if listed:
            plain["datasets"] = listed
    plain.pop("import", None)
    plugins = plain.pop("plugins", None)
    if "methods" in plain:
        plain["methods"] = _method_list(plain["methods"], plugins)
    if "loggers" in plain:
        plain["loggers"] = {
            name: {} if options in (None, True) else options
            for name, options in _as_loggers(plain["loggers"]).items()
            if options is not False
        }
    return plain


def renamed(data: Mapping[str, Any]) -> list[str]:
    """Give options the names that they have now, in place; returns a note for each that has an old one."""
    said = []
    methods, overrides = data.get("methods"), data.get("overrides")
    listed = [methods] if isinstance(methods, dict) else methods if isinstance(methods, list) else []
    entries = [(f"methods.{name}", options) for one in listed if isinstance(one, dict) for name, options in one.items()]
    for index, one in enumerate(overrides if isinstance(overrides, list) else ()):
        entries.append((f"overrides.{index}.options", one.get("options") if isinstance(one, dict) else None))
    for place, options in entries:
        for old, new in RENAMED.items():
            if isinstance(options, dict) and old in options and new not in options:
                options[new] = options.pop(old)
                said.append(f"{place}.{old} is called {new} now")
    return said


def _as_dataset(value: Any) -> Any:
    """Write the catalogue's name for any spelling of it, also where options stand beside it."""
    if isinstance(value, dict) and isinstance(value.get("name"), str) and not known.is_own(value):
        name = _as_dataset(value["name"])
        return name if set(value) == {"name"} else {**value, "name": name}
    return known.dataset_name(value) or value if isinstance(value, str) else value


def _as_backbone(value: Any) -> Any:
    value = _as_mapping(value)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        return value
    name, weights = known.backbone_and_weights(value["name"], value.get("pretrained"))
    return {**value, "name": name, "pretrained": weights}


def _as_mapping(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


def _as_loggers(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    return dict.fromkeys(map(str, value if isinstance(value, list) else [value]))


def _split_protocol(value: Any) -> Any:
    value = _as_mapping(value)
    if not isinstance(value, dict):
        return value
    options = {key: option for key, option in value.items() if key != "name"}
    return {**({"name": value["name"]} if "name" in value else {}), "options": options}


def _method_list(value: Any, plugins: Any) -> Any:
    """Return the methods with their options; `plugins` are for all that name none themselves."""
    methods = as_methods(value)
    if not isinstance(methods, dict):
        return methods
    entries = []
    for label, given in methods.items():
        options = dict(given) if isinstance(given, dict) else {} if given is None else given
        name = options.pop("method", label) if isinstance(options, dict) else label
        if isinstance(options, dict) and plugins is not None:
            options.setdefault("plugins", plugins)
        entries.append({"label": label, "name": name, "options": options})
    return entries
