"""All metrics: pure functions, which need neither torch nor Avalanche.

`a[i, j]` is the accuracy on test set j after training stage i (both from 0), as fractions or as percent: every
function answers in the unit it was given. An entry that a metric needs and that is NaN (missing) makes the metric
NaN; so does a metric of something that does not exist, such as the forgetting of a stream of one stage. `b[j]` is the
accuracy on set j before any training (stage 0), in the unit of `a`.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamm_cl.errors import UsageError

__all__ = [
    "CALIBRATION_BINS", "average", "average_incremental_accuracy", "average_per_set", "backward_transfer",
    "calibration_bins", "calibration_error", "confusion_matrix", "degradation", "expected_calibration_error",
    "forgetting", "forgetting_per_set", "forward_transfer", "harmonic_mean", "harmonic_mean_of_averages",
    "incremental_accuracies", "last", "last_incremental_accuracy", "mean_of_harmonic_means", "per_class_accuracy",
    "set1_set2", "transfer", "transfer_from_start", "transfer_over_pairs", "transfer_per_set",
    "weighted_average_incremental_accuracy", "zero_shot_retention",
]  # fmt: skip

Matrix = NDArray[np.float64]

_MEANING = "rows are training stages, columns are test sets, a[i, j] = accuracy on set j after stage i, NaN = missing"


def as_numbers(values: Any, name: str = "values") -> Matrix:
    """Return `values` as float64 of the same shape; None and masked entries become NaN.

    Raises:
        UsageError: for text, truth values, complex or ragged input, and for infinite entries.
    """
    if np.ma.isMaskedArray(values):
        values = np.ma.filled(values.astype(float), np.nan)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise UsageError(f"{name}: rows of different lengths; give every row one entry per column.") from error
    if array.dtype.kind == "O":
        for entry in array.flat:
            numeric = isinstance(entry, (int, float, np.integer, np.floating)) and not isinstance(entry, bool)
            if entry is not None and not numeric:
                said = f"{type(entry).__name__} {entry!r:.40}"
                raise UsageError(f"{name}: needs numbers in rows of one length, found {said}.")
        array = array.astype(np.float64)
    if array.dtype.kind not in "iuf":
        raise UsageError(f"{name}: needs numbers, got an array of {array.dtype}.")
    numbers = array.astype(np.float64)
    if np.isinf(numbers).any():
        raise UsageError(f"{name}: holds an infinite entry; write a missing value as NaN.")
    return numbers


def _as_matrix(a: Any, *, square: bool = True) -> Matrix:
    """Return `a` as a float64 matrix (stages, sets), or raise UsageError: it has entries, and where asked is square."""
    matrix = as_numbers(a, "accuracy matrix")
    if matrix.ndim != 2:
        raise UsageError(f"accuracy matrix: needs 2 dimensions, got {matrix.ndim} (shape {matrix.shape}); {_MEANING}.")
    if matrix.size == 0:
        raise UsageError(f"accuracy matrix: is empty (shape {matrix.shape}); {_MEANING}.")
    if square and matrix.shape[0] != matrix.shape[1]:
        raise UsageError(
            f"accuracy matrix: needs one row per column, got {matrix.shape[0]} x {matrix.shape[1]}; {_MEANING}."
        )
    return matrix


def _as_vector(values: Any, length: int, name: str) -> Matrix:
    """Return `values` as a float64 vector of `length` entries, or raise UsageError."""
    vector = as_numbers(values, name)
    if vector.shape != (length,):
        raise UsageError(f"{name}: needs {length} numbers, one per test set, got shape {vector.shape}.")
    return vector


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

    Formula: C[p, q] = #{k : y_k = p, yhat_k = q}, of class numbers y, yhat (n,). Source: standard; row = truth, as in
    scikit-learn.

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
    Returned are, of shape (3, bins), images, sum of confidences, and correct predictions in each bin.

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

    `confidence` is the probability given to the predicted class (n,), and `correct` whether that was right (n,); or the
    probabilities of all classes (n, classes), and the labels (n,).

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

    It is a float of two or more numbers, or of one list of them; an array of arrays of one shape (one entry per data
    set).

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


_MISSING = float("nan")


def _mean(values: ArrayLike) -> float:
    entries = np.asarray(values, dtype=np.float64)
    return float(entries.mean()) if entries.size else _MISSING


def transfer_per_set(a: ArrayLike) -> Matrix:
    """Mean accuracy on each set before it was trained.

    Formula: T_j = 1/j sum_{i<j} a[i, j] for j = 1 .. n-1 (shape (n-1,)).
    Source: Zheng et al., "Preventing Zero-Shot Transfer Degradation in Continual Learning of Vision-Language
    Models" (ZSCL), ICCV 2023, section 4.

    >>> transfer_per_set([[90, 60, 30], [80, 95, 50], [70, 85, 99]])
    array([60., 40.])
    """
    matrix = _as_matrix(a)
    return np.array([matrix[:j, j].mean() for j in range(1, len(matrix))])


def transfer(a: ArrayLike) -> float:
    """Zero-shot ability kept for what comes later: the mean of `transfer_per_set`.

    Formula: Transfer = 1/(n-1) sum_{j>=1} (1/j sum_{i<j} a[i, j]). NaN for one stage.
    Source: ZSCL, ICCV 2023, section 4 (columns are averaged first, so the last set weighs no more than the second).

    >>> transfer([[90, 60, 30], [80, 95, 50], [70, 85, 99]])
    50.0
    """
    return _mean(transfer_per_set(a))


def transfer_over_pairs(a: ArrayLike) -> float:
    """Mean over all pairs of a stage and a set that comes later; what comes last weighs most. NaN for one stage.

    Formula: 2/(n(n-1)) sum_{i<j} a[i, j]: the plain mean over the upper triangle.
    Source: a reading of ZSCL's Transfer that other codes take; of `transfer`, which averages the columns first.

    >>> transfer_over_pairs([[90, 60, 30], [80, 95, 52], [70, 85, 99]])
    47.333333333333336
    """
    matrix = _as_matrix(a)
    return _mean(matrix[np.triu_indices(len(matrix), k=1)])


def transfer_from_start(a: ArrayLike, before: ArrayLike) -> float:
    """Mean over all sets, the first one too, of the accuracy before each was trained, the start counted.

    Formula: 1/n sum_j 1/(j+1) (b_j + sum_{i<j} a[i, j]), b (n,) = `before`.
    Source: tables that print zero-shot CLIP's mean over all data sets as its Transfer (65.3 on MTIL in any order);
    `transfer` leaves the first set out and gives 69.4 in order 1, 65.4 in order 2 (ZSCL, ICCV 2023).

    >>> transfer_from_start([[90, 60], [80, 95]], before=[30, 50])
    42.5
    """
    matrix = _as_matrix(a)
    started = np.vstack([_as_vector(before, len(matrix), "before"), matrix])
    return _mean([started[: j + 1, j].mean() for j in range(len(matrix))])


def average_per_set(a: ArrayLike) -> Matrix:
    """Mean accuracy on each set over all stages, shape (n,).

    Formula: A_j = 1/n sum_i a[i, j]. Source: ZSCL, ICCV 2023, section 4.

    >>> average_per_set([[90, 60], [80, 95]])
    array([85. , 77.5])
    """
    return np.asarray(_as_matrix(a).mean(axis=0), dtype=np.float64)


def average(a: ArrayLike) -> float:
    """Mean over all sets and stages, before and after training.

    Formula: Avg = 1/n sum_j (1/n sum_i a[i, j]). Source: ZSCL, ICCV 2023, section 4.

    >>> average([[90, 60], [80, 95]])
    81.25
    """
    return _mean(average_per_set(a))


def last(a: ArrayLike) -> float:
    """Mean accuracy over all sets after the last stage.

    Formula: Last = 1/n sum_j a[n-1, j]. Source: ZSCL, ICCV 2023, section 4; the average accuracy A_T of
    Lopez-Paz and Ranzato, "Gradient Episodic Memory", NeurIPS 2017, eq. 2.

    >>> last([[90, 60], [80, 95]])
    87.5
    """
    return _mean(_as_matrix(a)[-1])


def forgetting_per_set(a: ArrayLike) -> Matrix:
    """What is missing at the end of the best that earlier stages knew of each set, shape (n-1,).

    Formula: f_j = max_{l < n-1} a[l, j] - a[n-1, j], for j < n-1. As printed, the maximum runs over every earlier
    stage, also those before set j was trained; entries of that part (l < j) count where they were measured.
    Source: Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, eq. 3.

    >>> forgetting_per_set([[90, 60, 30], [80, 95, 50], [70, 97, 99]])
    array([20., -2.])
    """
    matrix = _as_matrix(a)
    end = len(matrix) - 1
    best = np.empty(end)
    for j in range(end):
        untrained, trained = matrix[:j, j], matrix[j:end, j]
        # A set that was trained must have been tested since; before that it often is not tested at all.
        best[j] = max([trained.max(), *untrained[~np.isnan(untrained)]]) if not np.isnan(trained).any() else _MISSING
    return best - matrix[end, :end]


def forgetting(a: ArrayLike) -> float:
    """Average forgetting: the mean of `forgetting_per_set`; positive means lost. NaN for one stage.

    Formula: F = 1/(n-1) sum_{j<n-1} (max_{l<n-1} a[l, j] - a[n-1, j]).
    Source: Chaudhry et al., ECCV 2018, eq. 3.

    >>> forgetting([[90, 60, 30], [80, 95, 50], [70, 97, 99]])
    9.0
    """
    return _mean(forgetting_per_set(a))


def backward_transfer(a: ArrayLike) -> float:
    """What later training did to sets already trained; negative means lost. NaN for one stage.

    Formula: BWT = 1/(n-1) sum_{j<n-1} (a[n-1, j] - a[j, j]).
    Source: Lopez-Paz and Ranzato, NeurIPS 2017, eq. 3.

    >>> backward_transfer([[90, 60, 30], [80, 95, 50], [70, 97, 99]])
    -9.0
    """
    matrix = _as_matrix(a)
    return _mean(matrix[-1, :-1] - np.diag(matrix)[:-1])


def forward_transfer(a: ArrayLike, baseline: ArrayLike) -> float:
    """What earlier training gave to sets not yet trained, against a model that has trained on nothing.

    Formula: FWT = 1/(n-1) sum_{j>=1} (a[j-1, j] - b_j), b (n,) = `baseline`. NaN for one stage.
    Source: Lopez-Paz and Ranzato, NeurIPS 2017, eq. 4; b is the accuracy at random initialisation there, the
    zero-shot accuracy (stage 0) here.

    >>> forward_transfer([[90, 60, 30], [80, 95, 50], [70, 97, 99]], baseline=[50, 55, 60])
    -2.5
    """
    matrix = _as_matrix(a)
    start = _as_vector(baseline, len(matrix), "baseline")
    return _mean(np.diag(matrix, k=1) - start[1:])


def degradation(a: ArrayLike, j: int = 0) -> float:
    """What the stream did to set j since it was trained; negative means lost (Set1 by default).

    Formula: D_j = a[n-1, j] - a[j, j].
    Source: Li et al., "LAMM: Label Alignment for Multi-Modal Prompt Learning", AAAI 2024, Table 2, which prints
    82.69 before, 69.74 after and -12.95.

    >>> degradation([[82.5, 60.0], [69.75, 85.25]])
    -12.75
    """
    matrix = _as_matrix(a)
    if not 0 <= j < len(matrix):
        raise UsageError(f"degradation: there is no set {j}; the sets are 0..{len(matrix) - 1}.")
    return float(matrix[-1, j] - matrix[j, j])


class Set1Set2(NamedTuple):
    """A row of LAMM's Table 2, in the unit of the matrix."""

    set1_before: float  # accuracy on Set1 right after training it
    set1_after: float  # accuracy on Set1 at the end
    set2: float  # accuracy on Set2 at the end
    degradation: float  # set1_after - set1_before


