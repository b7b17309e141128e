"""What plugins and metrics know across epochs and stages, as JSON.

Takes part what has `state_dict()` and `load_state_dict(state)` (loaded again when an interrupted stage goes on), or
`state()` and `load_state(state)` (loaded before that stage starts anew, as our own metrics want it); of Avalanche's,
what is named below. Any other plugin with a memory would make a resumed run another run, so it is refused.
"""

import json
from collections.abc import Iterator
from typing import Any

from avalanche.training.plugins import EarlyStoppingPlugin, EvaluationPlugin, LRSchedulerPlugin
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates.base_sgd import PeriodicEval

from lamm_cl.errors import UsageError
from lamm_cl.strategies.batches import StageBatches

_WITHOUT_STATE = (Clock, PeriodicEval, EvaluationPlugin)  # the clock and the evaluator's results are saved apart
_BETWEEN_STAGES = (EarlyStoppingPlugin,)  # forget everything when a stage starts
# Avalanche's forgetting, backward and forward transfer: what they compare with.
_COMPARING = ("forgetting", "forward_transfer")
_COMPARED = ("initial", "last", "previous")
_PLACES = ("train_exp_id", "eval_exp_id", "at_init")


def plugin_states(strategy: StageBatches, *, inside: bool) -> dict[str, Any]:
    """Return the states by `<position>:<class name>`.

    Raises:
        UsageError: For a plugin whose state cannot be saved.
    """
    states = {}
    for key, thing in _things(strategy):
        state = _state(thing, inside=inside)
        if state is not None:
            states[key] = state
    try:
        json.dumps(states)
    except TypeError as error:
        raise UsageError(f"a plugin's state_dict() is not JSON-able: {error}.") from error
    return states


def set_plugin_states(strategy: StageBatches, states: dict[str, Any], *, inside: bool) -> None:
    """Set what `plugin_states` returned; `inside` when the interrupted stage has started again.

    Raises:
        UsageError: When the strategy has other plugins or metrics.
    """
    things = dict(_things(strategy))
    missing = sorted(set(states) - set(things))
    if missing:
        raise UsageError(f"the checkpoint was taken with plugins or metrics that are not here: {', '.join(missing)}.")
    for key, state in states.items():
        _set_state(things[key], state, inside=inside)


def _things(strategy: StageBatches) -> Iterator[tuple[str, Any]]:
    everything = [*strategy.plugins, *strategy.evaluator.metrics]
    for k, thing in enumerate(everything):
        yield f"{k}:{type(thing).__name__}", thing


def _is_comparing(thing: Any) -> bool:
    return any(hasattr(getattr(thing, name, None), "initial") for name in _COMPARING)


def _state(thing: Any, *, inside: bool) -> Any:
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
    is_metric = hasattr(thing, "result") or isinstance(thing, _WITHOUT_STATE)
    if is_metric or (isinstance(thing, _BETWEEN_STAGES) and not inside):
        return None
    raise UsageError(
        f"{type(thing).__name__} remembers things that a checkpoint cannot hold"
        f"{' inside a stage' if isinstance(thing, _BETWEEN_STAGES) else ''}. "
        "Run without checkpoints, or give the plugin state_dict() and load_state_dict() that are JSON-able."
    )


def _set_state(thing: Any, state: Any, *, inside: bool) -> None:
    if isinstance(thing, LRSchedulerPlugin):
        thing.scheduler.load_state_dict(state)
    elif callable(getattr(thing, "load_state_dict", None)):
        thing.load_state_dict(state)
    elif callable(getattr(thing, "load_state", None)):
        if not inside:
            thing.load_state(state)
    else:
        for side in _COMPARING:
            for name in _COMPARED:
                if hasattr(getattr(thing, side, None), name):
                    setattr(getattr(thing, side), name, dict(state[name]))
        for name in _PLACES:
            if name in state:
                setattr(thing, name, state[name])
