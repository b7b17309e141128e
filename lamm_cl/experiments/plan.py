"""A checked request: what a command will do and, for `--dry-run`, what that will cost. Nothing is written yet."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lamm_cl import __version__
from lamm_cl.errors import UsageError, check_known
from lamm_cl.experiments.config import ExperimentConfig
from lamm_cl.experiments.environment import check_loggers, default_jobs, find_device, one_per_worker
from lamm_cl.experiments.grid import environment, grid, grid_size, settings
from lamm_cl.experiments.local import LocalWorkers
from lamm_cl.experiments.progress import counted, duration, say
from lamm_cl.experiments.slurm import need_slurm
from lamm_cl.experiments.spec import Cost, Grid, RunSpec
from lamm_cl.experiments.work import Work
from lamm_cl.files import size_in_words
from lamm_cl.records import DONE, Entry, ExperimentDirectory

EXECUTORS = ("local", "slurm")
_RECORD_BYTES = 100_000


@dataclass(frozen=True)
class Request:
    """What the user asks for beside the config."""

    out: Path | None = None  # directory of the results; None for `runs/<experiment>`
    executor: str = "local"
    jobs: int | None = None  # worker processes, or jobs of the cluster; None for as many as there are cores
    device: str | None = None  # in place of the config's
    yes: bool = False  # do it although the grid is large
    dry_run: bool = False
    command: Sequence[str] = ("lamm-cl", "run")  # what the user typed, to be repeated in messages


@dataclass(frozen=True)
class Plan:
    """A checked request: nothing has been written yet."""

    config: ExperimentConfig
    request: Request
    device: str
    grid: Grid
    pending: Sequence[RunSpec]
    home: ExperimentDirectory

    @property
    def remote(self) -> bool:
        """Whether the runs go to a cluster."""
        return self.request.executor == "slurm"

    @property
    def jobs(self) -> int:
        """Worker processes, or jobs of the cluster, to use."""
        given = self.config.slurm.jobs if self.remote else self.config.jobs
        wanted = self.request.jobs or given or default_jobs(self.device)
        return min(wanted, max(1, len(self.pending)))

    def check(self, workers: LocalWorkers) -> Mapping[str, str]:
        """Let a worker read data and weights of what is left; return fingerprints by name, or raise `UsageError`."""
        if self.remote:
            need_slurm()
        if not self.pending:
            return {}
        check_loggers(self.config.loggers)
        fingerprints: Mapping[str, str] = workers.ask("check", self.pending)
        self.home.check(self.config.experiment, __version__, {**settings(self.config, self.device), **fingerprints})
        return fingerprints

    def open(self, fingerprints: Mapping[str, str]) -> None:
        """Make the directory this experiment's and the grid the one to join; `UsageError` where it is another's."""
        self.home.open(self.config.experiment, __version__, {**settings(self.config, self.device), **fingerprints})
        try:
            self.grid.write(self.home)
        except OSError as error:
            raise self.home.unusable(error) from error


def make_plan(config: ExperimentConfig, request: Request) -> Plan:
    """Check a request; raises `UsageError` where this machine or the directory forbids it, or it takes `--yes`."""
    check_known("executor", [request.executor], EXECUTORS)
    if request.jobs is not None and request.jobs < 1:
        raise UsageError(f"--jobs {request.jobs}: at least 1 worker is needed.")
    device = find_device(request.device or config.device, remote=request.executor == "slurm")
    if not device.startswith("cuda") and any(backbone.precision == "tf32" for backbone in config.backbones):
        raise UsageError(f"backbone.precision: tf32 is one of NVIDIA's GPUs, the device is {device}: use fp32.")
    size = grid_size(config)
    if size > config.max_runs and not (request.yes or request.dry_run):
        raise UsageError(
            f"{config.experiment} expands to {size} runs, more than {config.max_runs}: add --yes if you mean it "
            "(--dry-run shows them), or raise max_runs in the config."
        )
    specs = grid(config, device)
    home = ExperimentDirectory(request.out or Path("runs") / config.experiment)
    home.check(config.experiment, __version__, settings(config, device))
    home.check_places(spec.run_id for spec in specs)
    try:
        wanted = Grid.of(specs, environment(config), home)
        pending = [spec for spec in specs if wanted.wants(spec.run_id, home.entry(spec.run_id))]
    except OSError as error:
        raise UsageError(home.explain(error)) from error
    return Plan(config, request, device, wanted, pending, home)


def local_workers(plan: Plan, make_work: Callable[[], Work]) -> LocalWorkers:
    """Return workers for a plan on this machine; for a cluster's, one that finds things out beforehand."""
    on = ["cpu"] if plan.remote else one_per_worker(plan.device, plan.jobs)
    return LocalWorkers(plan.home, plan.grid, make_work, on)


