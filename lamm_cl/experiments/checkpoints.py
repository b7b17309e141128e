"""The state of an unfinished run in one file: tensors, and JSON in the same file's header. Nothing is pickled."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lamm_cl import __version__
from lamm_cl.files import read_bytes, write_atomic
from lamm_cl.tensor_file import pack, unpack

LOG = logging.getLogger("lamm_cl")


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
    """Write a checkpoint, whole or not at all, with a digest of all that it holds.

    Raises:
        OSError: There is no room for it.
    """
    header = {
        "version": __version__,
        "run_id": saved.run_id,
        "state": json.dumps(saved.state),
        "course": json.dumps(saved.course),
    }
    write_atomic(path, pack(header, saved.tensors))


def load_checkpoint(path: Path, run_id: str) -> Saved | None:
    """Return the checkpoint of a run; None when there is none, or one of another version.

    A damaged one is renamed to `checkpoint.damaged.safetensors`, and counts as none.

    Raises:
        OSError: It is there, but cannot be read.
    """
    data = read_bytes(path)
    if data is None:
        return None
    try:
        header, tensors = unpack(data)
        if header["run_id"] != run_id or header["version"] != __version__:
            return None
        return Saved(run_id, tensors, json.loads(header["state"]), json.loads(header["course"]))
    except (LookupError, ValueError) as error:
        aside = path.replace(damaged(path))
        LOG.warning("%s is damaged (%s): it is kept as %s, and the run begins anew.", path, error, aside.name)
        return None


def damaged(path: Path) -> Path:
    """Return where a damaged checkpoint is kept."""
    return path.with_name(f"{path.stem}.damaged{path.suffix}")
