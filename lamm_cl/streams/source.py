"""The pictures of a benchmark, as images or as features of a frozen backbone, in the view of the current epoch."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from lamm_cl.data.images import show
from lamm_cl.data.items import Dataset, Item
from lamm_cl.data.verify import content_digest
from lamm_cl.data.views import TrainView
from lamm_cl.errors import UsageError
from lamm_cl.streams.layout import Sample, joined_fingerprint

if TYPE_CHECKING:
    from lamm_cl.clip.backbone import ClipBackbone, FeatureKind
    from lamm_cl.clip.feature_cache import FeatureStore


class FeatureBank:
    """Features of some of `n` pictures, for one view of each."""

    def __init__(self, n: int) -> None:
        self._row = np.full(n, -1, dtype=np.int64)
        self._chunks: list[Tensor] = []

    def missing(self, indices: Sequence[int]) -> list[int]:
        """Return the pictures without a row, each once, in the order given."""
        return [i for i in dict.fromkeys(indices) if self._row[i] < 0]

    def add(self, indices: Sequence[int], features: Tensor) -> None:
        """Add rows (len(indices), d)."""
        size = sum(map(len, self._chunks))
        self._row[list(indices)] = np.arange(size, size + len(indices))
        self._chunks.append(features)

    def gather(self, indices: Sequence[int]) -> Tensor:
        """Return the rows (len(indices), d)."""
        if len(self._chunks) > 1:
            self._chunks = [torch.cat(self._chunks)]
        return self._chunks[0][torch.from_numpy(self._row[list(indices)])]


_EVALUATION = -1  # what the shared epoch holds for "no epoch"


class ImageSource(TorchDataset[tuple[Tensor, int]]):
    """All pictures of a benchmark behind one index; every experience is a subset of it.

    `source[i]` is (x, column): x is the image (3, H, W), or its feature (d,) after `use_features`. Training pictures
    come in the view of `epoch`; all others, and all when `epoch` is None, in the backbone's evaluation view. Views
    depend on (picture, seed, epoch) alone, so neither the number of loading workers nor the order matters. Nothing is
    read from disk before it is asked for.

    Args:
        datasets: the data sets that samples point at.
        samples: each picture, and whether it is a training picture (whose views change with the epoch).
        seed: data seed of the views.
        backbone: whose transforms to use; without one, `tiny`'s, unless `set_backbone` is called in time.
    """

    def __init__(
        self,
        datasets: Sequence[Dataset],
        samples: Iterable[tuple[Sample, bool]],
        seed: int,
        backbone: "ClipBackbone | None" = None,
    ) -> None:
        self._datasets = tuple(datasets)
        pairs = list(samples)
        self._dataset: list[int] = [sample.dataset for sample, _ in pairs]
        self._items: list[Item] = [sample.item for sample, _ in pairs]
        self._train: list[bool] = [train for _, train in pairs]
        self.targets: list[int] = [sample.column for sample, _ in pairs]  # column of every picture
        self.seed = seed
        # Shared memory: workers of a loader of the user's that outlive an epoch (persistent_workers) see it change.
        epoch: Any = torch.tensor(_EVALUATION)
        self._epoch: Tensor = epoch.share_memory_()
        self._keys: dict[int, str] = {}
        self._backbone: ClipBackbone | None = None
        self._preprocess: Callable[[Image.Image], Tensor] | None = None
        self._views: list[TrainView] = []
        self._store: FeatureStore | None = None
        self._agreed: tuple[Any, ...] = ()  # transforms of a store and of this source that do the same
        self._kind: FeatureKind = "unit"
        self._on = False
        self._banks: dict[int | None, FeatureBank] = {}  # by the epoch of training views
        self._forget()
        if backbone is not None:
            self.set_backbone(backbone)

    def __len__(self) -> int:
        return len(self._items)

    @property
    def epoch(self) -> int | None:
        """Epoch (from 0) whose views training pictures are shown in; None for the evaluation view."""
        epoch = int(self._epoch)
        return None if epoch == _EVALUATION else epoch

    @epoch.setter
    def epoch(self, epoch: int | None) -> None:
        if epoch is not None and epoch < 0:
            raise ValueError(f"epochs are counted from 0, got {epoch}")
        self._epoch.fill_(_EVALUATION if epoch is None else epoch)

    def set_backbone(self, backbone: "ClipBackbone") -> None:
        """Use a backbone's transforms from now on. If they are others than before, features in memory are dropped."""
        if self._backbone is backbone and self._preprocess == backbone.preprocess:
            return
        self._backbone, self._preprocess = backbone, backbone.preprocess
        self._views = [
            TrainView(
                backbone.image_size,
                backbone.image_mean,
                backbone.image_std,
                backbone.interpolation,
                scale=dataset.views.scale,
                flip=dataset.views.flip,
            )
            for dataset in self._datasets
        ]
        self._forget()

    def use_features(self, store: "FeatureStore | None", kind: "FeatureKind" = "unit") -> None:
        """Give features from `store` instead of images, of a kind of `ClipBackbone.encode_images`.

        None goes back to images, and keeps what was fetched.
        """
        if store is not None and (store, kind) != (self._store, self._kind):
            self._store, self._kind = store, kind
            self._forget()
        self._on = store is not None

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return (x, column) of picture `index` in the view of the current epoch."""
        if self._on:
            return self.gather([index])[0], self.targets[index]
        return self.image(index, self.epoch), self.targets[index]

    def image(self, index: int, epoch: int | None) -> Tensor:
        """Return picture `index` as a tensor (3, H, W), in the view of `epoch` if it is a training picture."""
        plain, views = self._transforms()
        k = self._dataset[index]
        picture = self._datasets[k].open(self._items[index])
        if epoch is None or not self._train[index]:
            return plain(picture)
        return views[k](picture, self.key(index), self.seed, epoch)

    def key(self, index: int) -> str:
        """Return the content key of picture `index`, a hex digest: of what its file holds now."""
        dataset = self._datasets[self._dataset[index]]
        if dataset.split != "embedded":
            return dataset.content_key(self._items[index])
        if index not in self._keys:  # drawn by code: it can't change, and takes longer than a look at a file
            self._keys[index] = dataset.content_key(self._items[index])
        return self._keys[index]

    def fingerprint(self, indices: Iterable[int]) -> str:
        """Return a hex digest of which of these pictures hold what, of one data set or of several."""
        pairs: dict[int, list[tuple[str, str]]] = {}
        for i in indices:
            k = self._dataset[i]
            pairs.setdefault(k, []).append((self._datasets[k].relative(self._items[i]), self.key(i)))
        return joined_fingerprint([content_digest(pairs[k]) for k in sorted(pairs)])

    def prefetch(self, indices: Iterable[int], epoch: int | None) -> None:
        """Compute or load the features of many pictures at once, as they look in `epoch`.

        Only the features of one epoch of training views are kept in memory, and all of the evaluation view.
        """
        by_view: dict[str, list[int]] = {}
        for i in indices:
            by_view.setdefault(self._view(i, epoch), []).append(i)
        for view, wanted in by_view.items():
            bank = self._bank(wanted[0], epoch)
            missing = bank.missing(wanted)
            if missing:
                bank.add(missing, self._fetch(missing, epoch, view))

    def _fetch(self, indices: Sequence[int], epoch: int | None, view: str) -> Tensor:
        if self._store is None:
            raise UsageError("features: there is no feature store; call source.use_features(store) first.")
        self._check_transform()
        keys = [self.key(i) for i in indices]

        def load(k: int) -> Tensor:
            image = self.image(indices[k], epoch)
            if self.key(indices[k]) != keys[k]:  # else its features would be kept under the name of the old content
                path = show(self._items[indices[k]].path)
                raise UsageError(f"image {path} was changed while it was read. Run again when nothing writes there.")
            return image

        return self._store.features(keys, load, view, self._kind)

    def _check_transform(self) -> None:
        """Raise `UsageError` when the store would keep the features of this source's images as another transform's."""
        from lamm_cl.clip.feature_key import same_transform

        plain = self._transforms()[0]
        backbone = getattr(self._store, "backbone", None)
        if backbone is None or (backbone.preprocess, plain) == self._agreed:
            return
        if not same_transform(backbone.preprocess, plain):
            raise UsageError(
                f"features: the store keeps features of {backbone!r}, but the images are transformed for another "
                "backbone. Call source.set_backbone(store.backbone) first."
            )
        self._agreed = (backbone.preprocess, plain)

    def gather(self, indices: Sequence[int]) -> Tensor:
        """Return the features (n, d) of pictures in the view of the current epoch."""
        epoch = self.epoch
        self.prefetch(indices, epoch)
        banks = [self._bank(i, epoch) for i in indices]
        if all(bank is banks[0] for bank in banks):
            return banks[0].gather(indices)
        return torch.cat([bank.gather([i]) for bank, i in zip(banks, indices, strict=True)])

    def _view(self, index: int, epoch: int | None) -> str:
        """Name the view of a picture for the feature store."""
        if epoch is None or not self._train[index]:
            return "eval"
        return f"train/seed{self.seed}/epoch{epoch}/{self._transforms()[1][self._dataset[index]].tag}"

    def _bank(self, index: int, epoch: int | None) -> FeatureBank:
        shown = epoch if self._train[index] else None
        if shown not in self._banks:
            self._banks = {None: self._banks[None], shown: FeatureBank(len(self))}
        return self._banks[shown]

    def _forget(self) -> None:
        self._banks = {None: FeatureBank(len(self))}

    def _transforms(self) -> tuple[Callable[[Image.Image], Tensor], list[TrainView]]:
        """Return the evaluation view, and the training view of each data set."""
        if self._preprocess is None:
            from lamm_cl.clip.load import load_clip

            self.set_backbone(load_clip("tiny"))
            assert self._preprocess is not None
        return self._preprocess, self._views

    def __getstate__(self) -> dict[str, Any]:
        # A loading worker in a fresh process gets the features that are there, not the backbone that makes them.
        return {**self.__dict__, "_backbone": None, "_store": None, "_agreed": ()}
