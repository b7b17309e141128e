"""The suffix: "X+lamm" is method X with more parts, without code of its own."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from pydantic import create_model

from lamm_cl.methods.method import Method, Options, Setting
from lamm_cl.methods.parts import Part


@dataclass(frozen=True)
class Suffix:
    """What can be put on top of other methods.

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
