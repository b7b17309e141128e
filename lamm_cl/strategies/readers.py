"""Processes that read the pictures of the next steps while this one computes."""

import shutil
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lamm_cl.errors import UsageError

PIECE = 8  # pictures that a process hands over at once
_AHEAD = 2  # pieces that each has ready
_SHARED = Path("/dev/shm")

Key = tuple[int, int | None]  # a picture's place in its source, and the epoch of its view


def read(source: Any, keys: Sequence[Key]) -> Tensor:
    """Return pictures (n, 3, H, W) of a source, each in the view of its epoch."""
    return torch.stack([source.image(place, epoch) for place, epoch in keys])


class _Views(Dataset[Any]):
    """A source as torch's loader wants it: a piece for a list of keys."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def __getitems__(self, keys: Sequence[Key]) -> Tensor | UsageError:
        try:
            return read(self._source, keys)
        except UsageError as error:  # handed over, since torch would put a traceback into its message
            return error


class _Pieces:
    """The lists of keys that the processes are asked for next."""

    def __init__(self) -> None:
        self.keys: Sequence[Sequence[Key]] = ()

    def __iter__(self) -> Iterator[Sequence[Key]]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)


class Readers:
    """Loading workers of torch that last until `close`, and serve whatever is read meanwhile.

    A view is a function of picture, seed and epoch, and a key holds the epoch: neither the number of processes nor what
    is shown when they read changes a bit.

    Attributes:
        busy: Whether somebody reads; processes serve one at a time.
    """

    def __init__(self, source: Any, workers: int, pinned: bool) -> None:
        self.busy = False
        self._pieces = _Pieces()
        self._loader: Any = DataLoader(
            _Views(source),
            batch_sampler=self._pieces,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=_as_it_is,
            pin_memory=pinned,
            worker_init_fn=_begin,
            generator=torch.Generator(),  # else it would draw from the one that plugins draw from
            prefetch_factor=_AHEAD,
            persistent_workers=True,
            # A worker of `lamm-cl` was itself spawned and would spawn these, with seconds of imports for each train.
            multiprocessing_context="fork" if sys.platform == "linux" else None,
        )

    def pieces(self, keys: Sequence[Sequence[Key]]) -> Iterator[Tensor]:
        """Yield the pictures of each list of keys, in order.

        Raises:
            UsageError: An image cannot be read.
        """
        self._pieces.keys = keys
        self.busy = True
        try:
            with warnings.catch_warnings():
                # Python 3.12 warns of forks beside threads: readers take none of their locks.
                warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
                started = iter(self._loader)
            for found in started:
                if isinstance(found, UsageError):
                    raise found
                yield found
        finally:
            self.busy = False

    def close(self) -> None:
        """End the processes."""
        if self._loader._iterator is not None:  # torch ends them when nobody holds it: a traceback may
            self._loader._iterator._shutdown_workers()


def affordable(workers: int, bytes_a_picture: int) -> int:
    """Return how many of the wanted processes the shared memory has room for: containers give it 64 MB."""
    if not _SHARED.is_dir():
        return workers
    return min(workers, shutil.disk_usage(_SHARED).free // ((_AHEAD + 1) * PIECE * bytes_a_picture))


def _as_it_is(found: Any) -> Any:
    return found


def _begin(number: int) -> None:
    """Let the process that computes decide what signals mean."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
