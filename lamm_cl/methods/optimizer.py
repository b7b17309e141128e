"""The optimizer of a recipe, over exactly what trains."""

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from lamm_cl.methods.recipe import Recipe


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


def restart(optimizer: Optimizer, model: nn.Module) -> None:
    """Forget momentum and take exactly the parameters of `model` that train."""
    optimizer.state.clear()
    optimizer.param_groups[0]["params"] = [p for _, p in trainable(model)]
