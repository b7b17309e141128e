"""A worker process: takes runs from its parent, one after the other, and ends with it."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection as connections
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from lamm_cl.errors import UsageError
from lamm_cl.experiments.costs import Cost
from lamm_cl.experiments.spec import Environment, RunSpec
from lamm_cl.experiments.work import Job, Stopped, Work, perform
from lamm_cl.records import ExperimentDirectory

_SECONDS_BETWEEN_REPORTS = 0.2


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker is told when it starts."""

    directory: Path
    environment: Environment
    device: str
    threads: int
    log: Path
    make_work: Callable[[], Work]


def main(pipe: "Connection[Any, Any]", settings: WorkerSettings) -> None:
    """Serve the parent until it says so or is gone.

    Takes ("check", specs), ("measure", specs), ("run", spec, stamp), ("stop",) and ("exit",); answers
    ("checked", fingerprints, error), ("measured", costs or None, error), ("progress", run_id, fraction, text) and
    ("outcome", run_id, Outcome).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _end_with_parent(settings.log)
    _write_to(settings.log)
    use_threads(settings.threads)
    work = settings.make_work()
    home = ExperimentDirectory(settings.directory)
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            _remove(settings.log)
            return
        if message[0] == "exit":
            return
        if message[0] == "check":
            pipe.send(("checked", *_check(work, message[1], settings)))
        elif message[0] == "measure":
            pipe.send(("measured", *_measure(work, message[1], settings)))
        elif message[0] == "run":
            _run(pipe, work, home, settings, *message[1:])


def use_threads(threads: int) -> None:
    """Fix the number of threads of numerical libraries that are loaded from now on."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)


def _end_with_parent(log: Path) -> None:
    """End this process when its parent is gone, also when that was killed: nobody would hear of its results."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connections.wait([parent.sentinel])
        _remove(log)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _remove(log: Path) -> None:
    """Tidy up for a parent that was killed: the last worker takes the folder of logs with it."""
    with contextlib.suppress(OSError):
        log.unlink()
        log.parent.rmdir()


def _write_to(log: Path) -> None:
    """Send what libraries print to a file: the terminal belongs to the progress display."""
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def _check(work: Work, specs: list[RunSpec], settings: WorkerSettings) -> tuple[dict[str, str], str]:
    try:
        return work.check(specs, settings.environment, settings.device), ""
    except UsageError as error:
        return {}, str(error)


def _measure(work: Work, specs: list[RunSpec], settings: WorkerSettings) -> tuple[list[Cost] | None, str]:
    try:
        return work.measure(specs, settings.environment, settings.device), ""
    except UsageError as error:
        return None, str(error)


def _run(
    pipe: "Connection[Any, Any]",
    work: Work,
    home: ExperimentDirectory,
    settings: WorkerSettings,
    spec: RunSpec,
    stamp: int | None,
) -> None:
    reported = 0.0

    def progress(fraction: float, text: str) -> None:
        nonlocal reported
        if pipe.poll() and pipe.recv()[0] in ("stop", "exit"):
            raise Stopped
        if time.monotonic() - reported > _SECONDS_BETWEEN_REPORTS:
            reported = time.monotonic()
            pipe.send(("progress", spec.run_id, fraction, text))

    job = Job(spec, home.run(spec.run_id), settings.environment, settings.device, progress)
    pipe.send(("outcome", spec.run_id, perform(home, work, job, stamp)))
