"""Eigenvalues of large symmetric matrices: first to a band, then the band's.

LAPACK's own way goes through the whole matrix once for each of its columns, which takes as long
as memory does. This one goes through it once for every ``_WIDTH`` columns.

References
----------
Bischof, Lang, Sun, "A framework for symmetric band reduction", ACM TOMS 26(4), 2000.
Schreiber, Van Loan, "A storage-efficient WY representation for products of Householder
transformations", SIAM J. Sci. Stat. Comput. 10(1), 1989.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.linalg import eigvals_banded

from hmmdyn.results.arrays import FloatArray

# A smaller matrix has its eigenvalues sooner in one stage.
LEAST_SIDE = 2048
_WIDTH = 48  # of the band, on either side of the diagonal
_ROWS = 128  # gone through at a time: as much as stays in a processor's cache


def eigenvalues(matrix: FloatArray) -> FloatArray:
    """Eigenvalues of a symmetric matrix, smallest first.

    They are those of a matrix that differs from the one given by rounding alone, as LAPACK's are.

    Parameters
    ----------
    matrix : array, shape (n, n)
        float64, finite. It is overwritten.
    """
    _reduce(matrix)
    band = np.zeros((_WIDTH + 1, len(matrix)))
    for below in range(min(_WIDTH + 1, len(matrix))):
        band[below, : len(matrix) - below] = np.diagonal(matrix, -below)
    # By a power of two, which loses nothing: LAPACK's routine fails at numbers like 1e200.
    _, exponent = np.frexp(np.abs(band).max())
    band = np.ldexp(band, -exponent)
    found = eigvals_banded(band, lower=True, overwrite_a_band=True, check_finite=False)
    return np.asarray(np.ldexp(found, exponent), dtype=np.float64)


def _reduce(matrix: FloatArray) -> None:
    """Turn a symmetric matrix by reflections until it is a band; its lower triangle holds that.

    ``_WIDTH`` columns at a time have zeros made below the band by H = I - V T Vᵀ. Of the rest A
    below and to the right, Hᵀ A H = A - V Wᵀ - W Vᵀ with W = Y - V Tᵀ Vᵀ Y / 2 and Y = A V T. This
    change waits until the next Y is worked out, so that A is gone through once for both.
    """
    n = len(matrix)
    left, right = np.zeros((n, 0)), np.zeros((0, n))  # the change that waits, left @ right
    for start in range(0, n - _WIDTH, _WIDTH):
        columns = matrix[start:, start : start + _WIDTH]
        columns -= left @ right[:, :_WIDTH]
        v, t, columns[_WIDTH:] = _reflection(columns[_WIDTH:])
        y = _changed_times(matrix, start + _WIDTH, left[_WIDTH:], right[:, _WIDTH:], v @ t)
        w = y - v @ (t.T @ (v.T @ y)) / 2
        left, right = np.hstack([v, w]), np.vstack([w.T, v.T])
    matrix[n - len(left) :, n - len(left) :] -= left @ right


def _reflection(columns: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return V and T, T triangular, with (I - V T Vᵀ)ᵀ columns triangular, and that triangle."""
    packed, tau = np.linalg.qr(columns, mode="raw")
    packed = packed.T
    v = np.tril(packed[:, : len(tau)], -1)
    np.fill_diagonal(v, 1.0)
    above = np.triu(v.T @ v, 1)
    t = np.linalg.solve(np.eye(len(tau)) + tau[:, None] * above, np.diag(tau))
    return v, t, np.triu(packed)


def _changed_times(
    matrix: FloatArray, start: int, left: FloatArray, right: FloatArray, vectors: FloatArray
) -> FloatArray:
    """Take ``left @ right`` from the rest of a matrix, and return its product with vectors.

    Of the rest, from ``start`` on, the lower triangle is read and written, in blocks of rows that
    lie in the whole matrix alike each time: so both sides of the diagonal are right inside of them.
    """
    n = len(matrix)
    product = np.zeros_like(vectors)
    edges = [start, *range((start // _ROWS + 1) * _ROWS, n, _ROWS), n]
    for first, end in pairwise(edges):
        here, before = slice(first - start, end - start), slice(0, first - start)
        block = matrix[first:end, start:end]
        block -= left[here] @ right[:, : end - start]
        product[here] += block @ vectors[: end - start]
        product[before] += block[:, before].T @ vectors[here]
    return product
