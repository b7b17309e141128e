"""Puts the layout of a benchmark together, part by part."""

from collections.abc import Sequence
from typing import NamedTuple

from lamm_cl.data.few_shot import few_shot
from lamm_cl.data.items import Dataset
from lamm_cl.streams.columns import Columns, one_column_each
from lamm_cl.streams.layout import Layout, Part, only, samples


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
        self._train: list[Part] = []
        self._val: list[Part] = []
        self._test: list[Part] = []
        self._notes = [note for dataset in datasets for note in dataset.notes]

    def train_on(
        self, k: int, drawing: Drawing, parts: Sequence[Sequence[int]] | None = None, names: Sequence[str] = ()
    ) -> None:
        """Add training experiences from data set `k`: all its classes, or one experience per list of labels.

        The images are drawn over the whole data set first, whatever the parts, as the papers' codes do.
        """
        dataset, chosen = self.datasets[k], few_shot(self.datasets[k], *drawing)
        self._notes += chosen.notes
        for labels, name in zip(parts or [range(len(dataset.class_names))], names or [dataset.name], strict=True):
            own = self._own(k, labels)
            for place, items in ((self._train, chosen.train), (self._val, chosen.val)):
                place.append(Part(name, dataset.name, only(samples(items, k, self.columns[k]), own), own))

    def test_on(self, k: int, trained_in: int | None, labels: Sequence[int] | None = None, name: str = "") -> None:
        """Add a test set from data set `k`: all of it, or the images of some labels."""
        dataset = self.datasets[k]
        own = self._own(k, range(len(dataset.class_names)) if labels is None else labels)
        images = only(samples(dataset.test, k, self.columns[k]), own)
        self._test.append(Part(name or dataset.name, dataset.name, images, own, trained_in))

    def _own(self, k: int, labels: Sequence[int]) -> tuple[int, ...]:
        return tuple(sorted(self.columns[k][label] for label in labels))

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
