"""Workers on this machine: processes that are started, replaced when they die, and asked to save when it is time."""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import connection as connections
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

from lamm_cl.errors import UsageError
from lamm_cl.experiments.follow import Follower, GaveUp
from lamm_cl.experiments.signals import Signals
from lamm_cl.experiments.spec import Grid, RunSpec
from lamm_cl.experiments.work import Outcome, Work, Worker, worker_name
from lamm_cl.records import ExperimentDirectory
from lamm_cl.strategies.settings import FIXED, WORKSPACE

_ASK_AGAIN = 0.5
_MOST_DEATHS = 2


# -- in the worker process -----------------------------------------------------------------------------------------


def main(
    pipe: Any, log: Path, make_work: Callable[[], Work], home: ExperimentDirectory, grid: Grid, **place: Any
) -> None:
    """Answer what the parent asks, a method of `Work` and its runs each time, until it asks to work on the grid.

    The last answer is how that ended: "done" when nothing is left to claim. `log` takes what is printed; `place` is
    what `Worker` takes beside: its device, and how many share that.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The command ends this process when it ends; yet it may have children, the processes that read images for it.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    _end_with_parent(log)
    _write_to(log)
    set_compute(grid.specs[0].threads, grid.specs[0].deterministic)
    work = make_work()
    while True:
        try:
            question, asked = pipe.recv()
        except (EOFError, OSError):
            return
        if question == "work":
            break
        try:
            answer = getattr(work, question)(asked, grid.environment, place["device"])
        except UsageError as error:
            answer = UsageError(str(error))  # one of a plugin's own may not go through a pipe
        pipe.send(answer)
    with Signals() as signals, signals.held():
        pipe.send(Worker(home, grid, work, signals=signals, **place).run())


def set_compute(threads: int, deterministic: bool) -> None:
    """Tell numerical libraries that are loaded from now on how many threads to use, and cuBLAS to repeat its bits."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    if deterministic:
        os.environ[WORKSPACE] = FIXED[0]


