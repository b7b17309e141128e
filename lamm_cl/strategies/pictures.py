"""What a strategy asks of the picture source of a benchmark: which epoch's views, as images or as features."""

import shutil
import signal
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lamm_cl.clip.feature_backbone import Backbone, FeatureBackbone
from lamm_cl.errors import UsageError
from lamm_cl.streams.source import ImageSource

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


class Readers:
    """Loading workers of torch that last until `close`, and serve whatever is read meanwhile.

    A view is a function of picture, seed and epoch, and a key holds the epoch: neither the number of processes nor what
    is shown when they read changes a bit.
    """

    def __init__(self, source: Any, workers: int, pinned: bool) -> None:
        self.busy = False  # whether somebody reads; processes serve one at a time
        self._keys: list[Sequence[Key]] = []  # that the processes are asked for next
        self._loader: Any = DataLoader(
            _Views(source),
            batch_sampler=self._keys,  # type: ignore[arg-type]
            num_workers=workers,
            collate_fn=torch.nn.Identity(),
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
        self._keys[:] = keys
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


def _begin(number: int) -> None:
    """Let the process that computes decide what signals mean."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def source_of(experiences: Any) -> Any | None:
    """Return the picture source of the benchmark that an experience or a stream comes from, if it has one."""
    first = experiences
    if not hasattr(experiences, "origin_stream"):
        if not hasattr(experiences, "__getitem__") or not len(experiences):
            return None  # a stream that is made while it is read: looking at it would use it up
        first = experiences[0]
    benchmark = getattr(getattr(first, "origin_stream", None), "benchmark", None)
    return getattr(benchmark, "source", None)


def feature_store(features: Any, backbone: Backbone) -> Any | None:
    """Return the store of image features that a setting means: "memory", a folder, a store, or None.

    Raises:
        UsageError: the store has features of another backbone.
    """
    if features is None or isinstance(backbone, FeatureBackbone):
        return None
    from lamm_cl.clip.feature_cache import FeatureStore
    from lamm_cl.clip.feature_key import same_features

    if isinstance(features, FeatureStore) and not same_features(features.backbone, backbone):
        raise UsageError(
            f"features: the store encodes images with {features.backbone!r}, but the model's backbone is {backbone!r}, "
            "and their weights or image transforms differ. Give FeatureStore(model.backbone, folder), or the folder."
        )
    if not isinstance(features, str | Path):
        return features
    return FeatureStore(backbone, None if features == "memory" else Path(features))


class Pictures:
    """One strategy's hold on the source of a benchmark (see `lamm_cl.streams`).

    A benchmark may serve several strategies, one on images and one on features, and the user may look at its
    images in between. So nothing is set for good: within `shown` the source gives what this strategy needs, and
    afterwards it gives images in the evaluation transform again.
    """

    def __init__(
        self,
        features: Any | None,  # `FeatureStore` to read image features from; None for images
        backbone: Backbone,  # whose transforms make the views
        takes: Any = "unit",  # what the learner takes: a kind of feature, or "images"
        plain: Any | None = None,  # `FeatureStore` of the features that a learner wants beside images
        workers: int = 0,  # processes that read images; with 0 they are read when they are wanted
        device: torch.device | None = None,  # where images are wanted; None for the CPU
    ) -> None:
        self._backbone = None if isinstance(backbone, FeatureBackbone) else backbone
        self._features, self._takes, self._plain = features, takes, plain
        self._source: ImageSource | None = None
        self.epoch: int | None = None  # whose training views are shown; None for the evaluation view
        self._workers, self._device = workers, device or torch.device("cpu")
        self._readers: Readers | None = None

    def serves(self, dataset: Any) -> bool:
        """Whether the samples of a data set can be read from the source as features."""
        return self._features is not None and self._source is not None and hasattr(dataset, "index")

    def show(self, epoch: int | None) -> None:
        """Make the source give the training views of `epoch`, or the evaluation view for None."""
        self.epoch = epoch
        if self._source is not None:
            if self._backbone is not None:
                self._source.set_backbone(self._backbone)
            self._source.use_features(self._features, self._takes)
            self._source.epoch = epoch

    @contextmanager
    def shown(self, source: Any | None, epoch: int | None) -> Iterator[None]:
        """Show views of a source while something trains or is evaluated; evaluations nest inside training."""
        outer = (self._source, self.epoch, self._readers)
        self._source, self._readers = source, None
        self.show(epoch)
        try:
            yield
        finally:
            self._end()
            if source is not None:
                source.use_features(None)
                source.epoch = None
            self._source, shown, self._readers = outer
            self.show(shown)

    def prepare(self, indices: Iterable[int]) -> None:
        """Compute the features of these positions of the source in large batches, for the views that are shown."""
        assert self._source is not None
        self._source.prefetch(list(indices), self.epoch)

    def beside(self, indices: Sequence[int]) -> Tensor | None:
        """Return the unit features (n, d) of these positions, for the views that are shown as images; None without."""
        if self._plain is None or self._source is None:
            return None
        self._source.use_features(self._plain)
        features = self._source.gather(indices)
        self._source.use_features(None)
        return features

    def features(self, batches: Sequence[Sequence[int]], device: torch.device) -> Iterator[Tensor]:
        """Yield the features (b, d) of each list of positions of the source, for the views that are shown now."""
        assert self._source is not None
        rows = self._source.gather([place for batch in batches for place in batch])
        yield from torch.split(rows.to(device), [len(batch) for batch in batches])

    def gives(self, dataset: Any) -> bool:
        """Whether the samples of a data set are images just as the source gives them: no transform is put on top."""
        flat = getattr(dataset, "_flat_data", None)
        if flat is None or self._source is None or not hasattr(dataset, "index"):
            return False
        groups = (flat._transform_groups, flat._frozen_transform_groups)
        plain = all(one is None for group in groups for one in group.transform_groups.values())
        return plain and all(one is self._source for one in flat._datasets)

    def images(self, batches: Sequence[Sequence[int]], workers: int | None = None) -> Iterator[Tensor]:
        """Yield the images (b, 3, H, W) of each list of positions of the source, in the views that are shown now.

        Where no process reads yet, `workers` of them begin to; None for as many as the strategy has.
        """
        source, cuda = self._source, self._device.type == "cuda"
        assert source is not None
        torch.empty((), dtype=torch.int64).random_()  # as torch's loader does: what plugins draw next depends on it
        sizes = [-(-len(batch) // PIECE) for batch in batches]
        keys = [[(place, self.epoch) for place in batch] for batch in batches]
        pieces = [batch[start : start + PIECE] for batch in keys for start in range(0, len(batch), PIECE)]
        readers = self._start(source, self._workers if workers is None else workers) if len(pieces) > 1 else None
        found = (read(source, piece) for piece in pieces) if readers is None else readers.pieces(pieces)
        for size in sizes:
            parts = [next(found) for _ in range(size)]
            if cuda:
                parts = [part.pin_memory().to(self._device, non_blocking=True) for part in parts]
            yield parts[0] if size == 1 else torch.cat(parts)

    def _start(self, source: Any, workers: int) -> Readers | None:
        """Return processes that are free to read, if there are to be any."""
        if self._readers is None and workers and self._backbone is not None:
            height, width = self._backbone.image_size
            if workers := affordable(workers, 12 * height * width):
                self._readers = Readers(source, workers, self._device.type == "cuda")
        return None if self._readers is None or self._readers.busy else self._readers

    def _end(self) -> None:
        if self._readers is not None:
            self._readers.close()
