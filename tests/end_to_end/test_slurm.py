"""Grids through a real SLURM. Skipped, with the reason, where it is not installed or this is not root."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from lamm_cl.errors import UsageError
from lamm_cl.experiments import slurm
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.plan import Request
from lamm_cl.experiments.run import run_experiment

HERE = Path(__file__).parent
FAKES = HERE.parent / "unit" / "experiments"
COMMAND = str(HERE / "fake_command.py")
_spec = importlib.util.spec_from_file_location("slurm_server", HERE / "slurm_server.py")
assert _spec is not None
assert _spec.loader is not None
slurm_server = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(slurm_server)

CONFIG = """
experiment: queued
protocol: few_shot
datasets: [digits]
methods: [zero_shot, coop, lamm]
seeds: [1, 2, 3, 4]
slurm: {partition: debug, time: 10, jobs: 2}
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    reason = slurm_server.why_not()
    if reason:
        pytest.skip(reason)
    with slurm_server.slurm(tmp_path_factory.mktemp("slurm")) as variables:
        yield variables


@pytest.fixture
def submit(cluster: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(FAKES))
    (tmp_path / "diary").touch()

    def go(executor: str = "slurm", out: str = "out", work: dict[str, Any] | None = None, *sets: str) -> Any:
        from lamm_cl_fake_work import FakeWork

        command = [sys.executable, COMMAND, "work", str(tmp_path / "diary"), json.dumps(work or {})]
        monkeypatch.setattr(slurm, "WORK", command)
        path = tmp_path / "queued.yaml"
        path.write_text(CONFIG)
        text = io.StringIO()
        code = run_experiment(
            read_config(path, sets),
            Request(out=tmp_path / out, executor=executor, jobs=2),
            Console(file=text, width=200),
            partial(FakeWork, tmp_path / "diary", **(work or {})),
        )
        diary = (tmp_path / "diary").read_text().split("\n")
        return SimpleNamespace(code=code, text=text.getvalue(), diary=diary, table=values(tmp_path / out))

    return go


def values(out: Path) -> list[str]:
    return [line for line in (out / "runs.csv").read_text().splitlines() if ",seconds," not in line]


def test_a_grid_through_slurm_gives_the_same_numbers(submit: Any) -> None:
    queued = submit()
    assert queued.code == 0, queued.text
    assert "12 runs: 12 done now." in queued.text
    starts = [line.split()[1] for line in queued.diary if line.startswith("start")]
    assert len(starts) == len(set(starts)) == 12
    # Two jobs share the runs; on a busy machine one of them may start when the other has done them all.
    assert len({line.split()[2] for line in queued.diary if line}) in (1, 2)
    assert submit("local", "here").table == queued.table
    assert "12 done before" in submit().text


def test_a_failed_run_is_reported_and_tried_again_by_the_next_command(submit: Any) -> None:
    first = submit("slurm", "out", {"tricks": {"coop": "fail once"}}, "seeds=[1, 2]")
    assert first.code == 1
    assert "6 runs: 4 done now, 2 failed." in first.text
    assert "ValueError: the loss became NaN in step 3" in first.text
    second = submit("slurm", "out", {"tricks": {"coop": "fail once"}}, "seeds=[1, 2]")
    assert second.code == 0
    assert "2 done now, 4 done before" in second.text


def test_a_preempted_job_is_queued_again_and_goes_on(submit: Any, tmp_path: Path) -> None:
    """An urgent job takes the node while the runs go on: they are requeued and end with the same numbers."""
    urgent: list[subprocess.CompletedProcess[str]] = []

    def disturb() -> None:
        deadline = time.monotonic() + 60
        while "start" not in (tmp_path / "diary").read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        command = ["srun", "--partition=urgent", f"--cpus-per-task={os.cpu_count()}", "--time=1", "sleep", "1"]
        urgent.append(subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ)))
        # SLURM lets a requeued job wait two minutes; nobody has to.
        asked = ["squeue", "--noheader", "--array", "--states=PENDING", "--format=%i"]
        for number in subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split():
            subprocess.run(["scontrol", "update", f"JobId={number}", "StartTime=now"], check=False)

    thread = threading.Thread(target=disturb)
    thread.start()
    queued = submit("slurm", "out", {"seconds": 6.0, "steps": 30}, "methods=[lamm]", "seeds=[1, 2]")
    thread.join()
    assert urgent[0].returncode == 0, urgent[0].stderr
    assert queued.code == 0, queued.text
    starts = [line.split()[1] for line in queued.diary if line.startswith("start")]
    assert len(starts) > len(set(starts)), "the urgent job should have interrupted a run"
    assert submit("local", "here", {"steps": 30}, "methods=[lamm]", "seeds=[1, 2]").table == queued.table


def test_a_job_that_ends_without_a_result_is_submitted_once_more(submit: Any, tmp_path: Path) -> None:
    queued = submit("slurm", "out", {"tricks": {"lamm": "die once"}}, "seeds=[1]", "methods=[lamm]")
    assert queued.code == 0, queued.text
    assert queued.text.count("1 SLURM job for 1 run:") == 2
    lost = submit("slurm", "lost", {"tricks": {"lamm": "die"}}, "seeds=[2]", "methods=[lamm]")
    assert lost.code == 1
    assert "the jobs ended without a result" in lost.text


def test_jobs_of_an_earlier_command_are_waited_for(submit: Any, tmp_path: Path) -> None:
    """The waiting command is interrupted; the same command finds the jobs again instead of submitting others."""
    driver = f"""
import sys
sys.path.insert(0, {str(FAKES)!r})
from functools import partial
from pathlib import Path
from rich.console import Console
from lamm_cl.experiments import slurm
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.plan import Request
from lamm_cl.experiments.run import run_experiment
from lamm_cl_fake_work import FakeWork
slurm.WORK = [sys.executable, {COMMAND!r}, "work", {str(tmp_path / "diary")!r}, '{{"seconds": 4.0}}']
config = read_config({str(tmp_path / "queued.yaml")!r}, ["methods=[lamm]", "seeds=[1, 2]"])
request = Request(out=Path({str(tmp_path / "out")!r}), executor="slurm", jobs=1)
work = partial(FakeWork, Path({str(tmp_path / "diary")!r}), seconds=4.0)
if __name__ == "__main__":
    sys.exit(run_experiment(config, request, Console(), work))
"""
    (tmp_path / "driver.py").write_text(driver)
    (tmp_path / "queued.yaml").write_text(CONFIG)
    waiting = subprocess.Popen([sys.executable, str(tmp_path / "driver.py")], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while "start" not in (tmp_path / "diary").read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    waiting.send_signal(2)
    said, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert "The jobs go on: `scancel" in said
    again = submit("slurm", "out", {"seconds": 4.0}, "methods=[lamm]", "seeds=[1, 2]")
    assert again.code == 0
    assert "waiting for the SLURM jobs of an earlier command" in again.text
    assert "SLURM job for" not in again.text
    assert len([line for line in again.diary if line.startswith("start")]) == 2


def test_no_slurm_is_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "queued.yaml").write_text(CONFIG)
    with pytest.raises(UsageError, match="there is no `sbatch` on this machine"):
        run_experiment(
            read_config(tmp_path / "queued.yaml"), Request(out=tmp_path / "out", executor="slurm"), Console()
        )
    assert not (tmp_path / "out").exists()
