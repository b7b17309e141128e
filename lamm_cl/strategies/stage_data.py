"""The images of a stage once more, for what a learner does when an epoch or a stage ends."""

from collections.abc import Iterator
from typing import Any

import torch
from avalanche.benchmarks.utils.utils import concat_datasets
from torch import Tensor
from torch.utils.data import DataLoader

from lamm_cl.errors import UsageError
from lamm_cl.methods.stage import Part
from lamm_cl.seeds import seed_for
from lamm_cl.strategies.batches import StageBatches


class StreamData:
    """The current stage of a strategy as `StageData`: features from the cache where the learner takes features."""

    def __init__(self, strategy: StageBatches) -> None:
        self._strategy = strategy

    def batches(self, part: Part = "train", epoch: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (x, labels) in an order that depends on the seed and the stage alone; see `StageData.batches`."""
        strategy, pictures = self._strategy, self._strategy.pictures
        dataset = strategy.adapted_dataset if part == "train" else self._evaluated(part)
        seed = seed_for("order", strategy.settings.seed, strategy.stage, f"end/{part}")
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(seed)).tolist()
        shown = pictures.epoch
        pictures.show(epoch)
        try:
            yield from self._read(dataset if epoch is not None else dataset.eval(), order)
        finally:
            pictures.show(shown)

    def _read(self, dataset: Any, order: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
        pictures, size = self._strategy.pictures, self._strategy.eval_mb_size
        if pictures.serves(dataset):
            index = [int(dataset.index[i]) for i in order]
            labels = torch.tensor([int(dataset.targets[i]) for i in order])
            pictures.prepare(index)
            for start in range(0, len(index), size):
                yield pictures.rows(index[start : start + size]), labels[start : start + size]
            return
        for batch in DataLoader(dataset.subset(order), size, collate_fn=dataset.collate_fn):
            yield batch[0], batch[1]

    def _evaluated(self, part: Part) -> Any:
        """Return the validation or test images of the classes seen so far."""
        strategy = self._strategy
        benchmark = getattr(getattr(strategy.experience, "origin_stream", None), "benchmark", None)
        stream = getattr(benchmark, f"{part}_stream", None)
        seen = set(strategy.seen_classes)
        found = [e.dataset for e in stream or () if {int(c) for c in e.dataset.targets.uniques} <= seen]
        if not found:
            what = {"val": "validation", "test": "test"}[part]
            raise UsageError(
                f"{strategy.model.method} looks at {what} images when a stage ends, and the benchmark has none of the "
                "classes seen so far: choose another way of selection."
            )
        return concat_datasets(found)