def set1_set2(a: ArrayLike) -> Set1Set2:
    """Read the numbers of a two-step stream off its matrix.

    Formula: a[0, 0], a[1, 0], a[1, 1], a[1, 0] - a[0, 0].
    Source: LAMM, AAAI 2024, Table 2.

    >>> set1_set2([[82.5, 60.0], [69.75, 85.25]])
    Set1Set2(set1_before=82.5, set1_after=69.75, set2=85.25, degradation=-12.75)
    """
    matrix = _as_matrix(a)
    if len(matrix) != 2:
        raise UsageError(f"Set1, Set2 are the sets of a two-step stream; this matrix has {len(matrix)} stages.")
    return Set1Set2(float(matrix[0, 0]), float(matrix[1, 0]), float(matrix[1, 1]), degradation(matrix))


def incremental_accuracies(a: ArrayLike, counts: ArrayLike | None = None) -> Matrix:
    """Accuracy over everything met so far, after every stage, shape (n,).

    Formula: A_i = sum_{j<=i} w_j a[i, j] / sum_{j<=i} w_j, w (n,) = `counts`, test images per set, or 1 without.
    Source: Rebuffi et al., "iCaRL", CVPR 2017, section 4 (all images of the classes seen so far count alike).

    >>> incremental_accuracies([[90, 60], [80, 90]], counts=[100, 300])
    array([90. , 87.5])
    """
    matrix = _as_matrix(a)
    weights = np.ones(len(matrix)) if counts is None else _as_vector(counts, len(matrix), "counts")
    return np.array([weighted(matrix[i, : i + 1], weights[: i + 1]) for i in range(len(matrix))])


