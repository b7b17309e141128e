"""Stop and go on: what a strategy is, as tensors and a JSON-able dict, without pickle and without the backbone.

A run that is stopped after any epoch and goes on from its checkpoint ends, on the CPU, bitwise where the
uninterrupted run ends.
"""

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lamm_cl.errors import UsageError
from lamm_cl.files import write_atomic
from lamm_cl.methods.optimizer import trainable
from lamm_cl.strategies.batches import StageBatches
from lamm_cl.strategies.generators import generator_state, set_generator_state
from lamm_cl.strategies.plugin_state import Unpacker, plugin_states, set_plugin_states
from lamm_cl.tensor_file import pack, unpack

FORMAT = 4  # raise it whenever `take` returns something else than before


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


@dataclass(frozen=True)
class Pending:
    """A stage that was interrupted: what its next training call takes up."""

    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]
    unpacker: Unpacker

    def check(self, own: tuple[int, ...]) -> None:
        """Refuse an experience that is not the interrupted one.

        Raises:
            UsageError: When its classes differ.
        """
        expected = tuple(self.state["trained"][-1])
        if own != expected:
            raise UsageError(
                f"the checkpoint is inside a stage with the classes {list(expected)}, "
                f"but the experience has {list(own)}. Resume with the experience that was interrupted."
            )

    def apply(self, strategy: StageBatches) -> None:
        """Set what the start of a stage has reset: momentum, clock, metrics, plugins."""
        set_momentum(strategy.optimizer, strategy.model, _under("optimizer", self.tensors))
        _set_progress(strategy, self.state, self.unpacker, inside=True)
        strategy._pending = None


def take(strategy: StageBatches) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the JSON-able rest of a strategy; see `LearnerStrategy.checkpoint`."""
    inside = strategy.experience is not None
    plugins, memory = plugin_states(strategy, inside=inside)
    generators, rest = generator_state()
    tensors = {f"model/{name}": value for name, value in strategy.model.state_dict().items()}
    tensors |= {f"generators/{name}": value for name, value in generators.items()}
    tensors |= {f"plugins/{key}": value for key, value in memory.items()}
    if inside:
        momentum = momentum_of(strategy.optimizer, strategy.model)
        tensors |= {f"optimizer/{name}": value for name, value in momentum.items()}
    state = {
        "format": FORMAT,
        **_identity(strategy),
        "trained": [list(own) for own in strategy.trained],
        "epoch": strategy.clock.train_exp_epochs if inside else None,
        # Restored and not trained on since: the earlier experiences are known by number only.
        "kept": list(strategy._earlier)
        or [e.current_experience for e in strategy._kept if not (inside and e is strategy.experience)],
        "clock": dict(vars(strategy.clock)),
        "last_metrics": _numbers(strategy.evaluator.last_metric_results),
        "all_metrics": {
            name: [[int(x) for x in xs], [_number(value) for value in values]]
            for name, (xs, values) in strategy.evaluator.all_metric_results.items()
        },
        "growth": strategy.model.growth(),
        "trains": [name for name, _ in trainable(strategy.model)],
        "plugins": plugins,
        "optimizer": options_of(strategy.optimizer),
        "scaler": strategy.precision.scaler.state_dict(),
        "generators": rest,
        "tensors": sorted(tensors),
    }
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, state


def put(strategy: StageBatches, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Set what `take` returned; see `LearnerStrategy.restore`."""
    if strategy.stage:
        raise UsageError("restore() wants a strategy that has not trained yet: build a new one.")
    _check_identity(strategy, state)
    _check_complete(strategy, tensors, state)
    unpacker = Unpacker(_under("plugins", tensors), copy.deepcopy(strategy.model), strategy.samples, strategy.device)
    strategy._earlier = list(state["kept"])
    strategy.model.regrow(state["growth"])
    strategy._trained = [tuple(own) for own in state["trained"]]
    learned = _under("model", tensors)
    odd = strategy.model.misfits(learned)
    if odd:
        raise UsageError(f"the checkpoint's tensors do not fit the model: {', '.join(odd[:5])}.")
    for name, parameter in strategy.model.named_parameters():
        parameter.requires_grad_(name in state["trains"])
    strays = set(_under("optimizer", tensors)) - set(_momentum_names(strategy, tensors))
    if strays:
        raise UsageError(f"the checkpoint has momentum of what does not train: {', '.join(sorted(strays)[:5])}.")
    strategy.model.load_state_dict(learned)
    set_generator_state(_under("generators", tensors), state["generators"])
    _set_progress(strategy, state, unpacker, inside=False)
    if state["epoch"] is not None:
        strategy._pending = Pending(dict(tensors), dict(state), unpacker)


