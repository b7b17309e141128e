"""What a command shows while it works, live on a terminal and one line an event elsewhere, and how it ended."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from lamm_cl.experiments.spec import RunSpec
from lamm_cl.records import Entry, Progress

_LINE_EVERY = 30.0


def _kind(spec: RunSpec) -> tuple[str, ...]:
    return (spec.label, spec.dataset, spec.backbone)


def duration(seconds: float) -> str:
    """Write a time span for people.

    >>> duration(4.2), duration(75), duration(7300), duration(200000)
    ('4.2 s', '1 min 15 s', '2 h 2 min', '2 d 8 h')
    """
    for size, name, small, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{int(seconds) // size} {name} {int(seconds) % size // small} {small_name}"
    return f"{seconds:.1f} s"


def counted(count: int, what: str) -> str:
    """Write a number of things: 1 run, 2 runs."""
    return f"{count} {what}{'s' * (count != 1)}"


class Display:
    """On a terminal a bar for the whole and for each run in progress; else a line for each run, and signs of life."""

    def __init__(self, console: Console, pending: Sequence[RunSpec], total: int, workers: int) -> None:
        self._console, self._live = console, console.is_terminal
        self._total, self._count = total, total - len(pending)
        self._said = time.monotonic()
        self._left = {spec.run_id: _kind(spec) for spec in pending}
        self._workers = max(1, workers)
        self._seconds: dict[tuple[str, ...], list[float]] = {}  # that runs of a kind took
        columns = (BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[more]}"))
        described = TextColumn("{task.description}")
        self._bars = Bars(described, *columns, console=console, transient=True, disable=not self._live)
        self._all = self._bars.add_task("all runs", total=total, completed=self._count, more="")
        self._rows: dict[str, TaskID] = {}
        self._bars.start()

    def doing(self, runs: Sequence[tuple[RunSpec, Progress]]) -> None:
        """Show which runs are in progress."""
        for run_id in self._rows.keys() - {spec.run_id for spec, _ in runs}:
            self._bars.remove_task(self._rows.pop(run_id))
        for spec, progress in runs:
            if spec.run_id not in self._rows:
                self._rows[spec.run_id] = self._bars.add_task(f"  {spec}", total=100, more="")
            self._bars.update(self._rows[spec.run_id], completed=int(100 * progress.fraction), more=progress.text)
        if runs and not self._live and time.monotonic() - self._said > _LINE_EVERY:
            self._tell("; ".join(f"{spec} · {progress.fraction:.0%} {progress.text}" for spec, progress in runs))

    def finished(self, spec: RunSpec, entry: Entry, own: bool = True) -> None:
        """Show that a run is recorded, by this command or by another."""
        self._left.pop(spec.run_id, None)
        if entry.seconds:
            self._seconds.setdefault(_kind(spec), []).append(entry.seconds)
        self._count += 1
        self._bars.update(self._all, completed=self._count, more=self._time_left())
        if not self._live:
            self._tell(verdict(spec, entry, own))
        elif entry.error or entry.note:
            self.note(verdict(spec, entry, own))

    def _time_left(self, before: str = "") -> str:
        """Say after `before` how long is left, as runs of the same kind took; nothing before the first has ended."""
        if not self._seconds or not self._left:
            return ""
        mean = fmean(itertools.chain(*self._seconds.values()))
        each = [fmean(self._seconds.get(kind, [mean])) for kind in self._left.values()]
        return f"{before}about {duration(sum(each) / min(self._workers, len(each)))} left"

    def _tell(self, text: str) -> None:
        self.note(f"[{self._count}/{self._total}] {text}{self._time_left(' · ')}")

    def note(self, text: str) -> None:
        """Say something that the user should know."""
        self._said = time.monotonic()
        say(self._console, text)

    def close(self) -> None:
        """Take the bars away."""
        self._bars.stop()


def say(console: Console, text: str) -> None:
    """Print a line as it is, however long."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def verdict(spec: RunSpec, entry: Entry, own: bool = True) -> str:
    """Say in one line how a run ended."""
    if entry.error:
        return f"FAILED {spec}: {entry.error}"
    if not own:
        return f"done by another command: {spec}"
    return f"done {spec} in {duration(entry.seconds)}" + (f": {entry.note}" if entry.note else "")


DONE, FAILED, INTERRUPTED = 0, 1, 130


@dataclass
class Summary:
    """What became of a grid."""

    total: int  # runs of the grid
    before: int = 0  # done before the command began
    done: int = 0  # done by this command
    elsewhere: int = 0  # done meanwhile by another command
    taken: int = 0  # in progress elsewhere, for who does not wait for them
    failed: list[tuple[RunSpec, str]] = field(default_factory=list)  # run and message of each failure
    stopped: str = ""  # why the command ended early; empty when it did not
    interrupted: bool = False  # whether it was the user who ended it

    @property
    def left(self) -> int:
        """Runs that nobody has finished."""
        return self.total - self.before - self.done - self.elsewhere - self.taken - len(self.failed)

    @property
    def exit_code(self) -> int:
        """0 when every run is done, 130 after Ctrl-C, 1 otherwise."""
        return INTERRUPTED if self.interrupted else FAILED if self.failed or self.left else DONE

    def as_dict(self, directory: Path, command: Sequence[str]) -> dict[str, Any]:
        """Say it to a program; the arguments are those of `lines`."""
        said: dict[str, Any] = {"directory": str(directory), "results": str(directory / "runs.csv")}
        said |= {name: getattr(self, name) for name in ("total", "done", "before", "elsewhere", "taken", "left")}
        failed = [{"run_id": spec.run_id, "run": str(spec), "message": message} for spec, message in self.failed]
        said |= {"failed": failed, "stopped": self.stopped, "exit_code": self.exit_code}
        return {**said, "continue_with": " ".join(command) if failed or self.left else ""}

    def lines(self, directory: Path, command: Sequence[str]) -> list[str]:
        """Say it to a reader, with the experiment's directory and the command that continues it."""
        counts = {
            "done before": self.before,
            "by another command": self.elsewhere,
            "in progress elsewhere": self.taken,
            "failed": len(self.failed),
            "left": self.left,
        }
        parts = [f"{self.done} done now", *(f"{count} {what}" for what, count in counts.items() if count)]
        lines = [f"{counted(self.total, 'run')}: {', '.join(parts)}. Results: {directory / 'runs.csv'}"]
        for spec, message in self.failed[:20]:
            lines.append(f"  failed: {spec}: {message}")
            lines.append(f"          {directory / 'runs' / spec.run_id / 'record.json'}")
        if len(self.failed) > 20:
            lines.append(f"  ... and {len(self.failed) - 20} more; runs.csv lists them all.")
        if self.stopped:
            lines.append(f"Stopped early: {self.stopped}")
        if self.failed or self.left:
            verb = "Continue with" if self.left else "Try the failed ones again with"
            lines.append(f"{verb}: {' '.join(command)}")
        return lines
