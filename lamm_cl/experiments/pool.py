"""Worker processes: started, asked, replaced."""

import contextlib
import multiprocessing
import multiprocessing.context
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing import connection as connections
from pathlib import Path
from typing import Any

from lamm_cl.experiments import worker
from lamm_cl.experiments.spec import RunSpec
from lamm_cl.experiments.worker import WorkerSettings

_GIGABYTES_A_WORKER = 1.5


def default_jobs() -> int:
    """Return the number of workers that the machine has cores and memory for, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(_free_gigabytes() / _GIGABYTES_A_WORKER)))


def _free_gigabytes() -> float:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) / 2**20
    return float("inf")


@dataclass
class Worker:
    """One worker process and what it is doing.

    Attributes:
        number: Of the worker, from 0.
        spec: The run it works on; None while it waits.
    """

    number: int
    settings: WorkerSettings
    process: Any
    pipe: Any
    spec: RunSpec | None = None

    def send(self, *message: Any) -> bool:
        """Send a message; False when the worker is gone."""
        try:
            self.pipe.send(message)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[Any, ...] | None:
        """Return the next message, None when the worker is gone."""
        try:
            message: tuple[Any, ...] = self.pipe.recv()
        except (EOFError, OSError):
            return None
        return message

    def obituary(self) -> str:
        """Say how the process ended, with the last thing it printed."""
        self.process.join(5)
        code = self.process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            cause = f"killed by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")
        else:
            cause = f"ended with code {code}"
        last = _last_line(self.settings.log)
        return f"the worker process was {cause}" + (f"; it last said: {last}" if last else "")


def _last_line(log: Path) -> str:
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1][:300] if lines else ""


class Pool:
    """Worker processes on a list of devices, each with a number.

    Args:
        settings: For every worker; device and log are filled in.
        devices: One per worker.
    """

    def __init__(self, settings: Callable[[str, Path], WorkerSettings], devices: Sequence[str]) -> None:
        self._settings = settings
        self._context = multiprocessing.get_context("spawn")
        self._logs = tempfile.TemporaryDirectory(prefix="lamm_cl_", ignore_cleanup_errors=True)
        self._devices = list(devices)
        self.workers: list[Worker] = []

    def start(self, number: int) -> Worker:
        """Start worker `number`, in place of a former one of that number."""
        settings = self._settings(self._devices[number], Path(self._logs.name) / f"worker-{number}.log")
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=worker.main, args=(theirs, settings), name=f"lamm-cl-{number}", daemon=True
        )
        with _ignoring_interrupts():
            process.start()
        theirs.close()
        made = Worker(number, settings, process, ours)
        self.workers = sorted([w for w in self.workers if w.number != number] + [made], key=lambda w: w.number)
        return made

    def retire(self, one: Worker) -> None:
        """Let go of a worker that is gone or not wanted any more."""
        one.send("exit")
        one.pipe.close()
        self.workers = [other for other in self.workers if other is not one]
        self._await([one], 2.0)

    def events(self, seconds: float) -> Iterator[Worker]:
        """Yield the workers that have something to say or have ended, after at most `seconds`.

        What is done about one worker may hear out or replace the next: each is looked at again before it is yielded, so
        that whoever receives from it never waits.
        """
        pipes = {one.pipe: one for one in self.workers}
        for pipe in connections.wait(list(pipes), seconds):
            one = pipes[pipe]
            if one in self.workers and one.pipe.poll():
                yield one

    def sharing(self, one: Worker) -> list[Worker]:
        """Return the other workers on the same device."""
        return [w for w in self.workers if w is not one and w.settings.device == one.settings.device]

    def close(self, seconds: float = 2.0) -> None:
        """End all workers: first by asking, after `seconds` by force."""
        for one in self.workers:
            one.send("exit")
        self._await(self.workers, seconds)
        for one in self.workers:
            one.pipe.close()
        self.workers = []
        self._logs.cleanup()

    @staticmethod
    def _await(workers: Sequence[Worker], seconds: float) -> None:
        connections.wait([one.process.sentinel for one in workers][:1], 0)
        for one in workers:
            one.process.join(seconds)
            if one.process.is_alive():
                one.process.terminate()
                one.process.join(2)
            if one.process.is_alive():
                one.process.kill()
                one.process.join()


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Make child processes inherit that Ctrl-C is not for them: it reaches the whole group of the terminal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def on_device(settings: WorkerSettings) -> Callable[[str, Path], WorkerSettings]:
    """Return a maker of settings for `Pool`."""
    return lambda device, log: replace(settings, device=device, log=log)
