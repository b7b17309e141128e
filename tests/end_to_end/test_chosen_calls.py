"""A process that is killed, or whose disk fails, at any one call on its files ends in the same the next time."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DRIVER = Path(__file__).with_name("chosen_calls.py")

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="calls are told apart by /proc")


@pytest.fixture
def run(tmp_path: Path, python_elsewhere: Any) -> Callable[..., None]:
    def go(what: str, step: int, *actions: str) -> None:
        words = [what, str(tmp_path), str(step), *actions]
        if what == "grid":  # needs no torch: a small process, which forks quickly
            said = subprocess.run([sys.executable, str(DRIVER), *words], capture_output=True, text=True, check=False)
        else:
            said = python_elsewhere(f"import runpy\nrunpy.run_path({str(DRIVER)!r}, run_name='__main__')", *words)
        assert said.returncode == 0, said.stderr
        found = json.loads(said.stdout.splitlines()[-1])
        assert found["wrong"] == []
        assert set(found["calls"]) == set(actions)
        assert min(found["calls"].values()) > 40, "the calls of the directory, the grid, the record and the table"

    return go


def test_a_kill_at_every_call(run: Any) -> None:
    run("grid", 1, "kill")


def test_an_error_at_some_calls(run: Any) -> None:
    run("grid", 11, "EIO", "ENOSPC", "ESTALE", "read-only")


def test_trouble_at_some_calls_of_the_cache(run: Any) -> None:
    run("cache", 19, "kill", "EIO", "read-only")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["grid", "cache"])
def test_an_error_at_every_call(run: Any, what: str) -> None:
    run(what, 1, "kill", "EIO", "ENOSPC", "ESTALE", "read-only", "EACCES", "EMFILE")
