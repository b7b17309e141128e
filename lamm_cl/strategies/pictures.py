"""What a strategy asks of the picture source of a benchmark: which epoch's views, as images or as features."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lamm_cl.clip.feature_backbone import Backbone, FeatureBackbone
from lamm_cl.errors import UsageError
from lamm_cl.strategies.readers import PIECE, Readers, affordable, read


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
        features: Any | None,
        backbone: Backbone,
        takes: str = "unit",
        plain: Any | None = None,
        workers: int = 0,
        device: torch.device | None = None,
    ) -> None:
        """Prepare to hold sources.

        Args:
            features: `FeatureStore` to read image features from, or None for images.
            backbone: Whose transforms make the views.
            takes: What the learner takes: a kind of feature, or "images".
            plain: `FeatureStore` to read the features from that a learner wants beside images, or None.
            workers: processes that read images; with 0 they are read when they are wanted.
            device: where images are wanted; None for the CPU.
        """
        self._backbone = None if isinstance(backbone, FeatureBackbone) else backbone
        self._features = features
        self._takes = takes
        self._plain = plain
        self._source: Any | None = None
        self._epoch: int | None = None
        self._workers, self._device = workers, device or torch.device("cpu")
        self._readers: Readers | None = None

    @property
    def as_features(self) -> bool:
        """Whether batches hold image features instead of images."""
        return self._features is not None and self._source is not None

    def serves(self, dataset: Any) -> bool:
        """Whether the samples of a data set can be read from the source as features."""
        return self.as_features and hasattr(dataset, "index")

    def show(self, epoch: int | None) -> None:
        """Make the source give the training views of `epoch`, or the evaluation view for None."""
        self._epoch = epoch
        if self._source is None:
            return
        if self._backbone is not None:
            self._source.set_backbone(self._backbone)
        self._source.use_features(self._features, self._takes)
        self._source.epoch = epoch

    @contextmanager
    def shown(self, source: Any | None, epoch: int | None) -> Iterator[None]:
        """Show views of a source while something trains or is evaluated; evaluations nest inside training."""
        outer = (self._source, self._epoch, self._readers)
        self._source, self._readers = source, None
        self.show(epoch)
        try:
            yield
        finally:
            self._end()
            if source is not None:
                source.use_features(None)
                source.epoch = None
            self._source, _, self._readers = outer
            self.show(outer[1])

    @property
    def epoch(self) -> int | None:
        """Epoch whose training views are shown; None for the evaluation view."""
        return self._epoch

    def prepare(self, indices: Iterable[int]) -> None:
        """Compute the features of these positions of the source in large batches, for the views that are shown."""
        if self._source is not None and self.as_features:
            self._source.prefetch(list(indices), self._epoch)

    def beside(self, indices: Sequence[int]) -> Tensor | None:
        """Return the unit features (n, d) of these positions, for the views that are shown as images; None without."""
        if self._plain is None or self._source is None:
            return None
        self._source.use_features(self._plain)
        features: Tensor = self._source.gather(indices)
        self._source.use_features(None)
        return features

    def rows(self, indices: Sequence[int]) -> Tensor:
        """Return the features (n, d) of these positions of the source, for the views that are shown."""
        assert self._source is not None
        features: Tensor = self._source.gather(indices)
        return features

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

        Args:
            batches: the positions.
            workers: processes that read them, where none does so yet; None for as many as the strategy has.
        """
        source, cuda = self._source, self._device.type == "cuda"
        assert source is not None
        torch.empty((), dtype=torch.int64).random_()  # as torch's loader does: what plugins draw next depends on it
        sizes = [-(-len(batch) // PIECE) for batch in batches]
        keys = [[(place, self._epoch) for place in batch] for batch in batches]
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
