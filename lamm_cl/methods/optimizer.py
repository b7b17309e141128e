"""The optimizer of a recipe, over exactly what trains."""

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from lamm_cl.methods.learner_part import Rates
from lamm_cl.methods.recipe import Recipe, lr_at


def trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """Return the parameters that train, with their names."""
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad]


def recipe_optimizer(recipe: Recipe, device: torch.device) -> Optimizer:
    """Return the optimizer that a recipe wants, still without parameters to train."""
    nothing = [nn.Parameter(torch.empty(0, device=device))]  # an empty list is refused
    fused = device.type == "cuda"  # with fp16, the other kernels wait for the device in every step
    if recipe.optimizer == "sgd":
        decay, momentum = recipe.weight_decay, recipe.momentum
        return SGD(nothing, lr=recipe.lr, momentum=momentum, weight_decay=decay, fused=fused)
    kind = AdamW if recipe.optimizer == "adamw" else Adam
    return kind(nothing, lr=recipe.lr, weight_decay=recipe.weight_decay, eps=recipe.adam_eps, fused=fused)


def restart(optimizer: Optimizer, model: nn.Module, apart: bool = True) -> None:
    """Forget momentum and take exactly the parameters of `model` that train; see `fill`."""
    optimizer.state.clear()
    fill(optimizer, model, apart)


def fill(optimizer: Optimizer, model: nn.Module, apart: bool = True) -> None:
    """Take exactly the parameters of `model` that train.

    Args:
        optimizer: takes them, in its first group.
        model: a learner.
        apart: whether what trains at a rate of its own gets a group of its own.
    """
    rates: Rates = getattr(model, "rates", {}) if apart else {}
    groups: dict[str, list[Tensor]] = {prefix: [] for prefix in ("", *rates)}
    for name, parameter in trainable(model):
        groups[next((prefix for prefix in rates if name.startswith(prefix)), "")].append(parameter)
    optimizer.param_groups[0]["params"] = groups.pop("")
    del optimizer.param_groups[1:]
    for prefix, parameters in groups.items():
        if parameters:
            peak, decay = rates[prefix]
            optimizer.add_param_group({"params": parameters, "peak": peak, "weight_decay": decay})


def set_rates(optimizer: Optimizer, recipe: Recipe, epoch: int, done: float = 0.0) -> None:
    """Set the learning rates of an epoch; see `lr_at`."""
    for group in optimizer.param_groups:
        peak = group.get("peak")
        group["lr"] = lr_at(recipe if peak is None else recipe.but(lr=peak), epoch, done)
