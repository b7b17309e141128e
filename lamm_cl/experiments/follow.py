"""A command that follows a grid: it watches records and progress appear, and sees to it that workers are there."""

import contextlib
import itertools
import signal
import time
from collections.abc import Collection, Sequence
from typing import Protocol

from lamm_cl.experiments.progress import Display, Summary
from lamm_cl.experiments.signals import Signals
from lamm_cl.experiments.spec import Grid, RunSpec
from lamm_cl.experiments.work import record_failure, tidy
from lamm_cl.records import DAMAGED, FAILED, ExperimentDirectory, Progress

_GRACE = 20.0


class GaveUp(Exception):  # noqa: N818 - it is no error
    """Raised by workers that cannot go on; the text says why."""


class Workers(Protocol):
    """Who does the runs: processes of this machine, or jobs of a cluster."""

    look_every: float  # seconds between two looks at records and progress

    @property
    def names(self) -> Collection[str] | None:
        """Workers whose runs count as this command's own; None for all."""

    def tend(self, follower: "Follower") -> None:
        """Start workers where they are needed; raises `GaveUp`. Called again and again."""

    def ask_to_stop(self) -> str:
        """Ask those that end with the command to save; says what becomes of the others."""

    @property
    def stopping(self) -> bool:
        """Whether any of those has not ended."""


def settle(
    home: ExperimentDirectory,
    grid: Grid,
    summary: Summary,
    pending: Sequence[RunSpec],
    own: Collection[str] | None,
    others_go_on: bool = False,
) -> None:
    """Count what there is in the end, remove what killed workers left, and make the table anew.

    The summary takes the numbers, and what keeps this from being done. A record that somebody deleted meanwhile is one
    that is left. `pending` are the runs that were to be done when the command began, `own` the workers whose runs count
    as its own, None for all. Where `others_go_on`, a run that somebody works on is not this command's to wait for.
    """
    now = {spec.run_id for spec in pending}
    try:
        for spec in grid.specs:
            entry = home.entry(spec.run_id)
            if entry is None or grid.wants(spec.run_id, entry):
                summary.taken += others_go_on and home.is_claimed(spec.run_id)
            elif entry.status == FAILED:
                summary.failed.append((spec, entry.error))
            elif spec.run_id not in now:
                summary.before += 1
            elif own is None or entry.worker in own:
                summary.done += 1
            else:
                summary.elsewhere += 1
        for spec in grid.specs:
            tidy(home, spec.run_id)
        home.rebuild_table()
    except OSError as error:
        summary.stopped = summary.stopped or home.explain(error)


class Follower:
    """Follows a grid until every run is recorded; `pending` are those that were to be done when the command began."""

    def __init__(
        self, home: ExperimentDirectory, grid: Grid, pending: Sequence[RunSpec], workers: Workers, display: Display
    ) -> None:
        self.home, self.grid, self.display, self._workers = home, grid, display, workers
        self.left: dict[str, RunSpec] = {spec.run_id: spec for spec in pending}  # still to be done
        self._pending = pending
        self._doing: dict[str, Progress] = {}
        self._damaged: set[str] = set()
        self._table_is_old = True

    def follow(self, signals: Signals) -> Summary:
        """Wait for the end of all, or of workers, or Ctrl-C; signals are heard where nothing is half done."""
        summary = Summary(len(self.grid.specs))
        with signals.held():
            try:
                self._watch(signals)
            except GaveUp as error:
                summary.stopped = str(error)
            except KeyboardInterrupt:
                summary.stopped = "ended by SIGTERM." if signals.first == signal.SIGTERM else "interrupted."
                summary.interrupted = True
            except OSError as error:
                summary.stopped = self.home.explain(error)
            if summary.stopped:
                farewell = self._stop(signals)
                summary.stopped += farewell if summary.interrupted else ""
            with contextlib.suppress(OSError):  # met again, and said, by what follows
                self.look()
            settle(self.home, self.grid, summary, self._pending, self._workers.names)
        return summary

    def _watch(self, signals: Signals) -> None:
        while True:
            begin = time.monotonic()
            self.look()
            if not self.left:
                return
            signals.check()
            self._workers.tend(self)
            if self._table_is_old:
                self._table_is_old = not self.home.refresh_table()
            # To look at many thousand runs takes its time, on a network more: not most of the time goes there.
            time.sleep(max(self._workers.look_every, time.monotonic() - begin))

    def _stop(self, signals: Signals) -> str:
        """Let the workers save and end, but don't wait for ever, nor for somebody who asks again."""
        more = self._workers.ask_to_stop()
        if self._workers.stopping:
            self.display.note("stopping: the runs in progress save their state (Ctrl-C again: do not wait)")
        deadline = time.monotonic() + _GRACE
        with contextlib.suppress(KeyboardInterrupt):
            while self._workers.stopping and time.monotonic() < deadline:
                signals.check()
                time.sleep(0.05)
        return more

    # -- what is known, for the workers ----------------------------------------------------------------------------

    def look(self) -> None:
        """See what was recorded meanwhile, by whomever, and how far the others are."""
        self._doing = {}
        for run_id, spec in list(self.left.items()):
            entry = self.home.entry(run_id)
            if entry is not None and not self.grid.wants(run_id, entry):
                del self.left[run_id]
                own = self._workers.names is None or entry.worker in self._workers.names
                self.display.finished(spec, entry, own)
                self._table_is_old = True
                continue
            if entry is not None and entry.status == DAMAGED and run_id not in self._damaged:
                self._damaged.add(run_id)
                place = self.home.record(run_id)
                self.display.note(f"{place} is damaged: it is kept aside, and the run done again.")
            progress = Progress.read(self.home.progress(run_id))
            if progress is not None:
                self._doing[run_id] = progress
        self.display.doing([(self.left[run_id], progress) for run_id, progress in self._doing.items()])

    def free(self, most: int) -> int:
        """Return how many runs, at most so many, are left that nobody works on."""
        free = (run_id for run_id in self.left if not self.home.is_claimed(run_id))
        return len(list(itertools.islice(free, most)))

    def come_so_far(self) -> tuple[int, float]:
        """Return how many runs are recorded, and how much of the others is done: it grows as long as anything does."""
        return len(self._pending) - len(self.left), sum(progress.fraction for progress in self._doing.values())

    def unfinished_by(self, worker: str) -> RunSpec | None:
        """Return the run that a worker was doing when it was heard of last."""
        self.look()
        return next((self.left[run_id] for run_id, told in self._doing.items() if told.worker == worker), None)

    def record_failure(self, spec: RunSpec, message: str) -> None:
        """Record that a run cannot be done, unless somebody does it or did."""
        with self.home.claim(spec.run_id) as mine:
            if mine and self.grid.wants(spec.run_id, self.home.entry(spec.run_id)):
                record_failure(self.home, spec, message)
