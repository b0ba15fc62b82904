"""Spectra of matrices too large for exact ones: a few products with the matrix instead of cubes.

References
----------
Golub, Meurant, "Matrices, Moments and Quadrature with Applications", Princeton 2010, chapters 5-7:
block Lanczos and the quadrature that it is.
Meyer, Musco, Musco, Woodruff, "Hutch++: optimal stochastic trace estimation", SOSA 2021
(arXiv:2010.09649): the leading vectors exactly, random ones for the rest only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmdyn.metrics.spectrum import Spectrum
from hmmdyn.results.arrays import FloatArray

# A matrix whose shorter side is less than this has an exact spectrum sooner.
LEAST_SIDE = 1024
_LEADING, _RANDOM, _STEPS = 8, 16, 12  # vectors of either kind, and blocks of Lanczos
_WIDTH = _LEADING + _RANDOM
_LEAST_PEAK, _LARGEST_PEAK = 1e-10, 1e10


def sketched_spectrum(matrix: FloatArray) -> Spectrum:
    """Sketch the singular values of a matrix: a few values, and how many each stands for.

    Starting vectors depend on the matrix's shape alone, so that the error is common to all
    checkpoints of a run.

    Parameters
    ----------
    matrix : array, shape (m, n)
        Finite; the shorter side is ``LEAST_SIDE`` or more.

    Returns
    -------
    Spectrum
        Not exact. The largest value is that of the matrix to about 1e-4, relative; the number of
        values and the sum of their squares are exact; sums of other functions are right to about
        1 % (``benchmarks/extraction.md``).

    Notes
    -----
    Let G be the smaller Gram matrix, n its size, V its leading vectors (subspace iteration) and Z
    random signs without their part in V. Then tr f(G) = tr VᵀfV + E zᵀfz, and block Lanczos
    started from [V Z] gives both as sums over its Ritz values. Of the random part it is known
    besides how many values it has, and the sum of their squares: the counts of its values are
    multiplied by a + bλ so that both are right.
    """
    peak = max(float(matrix.max()), -float(matrix.min()))
    size = min(matrix.shape)
    if peak == 0:
        return Spectrum(np.zeros(1), np.array([float(size)]))
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    # In float32 the square of the largest entry must not overflow, nor vanish.
    scale = 1.0 if _LEAST_PEAK < peak < _LARGEST_PEAK else peak
    scaled = (tall if scale == 1 else tall / scale).astype(np.float32)
    start, mixed = _start(scaled)
    ritz, first = _lanczos(scaled, start)
    parts = np.square(first.T @ mixed)  # of each starting vector along each Ritz vector
    leading, rest = parts[:, :_LEADING].sum(axis=1), parts[:, _LEADING:].sum(axis=1) / _RANDOM
    squares = (float(np.linalg.norm(matrix)) / scale) ** 2
    rest = _calibrated(rest, ritz, size - _LEADING, squares - float(leading @ ritz))
    order = np.argsort(ritz)[::-1]
    return Spectrum(scale * np.sqrt(ritz[order]), (leading + rest)[order])


def _start(matrix: NDArray[np.float32]) -> tuple[NDArray[np.float32], FloatArray]:
    """Return an orthonormal basis of the starting vectors, and these in that basis."""
    n = matrix.shape[1]
    rng = np.random.default_rng(n)
    leading = rng.standard_normal((n, _LEADING), dtype=np.float32)
    for _ in range(2):
        leading = np.linalg.qr(_gram(matrix, leading))[0]
    signs = rng.choice(np.array([-1, 1], dtype=np.float32), (n, _RANDOM))
    basis, mixed = np.linalg.qr(np.hstack([leading, _without(leading, signs)]))
    return basis, np.asarray(mixed, dtype=np.float64)


def _lanczos(
    matrix: NDArray[np.float32], start: NDArray[np.float32]
) -> tuple[FloatArray, FloatArray]:
    """Return the Ritz values, and the first rows of their vectors in the Krylov basis."""
    size = _STEPS * _WIDTH
    basis = np.empty((matrix.shape[1], size), dtype=np.float32)
    projected = np.zeros((size, size))
    block = start
    for step in range(_STEPS):
        end = (step + 1) * _WIDTH
        basis[:, end - _WIDTH : end] = block
        image, known = _gram(matrix, block), basis[:, :end]
        projected[:end, end - _WIDTH : end] = known.T @ image
        # Twice, since what is left may be all rounding: of a matrix of low rank.
        block = np.linalg.qr(_without(known, image))[0]
        block = np.linalg.qr(_without(known, block))[0]
    upper = np.triu(projected)
    values, vectors = np.linalg.eigh(upper + np.triu(upper, 1).T)
    return np.clip(values, 0, None), vectors[:_WIDTH]


def _calibrated(counts: FloatArray, values: FloatArray, n: float, total: float) -> FloatArray:
    """Multiply counts by a + b values so that they sum to ``n``, and to ``total`` over values."""
    moments = [float(counts @ values**power) for power in range(3)]
    matrix = np.array([moments[:2], moments[1:]])
    a, b = np.linalg.lstsq(matrix, np.array([n, max(total, 0.0)]))[0]
    calibrated: FloatArray = np.clip(counts * (a + b * values), 0, None)
    return calibrated


def _gram(matrix: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(matrix.T @ (matrix @ vectors), dtype=np.float32)


def _without(basis: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take their part in an orthonormal basis out of vectors; twice is enough."""
    for _ in range(2):
        vectors = vectors - basis @ (basis.T @ vectors)
    return vectors
