"""A worker, here or on a cluster: claim a run that nobody has, do it, go on. Each is recorded whatever happens."""

import contextlib
import datetime
import functools
import gc
import importlib.metadata
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lamm_cl import __version__
from lamm_cl.avalanche_home import import_avalanche
from lamm_cl.errors import UsageError
from lamm_cl.experiments.signals import Signals
from lamm_cl.experiments.spec import CHECKPOINT, Cost, Environment, Grid, Job, Result, RunSpec, Stopped
from lamm_cl.records import DONE, FAILED, ExperimentDirectory, Progress, Record


class Work:
    """What a worker does; it alone imports torch, when it does something."""

    def check(self, specs: Sequence[RunSpec], environment: Environment, device: str) -> dict[str, str]:
        """Raise `UsageError` for what no run could survive; return fingerprints of data and weights."""
        import_avalanche()
        from lamm_cl.experiments.preflight import check

        return check(specs, environment, device)

    def measure(self, specs: Sequence[RunSpec], environment: Environment, device: str) -> list[Cost]:
        """Return what each run will cost, from a few timed steps; raises `UsageError` as `check` does."""
        import_avalanche()
        from lamm_cl.experiments.calibrate import measure

        return measure(specs, environment, device)

    def execute(self, job: Job) -> Result:
        """Do a run from its last checkpoint, or from the start."""
        import_avalanche()
        from lamm_cl.experiments.run_one import execute

        return execute(job)


# After one of these, every later call of the process fails in the same way: assertions and wrong addresses in kernels.
_BROKEN = ("CUDA error", "CUBLAS_STATUS_", "CUDNN_STATUS_", "cuDNN error", "device-side assert")
_NO_MEMORY = ("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED", "CUDA error: out of memory")
BROKE_ONCE = "device-error"  # in a run's directory: a worker gave it up, and another may try it once more


@dataclass(frozen=True)
class Outcome:
    """How a worker ended.

    "done": nothing is left to claim; "stopped": what was begun is saved for later; "disk": the experiment's directory
    cannot be written; "memory": there was no room for a run beside others; "device": an error of CUDA, after which this
    process can use the GPU no more; another tries the run once more, then it has failed.
    """

    status: Literal["done", "stopped", "disk", "memory", "device"]
    message: str = ""  # one line about it


def worker_name(number: int | None = None) -> str:
    """Return what records and progress call a worker: its machine and the number of its process, of this one."""
    return f"{platform.node()}:{number or os.getpid()}"


def _executed(work: Work, job: Job) -> Result:
    """Do a run; where the GPU had no memory for it, once more from its last checkpoint with pieces of half the size."""
    try:
        return work.execute(job)
    except Exception as error:
        if not _is_gpu_memory(error):
            raise
    gc.collect()  # out of the handler, where nothing holds the tensors of the first try any more
    return work.execute(replace(job, halved=True))


def record_failure(
    home: ExperimentDirectory, spec: RunSpec, error: BaseException | str, started: datetime.datetime | None = None
) -> None:
    """Write the record of a run that failed; the next command tries it again from its start."""
    started = started or datetime.datetime.now(datetime.UTC)
    if isinstance(error, str):
        text = {"kind": "WorkerDied", "message": error, "traceback": ""}
    else:
        trace = "" if isinstance(error, UsageError) else "".join(traceback.format_exception(error))
        text = {"kind": type(error).__name__, "message": str(error), "traceback": trace}
    first = (text["message"].strip() or text["kind"]).splitlines()[0]
    text["line"] = first if isinstance(error, str | UsageError) else f"{text['kind']}: {first}"
    _record(home, spec, FAILED, started, Result((), {"error": text}))


def _record(home: ExperimentDirectory, spec: RunSpec, status: str, started: datetime.datetime, result: Result) -> None:
    seconds = (datetime.datetime.now(datetime.UTC) - started).total_seconds()
    ran = {"worker": worker_name(), "started": started.isoformat(timespec="seconds"), "seconds": seconds}
    known = {"config": spec.determines(), **origin(), **ran, "error": None, **result.details}
    Record(spec.run_id, status, spec.columns(), result.rows, known).write(home.record(spec.run_id))
    forget_checkpoint(home, spec.run_id)


def forget_checkpoint(home: ExperimentDirectory, run_id: str) -> None:
    """Remove the state of a run that has ended; call it inside `claim`."""
    for name in (CHECKPOINT, BROKE_ONCE):
        with contextlib.suppress(OSError):
            (home.run(run_id) / name).unlink(missing_ok=True)


