"""The table of open_clip's architectures: families.json, which the package ships, and its page.

Made from open_clip's own configurations, without building a model; a test compares it with models that are built.

    python -m benchmarks.families            write families.json and the table in lamm_cl/clip/README.md
    python -m benchmarks.families --check    say whether both are up to date
"""

import json
import re
import sys
from typing import Any

from lamm_cl.clip.families import FAMILIES, TABLE, Family, choose_family

PAGE = TABLE.with_name("README.md")
BEGIN, END = "<!-- table: python -m benchmarks.families -->", "<!-- end of table -->"
_OWN_BLOCKS = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")


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
    wanted = {TABLE: text, PAGE: page(PAGE.read_text(encoding="utf-8"), content)}
    old = [file for file, new in wanted.items() if not file.is_file() or file.read_text(encoding="utf-8") != new]
    for file in old:
        if "--check" not in arguments:
            file.write_text(wanted[file], encoding="utf-8")
        sys.stdout.write(f"{'out of date' if '--check' in arguments else 'wrote'}: {file}\n")
    return int(bool(old) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
