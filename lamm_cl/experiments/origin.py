"""Where a result comes from: versions, commit, machine."""

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from lamm_cl import __version__

_PACKAGES = ("torch", "torchvision", "open_clip_torch", "avalanche-lib", "numpy", "safetensors")


@functools.cache
def origin() -> dict[str, Any]:
    """Return versions, git commit and machine, as a record keeps them; asked for once a process."""
    return {
        "versions": {"lamm_cl": __version__, "python": platform.python_version(), **_versions()},
        "git": _git(Path(__file__).parent),
        "machine": {"host": platform.node(), "system": platform.platform(), "processor": _processor()},
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git(directory: Path) -> dict[str, Any] | None:
    """Return the commit of the source and whether files differ from it; None for an installed package."""
    if not (directory.parents[1] / ".git").exists():
        return None
    try:
        commit = _ask(directory, "rev-parse", "HEAD")
        changed = _ask(directory, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changed)}


def _ask(directory: Path, *words: str) -> str:
    command = ["git", "-C", str(directory), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
