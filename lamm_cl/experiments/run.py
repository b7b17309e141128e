"""A command's way through an experiment: check everything, then work, then say how it went."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lamm_cl import __version__
from lamm_cl.errors import UsageError, unknown
from lamm_cl.experiments import devices
from lamm_cl.experiments.config import ExperimentConfig
from lamm_cl.experiments.datasets import notes
from lamm_cl.experiments.grid import environment, grid, grid_size, settings
from lamm_cl.experiments.local import LocalRun, preflight
from lamm_cl.experiments.pool import Pool, default_jobs, on_device
from lamm_cl.experiments.progress import make_display
from lamm_cl.experiments.spec import RunSpec
from lamm_cl.experiments.summary import INTERRUPTED, Summary
from lamm_cl.experiments.surroundings import cache_trouble, check_loggers
from lamm_cl.experiments.work import TorchWork, Work
from lamm_cl.experiments.worker import WorkerSettings
from lamm_cl.records import ExperimentDirectory

EXECUTORS = ("local", "slurm")


@dataclass(frozen=True)
class Request:
    """What the user asks for beside the config.

    Attributes:
        out: Directory of the results; None for `runs/<experiment>`.
        executor: "local" or "slurm".
        jobs: Worker processes, or jobs of the cluster; None for as many as there are cores.
        device: In place of the config's.
        yes: Do it although the grid is large.
        dry_run: Only say what would be done.
        command: What the user typed, to be repeated in messages.
    """

    out: Path | None = None
    executor: str = "local"
    jobs: int | None = None
    device: str | None = None
    yes: bool = False
    dry_run: bool = False
    command: Sequence[str] = ("lamm-cl", "run")


@dataclass(frozen=True)
class Plan:
    """A checked request: nothing has been written yet."""

    config: ExperimentConfig
    request: Request
    device: str
    specs: list[RunSpec]
    home: ExperimentDirectory

    def open(self, fingerprints: Mapping[str, str]) -> None:
        """Make the directory this experiment's.

        Args:
            fingerprints: Of what the runs read, by name.

        Raises:
            UsageError: It is another's, or holds results of other data or weights.
        """
        fixed = {**settings(self.config, self.device), **fingerprints}
        self.home.open(self.config.experiment, __version__, fixed)

    def pending(self) -> list[RunSpec]:
        """Return the runs that are not done."""
        return [spec for spec in self.specs if not self.home.is_done(spec.run_id)]


def make_plan(config: ExperimentConfig, request: Request) -> Plan:
    """Check a request against the machine and the directory.

    Raises:
        UsageError: It cannot be done, or only with `--yes`.
    """
    if request.executor not in EXECUTORS:
        raise unknown("executor", request.executor, EXECUTORS)
    if request.jobs is not None and request.jobs < 1:
        raise UsageError(f"--jobs {request.jobs}: at least 1 worker is needed.")
    device = devices.resolve(request.device or config.device, remote=request.executor == "slurm")
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
    return Plan(config, request, device, specs, home)


def run_experiment(
    config: ExperimentConfig,
    request: Request,
    console: Console,
    make_work: Callable[[], Work] = TorchWork,
) -> int:
    """Do what a config asks for; returns the exit code.

    Args:
        config: The experiment.
        request: What the user asked for beside it.
        console: Where progress and summary go.
        make_work: Makes the work of a worker process; an importable function or class.

    Raises:
        UsageError: Wrong use; nothing has been written.
    """
    plan = make_plan(config, request)
    try:
        return _follow(plan, console, make_work)
    except KeyboardInterrupt:
        words = " ".join(continue_with(plan))
        _say(console, f"Interrupted; what is done is kept. Continue with: {words}")
        return INTERRUPTED


def _follow(plan: Plan, console: Console, make_work: Callable[[], Work]) -> int:
    request = plan.request
    for text in notes(plan.config):
        _say(console, f"note: {text}")
    if request.dry_run:
        from lamm_cl.experiments.dry_run import show

        show(plan, console, make_work)
        return 0
    if request.executor == "slurm":
        from lamm_cl.experiments.slurm import run_on_cluster

        summary = run_on_cluster(plan, console, make_work)
    else:
        summary = run_here(plan, console, make_work)
    for line in summary.lines(plan.home.path, continue_with(plan)):
        _say(console, line)
    return summary.exit_code


def run_here(plan: Plan, console: Console, make_work: Callable[[], Work]) -> Summary:
    """Do the pending runs of a plan on this machine."""
    pending = plan.pending()
    summary = Summary(len(plan.specs), before=len(plan.specs) - len(pending))
    if not pending:
        plan.open({})
        plan.home.rebuild_table()
        return summary
    check_loggers(plan.config.loggers)
    jobs = min(wanted_jobs(plan), len(pending))
    pool = make_pool(plan, jobs, make_work)
    try:
        plan.open(preflight(pool, pending))
        for number in range(1, jobs):
            pool.start(number)
    except BaseException:
        pool.close(0)
        raise
    display = make_display(console, pending, len(plan.specs), jobs)
    if trouble := cache_trouble(environment(plan.config)):
        display.note(f"warning: {trouble}")
    try:
        return LocalRun(plan.home, pool, pending, summary, display).run()
    finally:
        display.close()


def wanted_jobs(plan: Plan) -> int:
    """Return how many worker processes to use on this machine, if there are so many runs."""
    return plan.request.jobs or plan.config.jobs or devices.most_jobs(plan.device, default_jobs())


def make_pool(plan: Plan, jobs: int, make_work: Callable[[], Work], device: str | None = None) -> Pool:
    """Return a pool for the plan, on its device or another; no worker is started yet."""
    shared = WorkerSettings(
        directory=plan.home.path.absolute(),
        environment=environment(plan.config),
        device=plan.device,
        threads=plan.config.threads,
        log=Path(),
        make_work=make_work,
    )
    return Pool(on_device(shared), devices.one_per_worker(device or plan.device, jobs))


def continue_with(plan: Plan) -> list[str]:
    """Return the command that goes on with the experiment, safe to paste into a shell."""
    words = list(plan.request.command)
    if plan.request.out is None and "--out" not in words:
        words += ["--out", str(plan.home.path)]
    return [shlex.quote(word) for word in words]


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