def weighted(values: Matrix, weights: Matrix) -> float:
    """Weighted mean; NaN without any weight."""
    total = weights.sum()
    return float((values * weights).sum() / total) if total > 0 else _MISSING


def average_incremental_accuracy(a: ArrayLike, counts: ArrayLike | None = None) -> float:
    """Mean over the stages of the accuracy over everything met so far.

    Formula: 1/n sum_i A_i, with A_i of `incremental_accuracies`. Each stage weighs the same: what the released codes
    of RAPF, PROOF, ENGINE and BOFA print as average.
    Source: Rebuffi et al., CVPR 2017, section 4 ("average incremental accuracy").

    >>> average_incremental_accuracy([[90, 60], [80, 90]])
    87.5
    """
    return _mean(incremental_accuracies(a, counts))


def weighted_average_incremental_accuracy(a: ArrayLike, counts: ArrayLike) -> float:
    """Mean over the stages of the accuracy over everything met so far, where a stage weighs what it is tested on.

    Formula: sum_i N_i A_i / sum_i N_i, with A_i of `incremental_accuracies` and N_i = sum_{j<=i} w_j, w (n,) =
    `counts`, test images per set, or classes per set: the share of right answers among all that were given, so that
    late stages, which are tested on more, weigh more.
    Source: the weighted average of class-incremental tables (Huang et al., "RAPF", ECCV 2024). RAPF's released code
    prints the unweighted one, as C3Box does; on B0 streams the weighted one is the lower.

    >>> weighted_average_incremental_accuracy([[90, 60], [80, 90]], counts=[100, 300])
    88.0
    """
    met = incremental_accuracies(a, counts)
    return weighted(met, np.cumsum(_as_vector(counts, len(met), "counts")))


