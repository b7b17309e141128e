"""All methods by name. Importing this imports no torch."""

from lamm_cl.errors import UsageError, unknown
from lamm_cl.methods import (
    acil,
    align,
    clip_adapter,
    clip_lora,
    cocoop,
    coop,
    independent,
    lamm,
    maple,
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
        clip_lora.METHOD,
        clip_adapter.METHOD,
        tip_adapter.METHOD,
        tip_adapter.TIP_ADAPTER_F,
        simplecil.METHOD,
        ranpac.METHOD,
        acil.METHOD,
        rail.METHOD,
        rapf.METHOD,
    )
}


def register(method: Method) -> Method:
    """Add a method; its `+lamm` form comes with it.

    Raises:
        UsageError: the name is taken.
    """
    if method.name in METHODS:
        raise UsageError(f"a method named {method.name!r} is registered already: choose another name")
    METHODS[method.name] = method
    return method


def get_method(name: str) -> Method:
    """Return a method by name; "X+lamm" puts learned labels on method X.

    Raises:
        UsageError: there is no such method.
    """
    if name in METHODS:
        return METHODS[name]
    base = name.removesuffix(lamm.SUFFIX)
    if base != name and base in METHODS and base != "lamm":
        if not METHODS[base].has_text_prompts:
            raise UsageError(f"{base} has no text prompts, so that no names can be learned: leave {lamm.SUFFIX} out")
        return lamm.plus_lamm(METHODS[base])
    raise unknown("method", name, method_names())


def method_names(plus: bool = True) -> list[str]:
    """Return the names of all methods, with their `+lamm` forms."""
    plain = [name for name, method in METHODS.items() if method.has_text_prompts and name != "lamm"]
    forms = [name + lamm.SUFFIX for name in plain] if plus else []
    return [*METHODS, *forms]


def recipe_for(method: str, backbone: str) -> Recipe:
    """Return the optimisation settings of a method on a backbone: the paper's, adapted to the embedded `tiny`."""
    found = get_method(method)
    return found.recipe.but(**found.tiny) if backbone == "tiny" else found.recipe
