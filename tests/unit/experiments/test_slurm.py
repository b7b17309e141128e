"""What SLURM is asked for, and how its jobs are followed, with stand-ins for its commands."""

import io
import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from lamm_cl.errors import UsageError
from lamm_cl.experiments import run, slurm
from lamm_cl.experiments.config import Slurm, read_config
from lamm_cl.experiments.plan import Request
from lamm_cl.experiments.run import run_experiment
from lamm_cl.experiments.slurm import options, script

pytestmark = pytest.mark.usefixtures("fake_path")


def test_what_the_cluster_is_asked_for() -> None:
    wanted = Slurm(partition="gpu", time=90, gpus=1, cpus=4, memory_gb=0.5, extra={"nice": 100, "exclusive": True})
    assert options(wanted, "name", 7, Path("/out/slurm")) == [
        "--job-name=name",
        "--array=0-6",
        "--time=90",
        "--ntasks=1",
        "--cpus-per-task=4",
        "--mem=512M",
        "--gpus-per-node=1",
        "--partition=gpu",
        "--signal=USR1@90",
        "--output=/out/slurm/%A_%a.log",
        "--open-mode=append",
        "--requeue",
        "--nice=100",
        "--exclusive",
    ]


def test_a_job_too_short_for_a_warning_gets_none() -> None:
    """SLURM may send its signal a minute early: a job of a minute would be told to end when it begins."""
    assert not any("--signal" in word for word in options(Slurm(time=1), "name", 1, Path()))


def test_a_job_whose_time_is_up_is_queued_again_as_it_was(tmp_path: Path) -> None:
    """The script for real, with stand-ins for what it calls."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("srun", 'echo "$@" > called; exit $ENDS'), ("scontrol", 'echo "$@" > requeued')):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)

    def ends(code: int, restarts: int | None = None) -> tuple[int, bool]:
        (tmp_path / "requeued").unlink(missing_ok=True)
        count = {} if restarts is None else {"SLURM_RESTART_COUNT": str(restarts)}
        asked = subprocess.run(
            ["sh"],
            input=script(Slurm(cpus=3, requeues=2), tmp_path / "a b", "cuda"),
            text=True,
            cwd=tmp_path,
            env={"PATH": f"{tools}:{os.environ['PATH']}", "ENDS": str(code), "SLURM_JOB_ID": "77", **count},
            check=False,
        )
        return asked.returncode, (tmp_path / "requeued").exists()

    assert ends(75) == (75, True)
    assert (tmp_path / "requeued").read_text() == "requeue 77\n"
    assert (tmp_path / "called").read_text().startswith("--ntasks=1 --cpus-per-task=3 ")
    assert (tmp_path / "called").read_text().endswith(f" work {tmp_path / 'a b'} --device cuda\n")
    assert ends(75, restarts=1) == (75, True)
    assert ends(75, restarts=2) == (75, False)
    assert ends(0) == (0, False)
    assert ends(130) == (130, False), "a job that somebody cancelled stays cancelled"


@pytest.fixture
def submit(tmp_path: Path, write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Submit to a cluster whose jobs are lost."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("sbatch", "cat > script; echo Submitted batch job 7"), ("squeue", ""), ("srun", "")):
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm.SlurmJobs, "look_every", 0.01)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "diary").touch()

    def go(executor: str = "slurm") -> SimpleNamespace:
        from lamm_cl_fake_work import FakeWork

        text = io.StringIO()
        request = Request(out=tmp_path / "out", executor=executor, jobs=1)
        config = read_config(write_config(seeds=[1]))
        code = run_experiment(config, request, Console(file=text, width=200), partial(FakeWork, tmp_path / "diary"))
        return SimpleNamespace(code=code, text=text.getvalue())

    return go


def test_jobs_that_are_lost_are_submitted_once_more(submit: Callable[..., Any], tmp_path: Path) -> None:
    lost = submit()
    assert lost.code == 1
    assert lost.text.count("1 SLURM job for 2 runs: 7") == 2
    assert "2 runs: 0 done now, 2 left." in lost.text
    assert "the jobs ended without a result: no word from them" in lost.text
    assert f"work {tmp_path / 'out'} --device cpu" in (tmp_path / "script").read_text()


def test_runs_that_another_command_does_during_the_check_are_noticed(
    submit: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run.local_workers

    def meanwhile(*arguments: Any) -> Any:
        monkeypatch.setattr(run, "local_workers", before)
        assert submit("local").code == 0
        return before(*arguments)

    monkeypatch.setattr(run, "local_workers", meanwhile)
    queued = submit()
    assert queued.code == 0
    assert "SLURM job" not in queued.text
    assert "2 runs: 2 done now." in queued.text


def test_a_cluster_that_refuses_is_wrong_use(submit: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho sbatch: error: invalid partition >&2; exit 1\n")
    with pytest.raises(UsageError, match="SLURM refused the jobs: sbatch: error: invalid partition"):
        submit()
