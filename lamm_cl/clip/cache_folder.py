"""The folder of cached features, as files: where it is, what is in it, how it is kept small. Needs no torch.

    FOLDER/<scope>/scope.json                          what the features under it depend on
    FOLDER/<scope>/<view>/<count>-<name>.safetensors   features of <count> images in one view
    FOLDER/<scope>/<view>/lock                         held by who computes and writes what is missing

A file's time of change is when it was last used. Only files of this form are ever deleted. Whoever can write the folder
can plant features, and links that lead a process to files elsewhere: such a folder is used only where the user says so.
"""

import contextlib
import errno
import json
import math
import os
import re
import stat
import sys
import time
from pathlib import Path
from typing import Any

from lamm_cl.errors import UsageError
from lamm_cl.files import TEMPORARY, write_atomic
from lamm_cl.locks import Lock

if sys.platform != "win32":
    import grp
    import pwd

GIB = 1024**3
SHARED = "LAMM_CL_CACHE_SHARED"  # set to 1, folders that others can write are used too
DEFAULT_GIB = 10.0
SEGMENT = ".safetensors"
_NAME = re.compile(r"[0-9a-f]{16}")
_SEGMENT_NAME = re.compile(r"(\d+)-[0-9a-f]{16}\.safetensors")
_HALF = (
    TEMPORARY,
    ".claim",
)  # what a killed process left half written, of this version and, with claims, of earlier ones


