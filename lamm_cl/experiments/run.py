"""A command's way through an experiment: check everything, let workers work, follow them, say how it went."""

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from lamm_cl import __version__
from lamm_cl.errors import UsageError
from lamm_cl.experiments import imports
from lamm_cl.experiments.config import ExperimentConfig
from lamm_cl.experiments.environment import cache_trouble, check_loggers, find_device
from lamm_cl.experiments.follow import Follower, Workers, settle
from lamm_cl.experiments.grid import notes
from lamm_cl.experiments.local import set_compute
from lamm_cl.experiments.plan import Plan, Request, dry_run, local_workers, make_plan
from lamm_cl.experiments.progress import INTERRUPTED, Display, Summary, say, verdict
from lamm_cl.experiments.signals import TIME_IS_UP, Signals
from lamm_cl.experiments.slurm import SlurmJobs
from lamm_cl.experiments.spec import MODEL, Grid, RunSpec
from lamm_cl.experiments.work import Work, Worker, worker_name
from lamm_cl.records import ExperimentDirectory

TIME_WAS_UP = 75


def run_experiment(
    config: ExperimentConfig,
    request: Request,
    console: Console,
    make_work: Callable[[], Work] = Work,
    *,
    end: Console | None = None,
    as_json: bool = False,
) -> int:
    """Do what a config asks for; returns the exit code.

    Notes and progress go to `console`, the summary to `end`, there too unless it is given: lines, or one JSON object.
    `make_work` is an importable function or class, which makes the work of a worker process. Raises `UsageError` for
    wrong use, when nothing has been written.
    """
    with Signals() as signals:
        try:
            plan = make_plan(config, request)
            for text in notes(config):
                say(console, f"note: {text}")
            if request.dry_run:
                return dry_run(plan, console, make_work)
            runs = [spec.run_id for spec in plan.grid.specs] if config.save else []
            if lacking := sum(plan.home.is_done(run) and not (plan.home.run(run) / MODEL).exists() for run in runs):
                why = "since `save` came later; a new --out has all of them."
                say(console, f"note: {lacking} runs that are done have no {MODEL}, {why}")
            summary = _work(plan, console, make_work, signals)
            told = (plan.home.path, _continue_with(config, request))
            for line in [json.dumps(summary.as_dict(*told))] if as_json else summary.lines(*told):
                say(end or console, line)
            return summary.exit_code
        except KeyboardInterrupt:
            again = " ".join(_continue_with(config, request))
            say(console, f"Interrupted; what is done is kept. Continue with: {again}")
            return INTERRUPTED


def _work(plan: Plan, console: Console, make_work: Callable[[], Work], signals: Signals) -> Summary:
    """Let workers do what is left of a plan, here or on a cluster, and follow them."""
    display = Display(console, plan.pending, len(plan.grid.specs), plan.jobs)
    local = local_workers(plan, make_work)
    try:
        plan.open(plan.check(local))
        if plan.pending and (trouble := cache_trouble(plan.grid.environment)):
            display.note(f"warning: {trouble}")
        workers: Workers = local
        if plan.remote:
            local.close()
            workers = SlurmJobs(plan.config.slurm, plan.home, plan.config.experiment, plan.device, plan.jobs)
        return Follower(plan.home, plan.grid, plan.pending, workers, display).follow(signals)
    finally:
        display.close()
        local.close()


def _continue_with(config: ExperimentConfig, request: Request) -> list[str]:
    """Return the command that goes on with the experiment, safe to paste into a shell."""
    words = list(request.command)
    if request.out is None and "--out" not in words:
        words += ["--out", str(Path("runs") / config.experiment)]
    return [shlex.quote(word) for word in words]


def join(directory: Path, device: str | None, console: Console, make_work: Callable[[], Work] = Work) -> int:
    """Do the runs of a directory's grid that nobody else does or did, on the grid's device unless another is given.

    Returns the exit code, 75 when SIGUSR1 said that the time is nearly up. Raises `UsageError` where there is no grid,
    or this machine cannot do its runs.
    """
    home = ExperimentDirectory(directory.absolute())
    grid = Grid.read(home)
    kind = grid.specs[0].device
    device = find_device(device or kind)
    if device.partition(":")[0] != kind:
        raise UsageError(
            f"--device {device}: the runs of {directory} are for {kind}, which is part of what they are. "
            f"Use --device {kind}, or begin a grid of its own in another directory."
        )
    if Path(grid.folder).is_dir():
        os.chdir(grid.folder)  # where relative paths of the config start
    for folder in (grid.folder, grid.environment.folder) if grid.environment.imports else ():
        imports.look_in(Path(folder or grid.folder))  # for modules that the config imports
    set_compute(grid.specs[0].threads, grid.specs[0].deterministic)
    wanted = [spec for spec in grid.specs if grid.wants(spec.run_id, home.entry(spec.run_id))]

    def tell(spec: RunSpec) -> None:
        if entry := home.entry(spec.run_id):
            say(console, verdict(spec, entry))
        home.refresh_table()

    with Signals(TIME_IS_UP) as signals:
        try:
            worker = Worker(home, grid, make_work(), device, signals, tell)
            if wanted:  # data or weights other than those of the results that are there are refused
                check_loggers(grid.environment.loggers)
                found = worker.work.check(wanted, grid.environment, device)
                home.check(wanted[0].experiment, __version__, found)
                if trouble := cache_trouble(grid.environment):
                    say(console, f"warning: {trouble}")
            with signals.held():
                ended = worker.run()
                summary = Summary(len(grid.specs))
                if ended.status != "done":
                    summary.interrupted = ended.status == "stopped"
                    summary.stopped = ended.message or "asked to end; what was begun is saved."
                settle(home, grid, summary, wanted, {worker_name()}, others_go_on=True)
        except KeyboardInterrupt:
            if signals.first != TIME_IS_UP:
                raise
            return TIME_WAS_UP
        place = shlex.quote(str(directory))
        again = ["lamm-cl", "work", place] if summary.left else ["lamm-cl", "run", "CONFIG.yaml", "--out", place]
        for line in summary.lines(directory, again):
            say(console, line)
        return TIME_WAS_UP if summary.interrupted and signals.first == TIME_IS_UP else summary.exit_code
