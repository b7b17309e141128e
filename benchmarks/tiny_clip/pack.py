"""Write the weights as they ship: half precision, and only the token rows that were trained."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from .pretrain import Recipe, Student


def pack(student: Student, path: Path, recipe: Recipe) -> int:
    """Save to `path`, with the recipe as the file's metadata, and return the size in bytes."""
    weights = {name: value.detach() for name, value in student.model.state_dict().items()}
    del weights["token_embedding.weight"]
    rows = student.rows.detach()
    weights["token_embedding.rows"] = rows
    tensors = {name: value.half().contiguous() for name, value in sorted(weights.items())}
    tensors["logit_scale"] = weights["logit_scale"].float()
    tensors["token_embedding.ids"] = student.token_ids.to(torch.int32)
    # One entry, because the order of several would change from file to file.
    made = json.dumps({**asdict(recipe), "row_std": round(rows.std().item(), 4)})
    save_file(tensors, path, metadata={"made": made})
    return path.stat().st_size
