"""The images of a stage and the loaders that cut them into mini-batches."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypedDict

import torch
from avalanche.benchmarks.utils.utils import concat_datasets
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import BatchSampler, DataLoader

from lamm_cl.clip.backbone import ClipBackbone
from lamm_cl.clip.room import fitting
from lamm_cl.methods.recipe import Recipe
from lamm_cl.methods.stage import Split, missing_images
from lamm_cl.seeds import seed_for
from lamm_cl.strategies.pictures import Pictures
from lamm_cl.strategies.precision import Precision
from lamm_cl.strategies.settings import Settings
from lamm_cl.streams.benchmark import as_dataset


class LoaderOptions(TypedDict, total=False):
    """What Avalanche's loops pass on to the loaders of images; features from the cache need none of it."""

    shuffle: bool
    drop_last: bool | None
    num_workers: int
    pin_memory: bool
    persistent_workers: bool


class EpochBatches(BatchSampler):
    """Batches of the positions of n samples, shuffled by a generator that each epoch starts anew.

    The order needs no state that would have to be saved: epoch 7 is the same whether epochs 0-6 ran in this
    process or in one that was killed, and whatever the model drew from other generators. Without `seed_of`, the seed of
    an epoch, samples keep their order; `drop_last` leaves out an incomplete batch, where there is a full one.
    """

    def __init__(self, n: int, batch_size: int, seed_of: Callable[[int], int] | None, *, drop_last: bool) -> None:
        super().__init__(range(n), batch_size, drop_last and n >= batch_size)
        self.n, self.epoch, self._seed_of = n, 0, seed_of

    def __iter__(self) -> Iterator[list[int]]:
        if self._seed_of is not None:
            generator = torch.Generator().manual_seed(self._seed_of(self.epoch))
            self.sampler = torch.randperm(self.n, generator=generator).tolist()
        return super().__iter__()


class SourceLoader:
    """Mini-batches (x, label, position in the source, task) of a data set whose x the benchmark's source gives.

    A data loader that collates single rows costs more than a whole step on cached features; this one cuts them from few
    tensors, which go to the device once an epoch: within a step nothing has to wait for it.

    Args:
        dataset: An Avalanche data set with the attributes `index` (position in the source) and `targets`.
        read: Yields the x of each list of positions in the source.
        batches: Of positions in `dataset`.
        device: Where labels, positions and tasks are wanted.
    """

    def __init__(
        self,
        dataset: Any,
        read: Callable[[list[list[int]]], Iterator[Tensor]],
        batches: BatchSampler,
        device: torch.device,
    ) -> None:
        self.batch_sampler, self._read, self._device = batches, read, device
        self._index = [int(i) for i in dataset.index]
        tasks = getattr(dataset, "targets_task_labels", None)
        columns = [dataset.targets, self._index, *([] if tasks is None else [tasks])]
        self._columns = [torch.tensor([int(value) for value in column]) for column in columns]

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list[Tensor]]:
        batches = list(self.batch_sampler)
        order, sizes = [place for batch in batches for place in batch], [len(batch) for batch in batches]
        columns = [torch.split(column[order].to(self._device), sizes) for column in self._columns]
        found = self._read([[self._index[place] for place in batch] for batch in batches])
        yield from map(list, zip(found, *columns, strict=True))


