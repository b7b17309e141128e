"""The images of a stage and the loaders that cut them into mini-batches."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.training.templates import SupervisedTemplate
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.clip.room import fitting
from lamm_cl.methods.recipe import Recipe
from lamm_cl.seeds import seed_for
from lamm_cl.strategies.loaders import EpochBatches, FeatureLoader, ImageLoader
from lamm_cl.strategies.pictures import Pictures
from lamm_cl.strategies.precision import Precision
from lamm_cl.strategies.settings import Settings
from lamm_cl.streams.benchmark import as_dataset


class StageBatches(SupervisedTemplate):
    """The part of `LearnerStrategy` that knows data: regime, order of mini-batches, features instead of images."""

    mbatch: Any
    eval_mb_size: int
    optimizer: Optimizer
    precision: Precision
    settings: Settings
    recipe: Recipe
    pictures: Pictures
    dataloader: Any
    _trained: list[tuple[int, ...]]
    _kept: list[Any]
    _earlier: list[int]
    _batches: EpochBatches
    _pending: Any

    def samples(self, positions: Sequence[int]) -> Any:
        """Return the samples at these positions of the benchmark's source, as an Avalanche data set."""
        if not positions:
            return concat_datasets([])
        source: Any = self.settings.source
        return as_dataset(source).subset(list(positions)).train()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    @property
    def trained(self) -> list[tuple[int, ...]]:
        """Class ids of each stage that trained here; before the first, those that the model brings along."""
        return self._trained or list(self.model.stages)

    @property
    def stage(self) -> int:
        """Number of the current or last training experience, from 1; 0 before the first."""
        return len(self.trained)

    @property
    def n_columns(self) -> int:
        """Number of classes of the stream."""
        return len(self.model.class_names)

    @property
    def seen_classes(self) -> tuple[int, ...]:
        """Ids of all classes that have trained in some stage."""
        return tuple(sorted({c for own in self.trained for c in own}))

    def scored_at_once(self, dataset: Any) -> int:
        """Return the images of a mini-batch when nothing trains: `eval_mb_size`, fewer where a GPU has no room."""
        if self.model.scores_by_batch or self.device.type != "cuda":
            return self.eval_mb_size
        backbone = self.model.backbone
        encodes = isinstance(backbone, ClipBackbone) and not self.pictures.serves(dataset)
        each = backbone.image.bytes_an_image if encodes else 4 * backbone.embed_dim
        return fitting(self.eval_mb_size, each, self.device)

    def train_dataset_adaptation(self, **kwargs: Any) -> None:
        """Choose the images of the stage: its own, those so far, or the whole stream's."""
        super().train_dataset_adaptation(**kwargs)
        if self.settings.regime == "cumulative":
            if self._earlier:  # a restored run: its earlier experiences are known by number only
                self._kept = [self.experience.origin_stream[number] for number in self._earlier]
                self._earlier = []
            self._kept.append(self.experience)
        if self.settings.regime != "naive":
            self.adapted_dataset = concat_datasets([e.dataset for e in self._kept]).train()

    def make_train_dataloader(
        self, shuffle: bool = True, drop_last: bool | None = None, num_workers: int | None = None, **kwargs: Any
    ) -> None:
        """Make the loader of a stage: the order of its batches depends on (seed, stage, epoch) alone."""
        self._batches = EpochBatches(
            len(self.adapted_dataset),
            self.train_mb_size,
            self._order_seed if shuffle else None,
            drop_last=self.recipe.drop_last if drop_last is None else drop_last,
        )
        if self.pictures.serves(self.adapted_dataset):
            self.dataloader = FeatureLoader(self.adapted_dataset, self.pictures.rows, self._batches, self.device)
            return
        if self.pictures.gives(self.adapted_dataset):
            self.dataloader = self._images(self._batches, num_workers)
            return
        self.dataloader = DataLoader(
            self.adapted_dataset,
            batch_sampler=self._batches,
            collate_fn=self.adapted_dataset.collate_fn,
            num_workers=self._foreign_workers(num_workers),
            pin_memory=self.device.type == "cuda",
        )

    def make_eval_dataloader(self, num_workers: int | None = None, **kwargs: Any) -> None:
        """Make the loader of an evaluation: features from the cache where there is one."""
        size = self.scored_at_once(self.adapted_dataset)
        batches = EpochBatches(len(self.adapted_dataset), size, None, drop_last=False)
        if self.pictures.serves(self.adapted_dataset):
            self.dataloader = FeatureLoader(self.adapted_dataset, self.pictures.rows, batches, self.device)
        elif self.pictures.gives(self.adapted_dataset):
            self.dataloader = self._images(batches, num_workers)
        else:
            kept, self.eval_mb_size = self.eval_mb_size, size
            try:
                super().make_eval_dataloader(num_workers=self._foreign_workers(num_workers), **kwargs)
            finally:
                self.eval_mb_size = kept

    def _images(self, batches: EpochBatches, num_workers: int | None) -> ImageLoader:
        return ImageLoader(self.adapted_dataset, partial(self.pictures.images, workers=num_workers), batches)

    def _foreign_workers(self, num_workers: int | None) -> int:
        """Return the loading workers of a data set of the user's own: none unasked, for its views may be drawn."""
        return (self.settings.num_workers or 0) if num_workers is None else num_workers

    def _order_seed(self, epoch: int) -> int:
        return seed_for("order", self.settings.seed, self.stage, epoch)
