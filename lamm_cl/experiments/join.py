"""`lamm-cl work`: take part in a grid that lies in a directory, from wherever that is seen."""

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from lamm_cl import __version__
from lamm_cl.errors import UsageError
from lamm_cl.experiments import imports
from lamm_cl.experiments.environment import cache_trouble, check_loggers, find_device
from lamm_cl.experiments.local import set_compute
from lamm_cl.experiments.progress import Summary, say, verdict
from lamm_cl.experiments.signals import TIME_IS_UP, Signals
from lamm_cl.experiments.spec import Grid, RunSpec
from lamm_cl.experiments.work import Outcome, TorchWork, Work, Worker, tidy
from lamm_cl.records import FAILED, ExperimentDirectory

TIME_WAS_UP = 75


def join(directory: Path, device: str | None, console: Console, make_work: Callable[[], Work] = TorchWork) -> int:
    """Do the runs of a directory's grid that nobody else does or did.

    Args:
        directory: What `lamm-cl run` made.
        device: "cpu", "cuda", "cuda:N"; None for the grid's.
        console: Takes a line for each run.
        make_work: Makes the work.

    Returns:
        The exit code, 75 when SIGUSR1 said that the time is nearly up.

    Raises:
        UsageError: There is no grid, or this machine cannot do its runs.
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
    for folder in grid.modules:
        imports.look_in(Path(folder))
    set_compute(grid.specs[0].threads, grid.specs[0].deterministic)
    wanted = [spec for spec in grid.specs if grid.wants(spec.run_id, home.entry(spec.run_id))]
    with Signals(TIME_IS_UP) as signals:
        try:
            worker = Worker(home, grid, make_work(), device, signals)
            if wanted:
                _check(worker, wanted, console)
            with signals.held():
                summary = _work(worker, console)
        except KeyboardInterrupt:
            if signals.first != TIME_IS_UP:
                raise
            return TIME_WAS_UP
        place = shlex.quote(str(directory))
        again = ["lamm-cl", "work", place] if summary.left else ["lamm-cl", "run", "CONFIG.yaml", "--out", place]
        for line in summary.lines(directory, again):
            say(console, line)
        return TIME_WAS_UP if summary.interrupted and signals.first == TIME_IS_UP else summary.exit_code


def _check(worker: Worker, wanted: list[RunSpec], console: Console) -> None:
    """Refuse a machine whose data or weights are not those of the results that are there."""
    environment = worker.grid.environment
    check_loggers(environment.loggers)
    found = worker.work.check(wanted, environment, worker.device)
    worker.home.check(wanted[0].experiment, __version__, found)
    if trouble := cache_trouble(environment):
        say(console, f"warning: {trouble}")


def _work(worker: Worker, console: Console) -> Summary:
    home, grid = worker.home, worker.grid
    before = {spec.run_id for spec in grid.specs if home.is_done(spec.run_id)}
    mine: set[str] = set()

    def tell(spec: RunSpec, outcome: Outcome) -> None:
        mine.add(spec.run_id)
        say(console, verdict(spec, outcome))
        home.refresh_table()

    worker.tell = tell
    ended = worker.run()
    summary = Summary(len(grid.specs), len(before))
    if ended is not None:
        summary.interrupted = ended.status == "stopped"
        summary.stopped = ended.message or "asked to end; what was begun is saved."
    try:
        home.rebuild_table()
        for spec in grid.specs:
            tidy(home, spec.run_id)
            entry = home.entry(spec.run_id)
            if grid.wants(spec.run_id, entry):
                summary.taken += home.is_claimed(spec.run_id)
            elif entry is not None and entry.status == FAILED:
                summary.failed.append((spec, entry.error))
            elif spec.run_id in mine:
                summary.done += 1
            elif spec.run_id not in before:
                summary.elsewhere += 1
    except OSError as error:
        summary.stopped = summary.stopped or home.explain(error)
    return summary