def _end_with_parent(log: Path) -> None:
    """End this process when its parent is gone, also when that was killed: it was the user who wanted an end."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connections.wait([parent.sentinel])
        with contextlib.suppress(OSError):  # nobody tidies up for a killed parent: the last worker takes the folder
            log.unlink()
            log.parent.rmdir()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_to(log: Path) -> None:
    """Send what libraries print to a file: the terminal belongs to the progress display."""
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


# -- in the command ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Process:
    """One worker process, and where it prints."""

    number: int
    log: Path
    process: Any
    pipe: Any

    @property
    def name(self) -> str:
        return worker_name(self.process.pid)

    def ask(self, question: str, asked: Any = None) -> None:
        """Ask something; when the process is gone, `answer` says so."""
        with contextlib.suppress(OSError):
            self.pipe.send((question, asked))

    def answer(self, seconds: float | None = None) -> Any:
        """Return the next answer, None when the process is gone, or said nothing for so long."""
        try:
            return self.pipe.recv() if self.pipe.poll(seconds) else None
        except (EOFError, OSError):
            return None

    def obituary(self) -> str:
        """Say how the process ended, with the last thing it printed."""
        self.process.join(5)
        code = self.process.exitcode or 0
        cause = f"ended with code {self.process.exitcode}"
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            cause = f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
        lines = []
        with contextlib.suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"the worker process was {cause}" + (f"; it last said: {lines[-1][:500]}" if lines else "")

    def end(self, seconds: float) -> None:
        """Wait for its end, then force it."""
        self.pipe.close()
        self.process.join(seconds)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()


class LocalWorkers:
    """Worker processes of one command, one for each of the devices."""

    look_every = 0.25

    def __init__(
        self, home: ExperimentDirectory, grid: Grid, make_work: Callable[[], Work], devices: Sequence[str]
    ) -> None:
        self._home, self._grid, self._make_work = home, grid, make_work
        self._devices = dict(enumerate(devices))
        self._context = multiprocessing.get_context("spawn")
        self._logs = tempfile.TemporaryDirectory(prefix="lamm_cl_", ignore_cleanup_errors=True)
        self._processes: dict[int, _Process] = {}
        self._working: set[int] = set()
        self._deaths: Counter[str] = Counter()
        self._ask_at = 0.0
        self.names: set[str] = set()  # of all that were started: what they record is this command's own

    def ask(self, question: str, specs: Sequence[RunSpec]) -> Any:
        """Let a worker `check` or `measure` beforehand; raises `UsageError` as it does, or if none can start."""
        for _ in range(_MOST_DEATHS):
            worker = self._processes.get(0) or self._start(0)
            worker.ask(question, list(specs))
            answer = worker.answer()
            if isinstance(answer, UsageError):
                raise answer
            if answer is not None:
                return answer
            cause = worker.obituary()
            self._let_go(worker)
        raise UsageError(f"no run can start: {cause}.")

    def tend(self, follower: Follower) -> None:
        """Start workers: at first, for those that died, and for those that ended though something is left to claim.

        Raises `GaveUp` where the disk does not take results, or workers cannot start.
        """
        for worker in list(self._processes.values()):
            if not worker.process.is_alive():
                self._bury(worker, follower)
        idle = [number for number in self._devices if number not in self._working]
        if idle and time.monotonic() >= self._ask_at:
            for number in idle[: follower.free(len(idle))]:
                self._working.add(number)
                (self._processes.get(number) or self._start(number)).ask("work")
            self._ask_at = time.monotonic() + _ASK_AGAIN

    def ask_to_stop(self) -> str:
        """Ask the workers to save and end."""
        for worker in self._processes.values():
            worker.process.terminate()
        return ""

    @property
    def stopping(self) -> bool:
        """Whether any of them has not ended."""
        return any(worker.process.is_alive() for worker in self._processes.values())

    def close(self) -> None:
        """End all workers: those that work have a moment to end by themselves."""
        deadline = time.monotonic() + (2.0 if self._working else 0.0)
        for worker in list(self._processes.values()):
            self._let_go(worker, max(0.0, deadline - time.monotonic()))
        self._logs.cleanup()

    def _start(self, number: int) -> _Process:
        log, home = Path(self._logs.name) / f"worker-{number}.log", ExperimentDirectory(self._home.path.absolute())
        place = {"device": self._devices[number], "on_device": self._on_device(number), "sharing": len(self._devices)}
        ours, theirs = self._context.Pipe()
        given = (theirs, log, self._make_work, home, self._grid)
        process = self._context.Process(target=main, args=given, kwargs=place, name=f"lamm-cl-{number}", daemon=True)
        # The process inherits that Ctrl-C is not for it: that reaches the whole group of the terminal.
        main_thread = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGINT, signal.SIG_IGN) if main_thread else None
        try:
            process.start()
        finally:
            if main_thread:
                signal.signal(signal.SIGINT, before)
        theirs.close()
        made = self._processes[number] = _Process(number, log, process, ours)
        self.names.add(made.name)
        return made

    def _let_go(self, worker: _Process, seconds: float = 2.0) -> None:
        del self._processes[worker.number]
        self._working.discard(worker.number)
        worker.end(seconds)

    def _on_device(self, number: int) -> int:
        return list(self._devices.values()).count(self._devices[number])

    def _bury(self, worker: _Process, follower: Follower) -> None:
        """See why a worker ended; what it worked on is done again."""
        ended: Outcome | None = worker.answer(0)
        cause = "" if ended else worker.obituary()
        self._let_go(worker)
        if ended is not None:
            if ended.status == "disk":
                raise GaveUp(ended.message)
            if ended.status == "memory" and self._on_device(worker.number) > 1:
                device = self._devices.pop(worker.number)
                follower.display.note(f"{device} is too small for one more run at a time: one worker less")
            elif ended.status == "device":
                follower.display.note(f"a worker process is replaced after an error of its GPU: {ended.message}")
        else:
            spec = follower.unfinished_by(worker.name)
            key = spec.run_id if spec else f"after {follower.come_so_far()[0]} runs"
            self._deaths[key] += 1
            again = self._deaths[key] < _MOST_DEATHS
            if spec is not None:
                follower.display.note(f"{spec}: {cause}" + ("; trying once more" if again else ""))
                if not again:
                    follower.record_failure(spec, f"{cause}, twice.")
            elif not again:
                raise GaveUp(f"workers do not start: {cause}.")
