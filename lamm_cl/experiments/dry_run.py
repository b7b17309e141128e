"""`--dry-run`: the grid, what of it is done, and what the rest will cost. Writes nothing."""

from collections import Counter
from collections.abc import Callable

from rich.console import Console

from lamm_cl.experiments.costs import Cost, total
from lamm_cl.experiments.progress import duration
from lamm_cl.experiments.run import Plan, make_pool, wanted_jobs
from lamm_cl.experiments.spec import RunSpec
from lamm_cl.experiments.work import Work


def show(plan: Plan, console: Console, make_work: Callable[[], Work]) -> None:
    """Print it."""
    states = {spec.run_id: _state(plan, spec) for spec in plan.specs}
    width = max(len(str(spec)) for spec in plan.specs)
    for spec in plan.specs:
        _say(console, f"{spec.run_id}  {str(spec).ljust(width)}  {states[spec.run_id]}")
    counts = Counter(states.values())
    listed = ", ".join(f"{count} {state}" for state, count in counts.items())
    _say(console, f"{len(plan.specs)} run{'s' * (len(plan.specs) != 1)} in {plan.home.path}: {listed}.")
    if len(plan.specs) > plan.config.max_runs:
        _say(console, f"More than {plan.config.max_runs} runs: doing them takes --yes.")
    pending = [spec for spec in plan.specs if states[spec.run_id] != "done"]
    if pending:
        _estimate(plan, pending, console, make_work)


def _state(plan: Plan, spec: RunSpec) -> str:
    record = plan.home.record(spec.run_id)
    return "to do" if record is None else "done" if record.status == "done" else "failed, to do again"


def _estimate(plan: Plan, pending: list[RunSpec], console: Console, make_work: Callable[[], Work]) -> None:
    queued = plan.request.executor == "slurm"
    jobs = min((plan.request.jobs or plan.config.slurm.jobs) if queued else wanted_jobs(plan), len(pending))
    costs, trouble = _measured(plan, pending, make_work)
    if costs is None:
        _say(console, f"No estimate of time, memory and disk: {trouble}")
        return
    sum_ = total(costs, jobs)
    _say(
        console,
        f"Estimate with {jobs} worker{'s' * (jobs != 1)} on {plan.device}, from a few timed steps: "
        f"time {duration(sum_.seconds)}, memory {sum_.memory_mb / 1000:.1f} GB, "
        f"disk {_size(sum_.disk_mb)} (records and cached features).",
    )


def _measured(plan: Plan, pending: list[RunSpec], make_work: Callable[[], Work]) -> tuple[list[Cost] | None, str]:
    """Let a worker time some steps; returns nothing but the reason when it cannot."""
    pool = make_pool(plan, 1, make_work, "cpu" if plan.request.executor == "slurm" else None)
    try:
        worker = pool.start(0)
        worker.send("measure", pending)
        message = worker.receive()
        if message is None:
            return None, worker.obituary()
        return message[1], message[2]
    finally:
        pool.close()


def _size(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
