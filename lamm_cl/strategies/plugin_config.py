"""Avalanche plugins as a config names them: `{EWCPlugin: {ewc_lambda: 1}, my_module.MyPlugin: {}}`."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

import avalanche.training.plugins as avalanche_plugins
from avalanche.core import BasePlugin

from lamm_cl.errors import UsageError, unknown
from lamm_cl.strategies.plugins import check_plugins


def make_plugins(named: Mapping[str, Mapping[str, Any] | None]) -> list[Any]:
    """Make plugins.

    Args:
        named: options by name: a class of `avalanche.training.plugins`, or the dotted path of another one.

    Raises:
        UsageError: There is no such plugin or option, a value is wrong, or the plugin is known to fail.
    """
    made = [_make(name, options or {}) for name, options in named.items()]
    check_plugins(made)
    return made


def _make(name: str, options: Mapping[str, Any]) -> Any:
    kind = _own(name) if "." in name else _avalanches(name)
    parameters = inspect.signature(kind).parameters
    for option in options:
        if option not in parameters:
            raise unknown(f"option of {name}", option, parameters)
        if isinstance(options[option], bool) and _is_number(parameters[option]):
            raise UsageError(f"{name}: {option} is a number, not {str(options[option]).lower()}.")
    named = [p for p in parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    missing = [p.name for p in named if p.default is p.empty and p.name not in options]
    if missing:
        raise UsageError(f"{name} needs {', '.join(missing)}.")
    try:
        return kind(**options)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{name} does not take {dict(options)}: {type(error).__name__}: {error}") from error


def _is_number(parameter: inspect.Parameter) -> bool:
    number = type(parameter.default) in (int, float) or parameter.annotation in (int, float, "int", "float")
    return number and not isinstance(parameter.default, bool)


def _avalanches(name: str) -> Any:
    known = {
        key: value
        for key, value in vars(avalanche_plugins).items()
        if inspect.isclass(value) and issubclass(value, BasePlugin) and key.endswith("Plugin")
    }
    if name not in known:
        raise unknown("Avalanche plugin", name, known)
    return known[name]


def _own(path: str) -> Any:
    home, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(home), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"there is no plugin {path}: {error}. Name its file or module under import.") from None
    if not (inspect.isclass(kind) and issubclass(kind, BasePlugin)):
        raise UsageError(f"{path} is no Avalanche plugin: derive it from SupervisedPlugin.")
    return kind
