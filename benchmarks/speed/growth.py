"""How cost grows: seconds a step and peak memory against classes, shots, prompt depth and the stages of a stream."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.speed.alone import Case, cost

CLASSES = (10, 30, 100, 300, 1000)
SHOTS = (1, 4, 16)
DEPTHS = (1, 3, 6, 9, 12)
STAGES = (1, 2, 5, 10)


@dataclass(frozen=True)
class Growth:
    """One row: what was varied, and what it cost."""

    method: str
    varied: str
    value: int
    classes: int
    step_seconds: float
    before_mb: float
    peak_mb: float


def cases(backbone: str) -> Iterator[tuple[str, int, Case]]:
    """Yield what is varied, its value and the case to measure."""
    for method in ("lamm", "coop", "maple"):
        for count in CLASSES:
            yield "classes", count, Case(method, count, backbone=backbone)
    for method in ("lamm", "maple"):
        for shots in SHOTS:
            yield "shots", shots, Case(method, 47, shots=shots, backbone=backbone)
    for depth in DEPTHS:
        yield "prompt depth", depth, Case("maple", 47, options={"prompt_depth": depth}, backbone=backbone)
    for method in ("lamm", "coop"):
        for stage in STAGES:
            yield "stage, 10 new classes each", stage, Case(method, 10, stage=stage, backbone=backbone)


def grow(backbone: str) -> Iterator[Growth]:
    """Measure every case, each in a process of its own."""
    for varied, value, case in cases(backbone):
        found = cost(case)
        yield Growth(case.method, varied, value, case.classes, found.step_seconds, found.before_mb, found.peak_mb)
