"""Files that are either there whole or not at all."""

import contextlib
import errno
import json
import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG}


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that a reader, or a kill at any moment, sees the old file or the new one and nothing between.

    The bytes go to a temporary name in the same directory, reach the disk, and then take the place of `path`.

    Raises:
        OSError: The disk is full or the directory cannot be written; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make a rename inside `directory` survive a power cut, where the file system can do that."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` as readable JSON, atomically. NaN and infinity become null: JSON has no word for them."""
    text = json.dumps(finite(content), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomic(path, (text + "\n").encode())


def finite(value: Any) -> Any:
    """Return `value` with every number that is not finite replaced by None, and every tuple by a list."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None when the file is absent or does not hold one whole object."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def remove_leftovers(directory: Path) -> None:
    """Remove what a killed writer left. Only for who holds the lock on everything written in `directory`."""
    for leftover in directory.glob(f".*{TEMPORARY}"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def check_writable(path: Path) -> None:
    """Find out without writing whether the directory `path` can be made or written.

    Raises:
        OSError: It cannot.
    """
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{place} is not a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"no permission to write in {place}")


def trouble_below(directory: Path, error: BaseException) -> str | None:
    """Return "PATH: REASON" when `error`, or what it was raised from, is about a path in `directory`."""
    top = directory.absolute()
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            for name in (seen.filename2, seen.filename):
                if isinstance(name, str) and Path(name).absolute().is_relative_to(top):
                    return f"{name}: {seen.strerror}"
        seen = seen.__cause__  # not its context: an error that was dealt with says nothing about this one
    return None


def disk_trouble(error: BaseException) -> str | None:
    """Return what is wrong with the disk when `error`, or what it came from, says so (full, quota, read-only)."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return os.strerror(seen.errno)
        seen = seen.__cause__ or seen.__context__
    return None
