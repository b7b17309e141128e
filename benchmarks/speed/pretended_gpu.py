"""A pretended GPU: numbers are computed on the processor, and every tensor knows which of the two it would lie on.

Whoever asks a marked tensor for its device hears "cuda:0". An operation on tensors of both kinds raises, as it would on
a GPU, and what would be launched, copied or waited for is counted. Backward passes, recomputed pieces, optimisers and
autocast run as well. What is left out: kernels themselves. Nothing here says how fast they are, or what they round.

Two of torch's modes see the two levels of a call: functions, where devices are named and asked for, and operators,
where work would be launched. The mark is on the storage, so that views have that of their base.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

HOST, GPU = torch.device("cpu"), torch.device("cuda", 0)
WAITS = frozenset(  # the size or the value of their result must be known on the host
    ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "bincount")
)
NO_KERNELS = {  # views, and memory that nothing is written to
    *("alias", "as_strided", "chunk", "detach", "diagonal", "empty"),
    *("empty_like", "empty_strided", "expand", "lift_fresh", "new_empty", "new_empty_strided"),
    *("permute", "_reshape_alias", "reshape", "select", "set_", "slice"),
    *("split", "split_with_sizes", "squeeze", "t", "transpose", "unbind"),
    *("unfold", "_unsafe_view", "unsqueeze", "view"),
}
MOVES = (Tensor.to, Tensor.cpu, Tensor.cuda)
READS = (Tensor.tolist, Tensor.numpy, Tensor.__array__)


@dataclass
class Seen:
    """What happened on the pretended GPU.

    Attributes:
        launched: Operators that would start work there.
        waits: Places at which the host would wait for its results.
        copies: Copies between the two, by direction and place.
    """

    launched: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        """Start counting anew."""
        for counts in (self.launched, self.waits, self.copies):
            counts.clear()

    @property
    def launches(self) -> int:
        """Operators that would start work."""
        return self.launched.total()


class _Marks:
    """Storages that would lie on the GPU. While a weak reference is held, no other storage takes the address."""

    def __init__(self) -> None:
        self._of: dict[int, StorageWeakRef] = {}
        self._clean_at = 1 << 12

    def has(self, x: Tensor) -> bool:
        return x.untyped_storage()._cdata in self._of

    def put(self, found: Any) -> Any:
        for x in tree_leaves(found):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                self._of.setdefault(storage._cdata, StorageWeakRef(storage))
        if len(self._of) > self._clean_at:
            self._of = {key: ref for key, ref in self._of.items() if not ref.expired()}
            self._clean_at = 2 * len(self._of) + (1 << 12)
        return found


MARKS = _Marks()  # of the process, as are the index maps that are remembered by device


@dataclass
class _State:
    """What both modes know.

    Attributes:
        seen: The counts.
        asked: For every function call in progress: whether what it makes from nothing lies on the GPU, because it names
            the GPU or takes tensors from there.
    """

    seen: Seen = field(default_factory=Seen)
    asked: list[bool] = field(default_factory=list)


class _Functions(TorchFunctionMode):
    """Answers questions about devices, and moves tensors by marking copies of them."""

    def __init__(self, state: _State) -> None:
        super().__init__()
        self.state = state

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, owner = getattr(func, "__name__", ""), getattr(func, "__self__", None)
        if name == "__get__" and any(owner is one for one in (Tensor.device, Tensor.is_cuda, Tensor.is_cpu)):
            marked = MARKS.has(args[0])
            return (GPU if marked else HOST) if owner is Tensor.device else marked == (owner is Tensor.is_cuda)
        if isinstance(func, type) or name == "_parse_to":
            return func(*args, **(kwargs or {}))
        named: list[bool] = []

        def on_host(value: Any) -> Any:
            if isinstance(value, torch.device) or (isinstance(value, str) and value.split(":")[0] in ("cuda", "cpu")):
                named.append(str(value).startswith("cuda"))
                return HOST
            return value

        args = tuple(on_host(value) for value in args)
        kwargs = {key: on_host(value) for key, value in (kwargs or {}).items()}
        if func in MOVES:
            return self._moved(func, args, kwargs, named)
        if func in READS and MARKS.has(args[0]):
            self.state.seen.waits[f"{name} {_place()}"] += 1
        if func is Tensor.pin_memory:
            return args[0]
        makes = named[-1:] == [True]
        given = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        self.state.asked.append(makes or any(map(MARKS.has, given)))
        try:
            out = func(*args, **kwargs)
        finally:
            self.state.asked.pop()
        if (
            makes
            and func in (torch.tensor, torch.as_tensor)
            and not (isinstance(args[0], Tensor) and MARKS.has(args[0]))
        ):
            self.state.seen.copies[f"to the GPU, {name} {_place()}"] += 1
        copied = name == "__deepcopy__" and MARKS.has(args[0])
        return MARKS.put(out) if makes or copied else out

    def _moved(self, func: Any, args: Any, kwargs: Any, named: list[bool]) -> Tensor:
        """Do what `Tensor.to`, `.cpu` and `.cuda` do."""
        x: Tensor = args[0]
        before = MARKS.has(x)
        if func is not Tensor.to:
            there, out = func is Tensor.cuda, x
        else:
            like = [one for one in (*args[1:], *kwargs.values()) if isinstance(one, Tensor)]
            there = named[-1] if named else MARKS.has(like[0]) if like else before
            out = func(*args, **kwargs)
        if there == before:
            return out
        self.state.seen.copies[f"{'to' if there else 'from'} the GPU, {_place()}"] += 1
        moved: Tensor = _Move.apply(out, there)  # type: ignore[no-untyped-call]
        return moved


class _Move(torch.autograd.Function):
    """A copy on the other side; its gradient goes the way back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: bool) -> Tensor:
        ctx.there = there
        return _copied(x, there)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _copied(grads[0], not ctx.there), None


