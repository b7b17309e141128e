"""A command's way through an experiment: check everything, let workers work, follow them, say how it went."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from lamm_cl.experiments.config import ExperimentConfig
from lamm_cl.experiments.environment import cache_trouble
from lamm_cl.experiments.follow import Follower, Workers
from lamm_cl.experiments.grid import notes
from lamm_cl.experiments.plan import Plan, Request, dry_run, local_workers, make_plan
from lamm_cl.experiments.progress import INTERRUPTED, Summary, make_display, say
from lamm_cl.experiments.signals import Signals
from lamm_cl.experiments.slurm import SlurmJobs
from lamm_cl.experiments.spec import MODEL
from lamm_cl.experiments.work import TorchWork, Work


def run_experiment(
    config: ExperimentConfig,
    request: Request,
    console: Console,
    make_work: Callable[[], Work] = TorchWork,
    *,
    end: Console | None = None,
    as_json: bool = False,
) -> int:
    """Do what a config asks for; returns the exit code.

    Args:
        config: The experiment.
        request: What the user asked for beside it.
        console: Where notes and progress go.
        make_work: Makes the work of a worker process; an importable function or class.
        end: Where the summary goes; default: `console`.
        as_json: Whether the summary is one JSON object instead of lines.

    Raises:
        UsageError: Wrong use; nothing has been written.
    """
    with Signals() as signals:
        try:
            plan = make_plan(config, request)
            for text in notes(config):
                say(console, f"note: {text}")
            if request.dry_run:
                return dry_run(plan, console, make_work)
            if lacking := _without_model(plan):
                say(
                    console,
                    f"note: {lacking} runs that are done have no {MODEL}, since `save` came later; a new --out has all "
                    "of them.",
                )
            summary = _work(plan, console, make_work, signals)
            command = _continue_with(config, request)
            lines = summary.lines(plan.home.path, command)
            for line in [json.dumps(summary.as_dict(plan.home.path, command))] if as_json else lines:
                say(end or console, line)
            return summary.exit_code
        except KeyboardInterrupt:
            words = " ".join(_continue_with(config, request))
            say(console, f"Interrupted; what is done is kept. Continue with: {words}")
            return INTERRUPTED


def _work(plan: Plan, console: Console, make_work: Callable[[], Work], signals: Signals) -> Summary:
    """Let workers do what is left of a plan, here or on a cluster, and follow them."""
    display = make_display(console, plan.pending, len(plan.grid.specs), plan.jobs)
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


def _without_model(plan: Plan) -> int:
    """Count the runs that were done before their config had `save`."""
    runs = [spec.run_id for spec in plan.grid.specs] if plan.config.save else []
    return sum(plan.home.is_done(run) and not (plan.home.run(run) / MODEL).exists() for run in runs)


def _continue_with(config: ExperimentConfig, request: Request) -> list[str]:
    """Return the command that goes on with the experiment, safe to paste into a shell."""
    words = list(request.command)
    if request.out is None and "--out" not in words:
        words += ["--out", str(Path("runs") / config.experiment)]
    return [shlex.quote(word) for word in words]
