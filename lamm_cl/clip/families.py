"""Which kind of text tower and image tower a CLIP has, and what each kind allows.

The family is read from the model that is there, never from a table of names. Source: open_clip 3.3, all of whose
configurations fall into the eight families below.
"""

from dataclasses import dataclass
from typing import Any

from torch import nn

from lamm_cl.errors import UsageError


@dataclass(frozen=True)
class Family:
    """What a family's text tower allows.

    Attributes:
        letter: `A` to `H`.
        title: what the family is, in words.
        text: whether prompts can be put into its text tower.
        exact: whether cropping at the end of the text and sharing prefixes is exact (causal attention, pooled at the
            end of the text).
    """

    letter: str
    title: str
    text: bool
    exact: bool


FAMILIES: dict[str, Family] = {
    f.letter: f
    for f in (
        Family("A", "CLIP with a flat text tower (OpenAI, OpenCLIP)", text=True, exact=True),
        Family("B", "CustomTextCLIP with a causal text tower (EVA, ViTamin, MobileCLIP-B, PE)", True, True),
        Family("C", "causal text tower pooled at the end-of-text id (MetaCLIP 2 worldwide)", True, True),
        Family("D", "text tower without mask, pooled at the largest id (MobileCLIP S0-S4)", True, False),
        Family("E", "text tower without mask, pooled at the last position (CLIPA)", True, False),
        Family("F", "SigLIP: no mask, last position, linear head or none", True, False),
        Family("G", "CoCa: class token appended to the text, own padding mask", False, False),
        Family("H", "text tower from Hugging Face transformers", False, False),
    )
}


def text_module(model: nn.Module) -> Any:
    """Return the module that holds the text tower: `model.text`, or the model itself where the tower is flat."""
    return getattr(model, "text", model)


def text_pool(model: nn.Module) -> str:
    """Return where the text tower reads its feature: `argmax`, `eos`, `last`, `first` or `none`."""
    text = text_module(model)
    return str(getattr(text, "pool_type", None) or getattr(text, "text_pool_type", "none"))


def family_of(model: nn.Module) -> Family:
    """Return the family of an instantiated open_clip model.

    Raises:
        UsageError: the model is not an open_clip CLIP, or its text tower is of a kind that open_clip 3.3 doesn't have.
    """
    import open_clip
    from open_clip.hf_model import HFTextEncoder

    if isinstance(model, open_clip.CoCa):
        return FAMILIES["G"]
    text = text_module(model)
    if isinstance(text, HFTextEncoder):
        return FAMILIES["H"]
    needed = ("token_embedding", "positional_embedding", "transformer", "ln_final", "attn_mask")
    if not hasattr(model, "visual") or not all(hasattr(text, name) for name in needed):
        raise UsageError(
            f"{type(model).__name__} is not an open_clip CLIP: it needs an image tower `.visual` and a text tower. "
            "Pass what open_clip.create_model(...) returns."
        )
    flat = text is model
    linear_or_none = not isinstance(text.text_projection, nn.Parameter)
    return _family(
        masked=text.attn_mask is not None,
        pool=text_pool(model),
        flat=flat,
        linear_or_none=linear_or_none,
        appended=getattr(text, "cls_emb", None) is not None,
    )


def _family(masked: bool, pool: str, flat: bool, linear_or_none: bool, appended: bool) -> Family:
    """Choose the family from what decides it; `appended`: a class token stands behind the text."""
    if appended:
        return FAMILIES["G"]
    if masked and pool == "argmax":
        return FAMILIES["A" if flat else "B"]
    if masked and pool == "eos":
        return FAMILIES["C"]
    if not masked and pool in ("argmax", "eos"):
        return FAMILIES["D"]
    if not masked and pool == "last":
        return FAMILIES["F" if linear_or_none else "E"]
    raise UsageError(
        f"text towers with {'a causal' if masked else 'no'} mask that are pooled at {pool!r} are not supported: "
        "the class name's tokens could not be found again. Use a backbone of the families A to F "
        "(`lamm-cl list backbones`)."
    )


def require_text(family: Family, name: str) -> None:
    """Raise a UsageError when no prompt can be put into the text tower of this family (G, H)."""
    if not family.text:
        raise UsageError(
            f"backbone {name!r} is of family {family.letter} ({family.title}): its text tower can't take prompts as "
            "embeddings. Use a backbone of the families A to F, e.g. 'ViT-B-16-quickgelu' "
            "(`lamm-cl list backbones` shows all)."
        )


def native_vision(visual: nn.Module) -> bool:
    """Whether the image tower is open_clip's own VisionTransformer, the one that takes prompts."""
    from open_clip.transformer import VisionTransformer

    return isinstance(visual, VisionTransformer)


def require_vision_prompts(model: nn.Module, method: str, name: str) -> None:
    """Raise a UsageError when `method` needs prompts inside an image tower that can't take them.

    Args:
        model: an open_clip model.
        method: the method's name, for the message.
        name: the backbone's name, for the message.
    """
    visual: Any = model.visual
    if native_vision(visual):
        return
    inner = type(getattr(visual, "trunk", visual)).__name__
    raise UsageError(
        f"method {method!r} puts prompts into the image tower, and that of backbone {name!r} is a {inner}, which takes "
        "none. Use a method that prompts the text side only (coop, cocoop, lamm, language_prompting, coop+lamm), or a "
        "backbone with open_clip's own VisionTransformer, e.g. 'tiny' or 'ViT-B-16-quickgelu'."
    )
