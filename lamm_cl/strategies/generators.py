"""The global random generators, which plugins of others draw from: seeded for them, kept for the user.

Our own draws never touch these. Replay, A-GEM and the loaders of EWC or MAS do, so a stage's result would depend
on whatever drew before it; each epoch therefore starts them from a seed of its own.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_generators(seed: int) -> None:
    """Start the global generators of python, numpy and torch from `seed`."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    # Where no GPU is used, `torch.manual_seed` would note the call and its whole stack for the day that one is.
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]  # torch has no types for it
        torch.cuda.manual_seed_all(seed)


@contextmanager
def preserved_generators() -> Iterator[None]:
    """Give the global generators back to the caller as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch has no types for it
    with torch.random.fork_rng(range(torch.cuda.device_count() if used else 0)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def generator_state() -> dict[str, Any]:
    """Return the states of the global CPU generators: numbers, texts, tuples and lists of them, and a tensor."""
    name, keys, *rest = np.random.get_state()
    words = np.asarray(keys).tolist()
    return {"python": random.getstate(), "numpy": (name, words, *rest), "torch": torch.get_rng_state()}


def set_generator_state(state: dict[str, Any]) -> None:
    """Set what `generator_state` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"].cpu())
