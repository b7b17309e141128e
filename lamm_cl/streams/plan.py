"""What a benchmark is evaluated on, and which columns (classes) each image competes among."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EvalSet:
    """One test set of a benchmark.

    Attributes:
        name: "set1", "base", or the name of the data set.
        index: its position in the test stream.
        own: columns of its own label space, ascending.
        dataset: name of the data set its images come from.
        trained_in: training experience (from 0) that trains on this very set; None when none ever does.
        n: number of test images.
    """

    name: str
    index: int
    own: tuple[int, ...]
    dataset: str
    trained_in: int | None
    n: int


@dataclass(frozen=True)
class EvaluationPlan:
    """All test sets of a benchmark and the columns that its training experiences teach.

    Attributes:
        protocol: name of the protocol.
        sets: the test sets, in the order of the test stream.
        train_names: one name per training experience.
        train_columns: the columns that each training experience teaches, ascending.
        columns: number of columns of the benchmark.
    """

    protocol: str
    sets: tuple[EvalSet, ...]
    train_names: tuple[str, ...]
    train_columns: tuple[tuple[int, ...], ...]
    columns: int

    @property
    def stages(self) -> int:
        """Number of training experiences."""
        return len(self.train_names)

    def seen(self, stage: int) -> tuple[int, ...]:
        """Return the columns met after `stage` training experiences (0: none), ascending."""
        return tuple(sorted({column for columns in self.train_columns[:stage] for column in columns}))
