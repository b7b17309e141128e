"""The local executor, with work that takes no time and goes wrong on demand."""

import errno
import io
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from rich.console import Console

from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import read_config
from lamm_cl.experiments.environment import check_loggers
from lamm_cl.experiments.follow import Follower
from lamm_cl.experiments.plan import Request, total
from lamm_cl.experiments.run import run_experiment
from lamm_cl.experiments.signals import Signals
from lamm_cl.experiments.spec import Cost, Grid
from lamm_cl.experiments.work import _is_broken_device, _is_gpu_memory
from lamm_cl.records import ExperimentDirectory

pytestmark = pytest.mark.usefixtures("fake_path")


@pytest.fixture
def run(tmp_path: Path, write_config: Callable[..., Path]) -> Callable[..., Any]:
    diary = tmp_path / "diary"
    diary.touch()

    def go(jobs: int = 1, out: str = "out", work: dict[str, Any] | None = None, **changes: Any) -> SimpleNamespace:
        from lamm_cl_fake_work import FakeWork

        text = io.StringIO()
        request = Request(out=tmp_path / out, jobs=jobs, command=["lamm-cl", "run", "try it.yaml"])
        request = Request(**{**vars(request), **changes.pop("request", {})})
        config = read_config(write_config(**changes))
        code = run_experiment(config, request, Console(file=text, width=200), partial(FakeWork, diary, **(work or {})))
        return SimpleNamespace(code=code, text=text.getvalue(), diary=diary.read_text(), out=tmp_path / out)

    return go


def records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(out.glob("runs/*/record.json"))]


def values(out: Path) -> list[str]:
    return [line for line in (out / "runs.csv").read_text().splitlines() if ",seconds," not in line]


def test_a_grid_runs_once_and_then_is_skipped(run: Callable[..., Any]) -> None:
    first = run(jobs=2)
    assert first.code == 0
    assert "4 runs: 4 done now." in first.text
    assert "[4/4] done" in first.text
    assert len(values(first.out)) == 1 + 4 * 3
    again = run(jobs=2)
    assert "4 runs: 0 done now, 4 done before." in again.text
    assert again.diary.count("start") == 4


def test_the_table_does_not_depend_on_jobs_or_order(run: Callable[..., Any]) -> None:
    one = run(jobs=1, out="one")
    two = run(jobs=3, out="two", seeds=[2, 1], methods=["lamm", "zero_shot"])
    assert values(one.out) == values(two.out)


def test_a_run_may_have_processes_of_its_own_that_read_images(run: Callable[..., Any]) -> None:
    done = run(work={"tricks": {"lamm": "helper"}})
    assert done.code == 0
    assert done.diary.count("helper") == 2


def test_a_failed_run_does_not_stop_the_others_and_is_tried_again(run: Callable[..., Any]) -> None:
    first = run(work={"tricks": {"lamm": "fail once"}})
    assert first.code == 1
    assert "4 runs: 2 done now, 2 failed." in first.text
    assert "failed: lamm on digits, tiny, 16 shots, seed 1: ValueError: the loss became NaN in step 3" in first.text
    assert "Try the failed ones again with: lamm-cl run 'try it.yaml'" in first.text
    assert (first.out / "runs.csv").read_text().count(",failed,") == 2
    error = next(record for record in records(first.out) if record["status"] == "failed")["error"]
    assert error["message"] == "the loss became NaN in step 3 (term kd)\nmore about it"
    assert "lamm_cl_fake_work.py" in error["traceback"]
    second = run(work={"tricks": {"lamm": "fail once"}})
    assert second.code == 0
    assert "4 runs: 2 done now, 2 done before." in second.text
    assert "failed" not in (first.out / "runs.csv").read_text()


def test_a_worker_that_dies_is_replaced_and_its_run_tried_once_more(run: Callable[..., Any]) -> None:
    result = run(jobs=2, work={"tricks": {"lamm": "die once"}})
    assert result.code == 0
    assert "killed by SIGKILL, perhaps for want of memory; it last said: about to die; trying once more" in result.text
    assert result.diary.count("start") == 6


