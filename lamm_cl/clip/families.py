"""What a backbone may be called, which kind of text and image tower it has, and what each kind allows.

The family is read from the model that is there, never from a table of names. All configurations of
open_clip 3.3 fall into the eight families below.

This module imports neither torch nor open_clip, so that `lamm-cl list backbones` answers at once. What it lists is made
from open_clip's own configurations (`python -m benchmarks.families`).
"""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamm_cl.errors import UsageError, nearest

if TYPE_CHECKING:
    from torch import nn

EMBEDDED = "tiny"
FOREIGN = ("local-dir:", "hf-hub:")
TABLE = Path(__file__).with_name("families.json")


@dataclass(frozen=True)
class Family:
    """What a family's text tower allows."""

    letter: str
    title: str
    text: bool  # whether prompts can be put into its text tower
    exact: bool  # whether cropping at the text's end and sharing prefixes is: it is causal and read at the text's end


FAMILIES: dict[str, Family] = {
    family.letter: family
    for family in (
        Family("A", "CLIP with a flat text tower (OpenAI, OpenCLIP)", text=True, exact=True),
        Family("B", "CustomTextCLIP, causal text tower (EVA, ViTamin, MobileCLIP-B, PE)", text=True, exact=True),
        Family("C", "causal text tower read at the end-of-text id (MetaCLIP 2 worldwide)", text=True, exact=True),
        Family("D", "text tower without mask, read at the largest id (MobileCLIP)", text=True, exact=False),
        Family("E", "text tower without mask, read at the last position (CLIPA)", text=True, exact=False),
        Family("F", "SigLIP: no mask, last position, linear head or none", text=True, exact=False),
        Family("G", "CoCa: class token appended to the text, own padding mask", text=False, exact=False),
        Family("H", "text tower from Hugging Face transformers", text=False, exact=False),
    )
}


def text_module(model: "nn.Module") -> Any:
    """Return the module that holds the text tower: `model.text`, or the model where that is flat."""
    return getattr(model, "text", model)


def text_pool(model: "nn.Module") -> str:
    """Return where the text tower reads its feature: `argmax`, `eos`, `last`, `first` or `none`."""
    text = text_module(model)
    return str(getattr(text, "pool_type", None) or getattr(text, "text_pool_type", "none"))


def family_of(model: "nn.Module") -> Family:
    """Return the family of an instantiated open_clip model.

    Raises:
        UsageError: the model is not an open_clip CLIP, or its text tower is of no known kind.
    """
    import open_clip
    from open_clip.hf_model import HFTextEncoder
    from torch import nn

    if isinstance(model, open_clip.CoCa):
        return FAMILIES["G"]
    text = text_module(model)
    if isinstance(text, HFTextEncoder):
        return FAMILIES["H"]
    needed = ("token_embedding", "positional_embedding", "transformer", "ln_final", "attn_mask")
    if not hasattr(model, "visual") or not all(hasattr(text, name) for name in needed):
        raise UsageError(
            f"{type(model).__name__} is not an open_clip CLIP: it needs an image tower `.visual` and a "
            "text tower. Pass what open_clip.create_model(...) returns."
        )
    return choose_family(
        masked=text.attn_mask is not None,
        pool=text_pool(model),
        flat=text is model,
        matrix_head=isinstance(text.text_projection, nn.Parameter),
        appended=getattr(text, "cls_emb", None) is not None,
    )


def choose_family(*, masked: bool, pool: str, flat: bool, matrix_head: bool, appended: bool) -> Family:
    """Choose the family from what decides it.

    Args:
        masked: attention is causal.
        pool: where the feature is read.
        flat: the text tower's parts are attributes of the model itself.
        matrix_head: the projection is a bare matrix (not a linear layer, and not missing).
        appended: a class token stands behind the text.

    Raises:
        UsageError: no family has these.
    """
    if appended:
        return FAMILIES["G"]
    if masked and pool == "argmax":
        return FAMILIES["A" if flat else "B"]
    if masked and pool == "eos":
        return FAMILIES["C"]
    if not masked and pool in ("argmax", "eos"):
        return FAMILIES["D"]
    if not masked and pool == "last":
        return FAMILIES["E" if matrix_head else "F"]
    raise UsageError(
        f"a text tower with {'a causal' if masked else 'no'} mask that is read at {pool!r} is not supported: "
        "none of the families A to F is like that (`lamm-cl list backbones` shows what is supported)."
    )


def require_text(family: Family, name: str) -> None:
    """Raise a UsageError when no prompt can be put into this family's text tower (G, H)."""
    if not family.text:
        raise UsageError(
            f"backbone {name!r} is of family {family.letter} ({family.title}): its text tower can't take "
            "prompts as embeddings. Use one of the families A to F, e.g. 'ViT-B-16-quickgelu' "
            "(`lamm-cl list backbones` shows all)."
        )


def native_vision(visual: "nn.Module") -> bool:
    """Whether the image tower is open_clip's own VisionTransformer, the one that takes prompts."""
    from open_clip.transformer import VisionTransformer

    return isinstance(visual, VisionTransformer)


def table() -> list[dict[str, Any]]:
    """Return what is known of every architecture that open_clip lists, without importing it.

    Each entry has `name`, `family` (letter), `text_methods` and `vision_prompts` (whether methods that prompt the
    text, or the image tower, run on it), `exact_engine`, `vision` (kind of image tower), `quick_gelu`, and
    `pretrained` (the tags whose activation fits). Made by `python -m benchmarks.families`.
    """
    entries: list[dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))["architectures"]
    return entries


def split_name(
    name: str, pretrained: str | None, known: Callable[[], Collection[str]], example: str = "pretrained='openai'"
) -> tuple[str, str | None]:
    """Return open_clip's name and the weights from what a user may write: `ViT-B/16`, `ViT-B-16/openai`.

    `known` returns the names of open_clip's architectures; `example` is how the user writes weights.

    Raises:
        UsageError: no such architecture; names the nearest.
    """
    if name == EMBEDDED or name.startswith(FOREIGN):
        return name, pretrained
    choices = known()
    head, _, tag = name.rpartition("/")
    if name.replace("/", "-") in choices:
        return name.replace("/", "-"), pretrained
    if head.replace("/", "-") in choices:
        if pretrained not in (None, tag):
            raise UsageError(f"backbone {name!r} names the weights {tag!r}, and pretrained={pretrained!r} others.")
        return head.replace("/", "-"), tag
    by_lower = {choice.lower(): choice for choice in (*choices, EMBEDDED)}
    guess = by_lower.get(nearest(name, sorted(by_lower)) or "")
    hint = f" Did you mean {guess!r}?" if guess else ""
    raise UsageError(
        f"unknown backbone {name!r}.{hint} It must be 'tiny' or one of the {len(choices)} architectures that "
        f"`lamm-cl list backbones` shows, e.g. 'ViT-B-16-quickgelu' with {example}."
    )
