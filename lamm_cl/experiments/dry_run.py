"""`--dry-run`: the grid, what of it is done, and what the rest will cost. Writes nothing."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console

from lamm_cl.errors import UsageError
from lamm_cl.experiments.plan import Plan, local_workers
from lamm_cl.experiments.progress import duration, say
from lamm_cl.experiments.spec import Cost, RunSpec
from lamm_cl.experiments.work import Work
from lamm_cl.files import size_in_words
from lamm_cl.records import DONE

_RECORD_BYTES = 100_000


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


@dataclass(frozen=True)
class Total:
    """What a grid will cost: seconds with `jobs` workers, MB of memory at one time, MB of disk."""

    seconds: float
    memory_mb: float
    disk_mb: float


def total(costs: Sequence[Cost], jobs: int) -> Total:
    """Add up a grid's costs: views are encoded once, however many runs want them.

    >>> total([Cost(10.0, 500.0, {"a": 100}, 0.1, 1000), Cost(20.0, 600.0, {"a": 50}, 0.1, 1000)], jobs=2)
    Total(seconds=20.0, memory_mb=1200.0, disk_mb=0.3)
    """
    most: dict[str, tuple[int, float, int]] = {}
    for cost in costs:
        for view, count in cost.views.items():
            most[view] = max(most.get(view, (0, 0.0, 0)), (count, cost.seconds_a_view, cost.bytes_a_view))
    encoding = sum(count * seconds for count, seconds, _ in most.values())
    kept = sum(count * size for count, _, size in most.values()) + _RECORD_BYTES * len(costs)
    alone = max((cost.seconds for cost in costs), default=0.0)
    together = (sum(cost.seconds for cost in costs) + encoding) / max(1, min(jobs, len(costs)))
    start = max((cost.start for cost in costs), default=0.0)  # all workers at once
    alone, together = alone + start, together + start
    memory = sum(sorted((cost.memory_mb for cost in costs), reverse=True)[:jobs])
    if len(costs) < jobs or not costs:
        return Total(max(alone, together), memory, kept / 1e6)
    return Total(max(alone, together), jobs * max(cost.memory_mb for cost in costs), kept / 1e6)
