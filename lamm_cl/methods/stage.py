"""The stage: what a learner is told between one experience's start and its end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from lamm_cl.errors import UsageError

Split = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Stage:
    """What happens from one experience's start to its end.

    Attributes:
        number: counted from 1.
        classes: class ids of the training set, ascending.
        old: class ids of all earlier stages, ascending.
        cumulative: whether the training set holds those of all earlier stages again.
    """

    number: int
    classes: tuple[int, ...]
    old: tuple[int, ...] = ()
    cumulative: bool = False

    @property
    def new(self) -> tuple[int, ...]:
        """Class ids that no earlier stage had, ascending."""
        return tuple(c for c in self.classes if c not in set(self.old))

    @property
    def seen(self) -> tuple[int, ...]:
        """Class ids of this and all earlier stages, ascending."""
        return tuple(sorted({*self.old, *self.classes}))


@dataclass(frozen=True)
class Step:
    """Where training is.

    Attributes:
        stage: the stage.
        epoch: counted from 0 in the stage.
        step: mini-batch, counted from 0 in the stage.
        seed: of the run.
        batch: mini-batch, counted from 0 in the epoch.
    """

    stage: Stage
    epoch: int
    step: int
    seed: int = 0
    batch: int = 0

    @property
    def place(self) -> tuple[int, int, int]:
        """What random draws may depend on: seed, number of the stage, mini-batch."""
        return self.seed, self.stage.number, self.step


class StageData(Protocol):
    """The images of a stage once more, in an order that depends on the seed and the stage alone."""

    def batches(self, split: Split = "train", epoch: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (x, labels (batch,)): x as the learner takes it, or images.

        Args:
            split: the stage's training set; or the validation or test images of the classes seen so far.
            epoch: the training view of this epoch, counted from 0; None: the evaluation view.

        Raises:
            UsageError: there is no such split.
        """
        ...


def missing_images(method: str, split: Split) -> UsageError:
    """Build the error for a method that looks at images which a benchmark does not have."""
    what = {"train": "training", "val": "validation", "test": "test"}[split]
    return UsageError(
        f"{method} looks at {what} images when a stage ends, and the benchmark has none of the classes so far: "
        f"choose another selection; what says {split!r} in its options may say 'none'."
    )
