"""The numbers that figures show: means and intervals over seeds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lamm_cl.evaluation.statistics import summarise
from lamm_cl.reports.names import method_rank
from lamm_cl.reports.tables.collect import tidy
from lamm_cl.reports.tables.protocols import STREAMS

MOST_METHODS = 16


@dataclass(frozen=True)
class Point:
    """A mean over seeds with its 95% interval (None with one seed), in percent."""

    mean: float
    low: float | None
    high: float | None


def point(values: Iterable[float]) -> Point | None:
    """Return mean and 95% interval of fractions, in percent; None where there is no value.

    >>> point([0.5])
    Point(mean=50.0, low=None, high=None)
    """
    found = summarise([100 * value for value in values])
    if math.isnan(found.mean):
        return None
    interval = (found.low, found.high) if found.n > 1 else (None, None)
    return Point(found.mean, *interval)


def error_bars(points: Sequence[Point]) -> np.ndarray:
    """Return the distances from mean to both ends of the interval, shape (2, n), NaN where there is none."""
    below = [np.nan if one.low is None else one.mean - one.low for one in points]
    above = [np.nan if one.high is None else one.high - one.mean for one in points]
    return np.array([below, above])


def labels(rows: pd.DataFrame) -> "pd.Series[str]":
    """Return what legends call each row: the method, with dialect where one label has two."""
    name = (rows["method"] + " " + rows["variant"]).str.strip()
    dialects = rows.groupby(name)["dialect"].nunique()
    several = set(dialects[dialects > 1].index)
    return name.where(~name.isin(several), name + " (" + rows["dialect"] + ")")


def methods_of(rows: pd.DataFrame, most: int = MOST_METHODS) -> tuple[list[str], str]:
    """Return the first methods in the order of the tables, and a note where there are more than a figure can show."""
    every = sorted(set(labels(rows)), key=method_rank)
    note = f"the first {most} of {len(every)} methods" if len(every) > most else ""
    return every[:most], note


def _places(rows: pd.DataFrame) -> "pd.Series[float]":
    """Return which experience (from 1) trained each row's set: `set3` the third, others as they come in a run."""
    pairs = rows[["run_id", "eval_set"]].drop_duplicates()
    numbers = pairs["eval_set"].str.extract(r"^set(\d+)$")[0].astype(float)
    met = pairs.groupby("run_id", sort=False).cumcount() + 1
    pairs = pairs.assign(place=numbers.where(numbers.notna(), met))
    found = rows[["run_id", "eval_set"]].merge(pairs, how="left", on=["run_id", "eval_set"])
    return pd.Series(found["place"].to_numpy(dtype=float), index=rows.index)


def over_stages(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy over everything met so far: columns of `frame` with `value` per run, stage, label space.

    Where runs left the metric `incremental_accuracy` it is taken; else the mean over the sets trained so far.
    """
    rows = tidy(frame)
    rows = rows[rows["protocol"].isin(STREAMS) & rows["value"].notna() & (rows["stage"] > 0)]
    given = rows[rows["metric"] == "incremental_accuracy"]
    plain = rows[(rows["metric"] == "accuracy") & (rows["eval_set"] != "total")]
    plain = plain[~plain["run_id"].isin(set(given["run_id"]))]
    met = plain[_places(plain) <= plain["stage"]]
    keys = [name for name in rows.columns if name not in ("eval_set", "metric", "value", "n")]
    means = met.groupby(keys, sort=False, dropna=False)["value"].mean().reset_index()
    return pd.concat([given[[*keys, "value"]], means[[*keys, "value"]]], ignore_index=True)
