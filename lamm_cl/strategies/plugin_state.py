"""What plugins and metrics know across epochs and stages, as JSON with tensors beside it.

Takes part what has `state_dict()` and `load_state_dict(state)` (loaded again when an interrupted stage goes on), or
`state()` and `load_state(state)` (loaded before that stage starts anew, as our own metrics want it). The memory of any
other plugin is walked, see below; what cannot be packed is refused, since a resumed run would be another run.
"""

import copy
import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from avalanche.benchmarks.utils.data import AvalancheDataset
from avalanche.benchmarks.utils.data_loader import GroupBalancedInfiniteDataLoader
from avalanche.training import plugins as avalanche_plugins
from avalanche.training.plugins.clock import Clock
from avalanche.training.templates.base_sgd import PeriodicEval
from avalanche.training.utils import ParamData
from torch import Tensor, nn

from lamm_cl.errors import UsageError
from lamm_cl.methods.learner import Learner
from lamm_cl.strategies.batches import StageBatches

_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (torch.Size, tuple, list, set)}
_WALKED = ("avalanche.", "lamm_cl.")  # whose objects are taken apart
Samples = Callable[[list[int]], Any]  # positions in the source -> data set


class CannotSaveError(UsageError):
    """A plugin holds something that no checkpoint can hold."""


