"""Which devices this machine has, without importing torch into the main process."""

import functools
import subprocess
import sys

import psutil

from lamm_cl.errors import UsageError
from lamm_cl.strategies.settings import cores

# Runs that share a GPU at first; fewer do when its memory turns out to be too small for so many.
_RUNS_A_GPU = 4
_BYTES_A_WORKER = 1.5 * 2**30
_COUNT = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"


@functools.cache
def count_gpus() -> int:
    """Return how many GPUs torch can use; asked in a process of its own, which takes a second."""
    asked = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=False)
    try:
        return int(asked.stdout.split()[-1])
    except (IndexError, ValueError):
        return 0


def resolve(device: str, remote: bool = False) -> str:
    """Return "cpu", "cuda" or "cuda:N" for what a config says.

    Args:
        device: "auto" takes a GPU where there is one.
        remote: The runs go elsewhere, so that this machine's devices don't matter.

    Raises:
        UsageError: A name that is none, or a GPU that is not there.
    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and (kind != "cuda" or not number.isdigit())):
        raise UsageError(f"unknown device {device!r}. Choices: auto, cpu, cuda, cuda:N.")
    if kind == "cpu" or (remote and kind == "cuda"):
        return device
    count = 0 if remote else count_gpus()
    if kind == "auto":
        return "cuda" if count else "cpu"
    if count <= int(number or 0):
        there = f"it has {count}" if count else "it has none that torch can use"
        raise UsageError(f"device {device!r} is not on this machine: {there}. Use --device cpu, or auto.")
    return device


def default_jobs() -> int:
    """Return the number of workers that the machine has cores and memory for, at least one."""
    return max(1, min(cores(), int(psutil.virtual_memory().available / _BYTES_A_WORKER)))


def most_jobs(device: str, jobs: int) -> int:
    """Return how many workers to start by default on a device, given what cores and memory allow."""
    if not device.startswith("cuda"):
        return jobs
    return min(jobs, _RUNS_A_GPU * (1 if ":" in device else max(1, count_gpus())))


def one_per_worker(device: str, jobs: int) -> list[str]:
    """Return the device of each of `jobs` workers: GPUs are dealt out in turn."""
    if device != "cuda":
        return [device] * jobs
    count = max(1, count_gpus())
    return [f"cuda:{number % count}" for number in range(jobs)]
