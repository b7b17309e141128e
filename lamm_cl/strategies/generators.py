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
from torch import Tensor


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


def generator_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the states of the global CPU generators as tensors and a JSON-able dict."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    tensors = {
        "python": torch.tensor(words, dtype=torch.int64),
        "numpy": torch.from_numpy(np.asarray(keys, dtype=np.int64)),
        "torch": torch.get_rng_state(),
    }
    rest = {"python": [version, gauss], "numpy": [name, int(position), int(has_gauss), float(cached)]}
    return tensors, rest


def set_generator_state(tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
    """Set what `generator_state` returned."""
    version, gauss = rest["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), gauss))
    name, position, has_gauss, cached = rest["numpy"]
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state((name, keys, position, has_gauss, cached))
    torch.set_rng_state(tensors["torch"])
