"""What Avalanche's plugins remember (buffers, importances, old models), as plain lists and tensors, without pickle.

A plugin's attributes are walked: numbers, text, containers, tensors, samples of the benchmark (by their position in its
source), learners, and objects of Avalanche's own classes. What is none of these cannot be saved, and is refused.
"""

import copy
import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from avalanche.benchmarks.utils.data import AvalancheDataset
from avalanche.training.utils import ParamData
from torch import Tensor, nn

from lamm_cl.errors import UsageError
from lamm_cl.methods.learner import Learner

Samples = Callable[[list[int]], Any]  # positions in the source -> data set


class CannotSaveError(UsageError):
    """A plugin holds something that no checkpoint can hold."""


class Packer:
    """Turns what plugins hold into JSON, with tensors beside it.

    Args:
        source: whether samples can be found again in the benchmark's source.

    Attributes:
        tensors: found so far, by key.
    """

    def __init__(self, source: bool) -> None:
        self._source = source
        self.tensors: dict[str, Tensor] = {}

    def attributes(self, thing: Any) -> dict[str, Any]:
        """Return the attributes of an object that can change.

        Raises:
            CannotSaveError: One of them cannot be saved.
        """
        return {name: self.pack(value) for name, value in vars(thing).items() if not _is_fixed(value)}

    def pack(self, value: Any) -> Any:
        """Return a value as JSON."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Tensor):
            return {"tensor": self._keep(value)}
        if isinstance(value, torch.Size | tuple | list | set | frozenset):
            kind = next(k for k in ("Size", "tuple", "list", "set") if k in {c.__name__ for c in type(value).__mro__})
            return {kind: [self.pack(item) for item in value]}
        if isinstance(value, dict):
            return {"dict": [[self.pack(key), self.pack(item)] for key, item in value.items()]}
        if isinstance(value, AvalancheDataset):
            return {"samples": self._positions(value)}
        if isinstance(value, Learner):
            values = {name: self._keep(tensor) for name, tensor in value.state_dict().items()}
            trains = [name for name, p in value.named_parameters() if p.requires_grad]
            return {"learner": value.growth(), "values": values, "trains": trains, "training": value.training}
        if type(value).__module__.startswith("avalanche."):
            return {"object": f"{type(value).__module__}:{type(value).__name__}", "state": self.attributes(value)}
        raise CannotSaveError(f"it holds a {type(value).__name__}")

    def _positions(self, dataset: Any) -> list[int]:
        if not len(dataset):
            return []
        if not self._source or not hasattr(dataset, "index"):
            raise CannotSaveError("it holds samples that do not know their place, as those of lamm_cl's benchmarks do")
        return [int(i) for i in dataset.index]

    def _keep(self, tensor: Tensor) -> str:
        key = str(len(self.tensors))
        self.tensors[key] = tensor.detach().cpu().contiguous().clone()
        return key


class Unpacker:
    """Gives plugins back what a `Packer` took.

    Args:
        tensors: of the packer.
        learner: the strategy's before it trained; a remembered one is a copy of it with other values.
        samples: makes a data set of positions in the benchmark's source.
        device: where tensors go.
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
            return self._tensors[state["tensor"]].clone().to(self._device)
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
        kind, items = next(iter(state.items()))
        return {"Size": torch.Size, "tuple": tuple, "list": list, "set": set}[kind](self.unpack(one) for one in items)

    def _copy_of_learner(self, state: dict[str, Any]) -> Learner:
        other = copy.deepcopy(self._learner)
        other.regrow(state["learner"])
        other.load_state_dict({name: self._tensors[key] for name, key in state["values"].items()})
        for name, parameter in other.named_parameters():
            parameter.requires_grad_(name in state["trains"])
        return other.to(self._device).train(state["training"])

    def _object(self, state: dict[str, Any], like: Any) -> Any:
        home, _, name = state["object"].partition(":")
        kind = getattr(importlib.import_module(home), name) if home.startswith("avalanche.") else None
        if not isinstance(kind, type):
            raise UsageError(f"the checkpoint names a class {state['object']!r} that is not one of Avalanche's.")
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
