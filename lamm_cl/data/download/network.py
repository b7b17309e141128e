"""One file from the network to the disk: resumed, checked, and in place only when whole. `fetch` alone goes outside."""

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import sleep
from typing import IO, Any, NamedTuple

from lamm_cl.errors import UsageError
from lamm_cl.locks import Lock

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte
DRIVE = "drive:"
DRIVE_PAGE = "https://drive.google.com/uc?id={}"
_PASSING = {408, 425, 429}  # refusals that end by themselves, as those of 500 and above do
Report = Callable[[str, int, int | None], None]  # file name, bytes so far, bytes in all
TRIES = 5  # attempts in a row that bring no byte


class DownloadError(UsageError):
    """A transfer failed. `retry` says whether trying again could help."""

    def __init__(self, message: str, retry: bool = False) -> None:
        super().__init__(message)
        self.retry = retry


class Response(NamedTuple):
    """Bytes from `start` on; `total` is the whole file's size where the server tells it."""

    start: int
    total: int | None
    chunks: Iterator[bytes]


Fetch = Callable[[str, int], Response]


def fetch(url: str, offset: int) -> Response:
    """Ask for the bytes of `url` from `offset` on, or raise a DownloadError. A server may ignore the offset.

    `url` is an http(s) address, `drive:ID` for a public file on Google Drive, or the path of a file.
    """
    if url.startswith(DRIVE):
        return _drive(url, offset)
    return _response(_get(url, offset), url, offset) if "://" in url else _copy(Path(url), offset)


def address(url: str) -> str:
    """Return the address that a browser opens."""
    return f"https://drive.google.com/file/d/{url.removeprefix(DRIVE)}/view" if url.startswith(DRIVE) else url


def _get(url: str, offset: int) -> Any:
    import requests

    headers = {"User-Agent": "lamm_cl", "Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        return requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        why = str(getattr(error.args[0] if error.args else None, "reason", error))  # the rest repeats the address
        raise DownloadError(f"{url} cannot be reached: {why.rpartition('): ')[2]}", retry=True) from None


def _response(answer: Any, url: str, offset: int) -> Response:
    code, headers = answer.status_code, answer.headers
    if code == 416 and offset:
        answer.close()  # nothing follows the offset: the file is complete, or another one than we began
        whole = headers.get("Content-Range", "").rpartition("/")[2]
        return Response(offset, int(whole) if whole.isdecimal() else None, iter(()))
    if not answer.ok:
        answer.close()
        raise DownloadError(f"{url} answers {code} {answer.reason}", code >= 500 or code in _PASSING)
    start = offset if code == 206 else 0
    length = headers.get("Content-Length", "")
    return Response(start, start + int(length) if length.isdecimal() else None, _read(answer, url))


def _read(answer: Any, url: str) -> Iterator[bytes]:
    from urllib3.exceptions import HTTPError

    with answer:
        try:
            while chunk := answer.raw.read1(CHUNK):  # unlike the others it loses nothing when the connection breaks
                yield chunk
        except (OSError, HTTPError) as error:
            raise DownloadError(f"{url}: the connection broke: {error}", retry=True) from None


def _drive(url: str, offset: int) -> Response:
    """Fetch a Drive file; gdown knows the pages that Drive puts before a download."""
    try:
        from gdown.download import get_url_from_gdrive_confirmation
    except ImportError:
        raise DownloadError(f'{url}: Google Drive needs the package gdown: pip install "lamm_cl[drive]"') from None

    answer = _get(DRIVE_PAGE.format(url.removeprefix(DRIVE)), offset)
    if answer.ok and "text/html" in answer.headers.get("Content-Type", ""):
        try:
            answer = _get(get_url_from_gdrive_confirmation(answer.text), offset)
        except Exception as error:
            # gdown passes on what its own reading of the page raises; each means the same to the user.
            raise DownloadError(f"{address(url)}: Google Drive gives nothing: {' '.join(str(error).split())}") from None
        if "text/html" in answer.headers.get("Content-Type", ""):
            raise DownloadError(f"{address(url)}: Google Drive gives a page instead of the file")
    return _response(answer, address(url), offset)


def _copy(path: Path, offset: int) -> Response:
    def chunks() -> Iterator[bytes]:
        with path.open("rb") as file:
            file.seek(offset)
            yield from iter(partial(file.read, CHUNK), b"")

    if not path.is_file():
        raise DownloadError(f"{path} does not exist")
    return Response(offset, path.stat().st_size, chunks())


def download(
    url: str, target: Path, fetch: Fetch, md5: str = "", report: Report = lambda name, done, total: None
) -> Path:
    """Fetch `url` to `target`; what is left in `target.part` the next call continues.

    Raises:
        DownloadError: what came is not what was wanted, or nothing came.
        OSError: the disk is full, or cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    lock = Lock(part.with_name(part.name + ".lock"))
    if not lock.acquire():
        raise DownloadError(f"{part}: another process is fetching this file")
    try:
        with part.open("ab") as file:
            resumed, found = file.tell() > 0, ""
            for _ in range(1 + resumed):  # a beginning may come from another version of the file: then from the start
                _fill(url, file, part, fetch, report)
                found = md5_of(part) if md5 else ""
                if found == md5:
                    break
                file.truncate(0)
            os.fsync(file.fileno())
        if found != md5:  # closed by now: Windows removes and renames no open file
            part.unlink()
            raise DownloadError(
                f"{url}: wrong checksum: expected md5 {md5}, got {found}. The file was removed; it has changed at "
                "its source or was damaged on the way."
            )
        part.replace(target)
    finally:
        lock.release()
    return target


def _fill(url: str, file: IO[bytes], part: Path, fetch: Fetch, report: Report) -> None:
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
        sleep(min(2.0**idle, 30.0))


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
        raise OSError(errno.ENOSPC, f"{needed:,} bytes are needed, {free:,} are free", str(part.parent))
    try:
        for chunk in response.chunks:
            file.write(chunk)
            done += len(chunk)
            report(part.name.removesuffix(".part"), done, response.total)
    finally:
        file.flush()
    return response.total is None or done == response.total


def md5_of(path: Path) -> str:
    """Return the md5 checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