def write(strategy: StageBatches, path: str | Path) -> None:
    """Write what `take` returns to one file; see `LearnerStrategy.save`."""
    tensors, state = take(strategy)
    try:
        write_atomic(Path(path), pack({"strategy": json.dumps(state)}, tensors))
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def read_into(strategy: StageBatches, path: str | Path) -> None:
    """Set what `write` wrote; see `LearnerStrategy.load`."""
    try:
        header, tensors = unpack(Path(path).read_bytes())
        state = json.loads(header["strategy"])
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (ValueError, KeyError):
        raise UsageError(f"{path} is damaged, or no file of strategy.save()") from None
    put(strategy, tensors, state)


def _identity(strategy: StageBatches) -> dict[str, Any]:
    names = list(strategy.model.class_names)
    return {"method": str(strategy.model.method), "class_names": names, "regime": strategy.settings.regime}


def _check_identity(strategy: StageBatches, state: Mapping[str, Any]) -> None:
    if state.get("format") != FORMAT:
        raise UsageError(f"the checkpoint has format {state.get('format')!r}; this version reads {FORMAT}.")
    for key, here in _identity(strategy).items():
        if state.get(key) != here:
            raise UsageError(f"the checkpoint was taken with {key} {state.get(key)!r}, the strategy has {here!r}.")


def _check_complete(strategy: StageBatches, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Compare with the state of the strategy as it is: what another build saved may lack a part, or have one more.

    Raises:
        UsageError: Names the parts.
    """
    whole = take(strategy)[1]
    different = set(map(str, set(whole) ^ set(state)))
    for key in ("clock", "optimizer", "scaler", "generators", "plugins"):
        if isinstance(state.get(key), Mapping):
            # Plugins of the checkpoint that are not here are named where they are set.
            different |= {f"{key}.{name}" for name in set(whole[key]) - set(state[key])}
        else:
            different.add(key)
    named = state.get("tensors")
    different |= set(map(str, named if isinstance(named, list) else ())) ^ set(tensors)
    if different := {name for name in different if not name.startswith("model/")}:  # those are compared with the model
        raise UsageError(
            f"the checkpoint is of another build of this version: it differs in {', '.join(sorted(different)[:5])}."
        )


def _momentum_names(strategy: StageBatches, tensors: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield the optimizer's tensors that belong to a parameter that trains and have its shape or none."""
    trains = {name for name, _ in trainable(strategy.model)}
    for name, value in _under("optimizer", tensors).items():
        owner = name.partition("/")[2]
        if owner in trains and value.shape in (tensors[f"model/{owner}"].shape, ()):
            yield name


def _set_progress(strategy: StageBatches, state: Mapping[str, Any], unpacker: Unpacker, *, inside: bool) -> None:
    for name, count in state["clock"].items():
        setattr(strategy.clock, name, count)
    evaluator = strategy.evaluator
    evaluator.last_metric_results.clear()
    evaluator.last_metric_results.update(state["last_metrics"])
    evaluator.all_metric_results.clear()
    for name, (xs, values) in state["all_metrics"].items():
        evaluator.all_metric_results[name] = (list(xs), list(values))
    set_plugin_states(strategy, state["plugins"], unpacker, inside=inside)
    set_options(strategy.optimizer, state["optimizer"])
    strategy.precision.scaler.load_state_dict(state["scaler"])


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = prefix + "/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: Any) -> Any:
    """Return a metric's value as JSON knows it; what is no number or text (a figure, say) becomes None."""
    if isinstance(value, torch.Tensor | np.generic | np.ndarray):
        return value.tolist()
    return value if isinstance(value, bool | int | float | str) else None
