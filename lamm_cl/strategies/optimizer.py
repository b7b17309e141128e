"""The optimizer of a strategy: the user's where there is one, and its state for checkpoints."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lamm_cl.errors import UsageError
from lamm_cl.methods.optimizer import trainable


def choose_optimizer(given: Optimizer | None, schedulers: Sequence[Any]) -> Optimizer | None:
    """Return the optimizer that the user made: given, or the one that a learning rate scheduler was made for.

    Raises:
        UsageError: When it has several parameter groups, or a scheduler belongs to another optimizer.
    """
    for scheduler in schedulers:
        if given is None:
            given = scheduler.optimizer
        elif scheduler.optimizer is not given:
            raise UsageError(
                "a learning rate scheduler belongs to another optimizer than the strategy's. "
                "Make it for the optimizer that you pass as optimizer=..., or for strategy.optimizer."
            )
    if given is not None and len(given.param_groups) != 1:
        raise UsageError(f"the optimizer has {len(given.param_groups)} parameter groups; a strategy fills exactly one.")
    return given


def momentum_of(optimizer: Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Return the state tensors of the optimizer as `<state name>/<parameter name>`."""
    tensors = {}
    for name, parameter in trainable(model):
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"{key}/{name}"] = torch.as_tensor(value)
    return tensors


def set_momentum(optimizer: Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Set what `momentum_of` returned."""
    parameters = dict(trainable(model))
    for key, value in tensors.items():
        state, name = key.split("/", 1)
        place = parameters[name].device if value.dim() else value.device
        optimizer.state[parameters[name]][state] = value.clone().to(place)


def options_of(optimizer: Optimizer) -> dict[str, Any]:
    """Return the numbers that steer the optimizer now (lr, momentum, a scheduler's initial_lr, ...)."""
    group = optimizer.param_groups[0]
    return {name: value for name, value in group.items() if isinstance(value, bool | int | float)}


def set_options(optimizer: Optimizer, options: dict[str, Any]) -> None:
    """Set what `options_of` returned."""
    optimizer.param_groups[0].update(options)
