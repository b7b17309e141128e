"""Write the weights as they ship: half precision, and only the token rows that were trained."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from .pretrain import Student


def pack(student: Student, path: Path, notes: Mapping[str, str]) -> int:
    """Save to `path` and return the size in bytes; `notes` become the file's metadata."""
    weights = {name: value.detach() for name, value in student.model.state_dict().items()}
    del weights["token_embedding.weight"]
    rows = student.rows.detach()
    weights["token_embedding.rows"] = rows
    tensors = {name: value.half().contiguous() for name, value in sorted(weights.items())}
    tensors["logit_scale"] = weights["logit_scale"].float()
    tensors["token_embedding.ids"] = student.token_ids.to(torch.int32)
    save_file(tensors, path, metadata={**notes, "row_std": f"{rows.std().item():.4f}"})
    return path.stat().st_size
