"""The hub is asked once, for seconds; caches are looked into first."""

import hashlib
import http.server
import socket
import threading

import pytest

from lamm_cl.clip import hub


@pytest.fixture
def silent():
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def answering():
    """A server that answers everything with "not found"."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_host_that_answers_anything_is_reachable(answering):
    assert hub.reachable(answering)


def test_silent_refusing_and_unknown_hosts_are_not(silent):
    assert not hub.reachable(silent, seconds=0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not hub.reachable(f"http://127.0.0.1:{port}", seconds=0.5)
    assert not hub.reachable("http://nowhere.invalid", seconds=0.5)
    assert not hub.reachable("nonsense", seconds=0.5)


@pytest.mark.parametrize(("said", "expected"), [("1", True), ("true", True), ("0", False), ("", False)])
def test_the_wish_to_stay_offline(monkeypatch, said, expected):
    monkeypatch.setenv("HF_HUB_OFFLINE", said)
    assert hub.offline() is expected


def test_cached_files_are_found(tmp_path):
    assert hub.cached({"file": "/somewhere/file.pt"}).name == "file.pt"
    assert hub.cached({"url": "https://x.invalid/a.pt"}, str(tmp_path)) is None
    (tmp_path / "a.pt").write_bytes(b"weights")
    assert hub.cached({"url": "https://x.invalid/a.pt"}, str(tmp_path)) == tmp_path / "a.pt"

    promised = hashlib.sha256(b"weights").hexdigest()
    good = f"https://openaipublic.invalid/clip/models/{promised}/a.pt"
    bad = f"https://openaipublic.invalid/clip/models/{'0' * 64}/a.pt"
    assert hub.cached({"url": good}, str(tmp_path)) is not None
    assert hub.cached({"url": bad}, str(tmp_path)) is None

    name = f"model-{promised[:8]}.pt"
    (tmp_path / name).write_bytes(b"weights")
    assert hub.cached({"url": f"https://x.invalid/mlfoundations/{name}"}, str(tmp_path)) is not None
    (tmp_path / name).write_bytes(b"other")
    assert hub.cached({"url": f"https://x.invalid/mlfoundations/{name}"}, str(tmp_path)) is None


def test_files_in_the_hubs_cache_are_found(tmp_path):
    repository = tmp_path / "models--org--name"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    settings = {"hf_hub": "org/name/"}
    assert hub.cached(settings, str(tmp_path)) is None
    (snapshot / "open_clip_pytorch_model.bin").write_bytes(b"1")
    assert hub.cached(settings, str(tmp_path)).name == "open_clip_pytorch_model.bin"
    (snapshot / "open_clip_model.safetensors").write_bytes(b"1")
    assert hub.cached(settings, str(tmp_path)).name == "open_clip_model.safetensors"
    (snapshot / "pytorch_model.bin").write_bytes(b"1")
    assert hub.cached({"hf_hub": "org/name/pytorch_model.bin"}, str(tmp_path)).name == "pytorch_model.bin"
