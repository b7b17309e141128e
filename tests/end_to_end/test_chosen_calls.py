"""A process that is killed, or whose disk fails, at any one call on its files ends in the same the next time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("chosen_calls.py")

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="calls are told apart by /proc")


def run(folder: Path, what: str, step: int, *actions: str) -> None:
    words = [sys.executable, str(DRIVER), what, str(folder), str(step), *actions]
    said = subprocess.run(words, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert min(found["calls"].values()) > 40, "the calls of the directory, the grid, the record and the table"


def test_a_kill_at_every_call(tmp_path: Path) -> None:
    run(tmp_path, "grid", 1, "kill")


@pytest.mark.parametrize("number", ["EIO", "ENOSPC", "ESTALE", "read-only"])
def test_an_error_at_some_calls(tmp_path: Path, number: str) -> None:
    run(tmp_path, "grid", 11, number)


def test_trouble_at_some_calls_of_the_cache(tmp_path: Path) -> None:
    run(tmp_path, "cache", 19, "kill", "EIO", "read-only")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["grid", "cache"])
def test_an_error_at_every_call(tmp_path: Path, what: str) -> None:
    run(tmp_path, what, 1, "kill", "EIO", "ENOSPC", "ESTALE", "read-only", "EACCES", "EMFILE")
