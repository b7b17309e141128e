"""What a learner has learned, on disk: its tensors, and what they belong to. Nothing is ever unpickled."""

import json
from pathlib import Path
from typing import Any

from lamm_cl.errors import UsageError
from lamm_cl.files import write_atomic
from lamm_cl.methods.learner import Learner
from lamm_cl.tensor_file import pack, unpack

FORMAT = "lamm_cl learner 2"


def save_learner(model: Learner, path: str | Path) -> None:
    """Write what a learner has learned, and what it is, to one safetensors file with a digest of its content.

    Args:
        model: the learner; its backbone is named, not saved.
        path: file to write; it appears whole or not at all.
    """
    path = Path(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    try:
        write_atomic(path, pack({"format": FORMAT, "about": json.dumps(describe(model))}, tensors))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def load_learner(model: Learner, path: str | Path) -> Learner:
    """Give a learner what a file holds, bit by bit.

    Args:
        model: built with the same method, options, backbone and class names.
        path: a file of `save_learner`.

    Returns:
        The same learner, with the same stages behind it. What was frozen is frozen again.

    Raises:
        UsageError: the file is missing or damaged, or belongs to another method, backbone or class list: says which.
    """
    about, tensors = read(path)
    mine = describe(model)
    for what in ("method", "options", "backbone", "class_names"):
        if about.get(what) != mine[what]:
            raise UsageError(
                f"{path} is of another {what.replace('_', ' ')}: "
                f"{_short(about.get(what))}, but this model has {_short(mine[what])}"
            )
    model.regrow(about["growth"])
    if model.misfits(tensors):
        raise UsageError(f"{path} does not hold the tensors that {mine['method']} learns: it is damaged or foreign")
    model.load_state_dict(tensors)
    trainable = set(about["trainable"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
    return model


def describe(model: Learner) -> dict[str, Any]:
    """Return what a file says about its tensors."""
    return {
        "method": model.method,
        "options": json.loads(json.dumps(model.options)),
        "backbone": model.backbone.fingerprint,
        "backbone_name": model.backbone.name,
        "class_names": list(model.class_names),
        "growth": model.growth(),
        "trainable": [name for name, parameter in model.named_parameters() if parameter.requires_grad],
    }


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a file says of itself, and its tensors.

    Raises:
        UsageError: it is missing, damaged, or not a file of `save_learner`.
    """
    try:
        header, tensors = unpack(Path(path).read_bytes())
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise UsageError(f"{path} is damaged or no file of a saved learner: {error}") from None
    if header.get("format") != FORMAT:
        raise UsageError(f"{path} is not a file of a saved learner")
    return json.loads(header["about"]), tensors


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
