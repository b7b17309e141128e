"""Checked accuracy matrices: what every continual-learning metric starts from."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamm_cl.errors import UsageError

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
        array = _from_objects(array, name)
    if array.dtype.kind not in "iuf":
        raise UsageError(f"{name}: needs numbers, got an array of {array.dtype}.")
    numbers = array.astype(np.float64)
    if np.isinf(numbers).any():
        raise UsageError(f"{name}: holds an infinite entry; write a missing value as NaN.")
    return numbers


def _from_objects(array: NDArray[Any], name: str) -> Matrix:
    numeric = (int, float, np.integer, np.floating)
    for entry in array.flat:
        if entry is not None and (isinstance(entry, bool) or not isinstance(entry, numeric)):
            raise UsageError(
                f"{name}: needs numbers in rows of one length, found {type(entry).__name__} {entry!r:.40}."
            )
    return array.astype(np.float64)


def as_matrix(a: Any, *, square: bool = True) -> Matrix:
    """Return `a` as a float64 matrix (stages, sets), checked.

    Args:
        a: array-like, fractions or percent; NaN or None = missing.
        square: ask for as many stages as sets.

    Raises:
        UsageError: unless `a` is a numeric matrix with at least one entry, square where asked.
    """
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


def as_vector(values: Any, length: int, name: str) -> Matrix:
    """Return `values` as a float64 vector of `length` entries, or raise UsageError."""
    vector = as_numbers(values, name)
    if vector.shape != (length,):
        raise UsageError(f"{name}: needs {length} numbers, one per test set, got shape {vector.shape}.")
    return vector
