"""More than a hundred real runs: together, one after the other, killed and resumed, and through SLURM."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lamm_cl.records import MEASURED

pytestmark = pytest.mark.slow

GRID = """
experiment: hundred
protocol: class_incremental
datasets: [digits]
methods: {zero_shot: , coop: {epochs: 2}, lamm: {epochs: 2}}
shots: [1, 2, 4, 8, 16]
seeds: [1, 2, 3, 4, 5, 6, 7]
slurm: {partition: debug, time: 30}
"""
_spec = importlib.util.spec_from_file_location("slurm_server", Path(__file__).with_name("slurm_server.py"))
assert _spec is not None
assert _spec.loader is not None
slurm_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(slurm_server)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grid")
    (folder / "hundred.yaml").write_text(GRID)
    (folder / "few.yaml").write_text(GRID.replace("lamm: {epochs: 2}", "lamm: {epochs: 2}, maple: {epochs: 1}"))
    return folder


def start(folder: Path, out: str, *words: str, config: str = "hundred.yaml", **more: str) -> Any:
    return subprocess.Popen(
        [sys.executable, "-m", "lamm_cl", "run", config, "--out", out, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, "LAMM_CL_CACHE": str(folder / f"cache-{out}"), **more},
        start_new_session=True,
    )


def finish(folder: Path, out: str, *words: str, config: str = "hundred.yaml", **more: str) -> str:
    process = start(folder, out, *words, config=config, **more)
    said, _ = process.communicate()
    assert process.returncode == 0, said
    return said


def values(folder: Path, out: str) -> list[str]:
    lines = (folder / out / "runs.csv").read_text().splitlines()
    return [line for line in lines if not any(f",{name}," in line for name in MEASURED)]


@pytest.fixture(scope="module")
def together(folder: Path) -> list[str]:
    assert "105 runs: 105 done now." in finish(folder, "together", "--jobs", "2")
    return values(folder, "together")


def test_a_hundred_runs_are_complete(together: list[str]) -> None:
    assert len({line.rsplit(",", 1)[1] for line in together[1:]}) == 105
    assert all(",done," in line for line in together[1:])


def test_one_after_the_other_is_the_same(folder: Path, together: list[str]) -> None:
    finish(folder, "single", "--jobs", "1")
    assert values(folder, "single") == together


def test_a_cache_that_is_cleared_all_the_time_changes_nothing(folder: Path, together: list[str]) -> None:
    """Two commands on one directory read and fill a cache of their own table, whose files somebody keeps deleting."""
    cache = folder / "cache-cleared"
    finish(folder, "filled", "--jobs", "2", LAMM_CL_CACHE=str(cache))
    assert list(cache.rglob("*.safetensors"))
    both = [start(folder, "cleared", "--jobs", "1", LAMM_CL_CACHE=str(cache)) for _ in range(2)]
    freed = 0
    while any(process.poll() is None for process in both):
        said = subprocess.run(
            [sys.executable, "-m", "lamm_cl", "cache", "clear", "--dir", str(cache)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        freed += "deleted 0 features" not in said.stdout
    for process in both:
        told, _ = process.communicate()
        assert process.returncode == 0, told
        assert "warning" not in told
    assert freed > 1, "files were there to delete, more than once"
    assert values(folder, "cleared") == together


def test_killed_and_resumed_is_the_same(folder: Path, together: list[str]) -> None:
    dice = random.Random(3)
    for _ in range(4):
        process = start(folder, "killed", "--jobs", "2")
        try:
            process.communicate(timeout=dice.uniform(8, 40))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    finish(folder, "killed", "--jobs", "2")
    assert values(folder, "killed") == together


def test_through_slurm_is_the_same(folder: Path, together: list[str], tmp_path: Path) -> None:
    reason = slurm_server.why_not()
    if reason:
        pytest.skip(reason)
    with slurm_server.slurm(tmp_path / "slurm") as variables:
        said = finish(folder, "queued", "--executor", "slurm", "--jobs", "2", **variables)
    assert "105 runs: 105 done now." in said
    assert values(folder, "queued") == together


def test_kills_inside_runs_are_the_same(folder: Path) -> None:
    """Few runs that are long enough to be killed in their middle, saved after every epoch."""
    words = ["--jobs", "2", "--set", "shots=[4]", "--set", "seeds=[1]", "--set", "checkpoint_minutes=0.0001"]
    words += ["--set", "methods.maple.epochs=4", "--set", "methods.lamm.epochs=20"]
    finish(folder, "whole", *words, config="few.yaml")
    dice = random.Random(5)
    process = start(folder, "pieces", *words, config="few.yaml")
    for _ in range(6):
        try:
            process.communicate(timeout=dice.uniform(9, 16))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        process = start(folder, "pieces", *words, config="few.yaml")
    said, _ = process.communicate()
    assert process.returncode == 0, said
    assert values(folder, "pieces") == values(folder, "whole")
