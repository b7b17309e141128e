"""Metrics of the accuracy matrix: by hand, by property, by their own doctests."""

import doctest
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lamm_cl.errors import UsageError
from lamm_cl.evaluation import metrics, statistics

MATRIX = np.array([[90.0, 60, 30], [80, 95, 50], [70, 97, 99]])
OF_A_SQUARE = [
    metrics.transfer,
    metrics.transfer_over_pairs,
    metrics.average,
    metrics.last,
    metrics.forgetting,
    metrics.backward_transfer,
    metrics.degradation,
    metrics.average_incremental_accuracy,
    metrics.last_incremental_accuracy,
]
square = st.integers(2, 6).flatmap(lambda n: arrays(np.float64, (n, n), elements=st.floats(0, 100, width=32)))


@pytest.mark.parametrize("module", [metrics, statistics], ids=lambda m: m.__name__.split(".")[-1])
def test_doctests(module):
    result = doctest.testmod(module)
    assert result.attempted > 2
    assert result.failed == 0


def test_every_metric_gives_formula_source_and_example():
    for name in metrics.__all__:
        metric = getattr(metrics, name)
        if callable(metric):
            assert ">>>" in metric.__doc__, name
            if name != "calibration_error":
                assert "Formula:" in metric.__doc__, name
                assert "Source:" in metric.__doc__, name


def test_by_hand():
    assert metrics.transfer(MATRIX) == pytest.approx((60 + (30 + 50) / 2) / 2)
    assert metrics.transfer_over_pairs(MATRIX) == pytest.approx((60 + 30 + 50) / 3)
    assert metrics.transfer_from_start(MATRIX, [1, 2, 3]) == pytest.approx((1 + (2 + 60) / 2 + (3 + 30 + 50) / 3) / 3)
    assert metrics.average(MATRIX) == pytest.approx(MATRIX.sum() / 9)
    assert metrics.last(MATRIX) == pytest.approx((70 + 97 + 99) / 3)
    assert metrics.forgetting(MATRIX) == pytest.approx(((90 - 70) + (95 - 97)) / 2)
    assert metrics.backward_transfer(MATRIX) == pytest.approx(((70 - 90) + (97 - 95)) / 2)
    assert metrics.forward_transfer(MATRIX, [1, 2, 3]) == pytest.approx(((60 - 2) + (50 - 3)) / 2)
    assert metrics.degradation(MATRIX) == -20
    assert metrics.degradation(MATRIX, 1) == 2
    assert metrics.average_incremental_accuracy(MATRIX) == pytest.approx((90 + 87.5 + 266 / 3) / 3)
    # 90 on 1 image, 80 + 2 x 95 = 270 on 3, 70 + 2 x 97 + 3 x 99 = 561 on 6.
    assert metrics.weighted_average_incremental_accuracy(MATRIX, [1, 2, 3]) == pytest.approx((90 + 270 + 561) / 10)
    assert metrics.last_incremental_accuracy(MATRIX, [1, 0, 3]) == pytest.approx((70 + 3 * 99) / 4)
    assert metrics.zero_shot_retention(MATRIX[:1], [5, 60, 40]) == pytest.approx(0.9)
    assert metrics.zero_shot_retention(MATRIX[:2], [5, 60, 40]) == pytest.approx(50 / 40)


def test_degradation_has_the_sign_of_the_published_table():
    assert metrics.degradation([[82.69, 0], [69.74, 85.18]]) == pytest.approx(-12.95)


def test_set1_set2_are_the_row_of_the_table():
    row = metrics.set1_set2([[82.69, 60], [69.74, 85.18]])
    assert row[:3] == (82.69, 69.74, 85.18)
    assert row.degradation == metrics.degradation([[82.69, 60], [69.74, 85.18]])
    with pytest.raises(UsageError, match="two-step stream"):
        metrics.set1_set2(MATRIX)


def test_metrics_need_neither_torch_nor_avalanche():
    code = "import sys; from lamm_cl.evaluation import metrics; assert not {'torch', 'avalanche'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_forgetting_counts_what_was_known_before_training_as_the_formula_is_printed():
    # The zero-shot model was better on set 1 (70) than after training it (60).
    assert metrics.forgetting([[90, 70, 0], [90, 60, 0], [90, 50, 80]]) == pytest.approx((0 + 20) / 2)
    # Not measured before training: the maximum starts at the diagonal, nothing is taken for 0.
    nan = np.nan
    assert metrics.forgetting([[90, nan, nan], [90, 60, nan], [90, 50, 80]]) == pytest.approx((0 + 10) / 2)


@pytest.mark.parametrize("metric", OF_A_SQUARE, ids=lambda m: m.__name__)
def test_missing_is_never_a_number(metric):
    hole = MATRIX.copy()
    hole[-1] = np.nan
    assert np.isnan(metric(hole)) or metric in (metrics.transfer, metrics.transfer_over_pairs)
    assert np.isnan(metric(np.full((3, 3), np.nan)))
    assert np.isnan(metric([[None, None], [None, None]]))


