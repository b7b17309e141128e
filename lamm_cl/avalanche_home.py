"""Avalanche without a home: importing it writes its settings below `~`, which may be full, read-only or not there.

Nor do two processes that import it for the first time at once read what the other has half written. Nor does a command
wait for packages that few of its metrics and plugins use: they are a third of the time that its import takes and more.
"""

import importlib
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_MODULE = "avalanche.benchmarks.datasets.dataset_utils"
_LATER = ("gdown", "qpsolvers", "torchmetrics", "torchmetrics.functional", "wandb")


class _Later(ModuleType):
    """A package that is imported as soon as something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name in {"__file__", "__path__", "__wrapped__"}:  # asked of every module: by `inspect`, by an import
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


def _accuracy(*args: Any, **options: Any) -> Any:
    from torchmetrics.functional import accuracy

    return accuracy(*args, **options)


def import_avalanche() -> None:
    """Import Avalanche, but what only its top-k accuracy, GEM, downloads and Weights & Biases use when they do.

    A process that only wants to import it may do without this call; it then waits a second longer.
    """
    if "avalanche" in sys.modules or any(name in sys.modules for name in _LATER):
        return
    do_without()
    sys.modules.update({name: _Later(name) for name in _LATER})
    sys.modules["torchmetrics.functional"].__dict__["accuracy"] = _accuracy
    try:
        importlib.import_module("avalanche.evaluation.metrics")
    finally:
        for name in _LATER:
            del sys.modules[name]  # nobody else meets them


def do_without() -> None:
    """Stand in for Avalanche's settings unless there are some that can be read; called before it is imported."""
    place = Path(os.path.expanduser("~/.avalanche"))  # noqa: PTH111 - this one never raises
    try:
        sound = "dataset_location" in json.loads((place / "config.json").read_bytes())
    except (OSError, ValueError, TypeError):
        sound = False
    if sound or _MODULE in sys.modules:
        return
    settings = {"dataset_location": str(place / "data")}

    def default_dataset_location(dataset_name: str) -> Path:
        return Path(settings["dataset_location"]) / dataset_name

    def set_dataset_root(root_dir: str) -> None:
        settings["dataset_location"] = root_dir

    module: Any = ModuleType(_MODULE, "Avalanche's settings, kept in memory by lamm_cl.")
    module.AVALANCHE_CONFIG, module.__all__ = settings, ["default_dataset_location"]
    module.default_dataset_location, module.set_dataset_root = default_dataset_location, set_dataset_root
    sys.modules[_MODULE] = module
