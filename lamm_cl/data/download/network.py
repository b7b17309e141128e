"""The only place of the data room that talks to the outside: one function, which tests and users may replace."""

import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte
DRIVE = "drive:"


class DownloadError(RuntimeError):
    """A transfer failed. `retry` says whether trying again could help."""

    def __init__(self, message: str, retry: bool = False) -> None:
        super().__init__(message)
        self.retry = retry


@dataclass(frozen=True)
class Response:
    """Bytes from `start` on; `total` is the whole file's size where the server tells it."""

    start: int
    total: int | None
    chunks: Iterator[bytes]


Fetch = Callable[[str, int], Response]


def fetch(url: str, offset: int) -> Response:
    """Ask for the bytes of `url` from `offset` on. A server may ignore the offset and start at 0.

    Args:
        url: an http(s) address, or `drive:ID` for a public file on Google Drive.
        offset: bytes that are there already.

    Raises:
        DownloadError: no answer, or a refusal.
    """
    return _drive(url.removeprefix(DRIVE)) if url.startswith(DRIVE) else _http(url, offset)


def address(url: str) -> str:
    """Return the address that a browser opens."""
    return f"https://drive.google.com/file/d/{url.removeprefix(DRIVE)}/view" if url.startswith(DRIVE) else url


def _http(url: str, offset: int) -> Response:
    request = urllib.request.Request(url, headers={"User-Agent": "lamm_cl"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and offset:
                # Nothing follows the offset: the file is complete, or another one than we began.
                whole = (error.headers.get("Content-Range") or "").rpartition("/")[2]
                return Response(offset, int(whole) if whole.isdecimal() else None, iter(()))
            raise DownloadError(f"{url} answers {error.code} {error.reason}", error.code >= 500) from None
    except OSError as error:
        raise DownloadError(f"{url} cannot be reached: {getattr(error, 'reason', error)}", retry=True) from None
    length = answer.headers.get("Content-Length")
    start = offset if answer.status == 206 else 0
    total = start + int(length) if length and length.isdecimal() else None
    return Response(start, total, _read(answer, url))


def _read(answer: "urllib.request._UrlopenRet", url: str) -> Iterator[bytes]:
    import http.client

    with answer:
        try:
            while chunk := answer.read(CHUNK):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise DownloadError(f"{url}: the connection broke: {error}", retry=True) from None


def _drive(identity: str) -> Response:
    """Fetch a Drive file through gdown, which knows the pages that Drive puts before a download."""
    import gdown

    folder = Path(tempfile.mkdtemp(prefix="lamm_cl_"))
    target = folder / "file"
    try:
        gdown.download(id=identity, output=str(target), quiet=True)
        if not target.is_file():
            raise DownloadError("nothing came")
    except Exception as error:
        # gdown passes on what requests, Drive's pages and its own checks raise; each means the same to the user.
        shutil.rmtree(folder, ignore_errors=True)
        raise DownloadError(f"{address(DRIVE + identity)}: Google Drive gives nothing: {error}") from None
    return Response(0, target.stat().st_size, _read_and_remove(target))


def _read_and_remove(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
    finally:
        shutil.rmtree(path.parent, ignore_errors=True)
