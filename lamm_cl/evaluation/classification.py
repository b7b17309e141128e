"""Metrics of one test set: confusion, accuracy per class, calibration; and means of several accuracies."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamm_cl.errors import UsageError
from lamm_cl.evaluation.matrix import Matrix, as_numbers

Counts = NDArray[np.int64]

CALIBRATION_BINS = 15


def _labels(values: Any, classes: int, name: str) -> Counts:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise UsageError(f"{name}: needs a list of whole class numbers, got {array.dtype} of shape {array.shape}.")
    if array.size and (int(array.min()) < 0 or int(array.max()) >= classes):
        raise UsageError(
            f"{name}: class numbers must be 0..{classes - 1}, found {int(array.min())}..{int(array.max())}."
        )
    return array.astype(np.int64)


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, classes: int) -> Counts:
    """Count images by true class (row) and predicted class (column), shape (classes, classes).

    Formula: C[p, q] = #{k : y_k = p, yhat_k = q}. Source: standard; row = truth, as in scikit-learn.

    Args:
        labels: true class numbers (n,).
        predictions: predicted class numbers (n,).
        classes: how many classes there are.

    >>> confusion_matrix([0, 0, 1], [0, 1, 1], classes=2)
    array([[1, 1],
           [0, 1]])
    """
    true, predicted = _labels(labels, classes, "labels"), _labels(predictions, classes, "predictions")
    if true.shape != predicted.shape:
        raise UsageError(f"{true.size} labels but {predicted.size} predictions: one of each per image, please.")
    flat = np.bincount(true * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes).astype(np.int64)


def per_class_accuracy(confusion: ArrayLike) -> Matrix:
    """Share of each class's images that were recognised, shape (classes,); NaN for a class without images.

    Formula: acc_p = C[p, p] / sum_q C[p, q]. Source: standard (recall per class).

    >>> per_class_accuracy([[3, 1], [0, 0]])
    array([0.75,  nan])
    """
    counts = as_numbers(confusion, "confusion matrix")
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise UsageError(f"confusion matrix: needs one row and one column per class, got shape {counts.shape}.")
    images = counts.sum(axis=1)
    return np.array(
        [right / total if total > 0 else np.nan for right, total in zip(np.diag(counts), images, strict=True)]
    )


def calibration_bins(confidence: ArrayLike, correct: ArrayLike, bins: int = CALIBRATION_BINS) -> Matrix:
    """Sort predictions into equal-width bins of confidence; add the results of several batches up freely.

    Formula: bin m holds the images with confidence in ((m-1)/M, m/M] (and 0 belongs to the first bin).
    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, section 2.

    Returns:
        Shape (3, bins): images, sum of confidences, and correct predictions in each bin.

    >>> calibration_bins([0.2, 0.5, 0.9], [0, 1, 1], bins=2)
    array([[2. , 1. ],
           [0.7, 0.9],
           [1. , 1. ]])
    """
    sure = as_numbers(confidence, "confidence")
    right = np.asarray(correct).astype(np.float64)
    if sure.ndim != 1 or right.shape != sure.shape:
        raise UsageError(f"one confidence and one right-or-wrong per image, got shapes {sure.shape} and {right.shape}.")
    # A softmax in single precision may exceed 1 by a rounding error.
    if sure.size and not (sure.min() >= 0 and sure.max() <= 1 + 1e-6):
        raise UsageError("confidence: must lie between 0 and 1, and not be missing.")
    if bins < 1:
        raise UsageError(f"calibration needs at least one bin, got {bins}.")
    place = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
    return np.stack([np.bincount(place, weights=w, minlength=bins) for w in (np.ones_like(sure), sure, right)])


def calibration_error(bins: ArrayLike) -> float:
    """Expected calibration error of counted bins (see `calibration_bins`); NaN without images.

    >>> calibration_error([[2, 1], [0.5, 0.75], [1, 1]])
    0.25
    """
    images, confidence, right = as_numbers(bins, "calibration bins")
    total = images.sum()
    return float(np.abs(right - confidence).sum() / total) if total > 0 else float("nan")


def expected_calibration_error(confidence: ArrayLike, correct: ArrayLike, bins: int = CALIBRATION_BINS) -> float:
    """How far confidence is from accuracy, on average over the images; 0 is perfect.

    Formula: ECE = sum_m |B_m|/n |acc(B_m) - conf(B_m)|, M = 15 bins of equal width.
    Source: Guo et al., ICML 2017, eq. 3.

    Args:
        confidence: probability given to the predicted class (n,); or the probabilities of all classes (n, classes).
        correct: whether the prediction was right (n,); or, with the probabilities of all classes, the labels (n,).
        bins: M.

    >>> expected_calibration_error([0.75, 0.75, 0.75, 0.75], [1, 1, 0, 0])
    0.25
    """
    sure = as_numbers(confidence, "confidence")
    if sure.ndim == 2 and sure.size:
        correct = sure.argmax(axis=1) == _labels(correct, sure.shape[1], "labels")
        sure = sure.max(axis=1)
    return calibration_error(calibration_bins(sure, correct, bins))


def harmonic_mean(*values: Any) -> Any:
    """Harmonic mean of accuracies, such as base and new; 0 where one of them is 0, NaN where one is missing.

    Formula: H = k / sum_i 1/x_i; for two, 2 x y / (x + y).
    Source: Xian et al., "Zero-Shot Learning: The Good, the Bad and the Ugly", CVPR 2017; CoCoOp, CVPR 2022.

    Args:
        values: two or more numbers, or arrays of one shape (one entry per data set); or one list of numbers.

    Returns:
        A float, or an array when arrays were given.

    >>> harmonic_mean(60, 30)
    40.0
    >>> harmonic_mean([60, 30])
    40.0
    """
    several = np.atleast_1d(as_numbers(values[0], "harmonic mean")) if len(values) == 1 else values
    parts = [as_numbers(value, "harmonic mean") for value in several]
    if len(parts) < 2:
        raise UsageError("harmonic mean: needs at least two numbers.")
    if any(part.shape != parts[0].shape for part in parts):
        raise UsageError(f"harmonic mean: shapes differ: {', '.join(str(part.shape) for part in parts)}.")
    stacked = np.stack(parts)
    if (stacked < 0).any():
        raise UsageError("harmonic mean: is defined for accuracies, which are not negative.")
    with np.errstate(divide="ignore"):
        mean = len(parts) / (1 / stacked).sum(axis=0)
    return float(mean) if mean.ndim == 0 else mean


def harmonic_mean_of_averages(base: ArrayLike, new: ArrayLike) -> float:
    """Harmonic mean of the two averages over data sets: the number that papers print.

    Formula: H(mean_d base_d, mean_d new_d). Source: CoCoOp, CVPR 2022, Table 1 (a).

    >>> harmonic_mean_of_averages([80, 40], [40, 20])
    40.0
    """
    return float(harmonic_mean(float(as_numbers(base).mean()), float(as_numbers(new).mean())))


def mean_of_harmonic_means(base: ArrayLike, new: ArrayLike) -> float:
    """Average over data sets of each one's harmonic mean: at most `harmonic_mean_of_averages`.

    Formula: mean_d H(base_d, new_d). Source: ours, given beside the papers' number since the two differ.

    >>> round(mean_of_harmonic_means([80, 40], [40, 20]), 3)
    40.0
    """
    return float(np.mean(harmonic_mean(base, new)))
