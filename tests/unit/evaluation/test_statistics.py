"""Statistics over seeds against scipy."""

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lamm_cl.errors import UsageError
from lamm_cl.evaluation.statistics import compare_paired, summarise

several = arrays(np.float64, st.integers(2, 10), elements=st.floats(0, 1, width=16))
pairs = arrays(np.float64, st.tuples(st.just(2), st.integers(2, 10)), elements=st.floats(0, 1, width=16))


@given(values=several, confidence=st.floats(0.5, 0.999))
def test_summary_agrees_with_scipy(values, confidence):
    ours = summarise(values, confidence)
    assert (ours.n, ours.missing) == (len(values), 0)
    assert ours.mean == pytest.approx(np.mean(values))
    assert ours.std == pytest.approx(np.std(values, ddof=1))
    assume(ours.std > 1e-9)  # scipy's interval of a constant is NaN
    low, high = scipy.stats.t.interval(confidence, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    assert (ours.low, ours.high) == pytest.approx((low, high))


@given(values=pairs)
def test_paired_comparison_agrees_with_scipy(values):
    first, second = values
    gaps = first - second
    assume(gaps.std() > 1e-6)
    reference = scipy.stats.ttest_rel(first, second)
    interval = reference.confidence_interval(0.95)
    ours = compare_paired(first, second)
    assert ours.difference == pytest.approx(gaps.mean(), abs=1e-12)
    assert ours.t == pytest.approx(reference.statistic)
    assert ours.p == pytest.approx(reference.pvalue)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high))


@given(values=pairs)
def test_swapping_the_methods_swaps_the_sign(values):
    one, other = compare_paired(*values), compare_paired(*values[::-1])
    assert one.difference == pytest.approx(-other.difference)
    assert one.p == pytest.approx(other.p, nan_ok=True)


def test_too_few_seeds_have_no_interval_and_say_so():
    one = summarise([0.25])
    assert one.mean == 0.25
    assert all(math.isnan(value) for value in (one.std, one.low, one.high))
    assert "one seed, no interval" in str(one)
    none = summarise([])
    assert none.n == 0
    assert math.isnan(none.mean)
    assert str(none) == "missing"
    pair = compare_paired([0.5], [0.25])
    assert pair.difference == 0.25
    assert all(math.isnan(value) for value in (pair.std, pair.low, pair.high, pair.t, pair.p))
    assert "one seed, no interval" in str(pair)
    assert str(compare_paired([], [])) == "no seed in common"


def test_missing_seeds_are_left_out_and_counted():
    assert summarise([1.0, None, 3.0])[:3] == (2, 1, 2.0)
    assert compare_paired([1.0, np.nan, 3.0], [0.5, 1.0, 1.0])[:3] == (2, 1, 1.25)


def test_equal_and_constant_differences():
    same = compare_paired([0.5, 0.6], [0.5, 0.6])
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert math.isnan(same.p)
    shifted = compare_paired([1.5, 2.5], [1.0, 2.0])
    assert (shifted.t, shifted.p) == (math.inf, 0)


def test_seeds_are_matched_by_name_not_by_position():
    assert compare_paired({1: 0.9, 2: 0.1}, {2: 0.1, 1: 0.9}).difference == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare_paired({1: 0.5, 2: 0.5}, {1: 0.5, 3: 0.5}), r"same seeds; only one has \[2, 3\]"),
        (lambda: compare_paired([1.0], [1.0, 2.0]), "1 values against 2"),
        (lambda: compare_paired({1: 0.5}, [0.5]), "two mappings"),
        (lambda: summarise([[1.0, 2.0]]), "one per seed"),
        (lambda: summarise(["a"]), "needs numbers"),
        (lambda: summarise([1.0, 2.0], confidence=95), "between 0 and 1"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(UsageError, match=message):
        call()


def test_text_for_tables():
    assert str(summarise([0.5, 0.7])).startswith("0.6 +- 0.14 [")
    assert "p = " in str(compare_paired([0.5, 0.9], [0.4, 0.5]))
