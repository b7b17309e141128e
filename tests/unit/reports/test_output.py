"""Where reports go: through links, into pipes, never over an experiment's own files."""

import os
import threading
from pathlib import Path

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.files import write_out
from lamm_cl.reports.output import check_place


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "b0"
    (home / "runs" / "a").mkdir(parents=True)
    for name in ("runs.csv", "experiment.json", "runs/a/record.json"):
        (home / name).write_text("{}")
    return home


@pytest.mark.parametrize("name", ["runs.csv", "experiment.json", "runs/a/record.json", "runs/new/x.csv", "link.csv"])
@pytest.mark.parametrize("reported", ["b0", "."])
def test_an_experiments_own_files_are_refused(home: Path, tmp_path: Path, name: str, reported: str) -> None:
    (home / "link.csv").symlink_to("runs.csv")
    with pytest.raises(UsageError, match="belongs to the results of the experiment"):
        check_place(home / name, tmp_path / reported)


def test_what_runs_left_is_refused_also_without_an_identity(home: Path) -> None:
    (home / "experiment.json").unlink()
    for name in ("runs.csv", "experiment.json", "runs/a/x.csv"):
        with pytest.raises(UsageError, match="Choose another path"):
            check_place(home / name, home)
    with pytest.raises(UsageError, match="Choose another path"):
        check_place(home / "runs", home, wants_directory=True)


def test_other_names_in_the_experiments_directory_are_free(home: Path) -> None:
    for name in ("report.html", "tables/runs.csv", "runs.txt"):
        check_place(home / name, home)
    check_place(home / "figures", home, wants_directory=True)


def test_a_link_stays_one_and_its_target_is_written(tmp_path: Path) -> None:
    target, link = tmp_path / "there" / "target.txt", tmp_path / "link.txt"
    link.symlink_to(target)
    write_out(link, b"new")
    write_out(link, b"newer")
    assert link.is_symlink()
    assert target.read_bytes() == b"newer"
    assert [path.name for path in target.parent.iterdir()] == ["target.txt"]


def test_a_link_to_itself_cannot_be_written_and_stays(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    check_place(tmp_path / "loop", tmp_path)
    with pytest.raises(OSError, match="symbolic links"):
        write_out(tmp_path / "loop", b"new")
    assert (tmp_path / "loop").is_symlink()


def test_a_name_that_no_file_can_have_is_for_the_write_to_refuse(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    check_place(path, tmp_path)
    with pytest.raises(OSError, match="too long"):
        write_out(path, b"new")


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_out(pipe, b"report")
    reader.join(timeout=10)
    assert found == [b"report"]
    assert pipe.is_fifo()


def test_a_device_is_written_to(tmp_path: Path) -> None:
    handle, there = os.openpty()
    try:
        write_out(Path(os.ttyname(there)), b"report")
        assert os.read(handle, 6) == b"report"
    finally:
        os.close(handle)
        os.close(there)
