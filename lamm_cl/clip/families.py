"""Which kind of text tower and image tower a CLIP has, and what each kind allows.

The family is read from the model that is there, never from a table of names. All configurations of
open_clip 3.3 fall into the eight families below.

This module imports neither torch nor open_clip, so that `lamm-cl list backbones` answers at once. What it lists is made
from open_clip's own configurations, without building a model; a test compares it with models that are built:

    python -m lamm_cl.clip.families            write families.json and the table in README.md
    python -m lamm_cl.clip.families --check    say whether both are up to date
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lamm_cl.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

import re
import sys

HERE = Path(__file__).parent
BEGIN, END = "<!-- table: python -m lamm_cl.clip.families -->", "<!-- end of table -->"
_OWN_BLOCKS = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")


@dataclass(frozen=True)
class Family:
    """What a family's text tower allows.

    Attributes:
        letter: `A` to `H`.
        title: what the family is, in words.
        text: whether prompts can be put into its text tower.
        exact: whether cropping at the end of the text and sharing prefixes is exact: attention is causal
            and the feature is read at the end of the text.
    """

    letter: str
    title: str
    text: bool
    exact: bool


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
    `pretrained` (the tags whose activation fits). Made by `python -m lamm_cl.clip.families`.
    """
    entries: list[dict[str, Any]] = shipped()["architectures"]
    return entries


def shipped() -> dict[str, Any]:
    """Return the content of families.json: the version of open_clip it was made from, and its architectures."""
    content: dict[str, Any] = json.loads((HERE / "families.json").read_text(encoding="utf-8"))
    return content


def build() -> dict[str, Any]:
    """Return what families.json should hold for the open_clip that is installed."""
    import open_clip

    return {
        "open_clip": open_clip.__version__,
        "architectures": [entry(name, open_clip.get_model_config(name)) for name in open_clip.list_models()],
    }


def entry(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """Return the table's entry for one of open_clip's configurations."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained_tags_by_model

    family = family_of_config(config)
    vision, text = config["vision_cfg"], config["text_cfg"]
    quick_gelu = bool(config.get("quick_gelu", False))
    own_blocks = text.get("block_type") == "custom" or any(text.get(key) for key in _OWN_BLOCKS)
    kind = vision_kind(vision)
    tags = list_pretrained_tags_by_model(name)
    return {
        "name": name,
        "family": family.letter,
        "text_methods": family.text,
        "vision_prompts": family.text and kind == "VisionTransformer",
        "exact_engine": family.exact and not own_blocks,
        "vision": kind,
        "quick_gelu": quick_gelu,
        "pretrained": [
            tag for tag in tags if bool(get_pretrained_cfg(name, tag).get("quick_gelu", False)) == quick_gelu
        ],
    }


def family_of_config(config: dict[str, Any]) -> Family:
    """Return the family that a model built from this configuration will have."""
    text = config["text_cfg"]
    if "multimodal_cfg" in config:
        return FAMILIES["G"]
    if text.get("hf_model_name"):
        return FAMILIES["H"]
    projected = text.get("proj_type", "linear") != "none"
    return choose_family(
        masked=not text.get("no_causal_mask", False),
        pool=text.get("pool_type", "argmax"),
        flat=not config.get("custom_text", False),
        matrix_head=projected and not text.get("proj_bias", False),
        appended=bool(text.get("embed_cls", False)),
    )


def vision_kind(vision: dict[str, Any]) -> str:
    """Return the kind of image tower: open_clip's two own ones by their class, timm's by their family name."""
    if vision.get("timm_model_name"):
        return "timm " + re.split(r"[_.\d]", str(vision["timm_model_name"]))[0]
    return "ModifiedResNet" if isinstance(vision.get("layers"), list) else "VisionTransformer"


def markdown(content: dict[str, Any]) -> str:
    """Return the table as Markdown: first the families, then the architectures."""
    entries = content["architectures"]
    yes = {True: "yes", False: "no"}
    lines = [
        f"Made from open_clip {content['open_clip']}: {len(entries)} architectures.",
        "",
        "| family | what it is | architectures | text methods | exact engine | of these with vision prompts |",
        "|---|---|---|---|---|---|",
    ]
    for letter, family in FAMILIES.items():
        own = [e for e in entries if e["family"] == letter]
        native = sum(e["vision_prompts"] for e in own)
        lines.append(
            f"| {letter} | {family.title} | {len(own)} | {yes[family.text]} | {yes[family.exact]} | {native} |"
        )
    lines += ["", "| architecture | family | text methods | vision prompts | exact engine | image tower | weights |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for e in entries:
        marks = " | ".join(yes[e[key]] for key in ("text_methods", "vision_prompts", "exact_engine"))
        tags = ", ".join(e["pretrained"]) or "-"
        lines.append(f"| {e['name']} | {e['family']} | {marks} | {e['vision']} | {tags} |")
    return "\n".join(lines)


def page(text: str, content: dict[str, Any]) -> str:
    """Return a page with the table between its two marks replaced."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{markdown(content)}\n{END}{after}"


def main(arguments: list[str]) -> int:
    """Write both forms, or with `--check` say whether they are up to date."""
    content = build()
    text = json.dumps(content, indent=1) + "\n"
    readme = HERE / "README.md"
    wanted = {HERE / "families.json": text, readme: page(readme.read_text(encoding="utf-8"), content)}
    old = [file for file, new in wanted.items() if not file.is_file() or file.read_text(encoding="utf-8") != new]
    for file in old:
        if "--check" not in arguments:
            file.write_text(wanted[file], encoding="utf-8")
        sys.stdout.write(f"{'out of date' if '--check' in arguments else 'wrote'}: {file}\n")
    return int(bool(old) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
