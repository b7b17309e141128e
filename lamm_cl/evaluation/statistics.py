"""Statistics over seeds: what a table may claim from a handful of runs."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lamm_cl.errors import UsageError
from lamm_cl.evaluation.metrics import Matrix, as_numbers

_MISSING = math.nan


class Summary(NamedTuple):
    """Mean over seeds with its spread; `std`, `low` and `high` are NaN for fewer than two values."""

    n: int  # values that were there
    missing: int  # values that were NaN or None and are left out
    mean: float
    std: float  # of the sample (n - 1 in the denominator)
    low: float  # lower end of the confidence interval of the mean
    high: float

    def __str__(self) -> str:
        if self.n == 0:
            return "missing"
        if self.n == 1:
            return f"{self.mean:.4g} (one seed, no interval)"
        return f"{self.mean:.4g} +- {self.std:.2g} [{self.low:.4g}, {self.high:.4g}], n = {self.n}"


class PairedComparison(NamedTuple):
    """Two methods on the same seeds, first minus second; all from `std` on is NaN for fewer than two pairs."""

    n: int  # seeds that both methods have
    missing: int  # seeds where one of them is NaN or None; left out
    difference: float  # mean difference, NaN without a pair
    std: float  # of the sample of differences
    low: float  # lower end of the confidence interval of the difference
    high: float
    t: float  # paired t statistic
    p: float  # two-sided p value; NaN also when all differences are exactly 0 (the statistic is 0/0)

    def __str__(self) -> str:
        if self.n == 0:
            return "no seed in common"
        if self.n == 1:
            return f"{self.difference:+.4g} (one seed, no interval)"
        return f"{self.difference:+.4g} [{self.low:+.4g}, {self.high:+.4g}], p = {self.p:.3g}, n = {self.n}"


def _interval(values: Matrix, confidence: float) -> tuple[float, float, float, float]:
    """Return mean, sample std, low, high of non-missing values."""
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, got {confidence}.")
    n = values.size
    mean = float(values.mean()) if n else _MISSING
    if n < 2:
        return mean, _MISSING, _MISSING, _MISSING
    from scipy.special import stdtrit  # a light part of scipy; scipy.stats takes a second to import

    std = float(values.std(ddof=1))
    half = float(stdtrit(n - 1, (1 + confidence) / 2)) * std / math.sqrt(n)
    return mean, std, mean - half, mean + half


def _flat(values: Any, name: str) -> Matrix:
    numbers = as_numbers(values, name)
    if numbers.ndim != 1:
        raise UsageError(f"{name}: needs a list of numbers, one per seed, got shape {numbers.shape}.")
    return numbers


def summarise(values: ArrayLike, confidence: float = 0.95) -> Summary:
    """Mean, sample standard deviation and Student-t interval over seeds; NaN or None = missing, left out and counted.

    Formula: mean +- t_{(1+c)/2, n-1} s / sqrt(n), c = `confidence`.
    Source: Student, "The Probable Error of a Mean", Biometrika 1908. It takes seeds as a random sample and their
    results as roughly normal; with three seeds t is 4.30, so the interval is wide, as it should be.

    >>> summarise([1.0, 2.0, 3.0]).mean
    2.0
    >>> summarise([0.5])
    Summary(n=1, missing=0, mean=0.5, std=nan, low=nan, high=nan)
    """
    numbers = _flat(values, "values")
    there = numbers[~np.isnan(numbers)]
    return Summary(there.size, numbers.size - there.size, *_interval(there, confidence))


def _pairs(first: Any, second: Any) -> tuple[Matrix, Matrix]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if set(first) != set(second):
            alone = sorted(set(first) ^ set(second))
            raise UsageError(f"paired comparison: both methods need the same seeds; only one has {alone}.")
        seeds = sorted(first)
        return _flat([first[s] for s in seeds], "first"), _flat([second[s] for s in seeds], "second")
    if isinstance(first, Mapping) or isinstance(second, Mapping):
        raise UsageError("paired comparison: give two mappings of seed to value, or two lists in the same order.")
    one, two = _flat(first, "first"), _flat(second, "second")
    if one.shape != two.shape:
        raise UsageError(f"paired comparison: {one.size} values against {two.size}; give one per seed to both.")
    return one, two


def compare_paired(
    first: Mapping[int, float | None] | ArrayLike,
    second: Mapping[int, float | None] | ArrayLike,
    confidence: float = 0.95,
) -> PairedComparison:
    """Compare two methods on the same seeds: mean difference, its interval, and the paired t test.

    Formula: d_s = x_s - y_s; t = mean(d) / (std(d) / sqrt(n)); interval mean(d) +- t_{(1+c)/2, n-1} std(d) / sqrt(n).
    Source: Student 1908; pairing removes what the seeds (few-shot images, initialisation) share.

    Both are {seed: value}, or lists in seed order; NaN or None = missing, that seed is left out and counted.

    Raises:
        UsageError: when the seeds differ.

    >>> compare_paired({1: 0.9, 2: 0.8}, {1: 0.5, 2: 0.5}).n
    2
    """
    one, two = _pairs(first, second)
    gaps = one - two
    there = gaps[~np.isnan(gaps)]
    mean, std, low, high = _interval(there, confidence)
    n, t, p = there.size, _MISSING, _MISSING
    if n >= 2 and std > 0:
        from scipy.special import stdtr

        t = mean / (std / math.sqrt(n))
        p = float(2 * stdtr(n - 1, -abs(t)))
    elif n >= 2 and mean != 0:
        t, p = math.copysign(math.inf, mean), 0.0
    return PairedComparison(n, gaps.size - n, mean, std, low, high, t, p)
