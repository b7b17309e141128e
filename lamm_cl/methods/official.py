"""The published codes' names for the learned tensors, to compare with them and to read their checkpoints."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from lamm_cl.errors import UsageError
from lamm_cl.methods.prompted_clip import PromptedCLIP

PER_CLASS = re.compile(r"(labels\.token_classes|context\.ctx)\.values\.(\d+)")
RULES = (
    (re.compile(r"labels\.token_classes"), "prompt_learner.token_classes"),
    (re.compile(r"context\.(.*)"), r"prompt_learner.\1"),
    (re.compile(r"deep\.vision_prompts\.0"), "image_encoder.VPT"),
    (re.compile(r"deep\.vision_prompts\.(\d+)"), r"image_encoder.transformer.resblocks.\1.VPT_shallow"),
    (re.compile(r"deep\.((?:proj|compound).*)"), r"prompt_learner.\1"),
)


def official_name(name: str) -> str:
    """Return the published codes' name of a parameter; vectors of single classes share one."""
    text_layer = re.fullmatch(r"deep\.text_prompts\.(\d+)", name)
    if text_layer:  # ours counts from the second layer, theirs by layer
        return f"text_encoder.transformer.resblocks.{int(text_layer[1]) + 1}.VPT_shallow"
    per_class = PER_CLASS.fullmatch(name)
    short = per_class[1] if per_class else name
    for pattern, replacement in RULES:
        if pattern.fullmatch(short):
            return pattern.sub(replacement, short)
    raise UsageError(f"the published codes have no name for {name!r}")


def gather(model: PromptedCLIP, gradients: bool = False) -> dict[str, Tensor]:
    """Return the learned tensors (or their gradients) under official names; per-class vectors are stacked by class."""
    single: dict[str, Tensor] = {}
    stacks: dict[str, dict[int, Tensor]] = {}
    for name, parameter in model.named_parameters():
        value = parameter.grad if gradients else parameter.detach()
        if value is None:
            value = torch.zeros_like(parameter)
        per_class = PER_CLASS.fullmatch(name)
        if per_class:
            stacks.setdefault(official_name(name), {})[int(per_class[2])] = value
        else:
            single[official_name(name)] = value
    return {**single, **{name: torch.stack([rows[c] for c in sorted(rows)]) for name, rows in stacks.items()}}


@torch.no_grad()
def scatter(model: PromptedCLIP, values: Mapping[str, Tensor]) -> None:
    """Set learned tensors from official names, such as those of a published checkpoint.

    Raises:
        UsageError: a name is missing or a shape differs.
    """
    for name, parameter in model.named_parameters():
        official, per_class = official_name(name), PER_CLASS.fullmatch(name)
        if official not in values:
            raise UsageError(f"{official!r} is missing; there are {', '.join(sorted(values))}")
        value = values[official][int(per_class[2])] if per_class else values[official]
        if value.shape != parameter.shape:
            raise UsageError(f"{official!r} has shape {tuple(value.shape)}, expected {tuple(parameter.shape)}")
        parameter.copy_(value)
    model.forget_features()
