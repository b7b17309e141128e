"""A grid on a SLURM cluster: the jobs of an array share the runs among themselves through the same directory.

Every job is given all runs and takes what nobody else has: the locks of the records, which also keep two commands
apart, hand the runs out. So a slow node takes fewer of them, and those of a lost one are taken by the others.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from lamm_cl.errors import UsageError
from lamm_cl.experiments.config import Slurm
from lamm_cl.experiments.grid import environment
from lamm_cl.experiments.local import preflight
from lamm_cl.experiments.progress import Display, make_display
from lamm_cl.experiments.run import Plan, make_pool
from lamm_cl.experiments.spec import Environment, RunSpec
from lamm_cl.experiments.summary import Summary
from lamm_cl.experiments.surroundings import cache_trouble, check_loggers
from lamm_cl.experiments.work import Job, Outcome, Work, perform, record_failure, record_stamp
from lamm_cl.experiments.worker import use_threads
from lamm_cl.files import read_json, write_json
from lamm_cl.records import FAILED, ExperimentDirectory

_LOOK_EVERY = 2.0
_TABLE_EVERY = 10.0
_SUBMISSIONS = 2


@dataclass
class Task:
    """What one job of the array does; submitit carries it there.

    Attributes:
        directory: Of the experiment, on a file system that all nodes share.
        specs: All runs, and what their records looked like when the command began.
        environment: Where data and caches are.
        device: "cpu" or "cuda".
        threads: Of the computation.
        make_work: Makes the work.
    """

    directory: Path
    specs: Sequence[tuple[RunSpec, int | None]]
    environment: Environment
    device: str
    threads: int
    make_work: Callable[[], Work]

    def __call__(self, first: int) -> dict[str, int]:
        """Do every run that nobody else does, beginning with number `first`; returns how many ended how."""
        use_threads(self.threads)
        home, work = ExperimentDirectory(self.directory), self.make_work()
        ended: dict[str, int] = {}
        for spec, stamp in [*self.specs[first:], *self.specs[:first]]:
            job = Job(spec, home.run(spec.run_id), self.environment, self.device, _silent)
            outcome = perform(home, work, job, stamp)
            ended[outcome.status] = ended.get(outcome.status, 0) + 1
            if outcome.status == "disk":
                raise OSError(outcome.message)
            if outcome.status == "memory":
                record_failure(home, spec, outcome.message)
        return ended

    def checkpoint(self, first: int) -> Any:
        """Queue the job again, as it was: what is done is recorded, and the run in progress has its own state."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, first)


def _silent(fraction: float, text: str) -> None:
    """Take a run's progress, which nobody watches on a node."""


def run_on_cluster(plan: Plan, console: Console, make_work: Callable[[], Work]) -> Summary:
    """Do the pending runs of a plan as an array of SLURM jobs, and wait for them.

    Ctrl-C stops the waiting, not the jobs; the same command waits again.

    Raises:
        UsageError: There is no SLURM here, it refuses the jobs, or no run could survive.
    """
    if shutil.which("sbatch") is None:
        raise UsageError("--executor slurm: there is no `sbatch` on this machine; use it on a cluster's login node.")
    pending = plan.pending()
    summary = Summary(len(plan.specs), before=len(plan.specs) - len(pending))
    fingerprints: dict[str, str] = {}
    if pending:
        check_loggers(plan.config.loggers)
        pool = make_pool(plan, 1, make_work, "cpu")
        try:
            fingerprints = preflight(pool, pending)
        finally:
            pool.close()
    plan.open(fingerprints)
    display = make_display(console, pending, len(plan.specs), _jobs(plan, len(pending)))
    if pending and (trouble := cache_trouble(environment(plan.config))):
        display.note(f"warning: {trouble}")
    follower = Follower(plan, pending, summary, display, make_work)
    try:
        follower.follow()
    except KeyboardInterrupt:
        summary.interrupted = True
        numbers = " ".join(follower.numbers)
        summary.stopped = f"interrupted; the jobs go on: `scancel {numbers}` ends them, they stay resumable."
    finally:
        display.close()
        plan.home.rebuild_table()
    return summary


def _jobs(plan: Plan, runs: int) -> int:
    return max(1, min(plan.request.jobs or plan.config.slurm.jobs, runs))


