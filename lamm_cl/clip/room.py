"""How much of a GPU's memory one piece of work may take at once. On the CPU sizes are fixed: bits depend on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

SHARE = 4  # of the memory that a run has, a piece takes this part: a step keeps more than its largest piece


@dataclass
class _State:
    runs: int = 1
    halved: bool = False
    found: dict[torch.device, int] = field(default_factory=dict)


_STATE = _State()


@contextmanager
def shared(runs: int = 1, halved: bool = False) -> Iterator[None]:
    """Say, within the block, how many runs use a run's GPU, this one included. What is free is asked anew.

    After a try that ran out of memory, sizes are `halved`.
    """
    global _STATE  # of the process, as are torch's switches
    before, _STATE = _STATE, _State(runs, halved)
    try:
        yield
    finally:
        _STATE = before


def room(device: torch.device) -> int | None:
    """Return the bytes that one piece of work may take on a GPU; None where sizes are fixed.

    They follow from what was free when this was asked first, so that all steps of a run have pieces of one size.
    Where torch's deterministic operations are chosen, they are fixed too: a GPU's bits depend on them as well.
    """
    if device.type != "cuda" or torch.are_deterministic_algorithms_enabled():
        return None
    if device not in _STATE.found:
        # What torch holds for tensors that are gone is free as well.
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + held
        _STATE.found[device] = free // (SHARE * _STATE.runs * (2 if _STATE.halved else 1))
    return _STATE.found[device]


def fitting(wanted: int, bytes_each: int, device: torch.device) -> int:
    """Return how many of the wanted things to compute at once, at least one; half of them where sizes are halved."""
    found = room(device)
    if found is None:
        return wanted
    return max(1, min(wanted // 2 if _STATE.halved else wanted, found // bytes_each))