def test_a_run_that_kills_its_worker_twice_has_failed(run: Callable[..., Any]) -> None:
    result = run(work={"tricks": {"lamm": "exit"}}, seeds=[1])
    assert result.code == 1
    assert "2 runs: 1 done now, 1 failed." in result.text
    assert "ended with code 3, twice." in result.text
    assert result.diary.count("start") == 3


def test_a_worker_that_dies_after_its_record_has_done_its_run(run: Callable[..., Any]) -> None:
    result = run(work={"tricks": {"lamm": "die when recorded"}}, seeds=[1])
    assert result.code == 0
    assert "2 runs: 2 done now. Results" in result.text, "it was this command's, and nobody else's"
    assert result.diary.count("start") == 2
    assert list(result.out.rglob("*.safetensors")) == [], "the state of a run that is done goes"


def test_a_record_that_is_deleted_meanwhile_is_made_again(run: Callable[..., Any]) -> None:
    result = run(work={"tricks": {"lamm": "delete another"}}, methods=["zero_shot", "lamm"], seeds=[1])
    assert result.code == 0
    assert "2 runs: 2 done now." in result.text
    assert len(values(result.out)) == 1 + 2 * 3
    assert result.diary.count("start") == 3


def test_a_record_that_is_deleted_at_the_end_is_left_to_do(run: Callable[..., Any]) -> None:
    first = run(seeds=[1])
    home = ExperimentDirectory(first.out)
    grid = Grid.read(home)
    display = MagicMock()
    display.finished = lambda spec, entry, own: shutil.rmtree(home.run(grid.specs[0].run_id), ignore_errors=True)
    summary = Follower(home, grid, grid.specs, MagicMock(names=None), display).follow(Signals())
    assert (summary.done, summary.left, summary.exit_code) == (1, 1, 1)
    assert len(values(first.out)) == 1 + 3


def test_a_damaged_record_is_named_and_done_again(run: Callable[..., Any]) -> None:
    first = run(seeds=[1])
    place = next((first.out / "runs").iterdir())
    content = (place / "record.json").read_text()
    (place / "record.json").write_text(content.replace('"seed": 1', '"seed": 3'))
    again = run(seeds=[1])
    assert f"{place}/record.json is damaged: it is kept aside, and the run done again." in again.text
    assert "2 runs: 1 done now, 1 done before." in again.text
    assert values(again.out) == values(first.out)


