"""Singular values, fast where that is exact enough and by SVD where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hmmdyn.metrics.linear_algebra import NUMPY, LinearAlgebra
from hmmdyn.results.arrays import FloatArray

_TOLERANCE = 1e-10  # relative error of the sum of the singular values
# If a matrix's largest entry lies between these, no square in its Gram matrix vanishes or
# overflows.
_LEAST_PEAK, _LARGEST_PEAK = 1e-140, 1e140


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of a matrix, or a few values that stand for them.

    Attributes
    ----------
    values : array, shape (n,)
        Largest first.
    counts : array, shape (n,), optional
        How many singular values each stands for; None: these are all of them.
    """

    values: FloatArray
    counts: FloatArray | None = None

    @property
    def size(self) -> float:
        """How many singular values there are."""
        return len(self.values) if self.counts is None else float(self.counts.sum())

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(np.average(self.values, weights=self.counts))

    @property
    def variance(self) -> float:
        """Their population variance."""
        if self.counts is None:
            return float(np.var(self.values))
        return float(np.average(np.square(self.values - self.mean), weights=self.counts))

    @property
    def total(self) -> float:
        """Their sum."""
        return self.sum_of(lambda values: values)

    @property
    def squared(self) -> Spectrum:
        """Their squares: the eigenvalues of WᵀW."""
        return Spectrum(np.square(self.values), self.counts)

    def sum_of(self, function: Callable[[FloatArray], FloatArray]) -> float:
        """Sum a function over them."""
        found = function(self.values)
        return float(found.sum() if self.counts is None else self.counts @ found)


def singular_values(matrix: FloatArray, by: LinearAlgebra = NUMPY) -> FloatArray:
    """All singular values of a matrix, largest first.

    They are square roots of the eigenvalues of the smaller Gram matrix, which is several times
    faster than an SVD. Squaring costs accuracy in the small values only; where the error bound
    says that this could matter (a matrix of nearly deficient rank), an SVD is taken instead.

    Parameters
    ----------
    matrix : array, shape (m, n)
        float64, finite.
    by : LinearAlgebra
        What computes.

    Returns
    -------
    array, shape (min(m, n),)
        Their sum is exact to 1e-10, relative.

    Notes
    -----
    Forming the Gram matrix and finding its eigenvalues moves each by at most about
    ``delta = max(m, n) * eps * lambda_max``. So a computed value s = sqrt(lambda) is off by at
    most ``delta / s``, and by ``sqrt(delta)`` where lambda itself is of the order of delta.
    """
    rank_at_most = min(matrix.shape)
    values = _of_dense(_without_zero_lines(matrix), by)
    return np.concatenate([values, np.zeros(rank_at_most - len(values))])


def _of_dense(matrix: FloatArray, by: LinearAlgebra) -> FloatArray:
    """Singular values of a matrix without zero rows and columns (it may be empty)."""
    if matrix.size == 0:
        return np.zeros(0)
    if _LEAST_PEAK < max(matrix.max(), -matrix.min()) < _LARGEST_PEAK:
        values: FloatArray = np.sqrt(np.clip(by.gram_eigenvalues(matrix)[::-1], 0.0, None))
        if _error_bound(values, max(matrix.shape)) <= _TOLERANCE * values.sum():
            return values
    return by.singular_values(matrix)


def _error_bound(values: FloatArray, size: int) -> float:
    """Bound the error of the sum of singular values from a Gram matrix; see `singular_values`."""
    delta = size * np.finfo(np.float64).eps * values[0] ** 2
    return float(np.minimum(np.sqrt(delta), delta / np.maximum(values, np.sqrt(delta))).sum())


def _without_zero_lines(matrix: FloatArray) -> FloatArray:
    """Drop rows and columns of zeros (dead units): they add exact zeros to the spectrum."""
    rows, columns = matrix.any(axis=1), matrix.any(axis=0)
    if rows.all() and columns.all():
        return matrix
    return matrix[np.ix_(rows, columns)]
