"""The images of a stage once more, for what a learner does when an epoch or a stage ends."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from avalanche.benchmarks.utils.utils import concat_datasets
from torch import Tensor
from torch.utils.data import DataLoader

from lamm_cl.methods.stage import Split, missing_images
from lamm_cl.seeds import seed_for
from lamm_cl.strategies.batches import StageBatches


class StreamData:
    """The current stage of a strategy as `StageData`: features from the cache where the learner takes features."""

    def __init__(self, strategy: StageBatches) -> None:
        self._strategy = strategy

    def batches(self, split: Split = "train", epoch: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (x, labels) in an order that depends on the seed and the stage alone; see `StageData.batches`."""
        strategy, pictures = self._strategy, self._strategy.pictures
        dataset = strategy.adapted_dataset if split == "train" else self._evaluated(split)
        seed = seed_for("order", strategy.settings.seed, strategy.stage, f"end/{split}")
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
        shown = pictures.epoch
        pictures.show(epoch)
        try:
            yield from self._read(dataset if epoch is not None else dataset.eval(), order)
        finally:
            pictures.show(shown)

    def evaluated(self, dataset: Any) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (x, labels) of any images of the benchmark, in their order, in the evaluation view."""
        pictures = self._strategy.pictures
        shown = pictures.epoch
        pictures.show(None)
        try:
            yield from self._read(dataset.eval(), list(range(len(dataset))))
        finally:
            pictures.show(shown)

    def _read(self, dataset: Any, order: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
        pictures, size = self._strategy.pictures, self._strategy.scored_at_once(dataset)
        if pictures.serves(dataset):
            index = [int(dataset.index[i]) for i in order]
            labels = torch.tensor([int(dataset.targets[i]) for i in order])
            pictures.prepare(index)
            for start in range(0, len(index), size):
                yield pictures.rows(index[start : start + size]), labels[start : start + size]
            return
        if pictures.gives(dataset):
            index = [int(dataset.index[i]) for i in order]
            classes = torch.tensor([int(dataset.targets[i]) for i in order])
            batches = [index[start : start + size] for start in range(0, len(index), size)]
            yield from zip(pictures.images(batches), torch.split(classes, size), strict=True)
            return
        for batch in DataLoader(dataset.subset(order), size, collate_fn=dataset.collate_fn):
            yield batch[0], batch[1]

    def check(self, splits: Iterable[Split]) -> None:
        """Check, before anything is trained, that the benchmark has what a learner looks at.

        Raises:
            UsageError: it has no such images.
        """
        for split in sorted(splits):
            if not self._stream(split):
                raise missing_images(self._strategy.model.method, split)

    def _stream(self, split: Split) -> Any:
        benchmark = getattr(getattr(self._strategy.experience, "origin_stream", None), "benchmark", None)
        return getattr(benchmark, f"{split}_stream", None) or ()

    def _evaluated(self, split: Split) -> Any:
        """Return the validation or test images of the classes seen so far."""
        seen = set(self._strategy.seen_classes)
        found = [e.dataset for e in self._stream(split) if {int(c) for c in e.dataset.targets.uniques} <= seen]
        if not found:
            raise missing_images(self._strategy.model.method, split)
        return concat_datasets(found)
