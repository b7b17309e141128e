"""A command that is killed, or whose disk fails, at any one call on its files ends in the same table the next time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVER = Path(__file__).with_name("chosen_calls.py")

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="calls are told apart by /proc")


def run(folder: Path, step: int, *actions: str) -> None:
    said = subprocess.run(
        [sys.executable, str(DRIVER), str(folder), str(step), *actions], capture_output=True, text=True, check=True
    )
    found = json.loads(said.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert min(found["calls"].values()) > 40, "the calls of the directory, the grid, the record and the table"


def test_a_kill_at_every_call(tmp_path: Path) -> None:
    run(tmp_path, 1, "kill")


@pytest.mark.parametrize("number", ["EIO", "ENOSPC", "ESTALE", "EROFS"])
def test_an_error_at_some_calls(tmp_path: Path, number: str) -> None:
    run(tmp_path, 7, number)


@pytest.mark.slow
def test_an_error_at_every_call(tmp_path: Path) -> None:
    run(tmp_path, 1, "EIO", "ENOSPC", "ESTALE", "EROFS", "EACCES", "EMFILE")