def _copied(x: Tensor, there: bool) -> Tensor:
    with _disable_current_modes():
        copy = x.detach().clone()
    return MARKS.put(copy) if there else copy


class _Operators(TorchDispatchMode):
    """Counts what would be launched, and refuses what a GPU would refuse."""

    def __init__(self, state: _State) -> None:
        super().__init__()
        self.state = state

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, seen, name = kwargs or {}, self.state.seen, func.overloadpacket.__name__
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        marked = [x for x in tensors if MARKS.has(x)]
        # A number on the host goes along with a launch, except where a tensor is written or joined.
        plain = [x for x in tensors if not MARKS.has(x) and (x.dim() or name in ("cat", "stack", "copy_"))]
        if marked and plain:
            index_from_host = name.startswith("index") and "copy" not in name and MARKS.has(args[0])
            if name != "copy_" and not index_from_host:
                kinds = [f"{tuple(x.shape)} on {'cuda:0' if MARKS.has(x) else 'cpu'}" for x in tensors]
                raise RuntimeError(f"{func} on tensors of two devices: {', '.join(kinds)}")
            seen.copies[f"{'to' if MARKS.has(args[0]) else 'from'} the GPU, {name} {_place()}"] += 1
        by_mask = name.startswith("index") and any(x.dtype == torch.bool for x in marked[1:])
        if marked and (name in WAITS or by_mask or (name == "repeat_interleave" and "output_size" not in kwargs)):
            seen.waits[f"{name} {_place()}"] += 1
        # The backward pass makes some tensors from nothing: where it runs, everything is on the GPU.
        made = not tensors and (any(self.state.asked[-1:]) or torch._C._current_graph_task_id() != -1)
        out = func(*args, **kwargs)
        if (marked or made) and name not in NO_KERNELS:
            seen.launched[name] += 1
        return MARKS.put(out) if (marked and name != "copy_") or made else out


def _place() -> str:
    """Return file:line of the innermost frame of the package."""
    frame = sys._getframe(1)
    while frame is not None:
        if "/lamm_cl/" in frame.f_code.co_filename:
            return f"lamm_cl/{frame.f_code.co_filename.rpartition('/lamm_cl/')[2]}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "outside the package"


def _as_host(device: Any) -> Any:
    return "cpu" if str(device).startswith("cuda") else device


@contextmanager
def pretended_gpu() -> Iterator[Seen]:
    """Pretend, within the block, that the machine has one GPU."""
    state = _State()
    functions, operators = _Functions(state), _Operators(state)
    autocast, backward = torch.autocast.__init__, torch.autograd._engine_run_backward  # type: ignore[attr-defined]
    enabled, number_type = torch.is_autocast_enabled, torch.get_autocast_dtype
    grouped = torch.optim.Optimizer._group_tensors_by_device_and_dtype

    def run_backward(*args: Any, **kwargs: Any) -> Any:
        with functions:  # what is computed again asks for devices, too
            return backward(*args, **kwargs)

    def by_device(lists: Any, with_indices: bool = False) -> Any:  # torch asks in C++, where no mode answers
        found = grouped(lists, with_indices).items()
        return {(GPU if MARKS.has(group[0][0][0]) else at, kind): group for (at, kind), group in found}

    def wait(*_: Any) -> None:
        state.seen.waits[f"synchronize {_place()}"] += 1

    def instead(owner: Any, name: str, value: Any) -> None:
        stack.enter_context(mock.patch.object(owner, name, value))

    with ExitStack() as stack:
        answers: dict[str, Callable[..., Any]] = {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "set_device": lambda *_: None,
            "get_device_name": lambda *_: "pretended",
            "mem_get_info": lambda *_: (1 << 36, 1 << 36),
            "max_memory_allocated": lambda *_: 0,
            "reset_peak_memory_stats": lambda *_: None,
            "empty_cache": lambda: None,
            "synchronize": wait,
        }
        for name, answer in answers.items():
            instead(torch.cuda, name, answer)
        # The thread of torch's loader that pins memory.
        instead(torch.accelerator, "current_device_index", lambda: 0)
        instead(torch.accelerator, "set_device_index", lambda _: None)
        instead(torch.utils.data._utils.pin_memory, "pin_memory", lambda data, device=None: data)
        instead(
            torch.autocast,
            "__init__",
            lambda self, device_type, *a, **k: autocast(self, _as_host(device_type), *a, **k),
        )
        instead(torch, "is_autocast_enabled", lambda *kind: enabled(*map(_as_host, kind)))
        instead(torch, "get_autocast_dtype", lambda device_type: number_type(_as_host(device_type)))
        instead(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        instead(torch.optim.Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(by_device))
        instead(torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda self: None)
        instead(torch.autograd, "_engine_run_backward", run_backward)
        same = {"default": lambda x: (x.shape, x.dtype)}  # checkpoint compares devices from inside the engine
        stack.enter_context(mock.patch.dict("torch.utils.checkpoint._allowed_determinism_checks_to_fns", same))
        stack.enter_context(functions)
        stack.enter_context(operators)
        yield state.seen