class Follower:
    """Submits jobs, watches the records appear, and submits once more for runs whose job was lost."""

    def __init__(
        self,
        plan: Plan,
        pending: Sequence[RunSpec],
        summary: Summary,
        display: Display,
        make_work: Callable[[], Work],
    ) -> None:
        self._plan, self._home = plan, plan.home
        self._folder = plan.home.path.absolute() / "slurm"
        self._left = {spec.run_id: (spec, record_stamp(plan.home, spec.run_id)) for spec in pending}
        self._summary, self._display, self._make_work = summary, display, make_work
        self._jobs: list[Any] = []
        self._table_due = 0.0

    @property
    def numbers(self) -> list[str]:
        """Numbers of the job arrays that are being waited for."""
        return sorted({str(job.job_id).partition("_")[0] for job in self._jobs})

    def follow(self) -> None:
        """Wait until every run is recorded, or its jobs have been lost too often."""
        self._jobs = [] if not self._left else self._earlier_jobs()
        submitted = 0
        while self._left:
            if not self._alive():
                self._look()
                if not self._left:
                    break
                if submitted == _SUBMISSIONS:
                    self._summary.stopped = f"the jobs ended without a result: {self._last_words()}"
                    return
                self._jobs = self._submit()
                submitted += 1
            time.sleep(_LOOK_EVERY)
            self._look()
            self._display.tick()

    def _look(self) -> None:
        for run_id, (spec, stamp) in list(self._left.items()):
            if record_stamp(self._home, run_id) == stamp:
                continue
            record = self._home.record(run_id)
            if record is None:
                continue
            del self._left[run_id]
            outcome = Outcome("done", seconds=float(record.details.get("seconds") or 0.0))
            if record.status == FAILED:
                outcome = Outcome("failed", (record.error or "").splitlines()[0])
                self._summary.failed.append((spec, outcome.message))
            else:
                self._summary.done += 1
            self._display.finished(spec, outcome)
        if time.monotonic() > self._table_due:
            self._home.rebuild_table()
            self._table_due = time.monotonic() + _TABLE_EVERY

    # -- jobs ------------------------------------------------------------------------------------------------------

    def _submit(self) -> list[Any]:
        import submitit

        wanted = self._plan.config.slurm
        count = _jobs(self._plan, len(self._left))
        executor = submitit.AutoExecutor(folder=self._folder, cluster="slurm", slurm_max_num_timeout=wanted.requeues)
        executor.update_parameters(**parameters(wanted, self._plan.config.experiment, count))
        specs = list(self._left.values())
        task = Task(
            directory=self._home.path.absolute(),
            specs=specs,
            environment=environment(self._plan.config),
            device=self._plan.device,
            threads=self._plan.config.threads,
            make_work=self._make_work,
        )
        starts = [number * len(specs) // count for number in range(count)]
        try:
            jobs = executor.map_array(task, starts)
        except subprocess.CalledProcessError as error:
            raise UsageError(f"SLURM refused the jobs: {error.stderr or error}") from error
        except submitit.core.utils.FailedJobError as error:
            raise UsageError(f"SLURM refused the jobs: {' '.join(str(error).split())[-300:]}") from error
        write_json(self._folder / "jobs.json", {"jobs": [str(job.job_id) for job in jobs]})
        self._display.note(
            f"{count} SLURM job{'s' * (count > 1)} for {len(specs)} runs: {jobs[0].job_id} ...; logs in {self._folder}"
        )
        return list(jobs)

    def _earlier_jobs(self) -> list[Any]:
        """Return the jobs that an earlier command submitted and that are still queued or running."""
        import submitit

        known = read_json(self._folder / "jobs.json") or {}
        jobs = [submitit.SlurmJob(self._folder, str(number)) for number in known.get("jobs", [])]
        numbers = sorted({str(job.job_id).partition("_")[0] for job in jobs})
        if not numbers or not _queued(numbers):
            return []
        self._display.note(f"waiting for the SLURM jobs of an earlier command: {' '.join(numbers)}")
        return jobs

    def _alive(self) -> bool:
        return bool(self.numbers) and _queued(self.numbers)

    def _last_words(self) -> str:
        for job in self._jobs:
            text = (job.stderr() or "").strip().splitlines()
            if text:
                return f"{text[-1][:300]} ({job.paths.stderr})"
        return f"no word from them; see {self._folder}"


def _queued(numbers: Sequence[str]) -> bool:
    """Whether SLURM still has one of these jobs queued, running or finishing."""
    asked = subprocess.run(
        ["squeue", "--noheader", "--jobs", ",".join(numbers), "--format=%T"],
        capture_output=True,
        text=True,
        check=False,
    )
    # squeue refuses numbers that it has forgotten, which is as good as an empty answer; when it can't be reached
    # the jobs may well be there.
    return bool(asked.stdout.strip()) or (asked.returncode != 0 and "Invalid job id" not in asked.stderr)


def parameters(wanted: Slurm, name: str, count: int) -> dict[str, Any]:
    """Return what submitit wants to hear.

    Args:
        wanted: The config's section.
        name: Of the jobs.
        count: Jobs that may run at one time.
    """
    chosen: dict[str, Any] = {
        "name": name,
        "timeout_min": wanted.time,
        "cpus_per_task": wanted.cpus,
        "tasks_per_node": 1,
        "slurm_array_parallelism": count,
        "slurm_partition": wanted.partition,
        "slurm_account": wanted.account,
        "slurm_qos": wanted.qos,
        "slurm_constraint": wanted.constraint,
        "mem_gb": wanted.memory_gb,
        "gpus_per_node": wanted.gpus or None,
        # A preempted job is queued again and goes on from the records.
        "slurm_additional_parameters": {"requeue": True, **wanted.extra},
    }
    return {key: value for key, value in chosen.items() if value is not None}
