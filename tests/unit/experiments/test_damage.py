"""Directories of results that somebody damaged: before a command, and while it works."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.follow import Follower
from lamm_cl.experiments.grid import grid
from lamm_cl.experiments.plan import Request, make_plan
from lamm_cl.experiments.signals import Signals
from lamm_cl.experiments.spec import Environment, Grid
from lamm_cl.experiments.work import Job, Outcome, Result, Worker
from lamm_cl.records import ExperimentDirectory

Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("place", "folder"),
    [
        ("runs/ID", False),
        ("runs", False),
        ("runs/ID/lock", True),
        ("runs/ID/record.json", True),
        (".lock", True),
        ("runs.csv", True),
    ],
)
def test_a_damaged_directory_is_refused_before_anything_is_written(
    tmp_path: Path, write_config: Write, place: str, folder: bool
) -> None:
    config = read_config(write_config(methods=["coop"], seeds=[1]))
    out = tmp_path / "out"
    make_plan(config, Request(out=out)).open({})
    (out / "runs").rmdir() if place == "runs" else None
    damaged = out / place.replace("ID", grid(config)[0].run_id)
    damaged.parent.mkdir(exist_ok=True)
    damaged.mkdir() if folder else damaged.touch()
    before = sorted(out.rglob("*"))
    with pytest.raises(UsageError, match=r"remove it or choose another --out") as caught:
        make_plan(config, Request(out=out))
    assert f"{damaged}: it is" in str(caught.value)
    assert sorted(out.rglob("*")) == before


class Damaging:
    """Work during which somebody makes a directory of the record."""

    def __init__(self, home: ExperimentDirectory, name: str) -> None:
        self._home, self._name = home, name

    def execute(self, job: Job) -> Result:
        (self._home.run(job.spec.run_id) / self._name).mkdir()
        (job.directory / "checkpoint.safetensors").write_bytes(b"")
        return Result([])


@pytest.mark.parametrize("name", ["record.json", "checkpoint.safetensors"])
def test_damage_during_a_run_stops_the_command(tmp_path: Path, write_config: Write, name: str) -> None:
    spec = grid(read_config(write_config(methods=["coop"], seeds=[1])))[0]
    home = ExperimentDirectory(tmp_path / "out")
    work: Any = Damaging(home, name)
    said = Worker(home, Grid([spec], Environment()), work, "cpu", Signals()).run()
    assert said == Outcome("disk", said.message)
    assert said.message.startswith(f"cannot write {home.run(spec.run_id) / name}: Is a directory; remove it or choose")


def test_an_error_elsewhere_is_not_the_directorys(tmp_path: Path) -> None:
    home = ExperimentDirectory(tmp_path / "out")
    assert home.trouble(FileNotFoundError(2, "No such file", str(tmp_path / "image.png"))) is None
    assert home.trouble(FileNotFoundError(2, "No such file", str(home.path / "runs" / "a"))) is not None
    assert home.trouble(ValueError("no")) is None


@pytest.mark.usefixtures("fake_path")
def test_what_breaks_meanwhile_is_said_without_a_traceback(tmp_path: Path, write_config: Write) -> None:
    specs = grid(read_config(write_config(methods=["coop"], seeds=[1])))
    home = ExperimentDirectory(tmp_path / "out")
    home.open("try", "1", {})
    shutil.rmtree(home.path / "runs")
    (home.path / "runs.csv").mkdir()
    grid_ = Grid.of(specs, Environment(), home)
    summary = Follower(home, grid_, [], MagicMock(), MagicMock()).follow(Signals())
    assert f"cannot write {home.path / 'runs.csv'}: Is a directory; remove it" in summary.stopped
    assert summary.exit_code == 1