def default_folder() -> Path:
    """Return the folder of cached features: $LAMM_CL_CACHE, or `lamm_cl/features` in the user's cache folder."""
    if chosen := os.environ.get("LAMM_CL_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "lamm_cl" / "features"


def limit() -> int:
    """Return how many bytes a cache folder may hold: $LAMM_CL_CACHE_GIB, which is checked, or 10 GiB."""
    said = os.environ.get("LAMM_CL_CACHE_GIB", "").strip()
    try:
        gib = float(said) if said else DEFAULT_GIB
    except ValueError:
        gib = math.nan
    if not 0 <= gib < math.inf:
        raise UsageError(f"LAMM_CL_CACHE_GIB={said!r} must be a number of GiB, such as 2.5.")
    return int(gib * GIB)


def _segments(scope: Path) -> list[tuple[os.stat_result, Path]]:
    """List a scope's files of features, each with what the system says of it."""
    files = [file for view in _folders(scope) for file in list_files(view) if _SEGMENT_NAME.fullmatch(file.name)]
    return [(found, file) for file in files if (found := stat_of(file)) is not None]


def scope_folders(folder: Path) -> list[Path]:
    """List the scopes' folders: those with a scope.json and a name of ours."""
    return [scope for scope in _folders(folder) if (scope / "scope.json").is_file()]


def status(folder: Path) -> list[dict[str, Any]]:
    """Return what is in a cache folder, the last used scope first: all features of a backbone with one transform.

    Each has `backbone`, `pretrained`, `weights` and `device`; the numbers of its `features`, its `views` (evaluation is
    one, every epoch of training another) and its `bytes`; and when it was last `used`, in seconds since 1970.
    """
    found: list[dict[str, Any]] = []
    for scope in scope_folders(folder):
        try:
            about = json.loads((scope / "scope.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            about = {}
        about = about if isinstance(about, dict) else {}
        engine, files = about.get("engine"), _segments(scope)
        entry: dict[str, Any] = {
            "backbone": str(about.get("backbone", "?")),
            "pretrained": str(about.get("pretrained", "")),
            "weights": str(about.get("weights", "?")),
            "device": str(engine.get("device", "?")) if isinstance(engine, dict) else "?",
            "features": sum(int(file.name.partition("-")[0]) for _, file in files),
            "views": len({file.parent for _, file in files}),
            "bytes": sum(stat.st_size for stat, _ in files),
            "used": max((stat.st_mtime for stat, _ in files), default=0.0),
        }
        found.append(entry)
    return sorted(found, key=lambda entry: -entry["used"])


def list_files(folder: Path) -> list[Path]:
    """List what is in a folder, in order; nothing where it can't be read."""
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir())
    return []


def make_view(view: Path, about: dict[str, Any]) -> None:
    """Make a view's folder and its scope's `scope.json`; OSError where that is impossible, or the cache not trusted."""
    scope = view.parent
    refuse_links(view, scope)
    if reason := distrust(scope.parent):
        raise PermissionError(errno.EPERM, reason, str(scope.parent))
    _make_folder(view)
    if not (scope / "scope.json").is_file():
        write_atomic(scope / "scope.json", json.dumps(about, indent=1).encode())


def evict(folder: Path, max_bytes: int) -> None:
    """Delete the features that were used longest ago until a cache folder holds at most `max_bytes`."""
    every = [one for scope in scope_folders(folder) for one in _segments(scope)]
    over = sum(found.st_size for found, _ in every) - max_bytes
    for found, file in sorted(every, key=lambda each: each[0].st_mtime):
        if over <= 0:
            return
        with contextlib.suppress(OSError):
            file.unlink()
            over -= found.st_size


def clear(folder: Path, older_than_days: float = 0.0) -> tuple[int, int]:
    """Delete cached features, and what dead processes left. What living ones are writing stays.

    Nothing but files of the cache's own form is touched.

    Returns:
        Number of features and bytes freed.
    """
    limit = time.time() - older_than_days * 86400
    images = size = 0
    for scope in scope_folders(folder):
        for view in (*_folders(scope), scope):
            lock, alone = Lock(view / "lock"), False
            with contextlib.suppress(OSError):
                alone = lock.acquire()
            for file in list_files(view):
                match, stat = _SEGMENT_NAME.fullmatch(file.name), stat_of(file)
                if stat is None or (older_than_days and not stat.st_mtime <= limit):
                    continue
                if match or (alone and file.suffix in _HALF):
                    with contextlib.suppress(OSError):
                        file.unlink()
                        images += int(match[1]) if match else 0
                        size += stat.st_size if match else 0
            lock.release()
            with contextlib.suppress(OSError):  # something is left in it
                if view == scope and not _folders(scope):
                    (scope / "scope.json").unlink(missing_ok=True)
                view.rmdir()
    return images, size


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(p for p in folder.iterdir() if _NAME.fullmatch(p.name) and p.is_dir() and not p.is_symlink())
    return []


def stat_of(file: Path) -> os.stat_result | None:
    """Return what the system says of a file; None where there is none."""
    with contextlib.suppress(OSError):
        return file.stat()
    return None


def distrust(folder: Path) -> str | None:
    """Say why a folder of cached features is not used; None where it may be, or is not there yet."""
    if sys.platform == "win32" or os.environ.get(SHARED) == "1":
        return None
    found = stat_of(folder)
    if found is None:  # whoever reads or writes it will say what is wrong
        return None
    if found.st_uid not in (os.getuid(), 0):
        owner = str(found.st_uid)
        with contextlib.suppress(KeyError):
            owner = pwd.getpwuid(found.st_uid).pw_name
        return f"it belongs to another user ({owner}). Choose a folder of your own, or set {SHARED}=1"
    writers = stat.S_IWOTH if _is_private(found.st_gid) else stat.S_IWOTH | stat.S_IWGRP
    if found.st_mode & writers:
        return f"other users can write it. Forbid that (chmod go-w {folder}), or set {SHARED}=1 where you trust them"
    return None


def _is_private(group: int) -> bool:
    """Whether a group has its user alone, as many systems give everybody one."""
    with contextlib.suppress(KeyError):
        own = pwd.getpwuid(os.getuid())
        return group == own.pw_gid and grp.getgrgid(group).gr_name == own.pw_name
    return False


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it; what is new can be written by its user alone, unless caches are shared."""
    if not folder.exists():
        _make_folder(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o777 if os.environ.get(SHARED) == "1" else 0o755)


def refuse_links(*folders: Path) -> None:
    """Raise OSError where a folder of a cache is a link to somewhere else."""
    for folder in folders:
        if folder.is_symlink():
            raise OSError(errno.ELOOP, "is a link, which a cache has none of", str(folder))
