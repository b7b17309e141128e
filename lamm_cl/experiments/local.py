"""A grid on this machine: runs handed to worker processes until all are recorded."""

import contextlib
import time
from collections import deque
from collections.abc import Sequence

from lamm_cl.errors import UsageError
from lamm_cl.experiments.pool import Pool, Worker
from lamm_cl.experiments.progress import Display
from lamm_cl.experiments.signals import Interrupted, Signals
from lamm_cl.experiments.spec import RunSpec
from lamm_cl.experiments.summary import Summary
from lamm_cl.experiments.work import Outcome, record_failure, record_stamp
from lamm_cl.records import FAILED, ExperimentDirectory

_TICK = 0.25
_TABLE_EVERY = 1.0
_ASK_AGAIN = 0.5


class LocalRun:
    """One command's work on a grid.

    Args:
        home: The experiment's directory.
        pool: Worker processes, the first ones started.
        pending: Runs to do, in this order.
        summary: Counts what becomes of them.
        display: Shows it.
        grace: Seconds that workers have to save their state after Ctrl-C.
    """

    def __init__(
        self,
        home: ExperimentDirectory,
        pool: Pool,
        pending: Sequence[RunSpec],
        summary: Summary,
        display: Display,
        grace: float = 20.0,
    ) -> None:
        self._home = home
        self._pool = pool
        self._pending = deque(pending)
        self._summary = summary
        self._display = display
        self._grace = grace
        self._stamps = {spec.run_id: record_stamp(home, spec.run_id) for spec in pending}
        self._waiting: dict[str, tuple[RunSpec, float]] = {}
        self._deaths: dict[str, int] = {}
        self._alone: set[str] = set()
        self._table_due: float | None = None
        self._table_takes = 0.0
        self._signals = Signals()

    def run(self) -> Summary:
        """Do everything; returns also after Ctrl-C, a full disk, a damaged directory or workers that cannot start."""
        try:
            with self._signals:
                self._follow()
        finally:
            self._pool.close()
        self._make_table()
        return self._summary

    def _follow(self) -> None:
        """Work until all is done or something stops it."""
        try:
            self._loop()
        except KeyboardInterrupt as error:
            self._summary.interrupted = True
            self._summary.stopped = "ended by SIGTERM." if isinstance(error, Interrupted) else "interrupted."
            self._display.note("stopping: the runs in progress save their state (Ctrl-C again: do not wait)")
            self._stop()
        except OSError as error:
            trouble = self._home.trouble(error)
            if trouble is None:
                raise
            self._no_room(trouble)

    # -- the loop --------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while not self._summary.stopped and (self._pending or self._waiting or self._busy()):
            self._signals.check()
            self._look_at_others()
            for worker in list(self._pool.workers):
                if worker.spec is None and self._pending:
                    self._hand_out(worker)
            for worker in self._pool.events(_TICK):
                self._hear(worker)
            self._display.tick()
            if self._table_due is not None and time.monotonic() >= self._table_due:
                begin = time.monotonic()
                self._home.rebuild_table()
                self._table_due, self._table_takes = None, time.monotonic() - begin

    def _busy(self) -> list[Worker]:
        return [worker for worker in self._pool.workers if worker.spec is not None]

    def _hand_out(self, worker: Worker) -> None:
        spec = self._pending.popleft()
        worker.spec = spec
        if not self._pool.sharing(worker):
            self._alone.add(spec.run_id)
        self._display.started(worker.number, spec)
        if not worker.send("run", spec, self._stamps[spec.run_id]):
            self._bury(worker)

    def _hear(self, worker: Worker) -> None:
        message = worker.receive()
        if message is None:
            self._bury(worker)
        elif message[0] == "progress" and worker.spec is not None:
            self._display.moved(worker.number, message[2], message[3])
        elif message[0] == "outcome" and worker.spec is not None:
            spec, worker.spec = worker.spec, None
            self._display.idle(worker.number)
            self._settle(worker, spec, message[2])

    def _settle(self, worker: Worker, spec: RunSpec, outcome: Outcome) -> None:
        if outcome.status == "busy":
            self._waiting[spec.run_id] = (spec, time.monotonic() + _ASK_AGAIN)
        elif outcome.status == "elsewhere":
            self._found(spec)
        elif outcome.status == "disk":
            self._pending.appendleft(spec)
            self._no_room(outcome.message)
        elif outcome.status == "memory":
            self._no_memory(worker, spec, outcome.message)
        elif outcome.status == "stopped":
            self._pending.appendleft(spec)
        else:
            self._count(spec, outcome)

    def _count(self, spec: RunSpec, outcome: Outcome) -> None:
        if outcome.status == "failed":
            self._summary.failed.append((spec, outcome.message))
        else:
            self._summary.done += 1
        self._display.finished(spec, outcome)
        if self._table_due is None:
            # A table of many thousand runs takes seconds to write: not more than a twentieth of the time goes there.
            self._table_due = time.monotonic() + max(_TABLE_EVERY, 20 * self._table_takes)

    def _found(self, spec: RunSpec) -> None:
        """Count a run that another command recorded."""
        record = self._home.record(spec.run_id)
        if record is None:
            self._stamps[spec.run_id] = record_stamp(self._home, spec.run_id)
            self._pending.append(spec)
        elif record.status == FAILED:
            self._summary.failed.append((spec, record.error or ""))
            self._display.finished(spec, Outcome("failed", record.error or ""))
        else:
            self._summary.elsewhere += 1
            self._display.finished(spec, Outcome("elsewhere"))

    def _look_at_others(self) -> None:
        """See what became of the runs that other commands work on; take over those of a command that died."""
        now = time.monotonic()
        for run_id, (spec, due) in list(self._waiting.items()):
            if now < due:
                continue
            del self._waiting[run_id]
            if record_stamp(self._home, run_id) != self._stamps[run_id]:
                self._found(spec)
            else:
                self._pending.append(spec)

    # -- trouble ---------------------------------------------------------------------------------------------------

    def _bury(self, worker: Worker) -> None:
        """Replace a worker that died; its run is tried once more."""
        spec, cause = worker.spec, worker.obituary()
        self._display.idle(worker.number)
        self._pool.retire(worker)
        key = spec.run_id if spec else ""
        self._deaths[key] = self._deaths.get(key, 0) + 1
        if spec is None and self._deaths[key] > 2:
            self._summary.stopped = f"workers do not start: {cause}."
            return
        self._pool.start(worker.number)
        if spec is None:
            return
        self._display.note(f"{spec}: {cause}" + ("; trying once more" if self._deaths[key] == 1 else ""))
        if self._deaths[key] == 1:
            self._pending.appendleft(spec)
            return
        self._record_failure(spec, f"{cause}, twice.")

    def _record_failure(self, spec: RunSpec, message: str) -> None:
        with self._home.claim(spec.run_id) as mine:
            changed = record_stamp(self._home, spec.run_id) != self._stamps[spec.run_id]
            if mine and not changed:
                self._count(spec, record_failure(self._home, spec, message))
                return
        self._waiting[spec.run_id] = (spec, time.monotonic() + _ASK_AGAIN)

    def _no_memory(self, worker: Worker, spec: RunSpec, message: str) -> None:
        """Let fewer runs share a GPU; one that does not fit alone has failed."""
        if spec.run_id in self._alone:
            self._record_failure(spec, message)
            return
        self._pending.appendleft(spec)
        if self._pool.sharing(worker):
            self._display.note(f"{worker.settings.device} is too small for one more run at a time: one worker less")
            self._pool.retire(worker)

    def _no_room(self, trouble: str) -> None:
        self._summary.stopped = trouble
        self._stop()

    def _stop(self) -> None:
        """Ask the busy workers to save and stop, and wait for it, but not for ever."""
        deadline = time.monotonic() + self._grace
        with contextlib.suppress(KeyboardInterrupt):
            for worker in self._busy():
                worker.send("stop")
            while self._busy() and time.monotonic() < deadline:
                self._signals.check()
                for worker in self._pool.events(_TICK):
                    self._last_words(worker)

    def _last_words(self, worker: Worker) -> None:
        message = worker.receive()
        if message is None:
            worker.spec = None
            self._pool.retire(worker)
        elif message[0] == "outcome" and worker.spec is not None:
            spec, worker.spec = worker.spec, None
            if message[2].status in ("done", "failed"):
                self._count(spec, message[2])

    def _make_table(self) -> None:
        try:
            self._home.rebuild_table()
        except OSError as error:
            trouble = self._home.trouble(error)
            if trouble is None:
                raise
            if not self._summary.stopped:
                self._no_room(trouble)


def preflight(pool: Pool, specs: Sequence[RunSpec]) -> dict[str, str]:
    """Let the first worker find out what no run could survive, before anything is written.

    Returns:
        Fingerprints of what the runs read, by name.

    Raises:
        UsageError: What the worker found, or that it cannot start.
    """
    for _ in range(2):
        worker = pool.start(0)
        message = worker.receive() if worker.send("check", list(specs)) else None
        if message is None:
            cause = worker.obituary()
            pool.retire(worker)
        elif message[2]:
            raise UsageError(message[2])
        else:
            found: dict[str, str] = message[1]
            return found
    raise UsageError(f"no run can start: {cause}.")
