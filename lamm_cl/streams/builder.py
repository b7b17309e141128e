"""Puts the layout of a benchmark together, part by part."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from lamm_cl.data.few_shot import few_shot
from lamm_cl.data.items import Dataset, Item
from lamm_cl.streams.columns import Columns, one_column_each
from lamm_cl.streams.layout import ExperienceData, Layout, Sample

Parts = Sequence[Sequence[int]]  # labels of each part


class Drawing(NamedTuple):
    """Which training images to draw: `shots` per class (None: all), by `seed`."""

    shots: int | None
    seed: int


class LayoutBuilder:
    """Collects training and test parts over some data sets."""

    def __init__(self, protocol: str, datasets: Sequence[Dataset], columns: Sequence[Columns] | None = None) -> None:
        """Start.

        Args:
            protocol: name of the protocol.
            datasets: the data sets.
            columns: per data set, the column of each label; by default every class has a column of its own.
        """
        self._protocol = protocol
        self.datasets = tuple(datasets)
        self.columns = one_column_each(datasets) if columns is None else list(columns)
        self._train: list[ExperienceData] = []
        self._val: list[ExperienceData] = []
        self._test: list[ExperienceData] = []
        self._notes = [note for dataset in datasets for note in dataset.notes]

    def train_on(self, k: int, drawing: Drawing, parts: Parts | None = None, names: Sequence[str] = ()) -> None:
        """Add training experiences from data set `k`: all its classes, or one experience per list of labels.

        The images are drawn over the whole data set first, whatever the parts, as the papers' codes do.
        """
        chosen = few_shot(self.datasets[k], *drawing)
        self._notes += chosen.notes
        for place, items in ((self._train, chosen.train), (self._val, chosen.val)):
            place += self._deal(k, items, parts, names)

    def test_on(
        self, k: int, trained_in: Sequence[int | None], parts: Parts | None = None, names: Sequence[str] = ()
    ) -> None:
        """Add test sets from data set `k`: all of it, or one per list of labels.

        Args:
            k: data set.
            trained_in: for each test set the training experience on it, or None.
            parts: labels of each test set.
            names: one per part.
        """
        dealt = self._deal(k, self.datasets[k].test, parts, names)
        self._test += [replace(part, trained_in=t) for part, t in zip(dealt, trained_in, strict=True)]

    def _deal(self, k: int, items: Sequence[Item], parts: Parts | None, names: Sequence[str]) -> list[ExperienceData]:
        dataset, columns = self.datasets[k], self.columns[k]
        labels = parts or [range(len(dataset.class_names))]
        owner = {label: p for p, some in enumerate(labels) for label in some}
        dealt: list[list[Sample]] = [[] for _ in labels]
        for item in items:
            p = owner.get(item.label)
            if p is not None:
                dealt[p].append(Sample(k, item, columns[item.label]))
        return [
            ExperienceData(name, dataset.name, tuple(samples), tuple(sorted(columns[label] for label in some)))
            for name, samples, some in zip(names or [dataset.name], dealt, labels, strict=True)
        ]

    def layout(self) -> Layout:
        """Return the layout."""
        names: dict[int, tuple[str, str]] = {}
        for dataset, columns in zip(self.datasets, self.columns, strict=True):
            for label, column in enumerate(columns):
                names.setdefault(column, (dataset.class_names[label], dataset.template))
        table = [names[column] for column in range(len(names))]
        return Layout(
            self._protocol,
            self.datasets,
            tuple(name for name, _ in table),
            tuple(template for _, template in table),
            tuple(self._train),
            tuple(self._test),
            tuple(self._val) if all(part.samples for part in self._val) else (),
            tuple(dict.fromkeys(self._notes)),
        )
