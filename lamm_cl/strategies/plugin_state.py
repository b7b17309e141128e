"""What plugins and metrics know across epochs and stages, as JSON with tensors beside it.

Takes part what has `state_dict()` and `load_state_dict(state)` (loaded again when an interrupted stage goes on), or
`state()` and `load_state(state)` (loaded before that stage starts anew, as our own metrics want it). The memory of any
other plugin is walked, see `plugin_memory`; what cannot be walked is refused, since a resumed run would be another run.
"""

import json
from collections.abc import Iterator
from typing import Any

from avalanche.benchmarks.utils.data_loader import GroupBalancedInfiniteDataLoader
from avalanche.training.plugins import (
    AGEMPlugin,
    EarlyStoppingPlugin,
    EvaluationPlugin,
    FromScratchTrainingPlugin,
    GDumbPlugin,
    LRSchedulerPlugin,
)
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates.base_sgd import PeriodicEval
from torch import Tensor

from lamm_cl.errors import UsageError
from lamm_cl.strategies.batches import StageBatches
from lamm_cl.strategies.plugin_memory import CannotSaveError, Packer, Unpacker

_WITHOUT_STATE = (Clock, PeriodicEval, EvaluationPlugin)  # the clock and the evaluator's results are saved apart
# Where these are inside a stage depends on loaders and models that no checkpoint holds.
_BETWEEN_STAGES = (AGEMPlugin, EarlyStoppingPlugin, FromScratchTrainingPlugin, GDumbPlugin)
# Avalanche's forgetting, backward and forward transfer: what they compare with.
_COMPARING = ("forgetting", "forward_transfer")
_COMPARED = ("initial", "last", "previous")
_PLACES = ("train_exp_id", "eval_exp_id", "at_init")


def plugin_states(strategy: StageBatches, *, inside: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the states by `<position>:<class name>`, and the tensors that they refer to.

    Raises:
        CannotSaveError: For a plugin whose state cannot be saved.
    """
    states, packer = {}, Packer(strategy.settings.source is not None)
    for key, thing in _things(strategy):
        try:
            state = _state(thing, packer, inside=inside)
            json.dumps(state)
        except TypeError as error:
            raise CannotSaveError(f"{type(thing).__name__}'s state_dict() is not JSON-able: {error}.") from error
        except CannotSaveError as error:
            raise CannotSaveError(
                f"{type(thing).__name__} remembers things that a checkpoint cannot hold: {error}. Run without "
                "checkpoints, or give the plugin state_dict() and load_state_dict() that are JSON-able."
            ) from error
        if state is not None:
            states[key] = state
    return states, packer.tensors


def set_plugin_states(strategy: StageBatches, states: dict[str, Any], unpacker: Unpacker, *, inside: bool) -> None:
    """Set what `plugin_states` returned; `inside` when the interrupted stage has started again.

    Raises:
        UsageError: When the strategy has other plugins or metrics.
    """
    things = dict(_things(strategy))
    missing = sorted(set(states) - set(things))
    if missing:
        raise UsageError(f"the checkpoint was taken with plugins or metrics that are not here: {', '.join(missing)}.")
    for key, state in states.items():
        _set_state(things[key], state, unpacker, inside=inside)


def _things(strategy: StageBatches) -> Iterator[tuple[str, Any]]:
    everything = [*strategy.plugins, *strategy.evaluator.metrics]
    for k, thing in enumerate(everything):
        yield f"{k}:{type(thing).__name__}", thing


def _is_comparing(thing: Any) -> bool:
    return any(hasattr(getattr(thing, name, None), "initial") for name in _COMPARING)


def _state(thing: Any, packer: Packer, *, inside: bool) -> Any:
    if isinstance(thing, LRSchedulerPlugin):
        return thing.scheduler.state_dict()
    if callable(getattr(thing, "state_dict", None)):
        return thing.state_dict()
    if callable(getattr(thing, "load_state", None)):
        return thing.state()
    if _is_comparing(thing):
        compared = {
            name: [[key, value] for key, value in getattr(getattr(thing, side), name).items()]
            for side in _COMPARING
            for name in _COMPARED
            if hasattr(getattr(thing, side, None), name)
        }
        return {**compared, **{name: getattr(thing, name) for name in _PLACES if hasattr(thing, name)}}
    if hasattr(thing, "result") or isinstance(thing, _WITHOUT_STATE):
        return None
    if inside and isinstance(thing, _BETWEEN_STAGES):
        raise CannotSaveError("inside a stage it cannot be interrupted")
    return {"memory": packer.attributes(thing)}


def _set_state(thing: Any, state: Any, unpacker: Unpacker, *, inside: bool) -> None:
    if isinstance(thing, LRSchedulerPlugin):
        thing.scheduler.load_state_dict(state)
    elif callable(getattr(thing, "load_state_dict", None)):
        thing.load_state_dict(state)
    elif callable(getattr(thing, "load_state", None)):
        if not inside:
            thing.load_state(state)
    elif "memory" in state:
        unpacker.attributes(thing, state["memory"])
        if isinstance(thing, AGEMPlugin) and thing.buffers:
            size = thing.sample_size // len(thing.buffers)
            thing.buffer_dataloader = GroupBalancedInfiniteDataLoader(thing.buffers, batch_size=size, num_workers=0)
            thing.buffer_dliter = iter(thing.buffer_dataloader)
    else:
        for side in _COMPARING:
            for name in _COMPARED:
                if hasattr(getattr(thing, side, None), name):
                    setattr(getattr(thing, side), name, dict(state[name]))
        for name in _PLACES:
            if name in state:
                setattr(thing, name, state[name])
