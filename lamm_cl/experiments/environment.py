"""What this machine must offer runs beside data and weights: devices, loggers that can log, a folder for features."""

import configparser
import contextlib
import functools
import importlib.util
import inspect
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from lamm_cl.clip.cache_folder import default_folder, distrust
from lamm_cl.errors import UsageError, check_known
from lamm_cl.experiments.spec import Environment
from lamm_cl.files import check_writable
from lamm_cl.strategies.settings import cores

_SILENT = ("offline", "disabled", "dryrun")
# Runs that share a GPU at first; fewer do when its memory turns out to be too small for so many.
_RUNS_A_GPU = 4
_BYTES_A_WORKER = 1.5 * 2**30
_COUNT = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"


@functools.cache
def count_gpus() -> int:
    """Return how many GPUs torch can use; a process of its own says it, in a second: this one goes without torch."""
    asked = subprocess.run([sys.executable, "-c", _COUNT], capture_output=True, text=True, check=False)
    try:
        return int(asked.stdout.split()[-1])
    except (IndexError, ValueError):
        return 0


def find_device(device: str, remote: bool = False) -> str:
    """Return "cpu", "cuda" or "cuda:N" for what a config says; "auto" takes a GPU where there is one.

    Raises `UsageError` for another name, or a GPU that is not there; where the runs are remote, this machine's devices
    don't matter.
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


def default_jobs(device: str) -> int:
    """Return the number of workers that cores, memory and a device have room for, at least one."""
    jobs = max(1, min(cores(), int(psutil.virtual_memory().available / _BYTES_A_WORKER)))
    if not device.startswith("cuda"):
        return jobs
    return min(jobs, _RUNS_A_GPU * (1 if ":" in device else max(1, count_gpus())))


def one_per_worker(device: str, jobs: int) -> list[str]:
    """Return the device of each of `jobs` workers: GPUs are dealt out in turn."""
    if device != "cuda":
        return [device] * jobs
    count = max(1, count_gpus())
    return [f"cuda:{number % count}" for number in range(jobs)]


def check_loggers(loggers: Mapping[Any, Mapping[str, Any]]) -> None:
    """Refuse loggers that would fail in every run: no package, no such option of W&B, or nobody logged in to it."""
    for name in loggers:
        if name in ("tensorboard", "wandb") and importlib.util.find_spec(name) is None:
            raise UsageError(f"logger {name!r} needs the package: pip install 'lamm_cl[{name}]'.")
    if "wandb" not in loggers:
        return
    import wandb

    options = loggers["wandb"]
    choices = inspect.signature(wandb.init).parameters
    check_known("option of logger wandb", options, choices)
    if not _may_log(options):
        raise UsageError(
            "logger 'wandb' has no API key: run `wandb login`, set WANDB_API_KEY, or let it write to the runs' "
            "directories only with WANDB_MODE=offline or loggers.wandb.mode=offline."
        )


def _may_log(options: Mapping[str, Any]) -> bool:
    """Whether W&B will find a key or wants none; in doubt, when it is told more than we read, it will."""
    from requests.utils import get_netrc_auth

    told = stays_here(options) or {"settings", "anonymous"} & set(options)
    if told or os.environ.get("WANDB_IDENTITY_TOKEN_FILE") or os.environ.get("WANDB_API_KEY"):
        return True
    with contextlib.suppress(UnicodeDecodeError):  # of a netrc that is no text
        return "api_key" in _stored_settings() or get_netrc_auth(wandb_server()) is not None
    return False


def stays_here(options: Mapping[str, Any]) -> bool:
    """Whether W&B sends nothing, by its options, the environment, or what `wandb offline` has stored."""
    mode = options.get("mode", os.environ.get("WANDB_MODE"))
    return mode in _SILENT or (mode is None and _stored_settings().get("mode") in _SILENT)


def wandb_server() -> str:
    """Return the address that W&B sends to."""
    return os.environ.get("WANDB_BASE_URL") or _stored_settings().get("base_url") or "https://api.wandb.ai"


def _stored_settings() -> dict[str, str]:
    """Return what `wandb login` and `wandb offline` keep for the user."""
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    with contextlib.suppress(configparser.Error, OSError, UnicodeDecodeError):
        parser.read([folder / "settings", Path("wandb") / "settings"])
    return dict(parser["default"]) if parser.has_section("default") else {}


def cache_folder(environment: Environment) -> Path | None:
    """Return the folder of cached image features; None where the config says `cache: false`."""
    if environment.cache is False:
        return None
    return Path(environment.cache).expanduser() if isinstance(environment.cache, str) else default_folder()


def cache_trouble(environment: Environment) -> str | None:
    """Say why image features can't be kept on disk, None when they can; runs go on without."""
    folder = cache_folder(environment)
    try:
        if folder is not None:
            check_writable(folder)
            if reason := distrust(folder):
                return f"the feature cache {folder} is not used: {reason}. Image features are computed in every run."
    except OSError as error:
        return (
            f"the feature cache {folder} can't be used ({error.strerror}): image features are computed again in every "
            "run. Set `cache` or LAMM_CL_CACHE to a folder that can be written."
        )
    return None