class Packer:
    """Turns what strategies and plugins hold into JSON, with `tensors` beside it."""

    def __init__(self, source: bool) -> None:
        self._source = source  # whether samples can be found again in the benchmark's
        self.tensors: dict[str, Tensor] = {}

    def attributes(self, thing: Any) -> dict[str, Any]:
        """Return the attributes of an object that can change; see `pack`."""
        return {name: self.pack(value) for name, value in vars(thing).items() if not _is_fixed(value)}

    def pack(self, value: Any) -> Any:
        """Return a value as JSON, or raise CannotSaveError."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Tensor):
            key = str(len(self.tensors))
            self.tensors[key] = value.detach().cpu().contiguous().clone()
            return {"tensor": key}
        for name, kind in _KINDS.items():
            if isinstance(value, kind):
                return {name: [self.pack(item) for item in value]}
        if isinstance(value, dict):
            return {"dict": [[self.pack(key), self.pack(item)] for key, item in value.items()]}
        if isinstance(value, AvalancheDataset):
            return {"samples": self._positions(value)}
        if isinstance(value, Learner):
            trains = [name for name, p in value.named_parameters() if p.requires_grad]
            values = self.pack(value.state_dict())
            return {"learner": value.growth(), "values": values, "trains": trains, "training": value.training}
        if type(value).__module__.startswith(_WALKED):
            return {"object": f"{type(value).__module__}:{type(value).__name__}", "state": self.attributes(value)}
        raise CannotSaveError(f"it holds a {type(value).__name__}")

    def _positions(self, dataset: Any) -> list[int]:
        if not len(dataset):
            return []
        if not self._source or not hasattr(dataset, "index"):
            raise CannotSaveError("it holds samples that do not know their place, as those of lamm_cl's benchmarks do")
        return [int(i) for i in dataset.index]


class Unpacker:
    """Gives back what a `Packer` took.

    `learner` is the strategy's before it trained: a remembered one is a copy of it with other values.
    """

    def __init__(self, tensors: dict[str, Tensor], learner: Learner, samples: Samples, device: torch.device) -> None:
        self._tensors, self._learner, self._samples, self._device = tensors, learner, samples, device

    def attributes(self, thing: Any, state: dict[str, Any]) -> None:
        """Set the attributes of an object."""
        for name, value in state.items():
            setattr(thing, name, self.unpack(value, getattr(thing, name, None)))

    def unpack(self, state: Any, like: Any = None) -> Any:
        """Return a value; `like` is what stands in its place now."""
        if not isinstance(state, dict):
            return state
        if "tensor" in state:
            return self._tensors[state["tensor"]].to(self._device, copy=True)
        if "dict" in state:
            made = copy.copy(like) if isinstance(like, dict) else {}  # a defaultdict stays one
            made.clear()
            for key, value in state["dict"]:
                made[self.unpack(key)] = self.unpack(value, (like or {}).get(self.unpack(key)))
            return made
        if "samples" in state:
            return self._samples(state["samples"])
        if "learner" in state:
            return self._copy_of_learner(state)
        if "object" in state:
            return self._object(state, like)
        [(name, items)] = state.items()
        return _KINDS[name](self.unpack(one) for one in items)

    def _copy_of_learner(self, state: dict[str, Any]) -> Learner:
        other = copy.deepcopy(self._learner)
        other.regrow(state["learner"])
        other.load_state_dict(self.unpack(state["values"]))
        for name, parameter in other.named_parameters():
            parameter.requires_grad_(name in state["trains"])
        return other.to(self._device).train(state["training"])

    def _object(self, state: dict[str, Any], like: Any) -> Any:
        home, _, name = state["object"].partition(":")
        kind = getattr(importlib.import_module(home), name) if home.startswith(_WALKED) else None
        if not isinstance(kind, type):
            raise UsageError(f"the checkpoint names a class {state['object']!r} that is neither Avalanche's nor ours.")
        thing: Any = like if type(like) is kind else object.__new__(kind)
        if kind is ParamData:
            thing.init_function = torch.zeros  # what it is made with everywhere in Avalanche
        self.attributes(thing, state["state"])
        return thing


def _is_fixed(value: Any) -> bool:
    """Whether a value is part of how a plugin works, or made anew of what it remembers."""
    if isinstance(value, nn.Module | AvalancheDataset):
        return False
    loads = isinstance(value, Iterator) or type(value).__name__.endswith("DataLoader")
    return loads or inspect.isroutine(value) or inspect.isclass(value) or isinstance(value, partial | torch.device)


_WITHOUT_STATE = (Clock, PeriodicEval, avalanche_plugins.EvaluationPlugin)  # they have a place of their own
# Where these are inside a stage depends on loaders and models that no checkpoint holds.
_BETWEEN_STAGES = (
    avalanche_plugins.AGEMPlugin,
    avalanche_plugins.EarlyStoppingPlugin,
    avalanche_plugins.FromScratchTrainingPlugin,
    avalanche_plugins.GDumbPlugin,
)


def plugin_states(strategy: StageBatches, packer: Packer, *, inside: bool) -> dict[str, Any]:
    """Return the states by `<position>:<class name>`; the packer gets the tensors that they refer to.

    Raises:
        CannotSaveError: For a plugin whose state cannot be saved.
    """
    states = {}
    for key, thing in _things(strategy):
        try:
            state = _state(thing, packer, inside=inside)
        except CannotSaveError as error:
            raise CannotSaveError(
                f"{type(thing).__name__} remembers things that a checkpoint cannot hold: {error}. Run without "
                "checkpoints, or give the plugin state_dict() and load_state_dict() of numbers, texts and tensors."
            ) from error
        if state is not None:
            states[key] = state
    return states


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
    for k, thing in enumerate([*strategy.plugins, *strategy.evaluator.metrics]):
        yield f"{k}:{type(thing).__name__}", thing


def _state(thing: Any, packer: Packer, *, inside: bool) -> Any:
    if isinstance(thing, avalanche_plugins.LRSchedulerPlugin):
        thing = thing.scheduler
    if callable(getattr(thing, "state_dict", None)):
        return packer.pack(thing.state_dict())
    if callable(getattr(thing, "load_state", None)):
        return packer.pack(thing.state())
    # Metrics begin anew, but for those that compare with what earlier stages gave.
    forgets = hasattr(thing, "result") and not (hasattr(thing, "forgetting") or hasattr(thing, "forward_transfer"))
    if forgets or isinstance(thing, _WITHOUT_STATE):
        return None
    if inside and isinstance(thing, _BETWEEN_STAGES):
        raise CannotSaveError("inside a stage it cannot be interrupted")
    return packer.attributes(thing)


def _set_state(thing: Any, state: Any, unpacker: Unpacker, *, inside: bool) -> None:
    if isinstance(thing, avalanche_plugins.LRSchedulerPlugin):
        thing = thing.scheduler
    if callable(getattr(thing, "load_state_dict", None)):
        thing.load_state_dict(unpacker.unpack(state))
    elif callable(getattr(thing, "load_state", None)):
        if not inside:
            thing.load_state(unpacker.unpack(state))
    else:
        unpacker.attributes(thing, state)
        if isinstance(thing, avalanche_plugins.AGEMPlugin) and thing.buffers:
            size = thing.sample_size // len(thing.buffers)
            thing.buffer_dataloader = GroupBalancedInfiniteDataLoader(thing.buffers, batch_size=size, num_workers=0)
            thing.buffer_dliter = iter(thing.buffer_dataloader)