class StageBatches(SupervisedTemplate):
    """The part of `LearnerStrategy` that knows data: regime, order of mini-batches, features instead of images."""

    mbatch: Any
    eval_mb_size: int
    optimizer: Optimizer
    precision: Precision
    settings: Settings
    recipe: Recipe
    pictures: Pictures
    _trained: list[tuple[int, ...]]
    _kept: list[Any]
    _earlier: list[int]
    _pending: Any  # state and unpacker of a stage that was interrupted

    def samples(self, positions: Sequence[int]) -> Any:
        """Return the samples at these positions of the benchmark's source, as an Avalanche data set."""
        if not positions:
            return concat_datasets([])
        source: Any = self.settings.source
        return as_dataset(source).subset(list(positions)).train()

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
            # The stage is counted after this.
            (lambda epoch: seed_for("order", self.settings.seed, self.stage, epoch)) if shuffle else None,
            drop_last=self.recipe.drop_last if drop_last is None else drop_last,
        )
        self._read_ahead(self._batches, num_workers, **kwargs)

    def make_eval_dataloader(self, num_workers: int | None = None, **kwargs: Any) -> None:
        """Make the loader of an evaluation: features from the cache where there is one."""
        order, size = range(len(self.adapted_dataset)), self.scored_at_once(self.adapted_dataset)
        self._read_ahead(BatchSampler(order, size, drop_last=False), num_workers, **kwargs)

    def _read_ahead(self, batches: BatchSampler, num_workers: int | None, **asked: Any) -> None:
        dataset, pinned = self.adapted_dataset, asked.get("pin_memory")
        # Unasked, no process reads a data set of the user's own, for its views may be drawn.
        workers = (self.settings.num_workers or 0) if num_workers is None else num_workers
        self.dataloader = self.loader(dataset, batches, num_workers) or DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=dataset.collate_fn,
            num_workers=workers,
            pin_memory=self.device.type == "cuda" if pinned is None else pinned,
            persistent_workers=workers > 0 and asked.get("persistent_workers", False),
        )

    def loader(self, dataset: Any, batches: BatchSampler, num_workers: int | None = None) -> SourceLoader | None:
        """Return a loader of what the benchmark's source gives; None for a data set of the user's own."""
        pictures, cpu = self.pictures, torch.device("cpu")
        if pictures.serves(dataset):
            return SourceLoader(dataset, partial(pictures.features, device=self.device), batches, self.device)
        if pictures.gives(dataset):  # labels of images are looked at before they go to the device
            return SourceLoader(dataset, partial(pictures.images, workers=num_workers), batches, cpu)
        return None

    def batches(self, split: Split = "train", epoch: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (x, labels) in an order that depends on the seed and the stage alone; see `StageData.batches`."""
        dataset = self.adapted_dataset if split == "train" else self._evaluated(split)
        seed = seed_for("order", self.settings.seed, self.stage, f"end/{split}")
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
        yield from self._read(dataset if epoch is not None else dataset.eval(), order, epoch)

    def evaluated(self, dataset: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (x, labels) of any images of the benchmark, in their order, in the evaluation view."""
        yield from self._read(dataset.eval(), list(range(len(dataset))), None)

    def _read(self, dataset: Any, order: list[int], epoch: int | None) -> Iterator[tuple[Tensor, Tensor]]:
        batches, shown = BatchSampler(order, self.scored_at_once(dataset), drop_last=False), self.pictures.epoch
        foreign = partial(DataLoader, dataset, batch_sampler=batches, collate_fn=dataset.collate_fn)
        self.pictures.show(epoch)
        try:
            for x, labels, *_ in self.loader(dataset, batches) or foreign():
                yield x, labels
        finally:
            self.pictures.show(shown)

    def check_looks(self, splits: Iterable[Split]) -> None:
        """Check, before anything is trained, that the benchmark has what a learner looks at.

        Raises:
            UsageError: it has no such images.
        """
        for split in sorted(splits):
            if not self._stream(split):
                raise missing_images(self.model.method, split)

    def _stream(self, split: Split) -> Any:
        benchmark = getattr(getattr(self.experience, "origin_stream", None), "benchmark", None)
        return getattr(benchmark, f"{split}_stream", None) or ()

    def _evaluated(self, split: Split) -> Any:
        """Return the validation or test images of the classes seen so far."""
        seen = set(self.seen_classes)
        found = [e.dataset for e in self._stream(split) if {int(c) for c in e.dataset.targets.uniques} <= seen]
        if not found:
            raise missing_images(self.model.method, split)
        return concat_datasets(found)
