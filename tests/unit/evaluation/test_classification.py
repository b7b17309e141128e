"""Metrics of one test set against scikit-learn and torchmetrics."""

import csv

import numpy as np
import pytest
import sklearn.metrics
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.functional.classification import multiclass_calibration_error

from lamm_cl.errors import UsageError
from lamm_cl.evaluation import metrics

labels = arrays(np.int64, 30, elements=st.integers(0, 4))
positive = st.floats(0.01, 100)


@given(true=labels, predicted=labels)
def test_confusion_and_per_class_accuracy_agree_with_scikit_learn(true, predicted):
    ours = metrics.confusion_matrix(true, predicted, 5)
    np.testing.assert_array_equal(ours, sklearn.metrics.confusion_matrix(true, predicted, labels=range(5)))
    recall = sklearn.metrics.recall_score(true, predicted, labels=range(5), average=None, zero_division=np.nan)
    np.testing.assert_allclose(metrics.per_class_accuracy(ours), recall)


@given(logits=arrays(np.float32, (40, 6), elements=st.floats(-5, 5, width=32)), true=arrays(np.int64, 40))
def test_calibration_agrees_with_torchmetrics(logits, true):
    probabilities = torch.softmax(torch.from_numpy(logits), dim=1)
    confidence, predicted = probabilities.max(dim=1)
    reference = multiclass_calibration_error(probabilities, torch.from_numpy(true % 6), 6, n_bins=15, norm="l1")
    ours = metrics.expected_calibration_error(confidence, predicted.numpy() == true % 6)
    assert ours == metrics.expected_calibration_error(probabilities, true % 6)
    # The reference adds up in single precision, and a confidence on a bin's edge may fall to either side.
    edge = np.abs(confidence.numpy() * 15 - np.round(confidence.numpy() * 15)).min() < 1e-4
    assert edge or ours == pytest.approx(float(reference), abs=1e-5)


def test_calibration_of_batches_adds_up():
    rng = np.random.default_rng(0)
    confidence, correct = rng.random(100), rng.random(100) < 0.5
    parts = [metrics.calibration_bins(confidence[k::3], correct[k::3]) for k in range(3)]
    whole = metrics.expected_calibration_error(confidence, correct)
    assert metrics.calibration_error(np.sum(parts, axis=0)) == pytest.approx(whole)


def test_calibration_extremes():
    assert metrics.expected_calibration_error([1.0, 1.0], [True, True]) == 0
    assert metrics.expected_calibration_error([1.0, 1.0], [False, False]) == 1
    assert metrics.expected_calibration_error([0.0], [False]) == 0
    assert metrics.expected_calibration_error([1 + 1e-7], [1]) == pytest.approx(0, abs=1e-6)
    assert np.isnan(metrics.expected_calibration_error([], []))


def test_an_edge_belongs_to_the_lower_bin():
    np.testing.assert_array_equal(metrics.calibration_bins([0.5, 0.51], [1, 1], bins=2)[0], [1, 1])


@given(base=positive, new=positive)
def test_harmonic_mean_lies_between_and_below_the_average(base, new):
    mean = metrics.harmonic_mean(base, new)
    assert min(base, new) - 1e-9 <= mean <= (base + new) / 2 + 1e-9
    assert mean == pytest.approx(2 * base * new / (base + new))
    assert mean == pytest.approx(metrics.harmonic_mean(new, base))
    assert mean == pytest.approx(metrics.harmonic_mean([base, new]))


@given(pairs=arrays(np.float64, (2, 5), elements=positive))
def test_mean_of_harmonic_means_is_the_smaller_one(pairs):
    assert metrics.mean_of_harmonic_means(*pairs) <= metrics.harmonic_mean_of_averages(*pairs) + 1e-9
    np.testing.assert_allclose(metrics.harmonic_mean(*pairs), [metrics.harmonic_mean(b, n) for b, n in pairs.T])


def test_harmonic_mean_with_zero_and_missing():
    assert metrics.harmonic_mean(0, 80) == 0
    assert np.isnan(metrics.harmonic_mean(np.nan, 80))
    assert np.isnan(metrics.harmonic_mean(None, 80))
    assert metrics.harmonic_mean(60, 60, 60) == pytest.approx(60)


def test_papers_print_the_harmonic_mean_of_the_averages(shared):
    with (shared / "published" / "maple_base_to_new_per_dataset.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] != "average"]
    for method, of_averages, of_means in [("CLIP", "71.70", 71.59), ("MaPLe", "78.55", 78.27)]:
        base, new = (
            [float(r["value"]) for r in rows if (r["method"], r["split"]) == (method, s)] for s in ("base", "new")
        )
        assert len(base) == len(new) == 11
        assert f"{metrics.harmonic_mean_of_averages(base, new):.2f}" == of_averages
        assert metrics.mean_of_harmonic_means(base, new) == pytest.approx(of_means, abs=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.harmonic_mean(5), "two numbers"),
        (lambda: metrics.harmonic_mean(), "two numbers"),
        (lambda: metrics.harmonic_mean(-1, 2), "not negative"),
        (lambda: metrics.harmonic_mean([1, 2], [1, 2, 3]), "shapes differ"),
        (lambda: metrics.harmonic_mean("a", 2), "needs numbers"),
        (lambda: metrics.confusion_matrix([0, 1], [0], 2), "2 labels but 1 predictions"),
        (lambda: metrics.confusion_matrix([0, 2], [0, 1], 2), "must be 0..1"),
        (lambda: metrics.confusion_matrix([0, -1], [0, 1], 2), "must be 0..1"),
        (lambda: metrics.confusion_matrix([0.5], [0], 2), "whole class numbers"),
        (lambda: metrics.per_class_accuracy([[1, 2, 3]]), "one row and one column per class"),
        (lambda: metrics.expected_calibration_error([1.2], [1]), "between 0 and 1"),
        (lambda: metrics.expected_calibration_error([np.nan], [1]), "between 0 and 1"),
        (lambda: metrics.expected_calibration_error([0.5], [1, 0]), "one confidence and one"),
        (lambda: metrics.expected_calibration_error([[0.5, 0.5]], [2]), "must be 0..1"),
        (lambda: metrics.expected_calibration_error([[0.5, 0.5]], [0, 1]), "one confidence and one"),
        (lambda: metrics.expected_calibration_error([0.5], [1], bins=0), "at least one bin"),
    ],
)
def test_wrong_input(call, message):
    with pytest.raises(UsageError, match=message):
        call()
