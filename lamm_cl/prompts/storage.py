"""Learned prompts on disk: the learned tensors alone, and what they belong to. Nothing is ever unpickled."""

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from lamm_cl.errors import UsageError
from lamm_cl.files import write_atomic
from lamm_cl.prompts.prompted_clip import PromptedCLIP

FORMAT = "lamm_cl prompts 1"


def save_prompts(model: PromptedCLIP, path: str | Path) -> None:
    """Write the learned tensors of a model, and what they are, to one safetensors file.

    Args:
        model: the prompted CLIP; its backbone is named, not saved.
        path: file to write; it appears whole or not at all.
    """
    path = Path(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    data = save(tensors, {"format": FORMAT, "about": json.dumps(describe(model))})
    try:
        write_atomic(path, data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def load_prompts(model: PromptedCLIP, path: str | Path) -> PromptedCLIP:
    """Give a model the learned tensors of a file, bit by bit.

    Args:
        model: built with the same method, options, backbone and class names.
        path: a file of `save_prompts`.

    Returns:
        The same model. Labels that were frozen are frozen again.

    Raises:
        UsageError: the file is missing or damaged, or belongs to another method, backbone or class list: says which.
    """
    about, tensors = read(path)
    mine = describe(model)
    for what in ("method", "options", "backbone", "class_names"):
        if about.get(what) != mine[what]:
            raise UsageError(
                f"{path} holds prompts of another {what.replace('_', ' ')}: "
                f"{_short(about.get(what))}, but this model has {_short(mine[what])}"
            )
    for group in about["groups"]:
        model.learn_classes(group)
    own = model.state_dict()
    if set(own) != set(tensors) or any(own[name].shape != tensors[name].shape for name in own):
        raise UsageError(f"{path} does not hold the tensors that {mine['method']} learns: it is damaged or foreign")
    model.load_state_dict(tensors)
    trainable = set(about["trainable"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trainable)
    model.forget_features()
    return model


def describe(model: PromptedCLIP) -> dict[str, Any]:
    """Return what a file says about its tensors."""
    return {
        "method": model.method,
        "options": json.loads(json.dumps(model.options)),
        "backbone": model.backbone.fingerprint,
        "backbone_name": model.backbone.name,
        "class_names": list(model.class_names),
        "groups": [list(group) for group in model.groups],
        "trainable": [name for name, parameter in model.named_parameters() if parameter.requires_grad],
    }


def read(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a file says of itself, and its tensors.

    Raises:
        UsageError: it is missing, damaged, or not a file of `save_prompts`.
    """
    try:
        with safe_open(str(path), "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise UsageError(f"{path} is not a file of learned prompts")
            return json.loads(metadata["about"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} is damaged or no safetensors file: {error}") from None


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
