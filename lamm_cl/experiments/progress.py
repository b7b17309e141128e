"""What a command shows while it works: live on a terminal, one line an event elsewhere."""

import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from lamm_cl.experiments.spec import RunSpec
from lamm_cl.experiments.work import Outcome

_LINE_EVERY = 30.0


class Clock:
    """Estimates the time left from what finished runs of the same method, data set and backbone took.

    Args:
        pending: The runs to do.
        workers: How many of them go on at one time.
    """

    def __init__(self, pending: list[RunSpec], workers: int) -> None:
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
    """What the executors tell while they work."""

    def started(self, worker: int, spec: RunSpec) -> None:
        """A worker begins a run."""

    def moved(self, worker: int, fraction: float, text: str) -> None:
        """A run has come so far."""

    def idle(self, worker: int) -> None:
        """A worker has nothing to do."""

    def finished(self, spec: RunSpec, outcome: Outcome) -> None:
        """A run is recorded."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def tick(self) -> None:
        """Called a few times a second."""

    def close(self) -> None:
        """Nothing more will happen."""


class Lines:
    """One line for each run that ends, and a sign of life in between: for files and pipes."""

    def __init__(self, console: Console, pending: list[RunSpec], total: int, workers: int) -> None:
        self._console = console
        self._clock = Clock(pending, workers)
        self._total, self._count = total, total - len(pending)
        self._doing: dict[int, str] = {}
        self._said = time.monotonic()

    def started(self, worker: int, spec: RunSpec) -> None:  # noqa: D102
        self._doing[worker] = f"{spec}"

    def moved(self, worker: int, fraction: float, text: str) -> None:  # noqa: D102
        name = self._doing.get(worker, "").partition(" · ")[0]
        self._doing[worker] = f"{name} · {fraction:.0%} {text}"

    def idle(self, worker: int) -> None:  # noqa: D102
        self._doing.pop(worker, None)

    def finished(self, spec: RunSpec, outcome: Outcome) -> None:  # noqa: D102
        self._clock.finished(spec, outcome.seconds)
        self._count += 1
        self._say(f"[{self._count}/{self._total}] {verdict(spec, outcome)}{self._rest()}")

    def _rest(self) -> str:
        left = self._clock.left()
        return f" · about {duration(left)} left" if left else ""

    def note(self, text: str) -> None:  # noqa: D102
        self._say(text)

    def tick(self) -> None:  # noqa: D102
        if time.monotonic() - self._said > _LINE_EVERY and self._doing:
            doing = "; ".join(f"worker {worker + 1}: {text}" for worker, text in sorted(self._doing.items()))
            self._say(f"[{self._count}/{self._total}] {doing}{self._rest()}")

    def close(self) -> None:  # noqa: D102
        pass

    def _say(self, text: str) -> None:
        self._said = time.monotonic()
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class Live:
    """Bars on a terminal: one for the whole, one for each worker, and the time left."""

    def __init__(self, console: Console, pending: list[RunSpec], total: int, workers: int) -> None:
        self._clock = Clock(pending, workers)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[more]}"),
            console=console,
            transient=True,
        )
        self._all = self._bars.add_task("all runs", total=total, completed=total - len(pending), more="")
        self._rows: dict[int, TaskID] = {}
        self._bars.start()

    def started(self, worker: int, spec: RunSpec) -> None:  # noqa: D102
        if worker not in self._rows:
            self._rows[worker] = self._bars.add_task("", total=100, more="")
        row = self._rows[worker]
        self._bars.reset(row, description=f"  {worker + 1}: {spec}", total=100, more="starting", visible=True)

    def moved(self, worker: int, fraction: float, text: str) -> None:  # noqa: D102
        if worker in self._rows:
            self._bars.update(self._rows[worker], completed=int(100 * fraction), more=text)

    def idle(self, worker: int) -> None:  # noqa: D102
        if worker in self._rows:
            self._bars.update(self._rows[worker], visible=False)

    def finished(self, spec: RunSpec, outcome: Outcome) -> None:  # noqa: D102
        self._clock.finished(spec, outcome.seconds)
        left = self._clock.left()
        self._bars.update(self._all, advance=1, more=f"about {duration(left)} left" if left else "")
        if outcome.status == "failed" or outcome.message:
            self.note(verdict(spec, outcome))

    def note(self, text: str) -> None:  # noqa: D102
        self._bars.console.print(text, highlight=False, markup=False)

    def tick(self) -> None:  # noqa: D102
        pass

    def close(self) -> None:  # noqa: D102
        self._bars.stop()


def verdict(spec: RunSpec, outcome: Outcome) -> str:
    """Say in one line how a run ended."""
    if outcome.status == "failed":
        return f"FAILED {spec}: {outcome.message}"
    if outcome.status == "elsewhere":
        return f"done by another command: {spec}"
    return f"done {spec} in {duration(outcome.seconds)}" + (f": {outcome.message}" if outcome.message else "")


def make_display(console: Console, pending: list[RunSpec], total: int, workers: int) -> Display:
    """Return what suits where the output goes."""
    kind = Live if console.is_terminal else Lines
    return kind(console, pending, total, workers)
