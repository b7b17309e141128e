"""Training steps as CUDA graphs: what a step launches is recorded once and started anew by a single call.

A small step takes as long on a GPU as the host needs to launch its operators, whatever they compute. A graph holds
forward pass, loss and backward pass of one shape of mini-batch; clipping, the optimizer and plugins work as ever.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lamm_cl.methods.learner import Learner
from lamm_cl.methods.optimizer import trainable
from lamm_cl.strategies.precision import Precision

LOG = logging.getLogger(__name__)
EAGER = 3  # steps of a shape before it is recorded: by then index maps and frozen features are there
MOST = 4  # shapes that are recorded: each graph keeps the memory of its step
CLOSE = 1e-2  # of the size of loss and gradients: half precision sums in another order at worst

# Computes logits and detached loss terms of (x, labels), and sets the gradients of a model's parameters.
Work = Callable[[Tensor, Tensor], tuple[Tensor, Mapping[str, Tensor]]]


@dataclass(frozen=True)
class Done:
    """What a step gave beside gradients: logits (batch, n); the loss and its terms, unscaled and without graph."""

    logits: Tensor
    terms: dict[str, Tensor]


class StepGraphs:
    """Records and replays the steps of a stage, one graph for each shape of mini-batch.

    A graph reads and writes fixed addresses. So it is kept only as long as the same values train and lie where they did
    (looked at in every step), as does all else that it reads of the model (looked at in `begin_epoch`); what caches may
    drop, it holds. After recording, loss and gradients of a replay are compared with those of the same step done
    operator by operator; where they differ by more than 1 %, or where the step cannot be recorded, the stage goes on
    without graphs and says so.
    """

    def __init__(self, model: nn.Module, work: Work) -> None:
        self.model, self._work = model, work
        self._seen: dict[Any, int] = {}
        self._graphs: dict[Any, _Graph] = {}
        self._usable = True

    @property
    def recorded(self) -> int:
        """Number of graphs that are in use."""
        return len(self._graphs)

    def begin_epoch(self) -> None:
        """Forget the graphs that read what has moved to another place since, or that leave out what trains now."""
        self._graphs = {shape: one for shape, one in self._graphs.items() if one.fits(self.model)}

    def step(self, x: Tensor, labels: Tensor) -> Done | None:
        """Replay a step on images or features and class ids (batch,); None where it has to be done by operator."""
        shape = (tuple(x.shape), x.dtype, labels.dtype)
        if shape in self._graphs and not self._graphs[shape].in_place:
            self._graphs.clear()
        if shape not in self._graphs and not self._record(shape, x, labels):
            return None
        return self._graphs[shape].replay(x, labels)

    def _record(self, shape: Any, x: Tensor, labels: Tensor) -> bool:
        """Record a step where it is time to, and return whether that was done."""
        self._seen[shape] = self._seen.get(shape, 0) + 1
        if any(parameter.grad is not None for _, parameter in trainable(self.model)):
            self._usable = False  # gradients are gathered over several steps
        if not self._usable or self._seen[shape] <= EAGER or len(self._graphs) == MOST:
            return False
        try:
            self._graphs[shape] = _Graph(self.model, self._work, x, labels)
        except RuntimeError as error:  # out of memory too: the graph keeps what a step else gives back
            self._usable = False
            self._graphs.clear()
            for _, parameter in trainable(self.model):
                parameter.grad = None
            reason = str(error).partition("\n")[0]
            LOG.warning("training steps are launched operator by operator, no CUDA graph: %s", reason)
        return self._usable


def work_of(model: Learner, columns: tuple[int, ...], precision: Precision, computed: tuple[int, ...] | None) -> Work:
    """Return forward pass, loss and backward pass of a training step as one function of (x, labels).

    The loss is that of the label space `columns`; logits have the columns `computed`, or all.
    """

    def work(x: Tensor, labels: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with precision.autocast():
            output = model.training_output(x, computed)
            terms = model.objective(output, labels, columns)
        scaled = {name: precision.scaled(term) for name, term in terms.items()}
        model.backward(scaled["total"], scaled)
        return output.logits.detach(), {name: term.detach() for name, term in terms.items()}

    return work


def graphs_of(model: Learner, work: Work) -> StepGraphs | None:
    """Return what records the steps of a learner; None where they may differ, or there is no GPU."""
    on_gpu = model.backbone.device.type == "cuda" and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return StepGraphs(model, work) if on_gpu and model.same_steps else None


class _Graph:
    """One recorded step."""

    def __init__(self, model: nn.Module, work: Work, x: Tensor, labels: Tensor) -> None:
        self._x, self._labels = x.clone(), labels.clone()
        self._parameters = [parameter for _, parameter in trainable(model)]
        before, side = torch.cuda.current_stream(x.device), torch.cuda.Stream(x.device)  # type: ignore[no-untyped-call]
        side.wait_stream(before)
        try:
            with torch.cuda.stream(side):
                by_operator = self._compute(work)
            graph, outside = torch.cuda.CUDAGraph(), _Outside()
            # Other threads may pin images meanwhile.
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"), outside:
                self._logits, self._values, self._gradients = self._compute(work)
        finally:
            torch.cuda.set_stream(before)  # torch leaves the other one current where recording fails
        self._graph, self._held = graph, outside.tensors
        self._places = [parameter.data_ptr() for parameter in self._parameters]
        self._read = {name: place for name, place in _places(model).items() if place in outside.places}
        before.wait_stream(side)
        graph.replay()
        _compare(by_operator, (self._logits, self._values, self._gradients))

    @property
    def in_place(self) -> bool:
        """Whether what trains lies where it did, still trains, and has no gradient of another step."""
        pairs = zip(self._parameters, self._places, strict=True)
        return all(one.grad is None and one.requires_grad and one.data_ptr() == place for one, place in pairs)

    def fits(self, model: nn.Module) -> bool:
        """Whether the same values train, and all that was read of the model lies where it did."""
        now, before = [parameter for _, parameter in trainable(model)], self._parameters
        same = len(now) == len(before) and all(one is other for one, other in zip(now, before, strict=True))
        return same and self._read.items() <= _places(model).items()

    def replay(self, x: Tensor, labels: Tensor) -> Done:
        self._x.copy_(x, non_blocking=True)
        self._labels.copy_(labels, non_blocking=True)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        # Copies: metrics and plugins may keep them over steps.
        values = torch.stack([value.float() for value in self._values.values()])
        return Done(self._logits.clone(), dict(zip(self._values, values.unbind(), strict=True)))

    def _compute(self, work: Work) -> tuple[Tensor, dict[str, Tensor], list[Tensor | None]]:
        for parameter in self._parameters:
            parameter.grad = None
        logits, terms = work(self._x, self._labels)
        return logits.detach(), dict(terms), [parameter.grad for parameter in self._parameters]


class _Outside(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Holds every tensor that operators read and that none of them made."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tensors: list[Tensor] = []
        self._known: set[int] = set()

    @property
    def places(self) -> set[int]:
        """Addresses of what is held, as storages and as tensors."""
        return {place for x in self.tensors for place in (x.data_ptr(), x.untyped_storage().data_ptr())}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for x in _tensors((args, kwargs)):
            if (place := x.untyped_storage()._cdata) not in self._known:
                self._known.add(place)
                self.tensors.append(x.detach())
        made = func(*args, **kwargs)
        self._known.update(x.untyped_storage()._cdata for x in _tensors(made))
        return made


def _places(model: nn.Module) -> dict[str, int]:
    return {name: x.data_ptr() for name, x in (*model.named_parameters(), *model.named_buffers())}


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


def _compare(right: Any, found: Any) -> None:
    """Raise a RuntimeError where a replay differs from the step itself by more than `CLOSE`."""
    for one, other in zip(_tensors(right), _tensors(found), strict=True):
        finite = one.isfinite()  # columns outside the label space are -inf
        difference = (one - other).masked_fill(~finite, 0).float().norm()
        size = one.masked_fill(~finite, 0).float().norm()
        if not bool(difference <= CLOSE * size + 1e-6) or not torch.equal(finite, other.isfinite()):
            raise RuntimeError("a replayed step gives other numbers than the step itself")
