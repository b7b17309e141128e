"""Timing two ways of computing the same thing in one process, in turn, as ratios with their spread."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Seconds of each repetition of two computations, paired in time.

    Attributes:
        reference: seconds of the plain reference.
        exact: seconds of the engine.
        reference_system: seconds of the reference's best repetition that the operating system took.
    """

    reference: list[float]
    exact: list[float]
    reference_system: float

    @property
    def ratio(self) -> float:
        """How many times faster the engine is: the ratio of the best repetitions."""
        return min(self.reference) / min(self.exact)

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest ratio of any two repetitions."""
        return min(self.reference) / max(self.exact), max(self.reference) / min(self.exact)


def processor_seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Return the processor time of one call, over all threads, and how much of it the operating system took.

    Other programs on the machine disturb it least. Everything that is measured here runs on the processor.
    """
    before = os.times()
    start = time.process_time()
    call()
    return time.process_time() - start, os.times().system - before.system


def seconds(call: Callable[[], object]) -> float:
    """Return the processor time of one call."""
    return processor_seconds(call)[0]


def in_turn(reference: Callable[[], object], exact: Callable[[], object], repeat: int) -> Timing:
    """Time both in turn: the slow one `repeat` times, the fast one three times after each."""
    exact()
    slow, fast = [], []
    for _ in range(repeat):
        slow.append(processor_seconds(reference))
        fast += [seconds(exact) for _ in range(3)]
    return Timing([total for total, _ in slow], fast, min(slow)[1])