def test_each_metric_needs_only_what_its_formula_names():
    lower = np.where(np.tri(3, dtype=bool), MATRIX, np.nan)
    assert metrics.last(lower) == metrics.last(MATRIX)
    assert metrics.forgetting(lower) == metrics.forgetting(MATRIX)
    assert metrics.backward_transfer(lower) == metrics.backward_transfer(MATRIX)
    assert metrics.average_incremental_accuracy(lower) == metrics.average_incremental_accuracy(MATRIX)
    assert np.isnan(metrics.transfer(lower))
    assert np.isnan(metrics.average(lower))
    upper = np.where(np.tri(3, dtype=bool), np.nan, MATRIX)
    assert metrics.transfer(upper) == metrics.transfer(MATRIX)
    assert metrics.forward_transfer(upper, [0, 0, 0]) == metrics.forward_transfer(MATRIX, [0, 0, 0])


def test_one_stage_has_no_transfer_and_no_forgetting():
    for metric in (metrics.transfer, metrics.forgetting, metrics.backward_transfer):
        assert np.isnan(metric([[0.5]]))
    assert np.isnan(metrics.forward_transfer([[0.5]], [0.1]))
    assert np.isnan(metrics.zero_shot_retention([[0.5]], [0.1]))
    assert metrics.average([[0.5]]) == metrics.last([[0.5]]) == 0.5


@pytest.mark.parametrize("metric", OF_A_SQUARE, ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    "wrong",
    [
        [1.0, 2.0],
        3.0,
        [[1.0, 2.0]],
        np.ones((2, 2, 2)),
        [],
        np.ones((0, 0)),
        [["a", "b"], ["c", "d"]],
        [["1", "2"], ["3", "4"]],
        [[True, False], [True, True]],
        [[1.0, 2.0], [3.0]],
        [[1.0, {}], [2.0, 3.0]],
        [[1j, 2.0], [2.0, 3.0]],
        [[np.inf, 2.0], [2.0, 3.0]],
        None,
        "matrix",
    ],
    ids=str,
)
def test_wrong_input_is_refused_with_one_clear_message(metric, wrong):
    with pytest.raises(UsageError, match="accuracy matrix"):
        metric(wrong)


def test_other_wrong_input():
    with pytest.raises(UsageError, match="baseline: needs 3"):
        metrics.forward_transfer(MATRIX, [1, 2])
    with pytest.raises(UsageError, match="counts: needs 3"):
        metrics.incremental_accuracies(MATRIX, [1, 2, 3, 4])
    with pytest.raises(UsageError, match="no set 3"):
        metrics.degradation(MATRIX, 3)


def test_what_counts_as_a_matrix():
    as_list = MATRIX.tolist()
    masked = np.ma.masked_equal(MATRIX, 70)
    assert metrics.last(as_list) == metrics.last(MATRIX.astype(np.float32)) == metrics.last(MATRIX.astype(int))
    assert np.isnan(metrics.last(masked))
    kept = MATRIX.copy()
    metrics.forgetting(kept)
    np.testing.assert_array_equal(kept, MATRIX)


@pytest.mark.parametrize("metric", OF_A_SQUARE, ids=lambda m: m.__name__)
@given(a=square)
def test_fractions_and_percent_alike(metric, a):
    assert metric(a / 100) * 100 == pytest.approx(metric(a), abs=1e-9)


@given(a=square, shift=st.floats(-10, 10))
def test_levels_shift_and_differences_do_not(a, shift):
    for metric in (metrics.transfer, metrics.average, metrics.last, metrics.average_incremental_accuracy):
        assert metric(a + shift) == pytest.approx(metric(a) + shift, abs=1e-9)
        assert a.min() - 1e-9 <= metric(a) <= a.max() + 1e-9
    for metric in (metrics.forgetting, metrics.backward_transfer, metrics.degradation):
        assert metric(a + shift) == pytest.approx(metric(a), abs=1e-9)


@given(a=square)
def test_forgetting_is_at_least_what_backward_transfer_lost(a):
    assert metrics.forgetting(a) >= -metrics.backward_transfer(a) - 1e-9


@given(row=arrays(np.float64, 4, elements=st.floats(0, 1)))
def test_a_model_that_never_changes_neither_forgets_nor_gains(row):
    a = np.tile(row, (4, 1))
    assert metrics.forgetting(a) == metrics.backward_transfer(a) == metrics.degradation(a) == 0
    assert metrics.forward_transfer(a, row) == 0
    assert metrics.transfer(a) == pytest.approx(row[1:].mean())
    assert metrics.average(a) == pytest.approx(metrics.last(a))
    if row[2:].sum() > 1e-12:
        assert metrics.zero_shot_retention(a[:2], row) == pytest.approx(1)


@given(a=square)
def test_weights_that_are_equal_change_nothing(a):
    counts = np.full(len(a), 7)
    np.testing.assert_allclose(metrics.incremental_accuracies(a, counts), metrics.incremental_accuracies(a))
    assert metrics.incremental_accuracies(a)[-1] == pytest.approx(metrics.last(a))
