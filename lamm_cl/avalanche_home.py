"""Avalanche without a home: importing it writes its settings below `~`, which may be full, read-only or not there.

Nor do two processes that import it for the first time at once read what the other has half written.
"""

import json
import os
import sys
from pathlib import Path
from types import ModuleType

_MODULE = "avalanche.benchmarks.datasets.dataset_utils"


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

    module = ModuleType(_MODULE, "Avalanche's settings, kept in memory by lamm_cl.")
    module.__dict__.update(
        AVALANCHE_CONFIG=settings,
        default_dataset_location=default_dataset_location,
        set_dataset_root=set_dataset_root,
        __all__=["default_dataset_location"],
    )
    sys.modules[_MODULE] = module
