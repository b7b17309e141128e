"""All methods by name. Importing this imports no torch."""

from collections.abc import Callable

from lamm_cl.errors import UsageError, unknown
from lamm_cl.methods import (
    acil,
    align,
    bofa,
    clip_adapter,
    clip_lora,
    cocoop,
    coop,
    engine,
    independent,
    lamm,
    maple,
    mg_clip,
    prograd,
    proof,
    rail,
    ranpac,
    rapf,
    simplecil,
    tip_adapter,
    zero_shot,
)
from lamm_cl.methods.method import Method
from lamm_cl.methods.recipe import Recipe

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        zero_shot.METHOD,
        coop.METHOD,
        cocoop.METHOD,
        lamm.METHOD,
        independent.VPT,
        independent.LANGUAGE_PROMPTING,
        independent.IVLP,
        maple.METHOD,
        align.METHOD,
        prograd.METHOD,
        clip_lora.METHOD,
        mg_clip.METHOD,
        clip_adapter.METHOD,
        tip_adapter.METHOD,
        tip_adapter.TIP_ADAPTER_F,
        simplecil.METHOD,
        ranpac.METHOD,
        acil.METHOD,
        rail.METHOD,
        rapf.METHOD,
        engine.METHOD,
        bofa.METHOD,
        proof.METHOD,
    )
}

# What goes on top of a method, by the ending that its name gets; each refuses the methods on which it makes no sense.
FORMS: dict[str, Callable[[Method], Method]] = {
    lamm.SUFFIX: lamm.plus_lamm,
    prograd.SUFFIX: prograd.plus_prograd,
}


def register(method: Method) -> Method:
    """Add a method; its forms (`+lamm` and others) come with it.

    Raises:
        UsageError: the name is taken.
    """
    if method.name in METHODS:
        raise UsageError(f"a method named {method.name!r} is registered already: choose another name")
    METHODS[method.name] = method
    return method


def get_method(name: str) -> Method:
    """Return a method by name; "X+lamm" puts learned labels on method X, "X+lamm+prograd" projects gradients as well.

    Raises:
        UsageError: there is no such method, or it does not take what the name puts on top of it.
    """
    base, *endings = name.split("+")
    if base not in METHODS or any(f"+{ending}" not in FORMS for ending in endings):
        raise unknown("method", name, method_names())
    found = METHODS[base]
    for ending in endings:
        found = FORMS[f"+{ending}"](found)
    return found


def method_names(plus: bool = True) -> list[str]:
    """Return the names of all methods; `plus`: and of each with one thing on top."""
    forms = [name + ending for ending in FORMS for name in METHODS if _takes(name, ending)] if plus else []
    return [*METHODS, *forms]


def _takes(name: str, ending: str) -> bool:
    try:
        get_method(name + ending)
    except UsageError:
        return False
    return True


def recipe_for(method: str, backbone: str) -> Recipe:
    """Return the optimisation settings of a method on a backbone: the paper's, adapted to the embedded `tiny`."""
    found = get_method(method)
    return found.recipe.but(**found.tiny) if backbone == "tiny" else found.recipe
