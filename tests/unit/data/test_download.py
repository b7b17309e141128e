"""Transfers and archives: real servers on 127.0.0.1 and real files, nothing from outside."""

import errno
import hashlib
import io
import os
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lamm_cl.data.download import network
from lamm_cl.data.download.network import DownloadError, Response, download, fetch
from lamm_cl.data.download.unpack import unpack
from lamm_cl.locks import Lock

BODY = bytes(range(256)) * 4096  # 1 MiB
MD5 = hashlib.md5(BODY).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves BODY; `cuts` lists after how many bytes the next answers break off."""

    daemon_threads = True
    cuts: list[int]
    ranges: bool
    asked: list[str | None]
    status: int
    body: bytes


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        body = self.server.body
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.server.ranges else 0
        if start and start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        piece = body[start:]
        if self.server.cuts:
            piece = piece[: self.server.cuts.pop(0)]
        self.wfile.write(piece)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(("127.0.0.1", 0), Handler)
    running.cuts, running.ranges, running.asked, running.status, running.body = [], True, [], 200, BODY
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/file"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "sleep", lambda seconds: None)


def test_a_file_arrives_whole_and_is_reported(server: Server, tmp_path: Path) -> None:
    reports: list[tuple[str, int, int | None]] = []
    target = download(url(server), tmp_path / "x", fetch, MD5, lambda *report: reports.append(report))
    assert target.read_bytes() == BODY
    assert reports[-1] == ("x", len(BODY), len(BODY))
    assert listed(tmp_path) == ["x"]


def test_a_cut_connection_continues_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.cuts = [1000, 300_000]
    download(url(server), tmp_path / "x", fetch, MD5)
    assert (tmp_path / "x").read_bytes() == BODY
    assert server.asked == [None, "bytes=1000-", "bytes=301000-"]


def test_a_server_that_cannot_resume_starts_over(server: Server, tmp_path: Path) -> None:
    server.cuts, server.ranges = [1000], False
    download(url(server), tmp_path / "x", fetch, MD5)
    assert (tmp_path / "x").read_bytes() == BODY


def test_a_later_call_continues_an_interrupted_one(server: Server, tmp_path: Path) -> None:
    server.cuts = [5000] + [0] * 50
    with pytest.raises(DownloadError, match=r"5,000 bytes are kept"):
        download(url(server), tmp_path / "x", fetch, MD5)
    assert listed(tmp_path) == ["x.part"]
    server.cuts, server.asked = [], []
    download(url(server), tmp_path / "x", fetch, MD5)
    assert server.asked == ["bytes=5000-"]
    assert listed(tmp_path) == ["x"]


def test_a_part_that_is_whole_already_is_taken(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(BODY)
    download(url(server), tmp_path / "x", fetch, MD5)
    assert (tmp_path / "x").read_bytes() == BODY


@pytest.mark.parametrize("part", [b"another beginning", BODY + b"more"])
def test_a_part_of_another_file_is_dropped(server: Server, tmp_path: Path, part: bytes) -> None:
    (tmp_path / "x.part").write_bytes(part)
    download(url(server), tmp_path / "x", fetch, MD5)
    assert (tmp_path / "x").read_bytes() == BODY


def test_a_wrong_checksum_leaves_nothing(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=rf"expected md5 {'0' * 32}, got {MD5}"):
        download(url(server), tmp_path / "x", fetch, "0" * 32)
    assert listed(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "tries"), [(404, 1), (403, 1), *((passing, network.TRIES) for passing in (408, 425, 429, 503))]
)
def test_refusals_are_told_and_only_passing_ones_retried(
    server: Server, tmp_path: Path, status: int, tries: int
) -> None:
    server.status = status
    with pytest.raises(DownloadError, match=str(status)):
        download(url(server), tmp_path / "x", fetch)
    assert listed(tmp_path) == []
    assert len(server.asked) == tries


def test_an_unreachable_server_is_told(server: Server, tmp_path: Path) -> None:
    address = url(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match="cannot be reached"):
        download(address, tmp_path / "x", fetch)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        download(url(server), tmp_path / "x", fetch, MD5)
    assert not (tmp_path / "x").exists()


def test_too_little_space_is_told_before_anything_is_written(tmp_path: Path) -> None:
    def huge(address: str, offset: int) -> Response:
        return Response(0, 1 << 60, iter(()))

    with pytest.raises(OSError, match=r"1,152,921,504,606,846,976 bytes are needed"):
        download("x:y", tmp_path / "x", huge)


def test_two_at_once_do_not_mix(server: Server, tmp_path: Path) -> None:
    with Lock(tmp_path / "x.part.lock"), pytest.raises(DownloadError, match="another process"):
        download(url(server), tmp_path / "x", fetch)


class DriveHandler(Handler):
    """Google Drive: a page with a form before the file, a page that refuses, or the file at once."""

    def do_GET(self) -> None:
        place, _, query = self.path.partition("?")
        if place == "/uc" and "id=large" in query:
            form = f'<form id="download-form" action="http://127.0.0.1:{self.server.server_port}/download"></form>'
            self._page(form)
        elif place == "/uc" and "id=busy" in query:
            self._page('<p class="uc-error-subcaption">Too many users have viewed this file.</p>')
        else:
            super().do_GET()

    def _page(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(f"<html>\n{text}\n</html>".encode())


@pytest.fixture
def drive(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    server.RequestHandlerClass = DriveHandler
    monkeypatch.setattr(network, "DRIVE_PAGE", f"http://127.0.0.1:{server.server_port}/uc?id={{}}")
    return server


@pytest.mark.parametrize("identity", ["small", "large"])
def test_drive_files_are_reported_resumed_and_tried_again_as_others(
    drive: Server, tmp_path: Path, identity: str
) -> None:
    drive.cuts = [1000]
    reports: list[int] = []
    download(f"drive:{identity}", tmp_path / "x", fetch, MD5, lambda name, done, total: reports.append(done))
    assert listed(tmp_path) == ["x"]
    assert drive.asked[-1] == "bytes=1000-"
    assert reports[-1] == len(BODY)


def test_a_page_instead_of_a_drive_file_says_why(drive: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"drive\.google\.com/file/d/busy/view.*Too many users"):
        download("drive:busy", tmp_path / "y", fetch)
    assert not (tmp_path / "y").exists()


def test_every_request_has_a_time_limit(drive: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    limits = []
    real = requests.get

    def get(url: str, **options: Any) -> Any:
        limits.append(options["timeout"])
        return real(url, **options)

    monkeypatch.setattr(requests, "get", get)
    download("drive:large", tmp_path / "x", fetch, MD5)
    download(url(drive), tmp_path / "z", fetch, MD5)
    assert limits == [network.TIMEOUT] * 3


def test_a_copy_on_the_disk_serves_as_an_address(tmp_path: Path) -> None:
    (tmp_path / "copy").write_bytes(BODY)
    (tmp_path / "x.part").write_bytes(BODY[:500])
    download(str(tmp_path / "copy"), tmp_path / "x", fetch, MD5)
    assert (tmp_path / "x").read_bytes() == BODY
    with pytest.raises(DownloadError, match="nowhere does not exist"):
        download(str(tmp_path / "nowhere"), tmp_path / "y", fetch)


def make_tar(path: Path, members: dict[str, bytes], extra: tarfile.TarInfo | None = None) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if extra is not None:
            tar.addfile(extra)
    return path


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return path


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_archives_land_where_they_should(tmp_path: Path, make: Any) -> None:
    archive = make(tmp_path / "a", {"in/x/1.jpg": b"1", "in/x/2.jpg": b"2", "in/list.txt": b"l", "out.txt": b"o"})
    unpack(archive, tmp_path / "data", {"in/x": "images", "in/list.txt": "meta/list.txt"})
    found = {str(path.relative_to(tmp_path / "data")): path.read_bytes() for path in (tmp_path / "data").rglob("*.*")}
    assert found == {"images/1.jpg": b"1", "images/2.jpg": b"2", "meta/list.txt": b"l"}


def test_an_archive_in_an_archive(tmp_path: Path) -> None:
    inner = make_tar(tmp_path / "inner.tar.gz", {"pics/a.jpg": b"a", "pics/b.jpg": b"b"})
    archive = make_zip(tmp_path / "a.zip", {"deep/inner.tar.gz": inner.read_bytes()})
    unpack(archive, tmp_path / "data", {"deep/inner.tar.gz!pics": "images"})
    assert listed(tmp_path / "data" / "images") == ["a.jpg", "b.jpg"]
    assert (tmp_path / "data" / "images" / "b.jpg").read_bytes() == b"b"


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "mine.jpg").write_bytes(b"mine")
    unpack(make_tar(tmp_path / "a", {"images/x.jpg": b"x"}), tmp_path, {"images": "images"})
    assert listed(tmp_path / "images") == ["mine.jpg"]


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/evil", "a\\..\\..\\evil", "C:/evil"])
def test_members_that_point_outside_are_refused(tmp_path: Path, make: Any, name: str) -> None:
    archive = make(tmp_path / "a", {"images/x.jpg": b"x", name: b"evil"})
    with pytest.raises(DownloadError, match="points outside"):
        unpack(archive, tmp_path / "data", {"images": "images"})
    assert listed(tmp_path / "data") == []
    assert not list(tmp_path.rglob("*evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("images/link")
    link.type, link.linkname = kind, "/etc/passwd"
    archive = make_tar(tmp_path / "a", {"images/x.jpg": b"x"}, link)
    with pytest.raises(DownloadError, match="neither a file nor a folder"):
        unpack(archive, tmp_path / "data", {"images": "images"})
    assert listed(tmp_path / "data") == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.CHRTYPE])
def test_a_link_that_nobody_wants_is_passed_over(tmp_path: Path, kind: bytes) -> None:
    link = tarfile.TarInfo("docs/link")
    link.type, link.linkname = kind, "/etc/passwd"
    archive = make_tar(tmp_path / "a", {"./images/x.jpg": b"x", "imagesmore/y": b"y"}, link)
    unpack(archive, tmp_path / "data", {"images": "images"})
    assert [str(path.relative_to(tmp_path / "data")) for path in (tmp_path / "data").rglob("*")] == [
        "images",
        "images/x.jpg",
    ]


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("images/link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a", "w") as opened:
        opened.writestr(info, "/etc/passwd")
    with pytest.raises(DownloadError, match="neither a file nor a folder"):
        unpack(tmp_path / "a", tmp_path / "data", {"images": "images"})


@pytest.mark.parametrize("make", [make_tar, make_zip])
def test_damaged_archives_are_refused(tmp_path: Path, make: Any) -> None:
    archive = make(tmp_path / "a", {"images/x.jpg": os.urandom(100_000)})
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(DownloadError, match="no whole archive"):
        unpack(archive, tmp_path / "data", {"images": "images"})
    archive.write_bytes(b"<html>sorry</html>")
    with pytest.raises(DownloadError, match="no whole archive"):
        unpack(archive, tmp_path / "data", {"images": "images"})
    with pytest.raises(DownloadError, match="holds no images"):
        unpack(make(tmp_path / "b", {"other/x": b""}), tmp_path / "data", {"images": "images"})
    assert listed(tmp_path / "data") == []


def test_a_disk_that_fills_while_unpacking_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = make_tar(tmp_path / "a", {"images/x.jpg": b"x"})
    monkeypatch.setattr("lamm_cl.data.download.unpack.shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, tmp_path / "data", {"images": "images"})
    assert listed(tmp_path / "data") == []