def test_a_record_that_cannot_be_read_is_said_and_nothing_is_rewritten(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(seeds=[1])
    table = (first.out / "runs.csv").read_bytes()
    record = next(first.out.glob("runs/*/record.json"))
    read = Path.read_bytes

    def unreadable(self: Path) -> bytes:
        if self == record:
            raise OSError(errno.EIO, "Input/output error", str(self))
        return read(self)

    monkeypatch.setattr("lamm_cl.files._PAUSES", (0, 0))
    monkeypatch.setattr(Path, "read_bytes", unreadable)
    with pytest.raises(UsageError, match=f"cannot use {record}: Input/output error. What was done is kept"):
        run(seeds=[1])
    assert read(first.out / "runs.csv") == table


def test_a_full_disk_stops_everything_and_keeps_what_was_done(run: Callable[..., Any]) -> None:
    result = run(work={"tricks": {"lamm": "full disk"}})
    assert result.code == 1
    assert "4 runs: 2 done now, 2 left." in result.text
    assert "No space left on device" in result.text
    assert "failed" not in (result.out / "runs.csv").read_text()
    assert run().code == 0
    assert len(values(result.out)) == 1 + 4 * 3


def test_fewer_runs_share_a_gpu_that_is_too_small(run: Callable[..., Any]) -> None:
    result = run(jobs=2, work={"tricks": {"lamm": "gpu memory"}, "seconds": 0.3}, seeds=[1], methods=["lamm", "coop"])
    assert result.code == 0
    assert "cpu is too small for one more run at a time" in result.text
    assert "2 runs: 2 done now." in result.text


def test_a_worker_whose_gpu_failed_is_replaced_and_its_run_tried_once_more(run: Callable[..., Any]) -> None:
    result = run(work={"tricks": {"lamm": "device assert once"}}, seeds=[1, 2])
    assert result.code == 0
    assert "a worker process is replaced after an error of its GPU: cpu: CUDA error: device-side assert" in result.text
    assert "4 runs: 4 done now." in result.text
    assert not list(result.out.glob("runs/*/device-error"))
    workers = [line.split()[-1] for line in result.diary.splitlines() if line.startswith("start")]
    assert len(set(workers)) > 1  # nothing runs in a process whose GPU has failed


def test_a_run_after_which_the_gpu_fails_twice_has_failed_and_the_others_go_on(run: Callable[..., Any]) -> None:
    result = run(work={"tricks": {"lamm": "device assert"}}, seeds=[1])
    assert result.code == 1
    assert "2 runs: 1 done now, 1 failed." in result.text
    assert "RuntimeError: CUDA error: device-side assert triggered" in result.text
    assert run(seeds=[1]).code == 0  # the next command tries it again from its start


@pytest.mark.parametrize(
    ("message", "memory", "broken"),
    [
        ("CUDA error: an illegal memory access was encountered", False, True),
        ("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", False, True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True, False),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", True, False),
        ("mat1 and mat2 shapes cannot be multiplied", False, False),
    ],
)
def test_errors_of_the_gpu_are_told_apart(message: str, memory: bool, broken: bool) -> None:
    assert _is_gpu_memory(RuntimeError(message)) is memory
    assert _is_broken_device(RuntimeError(message)) is broken


def test_what_no_run_could_survive_is_said_before_anything_is_written(run: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the weights are not here"):
        run(work={"refuse": "the weights are not here"})
    assert not (tmp_path / "out").exists()


def test_a_large_grid_asks_for_yes(run: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expands to 4 runs, more than 3: add --yes"):
        run(max_runs=3)
    assert not (tmp_path / "out").exists()
    assert run(max_runs=3, request={"yes": True}).code == 0


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"executor": "slurmm"}, "unknown executor 'slurmm'. Did you mean 'slurm'"),
        ({"jobs": 0}, "--jobs 0: at least 1"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"out": Path("/dev/null/x")}, "cannot write in"),
    ],
)
def test_wrong_requests(run: Callable[..., Any], request_: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        run(request=request_)
    assert message in str(error.value)


def test_another_experiments_directory_is_refused(run: Callable[..., Any]) -> None:
    run()
    with pytest.raises(UsageError, match=r"tiny: methods\.lamm\.lr was .* there and is 0\.5 here"):
        run(methods={"zero_shot": None, "lamm": {"lr": 0.5}})
    with pytest.raises(UsageError, match="holds the experiment 'try', not 'other'"):
        run(experiment="other")
    with pytest.raises(UsageError, match=r"weights\.tiny was '0123' there and is '4567' here"):
        run(seeds=[1, 2, 3], work={"weights": "4567"})
    assert run(seeds=[1, 2, 3]).code == 0


def test_a_resumed_run_is_the_uninterrupted_one(run: Callable[..., Any], tmp_path: Path) -> None:
    whole = run(out="whole")
    other = run(out="other", seeds=[1])
    home = ExperimentDirectory(other.out)
    for record in records(other.out):
        (home.run(record["run_id"]) / "record.json").unlink()
        assert not (home.run(record["run_id"]) / "checkpoint.safetensors").exists()
    assert values(run(out="other").out) == values(whole.out)


def test_leftovers_of_killed_processes_do_not_matter(run: Callable[..., Any]) -> None:
    first = run()
    before = values(first.out)
    one = next(iter((first.out / "runs").iterdir()))
    (one / "record.json").write_text('{"half')
    (one / ".record.json.1-a.tmp").write_text("half")
    (one / "lock").touch()
    (first.out / ".runs.csv.1-a.tmp").write_text("half")
    assert run().code == 0
    assert values(first.out) == before
    assert sorted(path.name for path in one.iterdir()) == ["record.damaged.json", "record.json"]
    assert sorted(path.name for path in first.out.iterdir()) == ["experiment.json", "grid.json", "runs", "runs.csv"]


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(run: Callable[..., Any]) -> None:
    dry = run(jobs=2, request={"dry_run": True})
    assert dry.code == 0
    assert not dry.out.exists()
    assert dry.text.count("to do\n") == 4
    assert f"4 runs in {dry.out}: 4 to do." in dry.text
    assert "Estimate with 2 workers on cpu, from a few timed steps: time 2 min 4 s, memory 1.0 GB, disk" in dry.text
    run(jobs=2, work={"tricks": {"lamm": "fail"}})
    dry = run(jobs=2, seeds=[1, 2, 3], request={"dry_run": True}, max_runs=5)
    assert "6 runs" in dry.text
    assert "2 done, 2 to do, 2 failed, to do again." in dry.text
    assert "More than 5 runs: doing them takes --yes." in dry.text


def test_a_dry_run_where_data_is_missing_shows_the_grid_and_what_it_would_cost(run: Callable[..., Any]) -> None:
    dry = run(work={"refuse": "dtd is not under ./data"}, request={"dry_run": True}, datasets=["digits", "glyphs"])
    assert dry.code == 2, "as the run itself"
    assert "These runs cannot start: dtd is not under ./data" in dry.text
    assert "from a few timed steps, as if nothing were in the way: time" in dry.text
    listed = [line for line in dry.text.splitlines() if line.startswith(("digits", "glyphs"))]
    assert listed == ["digits: 4 runs", "glyphs: 4 runs"]


def test_a_dry_run_finds_what_keeps_a_run_from_starting_besides_its_data(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(seeds=[1])
    other = run(work={"weights": "4567"}, request={"dry_run": True})
    assert other.code == 2
    (line,) = [line for line in other.text.splitlines() if line.startswith("These runs cannot start: ")]
    assert "weights.tiny" in other.text
    assert str(other.out) in line
    monkeypatch.setenv("PATH", "")
    remote = run(out="remote", request={"dry_run": True, "executor": "slurm"})
    assert remote.code == 2
    assert "These runs cannot start: --executor slurm: there is no `sbatch`" in remote.text


def test_the_start_of_workers_is_part_of_the_estimate() -> None:
    costs = [Cost(10.0, 500.0, start=8.0), Cost(20.0, 600.0, start=9.0)]
    assert total(costs, jobs=1)[0] == 39
    assert total(costs, jobs=2)[0] == 29
    assert total([], jobs=2) == (0, 0, 0)


def test_a_cache_that_cannot_be_used_is_said_and_the_run_goes_on(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    said = run(cache=str(tmp_path / "cache"), seeds=[1])
    assert said.code == 0
    assert f"warning: the feature cache {tmp_path / 'cache'} can't be used" in " ".join(said.text.split())
    assert "warning" not in run(cache=False, out="other", seeds=[1]).text


def test_wandb_without_a_key_is_refused_before_anything_is_written(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    with pytest.raises(UsageError, match=r"'wandb' has no API key: run `wandb login`"):
        run(loggers=["wandb"])
    with pytest.raises(UsageError, match=r"unknown option of logger wandb 'projcet'. Did you mean 'project'"):
        run(loggers={"wandb": {"projcet": "x"}})
    assert not (tmp_path / "out").exists()
    assert run(loggers={"wandb": {"mode": "offline"}}).code == 0
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    check_loggers({"wandb": {}})
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    with pytest.raises(UsageError, match="no API key"):
        check_loggers({"wandb": {}})
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    check_loggers({"wandb": {}})


def test_every_run_done_needs_no_worker(run: Callable[..., Any]) -> None:
    first = run()
    (first.out / "runs.csv").unlink()
    assert run(work={"refuse": "nothing should ask"}).code == 0
    assert len(values(first.out)) == 1 + 4 * 3