def last_incremental_accuracy(a: ArrayLike, counts: ArrayLike | None = None) -> float:
    """Accuracy over everything met, after the last stage.

    Formula: A_{n-1} of `incremental_accuracies`. Source: Rebuffi et al., CVPR 2017, section 4.

    >>> last_incremental_accuracy([[90, 60], [80, 90]], counts=[100, 300])
    87.5
    """
    return float(incremental_accuracies(a, counts)[-1])


def zero_shot_retention(a: ArrayLike, baseline: ArrayLike) -> float:
    """Share of the zero-shot accuracy that is left on data sets never trained on; 1 means all of it.

    Formula: R = sum_{j>=m} a[m-1, j] / sum_{j>=m} b_j, where `a` is (m stages, n >= m sets) and b (n,) = `baseline`:
    set j is trained in stage j, so that after m stages the sets from m on were never trained; pass `a[:k]` for the
    state after stage k. NaN where there are none, or where b is 0 on all of them.
    Source: ours; the ratio behind ZSCL's "zero-shot transfer degradation" (ICCV 2023).

    >>> zero_shot_retention([[90, 60, 30]], baseline=[50, 65, 35])
    0.9
    """
    matrix = _as_matrix(a, square=False)
    stages, sets = matrix.shape
    start = _as_vector(baseline, sets, "baseline")[stages:]
    before = float(start.sum())
    return float(matrix[-1, stages:].sum()) / before if before != 0 else _MISSING
