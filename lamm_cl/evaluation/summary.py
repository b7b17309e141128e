"""Every measured number as a row for the records, and what an accuracy matrix says stage by stage as such rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, get_args

import numpy as np

from lamm_cl.evaluation import metrics
from lamm_cl.evaluation.metrics import Matrix
from lamm_cl.methods.recipe import LabelSpace

LABEL_SPACES: tuple[str, ...] = get_args(LabelSpace)


class Row(NamedTuple):
    """One number: what was measured, on what, after which stage."""

    stage: int  # 0 before any training, k after training experience k (from 1)
    eval_set: str  # name of the test set, or "total" for all of them together
    label_space: str  # "own", "seen" or "all"; empty where it does not apply (seconds, memory)
    metric: str  # "accuracy" or another metric's name
    value: float | None  # fraction for accuracies, at full precision; None when missing
    n: int | None = None  # images behind the number, where it is a mean over images


TOTAL = "total"


@dataclass(frozen=True)
class Sets:
    """The test sets, in the order of the matrix's columns."""

    names: tuple[str, ...]
    counts: tuple[int, ...]  # images
    trained: tuple[int | None, ...]  # stage (from 1) after which all their classes had been trained; None: not so far

    def trained_until(self, stage: int) -> list[int]:
        """Return the sets trained after `stage`, the earliest first."""
        return [j for _, j in sorted((k, j) for j, k in enumerate(self.trained) if k is not None and k <= stage)]


def summarise_stage(space: str, stage: int, a: Matrix, before: Matrix, sets: Sets, protocol: str = "") -> list[Row]:
    """Return the metrics of one label space after `stage`, counted from 1; some protocols have metrics of their own.

    Metrics of the square matrix (forgetting, transfer, ...) are given where each stage so far trained one set. `a` is
    the accuracy matrix (at least `stage` stages, sets), `before` (sets,) those before any training; NaN = missing.
    """
    now, trained = a[stage - 1], sets.trained_until(stage)
    rows = [
        Row(stage, sets.names[j], space, "degradation", _plain(now[j] - a[k - 1, j]))
        for j, k in enumerate(sets.trained)
        if k is not None and k < stage
    ]
    found: dict[str, float] = {}
    if trained:
        met = [_over_all_met(a, i, sets) for i in range(1, stage + 1)]
        found["incremental_accuracy"] = met[-1]
        found["average_incremental_accuracy"] = float(np.mean(met))
    if stage > 1 and [sets.trained[j] for j in trained] == list(range(1, stage + 1)):
        found |= _of_a_square(space, a[:stage][:, trained], before[trained])
    later = [j for j, k in enumerate(sets.trained) if k is None or k > stage]
    if later and space != "seen":
        # A set that was never trained is a column beyond the rows.
        beside = [trained[:1] + later] if trained else [[later[0], *later]]
        found["zero_shot_retention"] = metrics.zero_shot_retention(now[beside], before[beside[0]])
    if protocol == "base_to_new" and len(now) == 2 and space != "seen":
        found["harmonic_mean"] = metrics.harmonic_mean(*now)
    return rows + [Row(stage, TOTAL, space, name, _plain(value)) for name, value in found.items()]


def _over_all_met(a: Matrix, stage: int, sets: Sets) -> float:
    """Return the accuracy over all images of the sets trained after `stage`."""
    met = sets.trained_until(stage)
    return metrics.weighted(a[stage - 1, met], np.array([sets.counts[j] for j in met], dtype=np.float64))


def _of_a_square(space: str, a: Matrix, before: Matrix) -> dict[str, float]:
    of_matrix = (metrics.forgetting, metrics.backward_transfer, metrics.transfer, metrics.average, metrics.last)
    found = {metric.__name__: metric(a) for metric in of_matrix}
    found["forward_transfer"] = metrics.forward_transfer(a, before)
    if space == "seen":  # there a set not yet trained has no candidate that is right: its 0 says nothing
        del found["transfer"], found["forward_transfer"], found["average"]
    return found


def _plain(value: float) -> float | None:
    """Return a Python float, None for NaN."""
    number = float(value)
    return None if math.isnan(number) else number


def stages_of(own: Sequence[Sequence[int]], met: Sequence[Sequence[int]]) -> tuple[int | None, ...]:
    """Return, for each set of `own` columns, the stage (from 1) after which all had been `met`; None where not."""
    stages: list[int | None] = [None] * len(own)
    seen: set[int] = set()
    for stage, columns in enumerate(met, 1):
        seen |= set(columns)
        for j, wanted in enumerate(own):
            if stages[j] is None and seen.issuperset(wanted):
                stages[j] = stage
    return tuple(stages)
