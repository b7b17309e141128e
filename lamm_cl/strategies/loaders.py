"""Mini-batches in an order that depends on (seed, stage, epoch) alone."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler


class EpochBatches(Sampler[list[int]]):
    """Batches of positions, shuffled by a generator that each epoch starts anew.

    The order needs no state that would have to be saved: epoch 7 is the same whether epochs 0-6 ran in this
    process or in one that was killed, and whatever the model drew from other generators.
    """

    def __init__(self, n: int, batch_size: int, seed_of: Callable[[int], int] | None, *, drop_last: bool) -> None:
        """Prepare the batches.

        Args:
            n: Number of samples.
            batch_size: Samples a batch.
            seed_of: Seed of an epoch's order; None keeps the samples in their order.
            drop_last: Leave out the last incomplete batch, where there is at least one full batch.
        """
        self.n = n
        self.batch_size = batch_size
        self.epoch = 0
        self._seed_of = seed_of
        self._drop = drop_last and n >= batch_size

    def __len__(self) -> int:
        return self.n // self.batch_size if self._drop else -(-self.n // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        if self._seed_of is None:
            order = list(range(self.n))
        else:
            generator = torch.Generator().manual_seed(self._seed_of(self.epoch))
            order = torch.randperm(self.n, generator=generator).tolist()
        for k in range(len(self)):
            yield order[k * self.batch_size : (k + 1) * self.batch_size]


class _Loader:
    """Mini-batches (x, label, position in the source, task) of a data set whose x the source gives."""

    def __init__(self, dataset: Any, batches: EpochBatches) -> None:
        self.batch_sampler = batches
        self._index = [int(i) for i in dataset.index]
        tasks = getattr(dataset, "targets_task_labels", None)
        self._columns = [torch.tensor([int(y) for y in dataset.targets]), torch.tensor(self._index)]
        if tasks is not None:
            self._columns.append(torch.tensor([int(t) for t in tasks]))

    def __len__(self) -> int:
        return len(self.batch_sampler)


class ImageLoader(_Loader):
    """Mini-batches of images, which may be read ahead."""

    def __init__(
        self, dataset: Any, images: Callable[[list[list[int]]], Iterator[Tensor]], batches: EpochBatches
    ) -> None:
        """Prepare the loader.

        Args:
            dataset: An Avalanche data set with the attributes `index` (position in the source) and `targets`.
            images: Yields the images (b, 3, H, W) of each list of positions in the source.
            batches: The batches of positions in `dataset`.
        """
        super().__init__(dataset, batches)
        self._images = images

    def __iter__(self) -> Iterator[list[Tensor]]:
        batches = list(self.batch_sampler)
        images = self._images([[self._index[place] for place in batch] for batch in batches])
        for batch, x in zip(batches, images, strict=True):
            yield [x, *(column[batch] for column in self._columns)]


class FeatureLoader(_Loader):
    """Mini-batches cut from one tensor of image features.

    A data loader that collates single rows costs more than a whole step on cached features; this one gathers.
    """

    def __init__(
        self, dataset: Any, rows: Callable[[Sequence[int]], Tensor], batches: EpochBatches, device: torch.device
    ) -> None:
        """Prepare the loader.

        Args:
            dataset: An Avalanche data set with the attributes `index` (position in the source) and `targets`.
            rows: Gives the features (n, d) of positions in the source, at the time an epoch starts.
            batches: The batches of positions in `dataset`.
            device: Where the batches are wanted.
        """
        super().__init__(dataset, batches)
        self._rows, self._device = rows, device

    def __iter__(self) -> Iterator[list[Tensor]]:
        # One copy to the device an epoch: within a step nothing has to wait for it.
        tensors = [t.to(self._device) for t in (self._rows(self._index), *self._columns)]
        batches = list(self.batch_sampler)
        order = torch.tensor([place for batch in batches for place in batch], device=self._device)
        for places in torch.split(order, [len(batch) for batch in batches]):
            yield [tensor[places] for tensor in tensors]
