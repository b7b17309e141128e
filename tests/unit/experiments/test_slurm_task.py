"""What a SLURM job does, without SLURM."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lamm_cl.experiments.config import Slurm, read_config
from lamm_cl.experiments.grid import environment, grid
from lamm_cl.experiments.slurm import Task, parameters
from lamm_cl.experiments.work import record_stamp
from lamm_cl.records import ExperimentDirectory

pytestmark = pytest.mark.usefixtures("fake_path")


@pytest.fixture
def task(tmp_path: Path, write_config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Task:
    from lamm_cl_fake_work import FakeWork

    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # the task sets them: give them back afterwards
    (tmp_path / "diary").touch()
    config = read_config(write_config())
    home = ExperimentDirectory(tmp_path / "out")
    home.open("try", "0", {})
    specs = [(spec, record_stamp(home, spec.run_id)) for spec in grid(config)]
    work = partial(FakeWork, tmp_path / "diary", tricks={"zero_shot": "fail"})
    return Task(home.path, specs, environment(config), "cpu", 1, work)


def test_jobs_share_the_runs_and_try_a_failed_one_once(task: Task, tmp_path: Path) -> None:
    assert task(2) == {"done": 2, "failed": 2}
    assert task(0) == {"elsewhere": 4}
    started = [line.split()[1] for line in (tmp_path / "diary").read_text().splitlines() if line.startswith("start")]
    ids = [spec.run_id for spec, _ in task.specs]
    assert started == [*ids[2:], *ids[:2]]


def test_a_job_that_must_go_is_queued_again_as_it_was(task: Task) -> None:
    again = task.checkpoint(3)
    assert again.function is task
    assert again.args == (3,)


def test_a_full_disk_ends_the_job(task: Task) -> None:
    task.make_work = partial(task.make_work, tricks={"zero_shot": "full disk"})
    with pytest.raises(OSError, match="No space left on device"):
        task(0)


def test_what_the_cluster_is_asked_for() -> None:
    wanted = Slurm(partition="gpu", time=90, gpus=1, cpus=4, memory_gb=16, extra={"nice": 100})
    assert parameters(wanted, "name", 7) == {
        "name": "name",
        "timeout_min": 90,
        "cpus_per_task": 4,
        "tasks_per_node": 1,
        "slurm_array_parallelism": 7,
        "slurm_partition": "gpu",
        "mem_gb": 16,
        "gpus_per_node": 1,
        "slurm_additional_parameters": {"requeue": True, "nice": 100},
    }