def tidy(home: ExperimentDirectory, run_id: str) -> None:
    """Remove the state of a run that is done, where whoever did it was killed before it could."""
    if (home.run(run_id) / CHECKPOINT).exists() and home.is_done(run_id):
        with home.claim(run_id) as mine:
            if mine:
                forget_checkpoint(home, run_id)


def _is_gpu_memory(error: BaseException) -> bool:
    known = type(error).__name__ == "OutOfMemoryError" and type(error).__module__.startswith("torch")
    return known or (isinstance(error, RuntimeError) and any(word in str(error) for word in _NO_MEMORY))


def _is_broken_device(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _BROKEN) and not _is_gpu_memory(error)


# -- where a result comes from -----------------------------------------------------------------------------------------

_PACKAGES = ("torch", "torchvision", "open_clip_torch", "avalanche-lib", "numpy", "safetensors")


@functools.cache
def origin() -> dict[str, Any]:
    """Return versions, git commit and machine, as a record keeps them; asked for once a process."""
    versions = {"lamm_cl": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    machine = {"host": platform.node(), "system": platform.platform(), "processor": _processor()}
    return {"versions": versions, "git": _git(Path(__file__).parent), "machine": machine}


def _git(directory: Path) -> dict[str, Any] | None:
    """Return the commit of the source and whether files differ from it; None for an installed package."""
    if not (directory.parents[1] / ".git").exists():
        return None
    command = ["git", "-C", str(directory), "describe", "--always", "--exclude=*", "--abbrev=40", "--dirty"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": said.removesuffix("-dirty"), "changed": said.endswith("-dirty")}


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


_SECONDS_BETWEEN_REPORTS = 0.5


@dataclass
class Worker:
    """Does the runs of a grid, one after the other, that nobody else does or did."""

    home: ExperimentDirectory
    grid: Grid
    work: Work
    device: str
    signals: Signals  # held ones; they ask to save and stop
    tell: Callable[[RunSpec], None] = lambda spec: None  # hears of each run that is recorded
    on_device: int = 1  # workers of the device that are known, this one included; see `Job`
    sharing: int = 1  # workers of this machine that are known, this one included

    def run(self) -> Outcome:
        """Work until nothing is left to claim, or something else ends it."""
        worked = True
        try:
            while worked:
                worked = False
                for spec in self.grid.specs:
                    if self.signals.noted:
                        return Outcome("stopped")
                    if not self._is_wanted(spec):
                        continue
                    with self.home.claim(spec.run_id) as mine:
                        if not mine or not self._is_wanted(spec):
                            continue
                        ended = self._do(spec)
                    if ended is not None:
                        return ended
                    worked = True
                    self.tell(spec)
                    # Strategies, models and loaders refer to each other in cycles. They are few objects with much
                    # memory behind them, and Python, which counts objects, would collect them late.
                    gc.collect()
        except OSError as error:
            return Outcome("disk", self.home.explain(error))
        return Outcome("done")

    def _is_wanted(self, spec: RunSpec) -> bool:
        return self.grid.wants(spec.run_id, self.home.entry(spec.run_id))

    def _do(self, spec: RunSpec) -> Outcome | None:
        """Do a run and record it, done or failed; return what ends the worker, if anything does."""
        due = 0.0

        def report(fraction: float, text: str) -> None:
            nonlocal due
            if self.signals.noted:
                raise Stopped
            if time.monotonic() >= due:
                due = time.monotonic() + _SECONDS_BETWEEN_REPORTS
                Progress(worker_name(), fraction, text).write(self.home.progress(spec.run_id))

        started = datetime.datetime.now(datetime.UTC)
        directory = self.home.run(spec.run_id)
        job = Job(spec, directory, self.grid.environment, self.device, report, self.on_device, self.sharing)
        try:
            report(0.0, "starting")
            result = _executed(self.work, job)
        except Stopped:
            return Outcome("stopped")
        except Exception as error:
            if trouble := self.home.trouble(error):
                return Outcome("disk", trouble)
            if self.on_device > 1 and _is_gpu_memory(error):
                return Outcome("memory", str(error).splitlines()[0])
            if not _is_broken_device(error):
                record_failure(self.home, spec, error, started)
                return None
            # Another worker goes on from the checkpoint; the second time the run has failed.
            first = f"{self.device}: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
            met = directory / BROKE_ONCE
            if met.exists():
                record_failure(self.home, spec, error, started)
                return Outcome("device", f"{first}; the run has failed, twice.")
            met.write_text(first, encoding="utf-8")
            return Outcome("device", f"{first}; another worker process will try the run once more.")
        _record(self.home, spec, DONE, started, result)
        return None
