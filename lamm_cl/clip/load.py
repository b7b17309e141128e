"""Load a backbone by name, with weights from a tag, a local file, or none."""

from pathlib import Path
from typing import Any

import torch

from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.errors import UsageError, unknown

PRECISIONS = {"fp32": torch.float32, "fp64": torch.float64, "fp16": torch.float16, "bf16": torch.bfloat16}


def load_clip(
    name: str = "tiny",
    pretrained: str | None = None,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    cache_dir: str | Path | None = None,
) -> ClipBackbone:
    """Load a frozen CLIP."""
    if precision not in PRECISIONS:
        raise unknown("precision", precision, PRECISIONS)
    if name == "tiny":
        from lamm_cl.clip.tiny import load_tiny

        model, tokenizer, preprocess = load_tiny()
    else:
        raise UsageError("only tiny for now")
    backbone = ClipBackbone(model, tokenizer, preprocess, name=name, pretrained=pretrained)
    source: dict[str, Any] = {
        "name": name,
        "pretrained": pretrained,
        "device": str(device),
        "precision": precision,
        "cache_dir": None if cache_dir is None else str(cache_dir),
    }
    backbone.to(device=device, dtype=None if precision == "fp32" else PRECISIONS[precision])
    backbone.source = source
    return backbone
