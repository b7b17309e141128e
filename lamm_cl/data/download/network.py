"""The only place of the data room that talks to the outside: one function, which tests and users may replace."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte
DRIVE = "drive:"
DRIVE_PAGE = "https://drive.google.com/uc?id={}"
_PASSING = {408, 425, 429}  # refusals that end by themselves, as those of 500 and above do


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
        url: an http(s) address, `drive:ID` for a public file on Google Drive, or the path of a file.
        offset: bytes that are there already.

    Raises:
        DownloadError: no answer, or a refusal.
    """
    if url.startswith(DRIVE):
        return _drive(url, offset)
    return _response(_get(url, offset), url, offset) if "://" in url else _copy(Path(url), offset)


def address(url: str) -> str:
    """Return the address that a browser opens."""
    return f"https://drive.google.com/file/d/{url.removeprefix(DRIVE)}/view" if url.startswith(DRIVE) else url


def _get(url: str, offset: int) -> Any:
    import requests

    headers = {
        "User-Agent": "lamm_cl",
        "Accept-Encoding": "identity",
        **({"Range": f"bytes={offset}-"} if offset else {}),
    }
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
            while chunk := file.read(CHUNK):
                yield chunk

    if not path.is_file():
        raise DownloadError(f"{path} does not exist")
    return Response(offset, path.stat().st_size, chunks())
