"""All methods by name. Importing this imports no torch."""

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
    kgcoop,
    lamm,
    maple,
    mg_clip,
    prograd,
    promptsrc,
    proof,
    rail,
    ranpac,
    rapf,
    simplecil,
    tcp,
    tip_adapter,
    zero_shot,
)
from lamm_cl.methods.method import Method, Suffix
from lamm_cl.methods.recipe import Recipe

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        zero_shot.METHOD,
        coop.METHOD,
        cocoop.METHOD,
        kgcoop.METHOD,
        tcp.METHOD,
        lamm.METHOD,
        independent.VPT,
        independent.LANGUAGE_PROMPTING,
        independent.IVLP,
        maple.METHOD,
        align.METHOD,
        prograd.METHOD,
        promptsrc.METHOD,
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

# What can be put on top of other methods: "X+lamm".
SUFFIXES: dict[str, Suffix] = {
    suffix.name: suffix
    for suffix in (
        lamm.PLUS,
        kgcoop.PLUS,
        prograd.PLUS,
        promptsrc.PLUS,
    )
}


def register(method: Method) -> Method:
    """Add a method; its forms with a suffix come with it.

    Raises:
        UsageError: the name is taken.
    """
    if method.name in METHODS:
        raise UsageError(f"a method named {method.name!r} is registered already: choose another name")
    METHODS[method.name] = method
    return method


def get_method(name: str) -> Method:
    """Return a method by name; "X+lamm" puts learned labels on method X, and suffixes may follow each other.

    Raises:
        UsageError: there is no such method, or one of its suffixes does not fit.
    """
    given: object = name
    if not isinstance(given, str):
        raise UsageError(f"a method is meant by its name, such as 'lamm', not by {type(given).__name__} {given!r}")
    base, *pluses = name.split("+")
    if base not in METHODS or any("+" + plus not in SUFFIXES for plus in pluses):
        raise unknown("method", name, method_names())
    method = METHODS[base]
    for plus in pluses:
        suffix = SUFFIXES["+" + plus]
        if reason := suffix.unfit(method):
            raise UsageError(f"{method.name} {reason}: leave {suffix.name} out")
        method = suffix.plus(method)
    return method


def method_names(plus: bool = True) -> list[str]:
    """Return the names of all methods, with the forms that one suffix gives."""
    suffixes = SUFFIXES.values() if plus else ()
    return [
        *METHODS,
        *(name + suffix.name for suffix in suffixes for name, method in METHODS.items() if not suffix.unfit(method)),
    ]


def recipe_for(method: str, backbone: str) -> Recipe:
    """Return the optimisation settings of a method on a backbone: the paper's, adapted to the embedded `tiny`."""
    found = get_method(method)
    return found.recipe.but(**found.tiny) if backbone == "tiny" else found.recipe
