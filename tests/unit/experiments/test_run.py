"""Joining a grid from anywhere that sees its directory, with work that takes no time."""

import io
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from lamm_cl.errors import UsageError
from lamm_cl.experiments import imports
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.grid import grid
from lamm_cl.experiments.plan import Request, make_plan
from lamm_cl.experiments.run import join
from lamm_cl.experiments.spec import Environment, Grid
from lamm_cl.records import ExperimentDirectory

pytestmark = pytest.mark.usefixtures("fake_path")
CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture
def out(tmp_path: Path, write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory whose grid was begun, and of which nothing is done."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # joining sets them: give them back afterwards
    (tmp_path / "diary").touch()
    monkeypatch.chdir(tmp_path)
    make_plan(read_config(write_config()), Request(out=tmp_path / "out")).open({"weights.tiny": "0123"})
    return tmp_path / "out"


def work(out: Path, device: str | None = None, **tricks: Any) -> SimpleNamespace:
    from lamm_cl_fake_work import FakeWork

    text = io.StringIO()
    code = join(out, device, Console(file=text, width=200), partial(FakeWork, out.parent / "diary", **tricks))
    return SimpleNamespace(code=code, text=text.getvalue())


def test_a_worker_does_all_that_nobody_has(out: Path) -> None:
    said = work(out)
    assert said.code == 0
    assert said.text.count("\ndone ") + said.text.startswith("done ") == 4
    assert f"4 runs: 4 done now. Results: {out / 'runs.csv'}" in said.text
    assert len((out / "runs.csv").read_text().splitlines()) == 1 + 4 * 4
    assert "4 runs: 0 done now, 4 done before." in work(out).text


def test_what_others_do_is_left_to_them(out: Path) -> None:
    home = ExperimentDirectory(out)
    first, *_ = Grid.read(home).specs
    with home.claim(first.run_id):
        said = work(out)
    assert said.code == 0
    assert "4 runs: 3 done now, 1 in progress elsewhere." in said.text


def test_a_run_fails_once(out: Path) -> None:
    said = work(out, tricks={"lamm": "fail"})
    assert said.code == 1
    assert "4 runs: 2 done now, 2 failed." in said.text
    again = work(out)
    assert again.code == 1
    assert "4 runs: 0 done now, 2 done before, 2 failed." in again.text
    assert f"Try the failed ones again with: lamm-cl run CONFIG.yaml --out {out}" in again.text


def test_a_failure_that_the_command_tries_again_is_tried_once(
    out: Path, tmp_path: Path, write_config: Callable[..., Path]
) -> None:
    work(out, tricks={"lamm": "fail"})
    make_plan(read_config(write_config()), Request(out=out)).open({})
    assert "2 done now, 2 done before" in work(out).text


def test_a_full_disk_ends_the_worker(out: Path) -> None:
    said = work(out, tricks={"zero_shot": "full disk"})
    assert said.code == 1
    assert "Stopped early: No space left on device" in said.text
    assert "Continue with: lamm-cl work" in said.text


def test_a_worker_works_where_the_grid_began(out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    work(Path("../out"))
    assert Path.cwd() == tmp_path


def test_a_machine_with_other_data_is_refused_and_writes_nothing(out: Path) -> None:
    before = sorted(out.rglob("*"))
    with pytest.raises(UsageError, match=r"weights\.tiny was '0123' there and is '4567' here"):
        work(out, weights="4567")
    with pytest.raises(UsageError, match="the data are not mounted"):
        work(out, refuse="the data are not mounted")
    assert sorted(out.rglob("*")) == before


def test_wrong_directories_and_devices(out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no grid to join. Begin one with `lamm-cl run CONFIG.yaml --out"):
        work(tmp_path / "other")
    with pytest.raises(UsageError, match="unknown device 'gpu'"):
        work(out, "gpu")
    content = json.loads((out / "grid.json").read_text())
    content["folder"] = "/"
    (out / "grid.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match=r"grid\.json is damaged: repeat the `lamm-cl run` that made it"):
        work(out)


def test_another_kind_of_device_is_refused(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamm_cl.experiments.environment.count_gpus", lambda: 2)
    with pytest.raises(UsageError, match=r"--device cuda:1: the runs of .* are for cpu"):
        work(out, "cuda:1")


def test_damaged_records_are_done_again_and_kept_aside(out: Path) -> None:
    work(out)
    table = (out / "runs.csv").read_text()
    path = next(out.glob("runs/*/record.json"))
    path.write_text(path.read_text().replace("accuracy", "precision"))
    assert "4 runs: 1 done now, 3 done before." in work(out).text
    assert (path.parent / "record.damaged.json").exists()
    again = (out / "runs.csv").read_text()
    assert [line for line in again.splitlines() if ",seconds," not in line] == [
        line for line in table.splitlines() if ",seconds," not in line
    ]


@pytest.mark.parametrize(
    ("entry", "place"), [("mine", "mine.py"), ("pack.mine", "pack/mine.py"), ("pack", "pack/__init__.py")]
)
def test_modules_beside_the_config_are_found_by_who_joins(
    tmp_path: Path, write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, entry: str, place: str
) -> None:
    path = [*sys.path]
    monkeypatch.setattr(sys, "path", [*path])
    monkeypatch.setattr(sys, "modules", {**sys.modules})
    (tmp_path / "own" / "pack").mkdir(parents=True)
    (tmp_path / "own" / "pack" / "__init__.py").touch()
    (tmp_path / "own" / place).write_text("HERE = 1\n")
    config = read_config(write_config(name="own/try.yaml", **{"import": [entry]}))
    home = ExperimentDirectory(tmp_path / "out")
    make_plan(config, Request(out=home.path)).open({})
    monkeypatch.setattr(sys, "path", path)
    for name in ("mine", "pack", "pack.mine"):
        sys.modules.pop(name, None)

    def check(specs: object, environment: Environment, device: str) -> None:
        raise UsageError(f"found {list(imports.load(environment.imports))}")

    with pytest.raises(UsageError, match=f"found ..{entry}"):
        join(home.path, None, Console(), lambda: SimpleNamespace(check=check))


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_a_grid_that_is_read_is_the_grid_that_was_written(path: Path, tmp_path: Path) -> None:
    """Every shipped experiment: types too, so that a run does not depend on who hands it out."""
    specs = grid(read_config(path), "cpu")
    home = ExperimentDirectory(tmp_path)
    written = Grid(specs, Environment(root="data", loggers={"csv": {}}), {"a": "b"})
    written.write(home)
    read = Grid.read(home)
    assert read == written
    assert repr(read.specs) == repr(list(specs))
    assert str(Path.cwd()) == read.folder
