"""A benchmark before Avalanche sees it: which image belongs to which part, as which column."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lamm_cl.data.items import Dataset, Item
from lamm_cl.data.load import require_images
from lamm_cl.errors import UsageError, unknown
from lamm_cl.streams.plan import EvalSet, EvaluationPlan

# What can be said of a mixture is what can be said of its weakest part.
_WEAKEST_FIRST = ("own", "other", "embedded", "setting-a", "setting-b", "official")


class Sample(NamedTuple):
    """One image of a benchmark: which data set it is from, the item, and its column."""

    dataset: int
    item: Item
    column: int


@dataclass(frozen=True)
class ExperienceData:
    """One experience: its images and its classes.

    Attributes:
        name: what tables call it.
        dataset: name of the data set.
        samples: its images.
        columns: columns of its own label space, ascending.
        trained_in: test parts: the training experience on this very set, or None.
    """

    name: str
    dataset: str
    samples: tuple[Sample, ...]
    columns: tuple[int, ...]
    trained_in: int | None = None


@dataclass(frozen=True)
class Layout:
    """Everything about a benchmark that needs neither torch nor Avalanche.

    Attributes:
        protocol: name of the protocol.
        datasets: the data sets; samples point at them.
        class_names: one per column.
        templates: one prompt template per column.
        train: training experiences, in order.
        test: test sets, in order.
        val: one per training experience, or empty where validation images are missing.
        notes: what a reader of the results must know.
    """

    protocol: str
    datasets: tuple[Dataset, ...]
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    train: tuple[ExperienceData, ...]
    test: tuple[ExperienceData, ...]
    val: tuple[ExperienceData, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def plan(self) -> EvaluationPlan:
        """The evaluation plan."""
        sets = (
            EvalSet(part.name, index, part.columns, part.dataset, part.trained_in, len(part.samples))
            for index, part in enumerate(self.test)
        )
        return EvaluationPlan(
            self.protocol,
            tuple(sets),
            tuple(part.name for part in self.train),
            tuple(part.columns for part in self.train),
            len(self.class_names),
        )

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
        prints = [dataset.fingerprint for dataset in self.datasets]
        return prints[0] if len(prints) == 1 else hashlib.sha256("\x1f".join(prints).encode()).hexdigest()


def restrict_evaluation(layout: Layout, names: Sequence[str]) -> Layout:
    """Keep only the test sets called `names`, in the order of the layout.

    Raises:
        UsageError: for a test set that the benchmark does not have, or none at all.
    """
    known = [part.name for part in layout.test]
    for name in names:
        if name not in known:
            raise unknown("evaluation set", name, known)
    if not names:
        raise UsageError(f"evaluation sets: none given; choose among {', '.join(known)}.")
    return replace(layout, test=tuple(part for part in layout.test if part.name in names))


def check(layout: Layout) -> Layout:
    """Return `layout` if every part has images.

    Raises:
        UsageError: names the part that has none.
    """
    for kind, parts in (("training", layout.train), ("test", layout.test)):
        if not parts:
            raise UsageError(f"{layout.protocol}: there is nothing for {kind}.")
        for part in parts:
            if not part.samples:
                raise UsageError(
                    f"{layout.protocol}: {part.name!r} ({len(part.columns)} classes of {part.dataset}) has no "
                    f"{kind} images; check the data set with `lamm-cl data verify {part.dataset}`."
                )
    for part in layout.train:
        bare = sorted(set(part.columns) - {sample.column for sample in part.samples})
        if bare:
            names = ", ".join(layout.class_names[column] for column in bare[:5])
            raise UsageError(f"{layout.protocol}: no training images in {part.name!r} for the classes {names}.")
    return layout


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
