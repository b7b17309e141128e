"""What a grid will cost, put together from its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_RECORD_BYTES = 100_000


@dataclass(frozen=True)
class Cost:
    """What a run will cost.

    Attributes:
        seconds: Of its own computation.
        memory_mb: Of the process that does it.
        views: Images to encode beforehand, by view; runs that name the same view share it through the cache.
        seconds_a_view: To encode one.
        bytes_a_view: To keep one.
        start: Seconds until a new worker begins its first run: Python, torch, Avalanche.
    """

    seconds: float
    memory_mb: float
    views: Mapping[str, int] = field(default_factory=dict)
    seconds_a_view: float = 0.0
    bytes_a_view: int = 0
    start: float = 0.0


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
