"""Grids through a real SLURM. Skipped, with the reason, where it is not installed or this is not root."""

import contextlib
import importlib.util
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
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


class Cluster:
    """Starts the command as a process of its own, so that it can be killed as jobs can."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "queued.yaml"
        self.config.write_text(CONFIG)
        self.diary = folder / "diary"
        self.diary.touch()

    def start(self, out: str, *sets: str, seconds: float = 0.6, executor: str = "slurm") -> "subprocess.Popen[str]":
        words = [str(self.config), str(self.folder / out), str(self.diary), "2", str(seconds), *sets]
        return subprocess.Popen(
            [sys.executable, COMMAND, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "FAKE_EXECUTOR": executor},
        )

    def workers(self) -> list[int]:
        """The processes of jobs, as /proc knows them."""
        found = []
        for words in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                line = words.read_bytes().split(b"\0")
                if line[1:3] == [COMMAND.encode(), b"work"] and str(self.diary).encode() in line:
                    found.append(int(words.parent.name))
        return found

    def strike(self, dice: random.Random, command: "subprocess.Popen[str]", out: str) -> str:
        """Kill something at random; says what."""
        kind = dice.choice(["command", "worker", "job", "all"])
        if kind in ("worker", "all"):
            for worker in self.workers()[: 1 if kind == "worker" else None]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
        if kind in ("command", "all"):
            command.kill()
        if kind == "job":
            known = self.folder / out / "slurm" / "jobs.json"
            number = json.loads(known.read_text())["job"] if known.exists() else "0"
            subprocess.run(["scancel", f"{number}_{dice.choice([0, 1])}"], capture_output=True, check=False)
        return kind


def kill_again_and_again(cluster: Cluster, kills: int, seed: int) -> None:
    expected = cluster.start("undisturbed", executor="local", seconds=0.1)
    said, _ = expected.communicate(timeout=120)
    assert expected.returncode == 0, said
    dice, kinds, grids = random.Random(seed), Counter(), 0
    while kinds.total() < kills:
        out = f"grid{grids}"
        command = cluster.start(out)
        for _ in range(100):
            time.sleep(dice.uniform(0.3, 3.0))
            if command.poll() is None and kinds.total() < kills:
                kinds[cluster.strike(dice, command, out)] += 1
            if command.poll() is not None or kinds.total() >= kills:
                said, _ = command.communicate(timeout=300)
                if command.returncode == 0:
                    break
                command = cluster.start(out)
        assert command.returncode == 0, said
        assert values(cluster.folder / out) == values(cluster.folder / "undisturbed")
        grids += 1


def test_kills_through_slurm_end_in_the_same_table(cluster: dict[str, str], tmp_path: Path, monkeypatch: Any) -> None:
    """Of the command, of workers, of jobs, of all at once, at random moments."""
    monkeypatch.setenv("SLURM_CONF", cluster["SLURM_CONF"])
    kill_again_and_again(Cluster(tmp_path), kills=4, seed=1)


@pytest.mark.slow
def test_sixty_kills_through_slurm_end_in_the_same_table(
    cluster: dict[str, str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster["SLURM_CONF"])
    kill_again_and_again(Cluster(tmp_path), kills=60, seed=2)


@pytest.mark.slow
def test_jobs_of_a_minute_come_to_an_end(cluster: dict[str, str], tmp_path: Path, monkeypatch: Any) -> None:
    """A run takes longer than a job may: each saves what it did, and the next goes on."""
    monkeypatch.setenv("SLURM_CONF", cluster["SLURM_CONF"])
    started = Cluster(tmp_path)
    command = started.start("out", "slurm.time=1", "seeds=[1]", "methods=[lamm]", seconds=150.0)
    said, _ = command.communicate(timeout=900)
    assert command.returncode == 0, said
    assert said.count("1 SLURM job for 1 run:") >= 2
    plain = started.start("plain", "seeds=[1]", "methods=[lamm]", seconds=0.1, executor="local")
    plain.communicate(timeout=120)
    assert values(tmp_path / "out") == values(tmp_path / "plain")


def test_no_slurm_is_wrong_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "queued.yaml").write_text(CONFIG)
    with pytest.raises(UsageError, match="there is no `sbatch` on this machine"):
        run_experiment(
            read_config(tmp_path / "queued.yaml"), Request(out=tmp_path / "out", executor="slurm"), Console()
        )
    assert not (tmp_path / "out").exists()
