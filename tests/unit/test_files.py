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


def test_disk_trouble_is_found_below_other_errors() -> None:
    below = RuntimeError("writing the header failed")
    below.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert files.disk_trouble(below) == "No space left on device"
    assert files.disk_trouble(ValueError("no")) is None


def test_json_holds_null_where_there_is_no_number(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"matrix": [[0.5, float("nan")], (float("inf"), 1)]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"matrix": [[0.5, None], [None, 1]]}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1', "\x00", "{" * 100_000])
def test_a_damaged_file_reads_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert files.read_json(tmp_path / "a.json") is None
    assert files.read_json(tmp_path / "absent.json") is None


def test_leftovers_of_a_killed_writer_go(tmp_path: Path) -> None:
    (tmp_path / ".record.json.77-ab.tmp").write_text("half")
    (tmp_path / "record.json").write_text("{}")
    files.remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["record.json"]
