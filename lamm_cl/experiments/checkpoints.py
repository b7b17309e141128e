"""The state of an unfinished run in one file: tensors, and JSON in the same file's header. Nothing is pickled."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from lamm_cl import __version__
from lamm_cl.files import write_atomic


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes:
        run_id: The run it belongs to.
        tensors: Learned tensors, momentum, generators.
        state: The rest of the strategy, JSON-able.
        course: How far the run has come.
    """

    run_id: str
    tensors: dict[str, Tensor]
    state: Mapping[str, Any]
    course: Mapping[str, Any]


def save_checkpoint(path: Path, saved: Saved) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OSError: There is no room for it.
    """
    header = {
        "version": __version__,
        "run_id": saved.run_id,
        "state": json.dumps(saved.state),
        "course": json.dumps(saved.course),
    }
    write_atomic(path, safetensors.torch.save(saved.tensors, header))


def load_checkpoint(path: Path, run_id: str) -> Saved | None:
    """Return the checkpoint of a run; None when there is none, or a damaged one, or one of another version."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            if header.get("run_id") != run_id or header.get("version") != __version__:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
        return Saved(run_id, tensors, json.loads(header["state"]), json.loads(header["course"]))
    except (OSError, KeyError, ValueError, safetensors.SafetensorError):
        return None
