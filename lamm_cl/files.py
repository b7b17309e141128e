"""Files that are either there whole or not at all."""

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from rich import filesize

TEMPORARY = ".tmp"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
_PAUSES = (0.05, 0.2, 0.5)
T = TypeVar("T")


def write_atomic(path: Path, data: bytes, *, lasting: bool = True) -> None:
    """Write `data` so that a reader, or a kill at any moment, sees the old file or the new one and nothing between.

    The bytes go to a temporary name in the same directory, reach the disk where they are to survive a power cut, and
    then take the place of `path`. Raises `OSError`, which names a file, where the disk is full or the directory cannot
    be written; then `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            if lasting:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # of a write or a sync
            error.filename = str(path)
        raise
    if lasting:  # the rename too, where the file system can do that
        with contextlib.suppress(OSError):
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def write_out(path: Path, data: bytes) -> None:
    """Write `data` to `path`, or to what it links to, whole or not at all; a device or a pipe gets it as it is."""
    # Asked before links are followed by name: /dev/stdout leads to a pipe, which has none.
    mode, target = mode_of(path), Path(os.path.realpath(path))
    if (mode and not stat.S_ISREG(mode)) or target.is_symlink():  # what is a link even then leads to itself
        with path.open("wb") as stream:
            stream.write(data)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, data)


def mode_of(path: Path) -> int:
    """Return what kind of thing a path leads to, 0 where nothing is known of it."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0


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


def patiently(ask: Callable[[], T]) -> T | None:
    """Return what `ask` says of a file, None only when there is no such file.

    Network file systems fail for a moment: any other `OSError` is tried again before it counts.
    """
    for pause in _PAUSES:
        try:
            return ask()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError:
            raise
        except OSError:
            time.sleep(pause)
    return ask()


def read_bytes(path: Path) -> bytes | None:
    """Return what a file holds, None only when there is no such file; an `OSError` of another kind names it."""
    try:
        return patiently(path.read_bytes)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def parse_json(data: bytes) -> dict[str, Any] | None:
    """Return the object that JSON text holds; None when it does not hold one whole object."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def digest(content: Any) -> str:
    """Return a digest of what `content` is as JSON, whatever the order of keys: 64 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def remove_leftovers(directory: Path) -> None:
    """Remove what a killed writer left. Only for who holds the lock on everything written in `directory`."""
    with contextlib.suppress(OSError):  # what stays is removed another time
        for leftover in directory.glob(f".*{TEMPORARY}"):
            leftover.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise `OSError` where the directory `path` can't be made or written, found out without writing."""
    place = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if not place.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{place} is not a directory")
    if not os.access(place, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"no permission to write in {place}")


def disk_error(error: BaseException, directory: Path) -> OSError | None:
    """Return what `error` was raised from when that is about the disk: full or read-only, or a path in `directory`."""
    top = directory.absolute()
    seen: BaseException | None = error
    dealt_with = False  # a context says nothing about a path, but a disk that is full stays full
    while seen is not None:
        if isinstance(seen, OSError):
            names = [Path(name).absolute() for name in (seen.filename2, seen.filename) if isinstance(name, str)]
            if seen.errno in FULL or (not dealt_with and any(name.is_relative_to(top) for name in names)):
                return seen
        dealt_with = dealt_with or seen.__cause__ is None
        seen = seen.__cause__ or seen.__context__
    return None


def size_in_words(size: float) -> str:
    """Write a number of bytes for people."""
    return filesize.decimal(round(size))
