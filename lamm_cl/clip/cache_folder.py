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
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from lamm_cl.errors import UsageError
from lamm_cl.locks import Lock

if sys.platform != "win32":
    import grp
    import pwd

GIB = 1024**3
SHARED = "LAMM_CL_CACHE_SHARED"  # set to 1, folders that others can write are used too
T = TypeVar("T")
DEFAULT_GIB = 10.0
SEGMENT = ".safetensors"
_NAME = re.compile(r"[0-9a-f]{16}")
_SEGMENT_NAME = re.compile(r"(\d+)-[0-9a-f]{16}\.safetensors")
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_OTHER_NAME = re.compile(r"[0-9a-f]{16}\.(claim|tmp)")  # claims are of earlier versions


@dataclass(frozen=True)
class Scope:
    """All features of one backbone with one image transform.

    Attributes:
        folder: where they are.
        about: content of `scope.json`: backbone, weights, transform, engine.
        images: number of features.
        views: number of views of images (evaluation is one, every epoch of training another).
        bytes: size on disk.
        used: when any of them was last used, in seconds since 1970.
    """

    folder: Path
    about: dict[str, Any] = field(default_factory=dict)
    images: int = 0
    views: int = 0
    bytes: int = 0
    used: float = 0.0


def default_folder() -> Path:
    """Return the folder of cached features: $LAMM_CL_CACHE, or `lamm_cl/features` in the user's cache folder."""
    chosen = os.environ.get("LAMM_CL_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "lamm_cl" / "features"


def limit() -> int:
    """Return how many bytes a cache folder may hold: $LAMM_CL_CACHE_GIB, or 10 GiB.

    Raises:
        UsageError: the variable is no number, or negative.
    """
    said = os.environ.get("LAMM_CL_CACHE_GIB", "").strip()
    try:
        gib = float(said) if said else DEFAULT_GIB
    except ValueError:
        gib = math.nan
    if not 0 <= gib < math.inf:
        raise UsageError(f"LAMM_CL_CACHE_GIB={said!r} must be a number of GiB, such as 2.5.")
    return int(gib * GIB)


def segments(folder: Path) -> Iterator[Path]:
    """Yield every file of features under a cache folder."""
    for scope in scope_folders(folder):
        yield from _segments(scope)


def _segments(scope: Path) -> Iterator[Path]:
    files = (file for view in _folders(scope) for file in list_files(view))
    return (file for file in files if _SEGMENT_NAME.fullmatch(file.name))


def scope_folders(folder: Path) -> list[Path]:
    """List the scopes' folders: those with a scope.json and a name of ours."""
    return [scope for scope in _folders(folder) if (scope / "scope.json").is_file()]


def status(folder: Path) -> list[Scope]:
    """Return what is in a cache folder, the last used scope first."""
    found = []
    for scope in scope_folders(folder):
        stats = [(file, stat) for file in _segments(scope) if (stat := _stat(file)) is not None]
        found.append(
            Scope(
                scope,
                about=read_about(scope),
                images=sum(int(file.name.partition("-")[0]) for file, _ in stats),
                views=len({file.parent for file, _ in stats}),
                bytes=sum(stat.st_size for _, stat in stats),
                used=max((stat.st_mtime for _, stat in stats), default=0.0),
            )
        )
    return sorted(found, key=lambda scope: -scope.used)


def read_about(scope: Path) -> dict[str, Any]:
    """Return the content of a scope's `scope.json`; empty where it can't be read."""
    try:
        about = json.loads((scope / "scope.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def list_files(folder: Path) -> list[Path]:
    """List what is in a folder, in order; nothing where it can't be read."""
    with contextlib.suppress(OSError):
        return sorted(folder.iterdir())
    return []


def write_about(scope: Path, about: dict[str, Any]) -> None:
    """Write a scope's `scope.json` unless it is there; OSError where that is impossible, or the folder not trusted."""
    refuse_link(scope)
    if reason := distrust(scope.parent):
        raise PermissionError(errno.EPERM, reason, str(scope.parent))
    file = scope / "scope.json"

    def write() -> None:
        make_folder(scope)
        temporary = scope / f"{secrets.token_hex(8)}.tmp"
        try:
            temporary.write_text(json.dumps(about, indent=1), encoding="utf-8")
            temporary.replace(file)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)

    if not file.is_file():
        though_cleared(write)


def though_cleared(work: Callable[[], T]) -> T:
    """Do something in a folder that another process may be clearing away at this moment: then it is made again."""
    for _ in range(20):
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # gone before, or just after, it was made
            return work()
        time.sleep(0.005)
    return work()


def evict(folder: Path, max_bytes: int) -> int:
    """Delete the features that were used longest ago until the folder holds at most `max_bytes`.

    Args:
        folder: a cache folder.
        max_bytes: what may stay.

    Returns:
        Bytes freed.
    """
    stats = [(stat.st_mtime, stat.st_size, file) for file in segments(folder) if (stat := _stat(file)) is not None]
    over = sum(size for _, size, _ in stats) - max_bytes
    freed = 0
    for _, size, file in sorted(stats):
        if freed >= over:
            break
        with contextlib.suppress(OSError):
            file.unlink()
            freed += size
    return freed


def clear(folder: Path, older_than_days: float = 0.0) -> tuple[int, int]:
    """Delete cached features, and what dead processes left. What living ones are writing stays.

    Args:
        folder: a cache folder; nothing but files of the cache's own form is touched.
        older_than_days: keep what was used more recently.

    Returns:
        Number of features and bytes freed.
    """
    limit = time.time() - older_than_days * 86400
    images = size = 0
    for scope in scope_folders(folder):
        for view in (*_folders(scope), scope):
            lock = Lock(view / "lock")
            alone = _acquired(lock)
            for file in list_files(view):
                match, stat = _SEGMENT_NAME.fullmatch(file.name), _stat(file)
                if stat is None or (older_than_days and not stat.st_mtime <= limit):
                    continue
                if match or (alone and _OTHER_NAME.fullmatch(file.name)):
                    with contextlib.suppress(OSError):
                        file.unlink()
                        images += int(match[1]) if match else 0
                        size += stat.st_size if match else 0
            lock.release()
            if view != scope:
                _drop(view)
        if not _folders(scope):
            with contextlib.suppress(OSError):
                (scope / "scope.json").unlink()
            _drop(scope)
    return images, size


def _folders(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(p for p in folder.iterdir() if _NAME.fullmatch(p.name) and p.is_dir() and not p.is_symlink())
    return []


def _acquired(lock: Lock) -> bool:
    with contextlib.suppress(OSError):
        return lock.acquire()
    return False


def _stat(file: Path) -> os.stat_result | None:
    with contextlib.suppress(OSError):
        return file.stat()
    return None


def _drop(folder: Path) -> None:
    """Remove a folder if nothing is left in it."""
    with contextlib.suppress(OSError):
        folder.rmdir()


def distrust(folder: Path) -> str | None:
    """Say why a folder of cached features is not used; None where it may be, or is not there yet."""
    if sys.platform == "win32" or os.environ.get(SHARED) == "1":
        return None
    try:
        found = folder.stat()
    except OSError:  # whoever reads or writes it will say what is wrong
        return None
    if found.st_uid not in (os.getuid(), 0):
        return f"it belongs to another user ({_user(found.st_uid)}). Choose a folder of your own, or set {SHARED}=1"
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


def _user(number: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; what is new can be written by its user alone, unless caches are shared."""
    mode = 0o777 if os.environ.get(SHARED) == "1" else 0o755
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        with contextlib.suppress(FileExistsError):
            new.mkdir(mode)


def open_unlinked(file: Path, flags: int) -> int:
    """Open a file of a cache: neither itself nor the two folders above it may be links.

    Raises:
        OSError: One is, or it cannot be opened.
    """
    for folder in (file.parent, file.parent.parent):
        refuse_link(folder)
    return os.open(file, flags | _NO_LINKS | getattr(os, "O_BINARY", 0), 0o666)


def refuse_link(folder: Path) -> None:
    """Raise OSError where a folder of a cache is a link to somewhere else."""
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "is a link, which a cache has none of", str(folder))
