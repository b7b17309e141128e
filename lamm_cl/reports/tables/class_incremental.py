"""Sets of classes one after another: the shape of LAMM's Table 2."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from lamm_cl.reports.tables.collect import (
    accuracies,
    build_table,
    numbered_sets,
    per_seed,
    pick,
    stream_lengths,
    with_averages,
)
from lamm_cl.reports.tables.model import Column, Table

_SET1 = (
    Column("set1_before", "before", group="Set1", unit="%", best="max"),
    Column("set1_after", "after", group="Set1", unit="%", best="max"),
)
_DEGRADATION = Column("degradation", "Degradation", unit="%", best="max")
_TWO = (*_SET1, Column("set2", "Set2", unit="%", best="max"), _DEGRADATION)
_LONG = (
    *_SET1,
    Column("last_set", "Last set", unit="%", best="max"),
    _DEGRADATION,
    Column("total", "All images", unit="%", best="max"),
)


def class_incremental_table(frame: pd.DataFrame) -> Table:
    """Return Set1 before and after, the last set, and the degradation, in every scored label space.

    `before` is the accuracy on Set1 after the first experience, `after` the one after the last. With
    more than two sets: the last set's own accuracy, the degradation averaged over all sets but the
    last (each from the experience that taught it to the end), and the accuracy over all test images
    at the end.

    Args:
        frame: Rows of `runs.csv`; those of other protocols are left out.

    Source: LAMM (AAAI 2024), Table 2.
    """
    rows, long = _by_length(frame)
    return _long_table(rows) if long else _two_step_table(rows)


def observe(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the table's numbers per settings and seed, with the averages over data sets."""
    rows, long = _by_length(frame)
    return with_averages(per_seed(rows, _many_sets), _LONG) if long else with_averages(per_seed(rows, _two_sets), _TWO)


def _by_length(frame: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """Return the protocol's rows, and whether any of its streams has more than two sets."""
    rows = accuracies(frame, "class_incremental")
    rows = rows[rows["eval_set"].str.fullmatch(r"set[1-9]\d{0,3}|total")]
    lengths = stream_lengths(rows)
    if set(lengths) <= {1, 2}:
        return rows, False
    if lengths.nunique() > 1:
        # Streams of different lengths are different experiments: they must not be averaged.
        steps = rows["run_id"].map(lengths).map(lambda count: f"{count:g} steps", na_action="ignore")
        rows = rows.assign(setting=(rows["setting"] + " " + steps.fillna("")).str.strip())
    return rows, True


def _two_step_table(rows: pd.DataFrame) -> Table:
    observations = with_averages(per_seed(rows, _two_sets), _TWO)
    note = "Degradation is Set1 after minus Set1 before: below zero, something was lost."
    return build_table("class_incremental", "Class-incremental, Set1 then Set2", observations, _TWO, (note,))


def _two_sets(table: pd.DataFrame) -> "Mapping[str, pd.Series[float]]":
    before, after = pick(table, 1, "set1"), pick(table, 2, "set1")
    return {
        "set1_before": before,
        "set1_after": after,
        "set2": pick(table, 2, "set2"),
        "degradation": after - before,
    }


def _long_table(rows: pd.DataFrame) -> Table:
    observations = with_averages(per_seed(rows, _many_sets), _LONG)
    note = (
        "Degradation is the mean, over all sets but the last, of the accuracy at the end minus the "
        "accuracy when the set had just been learned: below zero, something was lost."
    )
    return build_table("class_incremental", "Class-incremental", observations, _LONG, (note,))


def _many_sets(table: pd.DataFrame) -> "Mapping[str, pd.Series[float]]":
    names = numbered_sets(map(str, table.columns.get_level_values(1)))
    shape = (len(table), len(names), len(names))
    a = np.full(shape, np.nan)  # a[run, i, j]: accuracy on set j after experience i
    total = np.full(shape[:2], np.nan)
    for i in range(len(names)):
        total[:, i] = pick(table, i + 1, "total")
        for j, name in enumerate(names):
            a[:, i, j] = pick(table, i + 1, name)
    # A run's own length, from the sets it was scored on at any stage, not from the stages it reached.
    last = np.where(~np.isnan(a).all(axis=1), np.arange(len(names)), 0).max(axis=1)
    run = np.arange(len(table))
    out = {
        "set1_before": a[:, 0, 0],
        "set1_after": a[run, last, 0],
        "last_set": a[run, last, last],
        "degradation": np.array([_mean_change(a[k], last[k]) for k in run]),
        "total": total[run, last],
    }
    return {key: pd.Series(values, index=table.index) for key, values in out.items()}


def _mean_change(a: np.ndarray, last: int) -> float:
    if last == 0:
        return float("nan")
    return float(np.mean(a[last, :last] - np.diagonal(a)[:last]))
