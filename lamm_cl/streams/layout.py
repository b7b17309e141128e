"""A benchmark before Avalanche sees it: which image belongs to which part, as which column, and what is evaluated."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import NamedTuple

from lamm_cl.data.few_shot import few_shot
from lamm_cl.data.items import Dataset, Item
from lamm_cl.data.load import require_images
from lamm_cl.errors import UsageError, check_known

# What can be said of a mixture is what can be said of its weakest part.
_WEAKEST_FIRST = ("own", "other", "embedded", "setting-a", "setting-b", "official")


class Sample(NamedTuple):
    """One image of a benchmark: which data set it is from, the item, and its column."""

    dataset: int
    item: Item
    column: int


@dataclass(frozen=True)
class ExperienceData:
    """One experience: its images and its classes."""

    name: str  # what tables call it: "set1", "base", or the name of the data set
    dataset: str  # name of the data set
    samples: tuple[Sample, ...]
    own: tuple[int, ...]  # columns of its own label space, ascending
    trained_in: int | None = None  # test sets: training experience (from 0) on this very set; None when none ever does

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.samples)


class EvaluationPlan(NamedTuple):
    """What is evaluated: the protocol, its test sets in the order of the test stream, and the names of the stages."""

    protocol: str
    sets: tuple[ExperienceData, ...]
    train_names: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """Everything about a benchmark that needs neither torch nor Avalanche."""

    protocol: str
    datasets: tuple[Dataset, ...]  # samples point at them
    class_names: tuple[str, ...]  # one per column
    templates: tuple[str, ...]  # one prompt template per column
    train: tuple[ExperienceData, ...]  # in order
    test: tuple[ExperienceData, ...]  # in order
    val: tuple[ExperienceData, ...] = ()  # one per training experience, or empty where validation images are missing
    notes: tuple[str, ...] = ()  # what a reader of the results must know

    @property
    def plan(self) -> EvaluationPlan:
        """The evaluation plan."""
        return EvaluationPlan(self.protocol, self.test, tuple(part.name for part in self.train))

    @property
    def split(self) -> str:
        """Kind of split, the weakest among the data sets: "own", "other", "embedded", then "official"."""
        kinds = {dataset.split for dataset in self.datasets}
        return next(kind for kind in _WEAKEST_FIRST if kind in kinds)

    @property
    def numbered(self) -> tuple[str, ...]:
        """The data sets whose classes are called by numbers."""
        return tuple(dataset.name for dataset in self.datasets if dataset.numbered)

    @property
    def fingerprint(self) -> str:
        """Hex digest of the data sets' fingerprints; a single data set's own fingerprint."""
        return joined_fingerprint([dataset.fingerprint for dataset in self.datasets])


def joined_fingerprint(prints: Sequence[str]) -> str:
    """Return one hex digest for those of several data sets; that of a single one as it is."""
    return prints[0] if len(prints) == 1 else hashlib.sha256("\x1f".join(prints).encode()).hexdigest()


def restrict_evaluation(layout: Layout, names: Sequence[str]) -> Layout:
    """Keep only the test sets called `names`, in the order of the layout.

    Raises:
        UsageError: for a test set that the benchmark does not have, or none at all.
    """
    known = [part.name for part in layout.test]
    check_known("evaluation set", names, known)
    if not names:
        raise UsageError(f"evaluation sets: none given; choose among {', '.join(known)}.")
    return replace(layout, test=tuple(part for part in layout.test if part.name in names))


def check(layout: Layout) -> None:
    """Check that every part has images.

    Raises:
        UsageError: names the part that has none.
    """
    for kind, parts in (("training", layout.train), ("test", layout.test)):
        if not parts:
            raise UsageError(f"{layout.protocol}: there is nothing for {kind}.")
        for part in parts:
            if not part.samples:
                raise UsageError(
                    f"{layout.protocol}: {part.name!r} ({len(part.own)} classes of {part.dataset}) has no "
                    f"{kind} images; check the data set with `lamm-cl data verify {part.dataset}`."
                )
    for part in layout.train:
        bare = sorted(set(part.own) - {sample.column for sample in part.samples})
        if bare:
            names = ", ".join(layout.class_names[column] for column in bare[:5])
            raise UsageError(f"{layout.protocol}: no training images in {part.name!r} for the classes {names}.")


def require_words(numbered: Sequence[str], method: str) -> None:
    """Refuse a method that makes prompts of the class names where those are numbers.

    Raises:
        UsageError: names the data set and what to do.
    """
    if numbered:
        raise UsageError(
            f"data set {numbered[0]!r}: its classes are called by numbers, of which {method} makes no sensible prompt. "
            "Give their words with `names: [...]` or `names: FILE`, or say `numbers_are_names: true`."
        )


def require_pictures(*layouts: Layout) -> None:
    """Ask the disk once whether every image of layouts over the same data sets is there; opens none.

    Raises:
        UsageError: names the data set, the number of missing images and the first ones.
    """
    for k, dataset in enumerate(layouts[0].datasets if layouts else ()):
        used = {
            sample.item.path: sample.item
            for layout in layouts
            for part in (*layout.train, *layout.val, *layout.test)
            for sample in part.samples
            if sample.dataset == k
        }
        require_images(dataset, used.values())


Columns = tuple[int, ...]  # column of each label


def one_column_each(datasets: Sequence[Dataset]) -> list[Columns]:
    """Give every class of every data set a column of its own, also where two data sets share a class name.

    X-TAIL counts in the same way (Xu et al., NeurIPS 2024): the union of the class lists, one after another.
    """
    sizes = [len(dataset.class_names) for dataset in datasets]
    return [tuple(range(end - size, end)) for size, end in zip(sizes, accumulate(sizes), strict=True)]


def onto_columns_of(source: Dataset, variant: Dataset) -> Columns:
    """Find the column, in `source`, of every class of `variant` (the right 200 of 1000, for ImageNet-A and -R).

    Classes are matched by their identifiers (WordNet) where both data sets have them, since two classes of ImageNet
    may share a name; else by name.

    Raises:
        UsageError: names the classes of the variant that the source does not have, or that it has twice.
    """
    by_id = bool(source.class_ids) and bool(variant.class_ids)
    known = source.class_ids if by_id else source.class_names
    wanted = variant.class_ids if by_id else variant.class_names
    if known == wanted:  # also where two classes share a name
        return tuple(range(len(known)))
    foreign = [key for key in wanted if key not in known]
    if foreign:
        raise UsageError(
            f"domain_generalization: {len(foreign)} of the {len(wanted)} classes of {variant.name} are not classes of "
            f"{source.name}: {', '.join(foreign[:5])}{', ...' if len(foreign) > 5 else ''}. "
            "Variants must be test sets of the source's own classes; for other data sets use cross_dataset."
        )
    double = next((key for key in wanted if known.count(key) > 1), None)
    if double is not None:
        raise UsageError(
            f"domain_generalization: {source.name} has {known.count(double)} classes called {double!r}, so it cannot "
            f"be told which one {variant.name} means. Give both data sets class identifiers, or different names."
        )
    return tuple(map(known.index, wanted))


Parts = Sequence[Sequence[int]]  # labels of each part


class Drawing(NamedTuple):
    """Which training images to draw: `shots` per class (None: all), by `seed`."""

    shots: int | None
    seed: int


class LayoutBuilder:
    """Collects training and test parts over some data sets; by default every class has a column of its own."""

    def __init__(self, protocol: str, datasets: Sequence[Dataset], columns: Sequence[Columns] | None = None) -> None:
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
        """Add test sets from data set `k`, all of it or one per list of labels, and which experience trains on each."""
        dealt = self._deal(k, self.datasets[k].test, parts, names)
        self._test += [replace(part, trained_in=t) for part, t in zip(dealt, trained_in, strict=True)]

    def _deal(self, k: int, items: Sequence[Item], parts: Parts | None, names: Sequence[str]) -> list[ExperienceData]:
        dataset, columns = self.datasets[k], self.columns[k]
        labels = parts or [range(len(dataset.class_names))]
        dealt: list[list[Sample]] = [[] for _ in labels]
        owner = {label: own for own, some in zip(dealt, labels, strict=True) for label in some}
        for item in items:
            if item.label in owner:
                owner[item.label].append(Sample(k, item, columns[item.label]))
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
