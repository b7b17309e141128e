"""One file from the network to the disk: resumed, checked, and in place only when whole."""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from lamm_cl.data.download.network import DownloadError, Fetch
from lamm_cl.locks import Lock

Report = Callable[[str, int, int | None], None]  # file name, bytes so far, bytes in all
TRIES = 5  # attempts in a row that bring no byte


def download(
    url: str,
    target: Path,
    fetch: Fetch,
    md5: str = "",
    report: Report = lambda name, done, total: None,
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch `url` to `target`; what an earlier try left in `target.part` is continued.

    Args:
        url: what `fetch` understands.
        target: where the file goes; it appears there only when it is whole and its checksum is right.
        fetch: the network.
        md5: the expected checksum; "" where none is published.
        report: called as bytes arrive.
        pause: waits between tries.

    Raises:
        DownloadError: the network, the checksum or the disk fails; the message says what is kept.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    resumed = part.exists() and part.stat().st_size > 0
    lock = Lock(part.with_name(part.name + ".lock"))
    try:
        if not lock.acquire():
            raise DownloadError(f"{part}: another process is fetching this file")
        with part.open("ab") as file:
            _fill(url, file, part, fetch, report, pause)
            found = md5_of(part) if md5 else ""
            if found != md5 and resumed:
                # The beginning may come from another version of the file: once more, from the start.
                file.truncate(0)
                _fill(url, file, part, fetch, report, pause)
                found = md5_of(part)
            os.fsync(file.fileno())
        if found != md5:  # closed by now: Windows removes and renames no open file
            part.unlink()
            raise DownloadError(
                f"{url}: wrong checksum: expected md5 {md5}, got {found}. The file was removed; it has changed at "
                "its source or was damaged on the way."
            )
        part.replace(target)
    except OSError as error:
        raise _disk(error, part) from None
    finally:
        lock.release()
    return target


def _fill(url: str, file: IO[bytes], part: Path, fetch: Fetch, report: Report, pause: Callable[[float], None]) -> None:
    idle = 0
    while True:
        before = part.stat().st_size
        try:
            if _once(url, file, part, fetch, report):
                return
            problem = DownloadError(f"{url}: the connection ended early", retry=True)
        except DownloadError as error:
            problem = error
        size = part.stat().st_size
        idle = 0 if size > before else idle + 1
        if not problem.retry or idle >= TRIES:
            if not size:
                part.unlink()
            kept = f"; {size:,} bytes are kept and the next try continues there" if size else ""
            raise DownloadError(f"{problem}{kept}")
        pause(min(2.0**idle, 30.0))


def _once(url: str, file: IO[bytes], part: Path, fetch: Fetch, report: Report) -> bool:
    """Take what one connection gives; return whether the file is whole."""
    offset = part.stat().st_size
    response = fetch(url, offset)
    if response.total is not None and offset > response.total:
        file.truncate(0)  # longer than the whole: the rest of another file
        return False
    if response.start != offset:
        if response.start:
            raise DownloadError(f"{url}: asked for bytes from {offset}, got them from {response.start}")
        file.truncate(0)
    done = response.start
    free, needed = shutil.disk_usage(part.parent).free, (response.total or 0) - done
    if needed > free:
        raise DownloadError(f"{part.parent}: the disk is full: {needed:,} bytes are needed, {free:,} are free")
    try:
        for chunk in response.chunks:
            file.write(chunk)
            done += len(chunk)
            report(part.name.removesuffix(".part"), done, response.total)
    finally:
        file.flush()
    return response.total is None or done == response.total


def _disk(error: OSError, part: Path) -> DownloadError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(
            f"{part.parent}: the disk is full. Free some space and run the command again: it continues."
        )
    return DownloadError(f"{part}: cannot be written: {error.strerror or error}")


def md5_of(path: Path) -> str:
    """Return the md5 checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
