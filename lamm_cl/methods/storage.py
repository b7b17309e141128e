"""What a learner has learned, on disk: its tensors, and what they belong to. Nothing is ever unpickled.

A file is enough to make the model again (`load_model`), where its backbone comes from a name or a file.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamm_cl.clip.feature_backbone import Backbone
from lamm_cl.clip.load import load_clip
from lamm_cl.errors import UsageError
from lamm_cl.files import write_atomic
from lamm_cl.methods import text_bank
from lamm_cl.methods.build import build_model
from lamm_cl.methods.learner import Learner
from lamm_cl.tensor_file import pack, unpack

FORMAT = "lamm_cl learner 2"


def save_learner(model: Learner, path: str | Path) -> None:
    """Write what a learner has learned, and what it is, to one safetensors file with a digest of its content.

    Args:
        model: the learner; its backbone is named, not saved.
        path: file to write; it appears whole or not at all.
    """
    given: object = model
    if not isinstance(given, Learner):
        raise UsageError(f"save_learner takes a model first, such as strategy.model, not {given!r}")
    try:
        write_learner(model, Path(path))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def write_learner(model: Learner, path: Path) -> None:
    """Do what `save_learner` does, for callers that know what to do about a full disk.

    Raises:
        OSError: it cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_atomic(path, pack({"format": FORMAT, "about": json.dumps(describe(model))}, tensors))


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
    given: object = model
    if not isinstance(given, Learner):
        raise UsageError(f"load_learner takes a model first, such as strategy.model, not {given!r}")
    about, tensors = read(path)
    mine = describe(model)
    for what in ("method", "options", "backbone", "class_names"):
        if about.get(what) != mine[what]:
            raise UsageError(
                f"{path} is of another {what.replace('_', ' ')}: "
                f"{_short(about.get(what))}, but this model has {_short(mine[what])}"
            )
    return _fill(model, about, tensors, path)


def load_model(
    path: str | Path, backbone: Backbone | None = None, *, device: str | torch.device | None = None
) -> Learner:
    """Make the model that a file holds, from the file alone.

    Args:
        path: a file of `save_learner`, also one that a run with `save: prompts` left beside its record.
        backbone: the frozen CLIP; default: it is loaded as the file says.
        device: where to load that; default: the CPU.

    Returns:
        The learner with the same stages behind it, ready to predict, to grow (`add_classes`) and to learn on.

    Raises:
        UsageError: the file is missing, damaged or of an older version; the backbone is none that can be loaded by
            name, or has other weights here.
    """
    about, tensors = read(path)
    built = about.get("built")
    if not built:
        raise UsageError(
            f"{path} does not say how its model was built: make one with lamm_cl.build_model, and load_learner it"
        )
    if backbone is not None and device is not None:
        raise UsageError("load_model takes a backbone or a device, not both: the backbone is on a device already")
    if backbone is None:
        if built["source"] is None:
            raise UsageError(
                f"{path} was learned on the backbone {about['backbone_name']!r}, which has no name to load it by: give "
                "load_model(path, backbone)"
            )
        backbone = load_clip(**built["source"], device=device or "cpu")
    names, first = about["class_names"], built["classes"]
    model = build_model(
        about["method"],
        backbone,
        names[:first],
        built["shots"],
        learn=False,
        seed=built["seed"],
        class_templates=built["class_templates"],
        repeated_names=built["repeated_names"],
        half=built["half"],
        **about["options"],
    )
    if model.backbone.fingerprint != about["backbone"]:
        raise UsageError(f"{path} was learned on other weights than those of {backbone!r}")
    mode = (built["source"] or {}).get("resize_mode")
    given = getattr(backbone, "source", None)
    if mode and given and given[1].get("resize_mode") != mode:
        raise UsageError(f"{path} was learned on images in resize_mode {mode!r}: load the backbone with it")
    model._append(names[first:])
    return _fill(model, about, tensors, path)


def _fill(model: Learner, about: Mapping[str, Any], tensors: Mapping[str, Tensor], path: str | Path) -> Learner:
    """Let a model grow as a saved one did, and take its values."""
    model.regrow(about["growth"])
    if model.misfits(tensors):
        raise UsageError(f"{path} does not hold the tensors that {model.method} learns: it is damaged or foreign")
    model.load_state_dict(tensors)
    trainable = set(about["trainable"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
    return model


def describe(model: Learner) -> dict[str, Any]:
    """Return what a file says about its tensors."""
    return {
        "method": model.method,
        "options": json.loads(json.dumps(text_bank.embedded(model.options))),
        "backbone": model.backbone.fingerprint,
        "backbone_name": model.backbone.name,
        "class_names": list(model.class_names),
        "growth": model.growth(),
        "built": model.built,
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
