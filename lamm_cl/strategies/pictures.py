"""What a strategy asks of the picture source of a benchmark: which epoch's views, as images or as features."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

from torch import Tensor

# Whose transforms each source has; setting them again would drop the features in memory.
_TRANSFORMS: "WeakKeyDictionary[Any, Any]" = WeakKeyDictionary()


class Pictures:
    """One strategy's hold on the source of a benchmark (see `lamm_cl.streams`).

    A benchmark may serve several strategies, one on images and one on features, and the user may look at its
    images in between. So nothing is set for good: within `shown` the source gives what this strategy needs, and
    afterwards it gives images in the evaluation transform again.
    """

    def __init__(self, source: Any | None, features: Any | None, backbone: Any) -> None:
        """Hold a source.

        Args:
            source: `ImageSource` of the benchmark, or None where the user's own data are used as they come.
            features: `FeatureStore` to read image features from, or None for images.
            backbone: Whose transforms make the views.
        """
        self._source = source
        self._backbone = backbone
        self._features = features if source is not None else None
        self._depth = 0
        self._epoch: int | None = None

    @property
    def as_features(self) -> bool:
        """Whether batches hold image features instead of images."""
        return self._features is not None

    def serves(self, dataset: Any) -> bool:
        """Whether the samples of a data set can be read from the source as features."""
        return self.as_features and hasattr(dataset, "index")

    def show(self, epoch: int | None) -> None:
        """Make the source give the training views of `epoch`, or the evaluation view for None."""
        self._epoch = epoch
        if self._source is None:
            return
        if _TRANSFORMS.get(self._source) is not self._backbone:
            self._source.set_backbone(self._backbone)
            _TRANSFORMS[self._source] = self._backbone
        self._source.use_features(self._features)
        self._source.epoch = epoch

    @contextmanager
    def shown(self, epoch: int | None) -> Iterator[None]:
        """Show views while something trains or is evaluated; evaluations nest inside training."""
        before = self._epoch
        self._depth += 1
        self.show(epoch)
        try:
            yield
        finally:
            self._depth -= 1
            if self._depth:
                self.show(before)
            elif self._source is not None:
                self._source.use_features(None)
                self._source.epoch = None

    def prepare(self, indices: Iterable[int]) -> None:
        """Compute the features of these positions of the source in large batches, for the views that are shown."""
        if self._source is not None and self.as_features:
            self._source.prefetch(list(indices), self._epoch)

    def rows(self, indices: Sequence[int]) -> Tensor:
        """Return the features (n, d) of these positions of the source, for the views that are shown."""
        assert self._source is not None
        features: Tensor = self._source.gather(indices)
        return features
