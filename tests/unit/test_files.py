import errno
import json
import os
from pathlib import Path

import pytest

from lamm_cl import files


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_atomic(path, b"old, and longer")
    files.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch, step: str) -> None:
    path = tmp_path / "a.json"
    files.write_atomic(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full) if step == "fsync" else monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_disk_trouble_is_found_below_other_errors(tmp_path: Path) -> None:
    below = RuntimeError("writing the header failed")
    below.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert files.disk_error(below, tmp_path) is below.__cause__
    assert files.disk_error(ValueError("no"), tmp_path) is None


def test_other_errors_count_for_paths_of_the_directory_alone(tmp_path: Path) -> None:
    stale = OSError(errno.ESTALE, "Stale file handle", str(tmp_path / "runs" / "a"))
    assert files.disk_error(stale, tmp_path) is stale
    assert files.disk_error(stale, tmp_path / "other") is None
    later = ValueError("something else")
    later.__context__ = stale
    assert files.disk_error(later, tmp_path) is None


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_an_error_of_a_write_names_the_file(tmp_path: Path, monkeypatch, step: str) -> None:
    def stale(*_: object) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    class Stream:
        def __enter__(self) -> "Stream":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        write = stale

    monkeypatch.setattr(os, "fsync", stale) if step == "fsync" else monkeypatch.setattr(
        Path, "open", lambda *_: Stream()
    )
    with pytest.raises(OSError, match="Stale file handle") as caught:
        files.write_atomic(tmp_path / "a.json", b"new")
    assert caught.value.filename == str(tmp_path / "a.json")


def test_only_what_is_not_there_reads_as_nothing(tmp_path: Path, monkeypatch) -> None:
    """A network file system fails for a moment: it is asked again; a lasting failure is said."""
    path = tmp_path / "a.json"
    path.write_bytes(b"here")
    failures = [errno.EIO, errno.ESTALE]
    read = Path.read_bytes

    def shaky(self: Path) -> bytes:
        if failures:
            raise OSError(failures.pop(), "for a moment")
        return read(self)

    monkeypatch.setattr(files, "_PAUSES", (0, 0))
    monkeypatch.setattr(Path, "read_bytes", shaky)
    assert files.read_bytes(path) == b"here"
    assert files.read_bytes(tmp_path / "absent") is None
    assert files.read_bytes(path / "below") is None
    failures += [errno.EIO] * 3
    with pytest.raises(OSError, match="for a moment") as caught:
        files.read_bytes(path)
    assert caught.value.filename == str(path)


def test_json_holds_null_where_there_is_no_number(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"matrix": [[0.5, float("nan")], (float("inf"), 1)]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"matrix": [[0.5, None], [None, 1]]}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1', "\x00", "{" * 100_000])
def test_damaged_json_is_none(text: str) -> None:
    assert files.parse_json(text.encode()) is None


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert files.digest({"a": 1, "b": (0.1, None)}) == files.digest({"b": [0.1, None], "a": 1})
    assert files.digest({"a": 1}) != files.digest({"a": 1.5})


def test_leftovers_of_a_killed_writer_go(tmp_path: Path) -> None:
    (tmp_path / ".record.json.77-ab.tmp").write_text("half")
    (tmp_path / "record.json").write_text("{}")
    files.remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]
