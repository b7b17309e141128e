"""What a command shows while it works: live on a terminal, one line an event elsewhere."""

import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from lamm_cl.experiments.spec import RunSpec
from lamm_cl.experiments.work import Outcome
from lamm_cl.records import Progress

_LINE_EVERY = 30.0


class Clock:
    """Estimates the time left from what finished runs of the same method, data set and backbone took.

    Args:
        pending: The runs to do.
        workers: How many of them go on at one time.
    """

    def __init__(self, pending: Sequence[RunSpec], workers: int) -> None:
        self._left = {spec.run_id: _kind(spec) for spec in pending}
        self._workers = max(1, workers)
        self._seconds: dict[tuple[str, ...], list[float]] = {}

    def finished(self, spec: RunSpec, seconds: float) -> None:
        """Take note of a run that ended."""
        self._left.pop(spec.run_id, None)
        if seconds:
            self._seconds.setdefault(_kind(spec), []).append(seconds)

    def left(self) -> float | None:
        """Return the seconds left; None before the first run has ended."""
        times = [time for known in self._seconds.values() for time in known]
        if not times:
            return None
        mean = sum(times) / len(times)
        each = [sum(known) / len(known) if (known := self._seconds.get(kind)) else mean for kind in self._left.values()]
        return sum(each) / min(self._workers, max(1, len(each)))


def _kind(spec: RunSpec) -> tuple[str, ...]:
    return (spec.label, spec.dataset, spec.backbone)


def duration(seconds: float) -> str:
    """Write a time span for people.

    >>> duration(4.2), duration(75), duration(7300), duration(200000)
    ('4.2 s', '1 min 15 s', '2 h 2 min', '2 d 8 h')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    for size, name, small, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // small} {small_name}"
    return f"{whole} s"


class Display(Protocol):
    """What a command tells while it follows a grid."""

    def doing(self, runs: Sequence[tuple[RunSpec, Progress]]) -> None:
        """These runs are in progress."""

    def finished(self, spec: RunSpec, outcome: Outcome) -> None:
        """A run is recorded."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def close(self) -> None:
        """Nothing more will happen."""


class Lines:
    """One line for each run that ends, and a sign of life in between: for files and pipes."""

    def __init__(self, console: Console, pending: Sequence[RunSpec], total: int, workers: int) -> None:
        self._console = console
        self._clock = Clock(pending, workers)
        self._total, self._count = total, total - len(pending)
        self._said = time.monotonic()

    def doing(self, runs: Sequence[tuple[RunSpec, Progress]]) -> None:  # noqa: D102
        if runs and time.monotonic() - self._said > _LINE_EVERY:
            texts = [f"{spec} · {progress.fraction:.0%} {progress.text}" for spec, progress in runs]
            self._say(f"[{self._count}/{self._total}] {'; '.join(texts)}{self._rest()}")

    def finished(self, spec: RunSpec, outcome: Outcome) -> None:  # noqa: D102
        self._clock.finished(spec, outcome.seconds)
        self._count += 1
        self._say(f"[{self._count}/{self._total}] {verdict(spec, outcome)}{self._rest()}")

    def _rest(self) -> str:
        left = self._clock.left()
        return f" · about {duration(left)} left" if left else ""

    def note(self, text: str) -> None:  # noqa: D102
        self._say(text)

    def close(self) -> None:  # noqa: D102
        pass

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        say(self._console, text)


class Live:
    """Bars on a terminal: one for the whole, one for each run in progress, and the time left."""

    def __init__(self, console: Console, pending: Sequence[RunSpec], total: int, workers: int) -> None:
        self._clock = Clock(pending, workers)
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[more]}"),
            console=console,
            transient=True,
        )
        self._all = self._bars.add_task("all runs", total=total, completed=total - len(pending), more="")
        self._rows: dict[str, TaskID] = {}
        self._bars.start()

    def doing(self, runs: Sequence[tuple[RunSpec, Progress]]) -> None:  # noqa: D102
        shown = {spec.run_id for spec, _ in runs}
        for run_id in [run_id for run_id in self._rows if run_id not in shown]:
            self._bars.remove_task(self._rows.pop(run_id))
        for spec, progress in runs:
            if spec.run_id not in self._rows:
                self._rows[spec.run_id] = self._bars.add_task(f"  {spec}", total=100, more="")
            self._bars.update(self._rows[spec.run_id], completed=int(100 * progress.fraction), more=progress.text)

    def finished(self, spec: RunSpec, outcome: Outcome) -> None:  # noqa: D102
        self._clock.finished(spec, outcome.seconds)
        left = self._clock.left()
        self._bars.update(self._all, advance=1, more=f"about {duration(left)} left" if left else "")
        if outcome.status == "failed" or outcome.message:
            self.note(verdict(spec, outcome))

    def note(self, text: str) -> None:  # noqa: D102
        self._bars.console.print(text, highlight=False, markup=False)

    def close(self) -> None:  # noqa: D102
        self._bars.stop()


def say(console: Console, text: str) -> None:
    """Print a line as it is, however long."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def verdict(spec: RunSpec, outcome: Outcome) -> str:
    """Say in one line how a run ended."""
    if outcome.status == "failed":
        return f"FAILED {spec}: {outcome.message}"
    if outcome.status == "elsewhere":
        return f"done by another command: {spec}"
    return f"done {spec} in {duration(outcome.seconds)}" + (f": {outcome.message}" if outcome.message else "")


def make_display(console: Console, pending: Sequence[RunSpec], total: int, workers: int) -> Display:
    """Return what suits where the output goes."""
    kind = Live if console.is_terminal else Lines
    return kind(console, pending, total, workers)
