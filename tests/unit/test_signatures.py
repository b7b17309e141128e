"""Every name that users import says what it takes: editors and type checkers read it, and so does `help()`."""

import inspect
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

import lamm_cl
from lamm_cl.methods.keywords import MethodOptions, RecipeOptions
from lamm_cl.methods.recipe import Changes
from lamm_cl.methods.registry import get_method, method_names
from lamm_cl.strategies.build import StrategyOptions
from lamm_cl.strategies.settings import Settings, defaults_of
from lamm_cl.streams.build import ProtocolOptions, options_of
from lamm_cl.streams.protocols import PROTOCOLS

NAMES = [name for name in lamm_cl.__all__ if callable(getattr(lamm_cl, name))]


def callables(name: str) -> Iterator[tuple[str, Any]]:
    """Yield what users call of a public name: a function, or a class and the methods that lamm_cl defines."""
    public = getattr(lamm_cl, name)
    yield name, public
    for attribute in dir(public) if inspect.isclass(public) else ():
        method = inspect.getattr_static(public, attribute)
        plain = getattr(method, "__func__", method)
        ours = inspect.isfunction(plain) and plain.__module__.startswith("lamm_cl.")
        # Avalanche calls the steps of its loop, with whatever it was given itself.
        if ours and not attribute.startswith("_") and not _is_avalanches(public, attribute):
            yield f"{name}.{attribute}", plain


def _is_avalanches(public: type, attribute: str) -> bool:
    inherited = any(attribute in vars(base) for base in public.__mro__ if base.__module__.startswith("avalanche."))
    return inherited and attribute not in ("train", "eval")


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_says_what_it_takes(name: str) -> None:
    if isinstance(getattr(lamm_cl, name), type) and issubclass(getattr(lamm_cl, name), Exception):
        return
    for called, what in callables(name):
        for parameter in inspect.signature(what).parameters.values():
            if parameter.name in ("self", "cls"):
                continue
            assert parameter.annotation is not inspect.Parameter.empty, f"{called}({parameter})"
            if parameter.kind is parameter.VAR_KEYWORD:
                assert get_origin(parameter.annotation) is typing.Unpack, f"{called}({parameter})"
                assert typing.is_typeddict(get_args(parameter.annotation)[0])


def kinds(annotation: Any) -> set[Any]:
    """Return the alternatives of an annotation, bounds and the choices of literals taken apart."""
    if get_origin(annotation) is Annotated:
        return kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return {kind for one in get_args(annotation) for kind in kinds(one)}
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return {"Mapping"}
    name = getattr(get_origin(annotation), "__name__", "")
    return {{"dict": "Mapping", "list": "Sequence"}.get(name, name)} if name else {annotation}


def fields(model: type[BaseModel]) -> dict[str, set[Any]]:
    return {name: kinds(info.annotation) for name, info in model.model_fields.items()}


def test_the_typed_options_are_those_of_the_registered_methods() -> None:
    wanted: dict[str, set[Any]] = {}
    for name in method_names():
        for option, found in fields(get_method(name).options).items():
            wanted[option] = wanted.get(option, set()) | found
    wanted["ctx_init"] -= {"template", "random"}  # two words among the texts that it may be
    assert {name: kinds(hint) for name, hint in typing.get_type_hints(MethodOptions).items()} == wanted


def test_the_typed_settings_are_those_of_recipes_strategies_and_protocols() -> None:
    recipe = {name: kinds(hint) for name, hint in typing.get_type_hints(RecipeOptions).items()}
    assert recipe == fields(Changes)
    given = typing.get_type_hints(StrategyOptions)
    assert set(given) >= {option for name in method_names() for option in defaults_of(name)}
    for name, found in fields(Settings).items():
        if Any not in found and name != "on_epoch_end":
            assert kinds(given[name]) == found, name
    protocols = {option for protocol in PROTOCOLS.values() for option in options_of(protocol)} - {"evaluate"}
    assert set(typing.get_type_hints(ProtocolOptions)) == protocols
