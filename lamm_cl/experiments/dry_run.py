"""`--dry-run`: the grid, what of it is done, and what the rest will cost. Writes nothing."""

from collections import Counter
from collections.abc import Callable

from rich.console import Console

from lamm_cl.errors import UsageError
from lamm_cl.experiments.costs import Cost, total
from lamm_cl.experiments.plan import Plan, local_workers
from lamm_cl.experiments.progress import duration, say
from lamm_cl.experiments.spec import RunSpec
from lamm_cl.experiments.work import Work
from lamm_cl.files import size_in_words
from lamm_cl.records import DONE


def show(plan: Plan, console: Console, make_work: Callable[[], Work]) -> int:
    """Print it; returns the exit code of the command: 2 where the runs could not start."""
    specs = plan.grid.specs
    states = {spec.run_id: _state(plan, spec) for spec in specs}
    width = max(len(str(spec)) for spec in specs)
    of_data: dict[str, list[RunSpec]] = {}
    for spec in specs:
        of_data.setdefault(spec.dataset, []).append(spec)
    for dataset, runs in of_data.items():
        if len(of_data) > 1:
            say(console, f"{dataset}: {_runs(len(runs))}")
        for spec in runs:
            say(console, f"{spec.run_id}  {str(spec).ljust(width)}  {states[spec.run_id]}")
    counts = Counter(states.values())
    listed = ", ".join(f"{count} {state}" for state, count in counts.items())
    say(console, f"{_runs(len(specs))} in {plan.home.path}: {listed}.")
    if len(specs) > plan.config.max_runs:
        say(console, f"More than {plan.config.max_runs} runs: doing them takes --yes.")
    return _estimate(plan, console, make_work) if plan.pending else 0


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count != 1)}"


def _state(plan: Plan, spec: RunSpec) -> str:
    entry = plan.home.entry(spec.run_id)
    if entry is None:
        return "to do"
    return "done" if entry.status == DONE else f"{entry.status}, to do again"


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
    jobs, sum_ = plan.jobs, total(costs, plan.jobs)
    say(
        console,
        f"Estimate with {jobs} worker{'s' * (jobs != 1)} on {plan.device}, from a few timed steps{lacking}: "
        f"time {duration(sum_.seconds)}, memory {size_in_words(1e6 * sum_.memory_mb)}, "
        f"disk {size_in_words(1e6 * sum_.disk_mb)} (records and cached features).",
    )
    return 2 if lacking else 0