def dry_run(plan: Plan, console: Console, make_work: Callable[[], Work]) -> int:
    """Print the grid, what of it is done, and what the rest will cost; returns 2 where the runs could not start."""
    specs = plan.grid.specs
    states = {spec.run_id: _state(plan.home.entry(spec.run_id)) for spec in specs}
    width = max(len(str(spec)) for spec in specs)
    of_data: dict[str, list[RunSpec]] = {}
    for spec in specs:
        of_data.setdefault(spec.dataset, []).append(spec)
    for dataset, runs in of_data.items():
        if len(of_data) > 1:
            say(console, f"{dataset}: {counted(len(runs), 'run')}")
        for spec in runs:
            say(console, f"{spec.run_id}  {str(spec).ljust(width)}  {states[spec.run_id]}")
    counts = Counter(states.values())
    listed = ", ".join(f"{count} {state}" for state, count in counts.items())
    say(console, f"{counted(len(specs), 'run')} in {plan.home.path}: {listed}.")
    if len(specs) > plan.config.max_runs:
        say(console, f"More than {plan.config.max_runs} runs: doing them takes --yes.")
    return _estimate(plan, console, make_work) if plan.pending else 0


def _state(entry: Entry | None) -> str:
    return "to do" if entry is None else "done" if entry.status == DONE else f"{entry.status}, to do again"


def _estimate(plan: Plan, console: Console, make_work: Callable[[], Work]) -> int:
    workers = local_workers(plan, make_work)
    lacking = ""
    try:
        try:
            plan.check(workers)
        except UsageError as error:
            say(console, f"These runs cannot start: {error}")
            lacking = ", as if nothing were in the way"
        costs: list[Cost] = workers.ask("measure", plan.pending)
    except UsageError as error:
        say(console, f"There is no estimate: {error}")
        return 2
    finally:
        workers.close()
    seconds, memory_mb, disk_mb = total(costs, plan.jobs)
    workers_on = f"{counted(plan.jobs, 'worker')} on {plan.device}"
    room = f"memory {size_in_words(1e6 * memory_mb)}, disk {size_in_words(1e6 * disk_mb)} (records and cached features)"
    say(console, f"Estimate with {workers_on}, from a few timed steps{lacking}: time {duration(seconds)}, {room}.")
    return 2 if lacking else 0


def total(costs: Sequence[Cost], jobs: int) -> tuple[float, float, float]:
    """Return the seconds of a grid with so many workers, MB of memory at one time, and MB of disk.

    Views are encoded once, however many runs want them.

    >>> total([Cost(10.0, 500.0, {"a": 100}, 0.1, 1000), Cost(20.0, 600.0, {"a": 50}, 0.1, 1000)], jobs=2)
    (20.0, 1200.0, 0.3)
    """
    most: dict[str, tuple[int, float, int]] = {}
    for cost in costs:
        for view, count in cost.views.items():
            most[view] = max(most.get(view, (0, 0.0, 0)), (count, cost.seconds_a_view, cost.bytes_a_view))
    encoding = sum(count * seconds for count, seconds, _ in most.values())
    kept = sum(count * size for count, _, size in most.values()) + _RECORD_BYTES * len(costs)
    jobs = min(jobs, len(costs))
    together = (sum(cost.seconds for cost in costs) + encoding) / max(1, jobs)
    alone, start, memory = (
        max((getattr(cost, name) for cost in costs), default=0.0) for name in ("seconds", "start", "memory_mb")
    )
    return max(alone, together) + start, jobs * memory, kept / 1e6
