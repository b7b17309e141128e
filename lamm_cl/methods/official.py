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


def official_name(name: str, method: str = "") -> str:
    """Return the published codes' name of a parameter of a method; vectors of single classes share one."""
    text_layer = re.fullmatch(r"deep\.text_prompts\.(\d+)", name)
    if text_layer:  # ours counts from the second layer, theirs by layer
        return f"text_encoder.transformer.resblocks.{int(text_layer[1]) + 1}.VPT_shallow"
    delta = re.fullmatch(r"deltas\.(text|image)\.(\d+)\.([qkvo])\.([ab])", name)
    if delta:
        tower, layer, matrix, factor = delta.groups()
        place = f"{'visual.' if tower == 'image' else ''}transformer.resblocks.{layer}.attn"
        if method.startswith("mg_clip"):
            return f"model.{place}.{matrix}_proj_weight_lora_{factor.upper()}"
        return f"{place}.{'proj' if matrix == 'o' else f'{matrix}_proj'}.w_lora_{factor.upper()}"
    per_class = PER_CLASS.fullmatch(name)
    short = per_class[1] if per_class else name
    for pattern, replacement in RULES:
        if pattern.fullmatch(short):
            return pattern.sub(replacement, short)
    raise UsageError(f"the published codes have no name for {name!r}")


def gather(model: PromptedCLIP, gradients: bool = False) -> dict[str, Tensor]:
    """Return copies of the learned tensors (or of their gradients) under official names.

    Vectors of single classes are stacked: one row a learned class, in the order of class ids.

    Raises:
        UsageError: labels learned in several stages have different lengths, which the published codes cannot hold.
    """

    def value(parameter: Tensor) -> Tensor:
        if not gradients:
            return parameter.detach().clone()
        return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()

    return {
        name: torch.stack([value(row) for row in found]) if isinstance(found, list) else value(found)
        for name, found in _by_official_name(model).items()
    }


@torch.no_grad()
def scatter(model: PromptedCLIP, values: Mapping[str, Tensor]) -> None:
    """Set learned tensors from official names, such as those of a published checkpoint.

    Args:
        model: it has learned as many classes as the checkpoint.
        values: tensors by official name. Where single classes have vectors of their own, row k goes to the k-th learned
            class in the order of class ids, as `gather` stacks them. Other names are passed over.

    Raises:
        UsageError: a name is missing or a shape differs; nothing has been set then.
    """
    parameters = _by_official_name(model)
    for name, found in parameters.items():
        if name not in values:
            raise UsageError(f"{name!r} is missing; there are {', '.join(sorted(values))}")
        shape = (len(found), *found[0].shape) if isinstance(found, list) else tuple(found.shape)
        if tuple(values[name].shape) != shape:
            raise UsageError(f"{name!r} has shape {tuple(values[name].shape)}, expected {shape}")
    for name, found in parameters.items():
        if isinstance(found, Tensor):
            found.copy_(values[name])
            continue
        for row, value in zip(found, values[name], strict=True):
            row.copy_(value)
    model.forget_features()


def _by_official_name(model: PromptedCLIP) -> dict[str, Tensor | list[Tensor]]:
    """Return the learned parameters; a list in the order of class ids where each class has its own."""
    single: dict[str, Tensor] = {}
    classes: dict[str, dict[int, Tensor]] = {}
    for name, parameter in model.named_parameters():
        if name.startswith("previous."):  # what was learned before the stage
            continue
        per_class = PER_CLASS.fullmatch(name)
        if per_class:
            classes.setdefault(official_name(name, model.method), {})[int(per_class[2])] = parameter
        else:
            single[official_name(name, model.method)] = parameter
    for name, rows in classes.items():
        lengths = sorted({len(row) for row in rows.values()})
        if len(lengths) > 1:
            raise UsageError(
                f"{name!r} would hold labels of {' and '.join(map(str, lengths))} tokens, but the published codes "
                "learn one length a run: build a model of the classes of one stage"
            )
    return {**single, **{name: [rows[class_id] for class_id in sorted(rows)] for name, rows in classes.items()}}
