"""Spectra of matrices too large for exact ones: a few products with the matrix instead of cubes.

References
----------
Golub, Meurant, "Matrices, Moments and Quadrature with Applications", Princeton 2010, chapters 5-7:
block Lanczos and the quadrature that it is.
Laurie, "Anti-Gaussian quadrature formulas", Mathematics of Computation 65, 1996; for blocks: Fenu,
Martin, Reichel, Rodriguez, "Block Gauss and anti-Gauss quadrature with application to networks",
SIAM J. Matrix Anal. Appl. 34(4), 2013.
Meyer, Musco, Musco, Woodruff, "Hutch++: optimal stochastic trace estimation", SOSA 2021
(arXiv:2010.09649): the leading vectors exactly, random ones for the rest only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hmmdyn.metrics.spectrum import Spectrum, singular_values
from hmmdyn.results.arrays import FloatArray

# A matrix whose shorter side is less than this has an exact spectrum soon enough.
LEAST_SIDE = 2048
_LEADING, _STEPS = 8, 10  # Vectors that are not random, and blocks of Lanczos.
# Numbers in the random vectors: the error falls with the root of how many there are.
_RANDOM_NUMBERS, _LEAST_RANDOM = 65_536, 16
_CONVERGED = 0.003  # A Ritz value has, if an eigenvalue is as near as this, relative.
_ROUNDING = 1e-5  # Of the largest eigenvalue: below, single precision tells little from zero.
_LEAST_PEAK, _LARGEST_PEAK = 1e-10, 1e10


@dataclass(frozen=True, eq=False)
class _Krylov:
    """What block Lanczos has found of a Gram matrix.

    Attributes
    ----------
    projected : array, shape (steps * width, steps * width)
        The Gram matrix in the basis of the Krylov space: block tridiagonal.
    beyond : array, shape (width, width)
        The block that would come next below the last one of the diagonal.
    mixed : array, shape (width, width)
        The starting vectors in the first ``width`` vectors of the basis.
    n_random : int
        How many of these are random; they come last.
    """

    projected: FloatArray
    beyond: FloatArray
    mixed: FloatArray
    n_random: int


@dataclass(frozen=True, eq=False)
class _Quadrature:
    """Ritz values, smallest first.

    Attributes
    ----------
    values, leading, rest : array, shape (n,)
        The values, and for how many eigenvalues each stands by the leading starting vectors and by
        the random ones.
    is_single : array of bool, shape (n,)
        Whether it is one eigenvalue, converged.
    """

    values: FloatArray
    leading: FloatArray
    rest: FloatArray
    is_single: NDArray[np.bool_]


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
        Not exact, unless fewer than half of ``LEAST_SIDE`` lines of the shorter side have entries.
        The number of values and the sum of their squares are; the largest value and sums of other
        functions are right to about 1 % (``benchmarks/extraction.md``).

    Notes
    -----
    Let G be the smaller Gram matrix, n its size, V its leading vectors (subspace iteration) and Z
    random signs without their part in V. Then tr f(G) = tr VᵀfV + E zᵀfz, and block Lanczos
    started from [V Z] gives both as sums over its Ritz values: a Gauss rule, whose error the
    anti-Gauss rule of one step more has with the other sign, so that their mean has little of it.
    A Ritz value that has converged to a single eigenvalue stands for just one, whatever the random
    vectors say. Of the rest it is known how many values there are, and the sum of their squares:
    their counts are multiplied by a + bλ so that both are right. Columns of zeros (dead units) are
    known to be zero eigenvalues, and random vectors have no part in them.
    """
    peak = max(float(matrix.max()), -float(matrix.min()))
    if peak == 0:
        return Spectrum(np.zeros(1), np.array([float(min(matrix.shape))]))
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    # In float32 the square of the largest entry must not overflow, nor vanish.
    scale = 1.0 if _LEAST_PEAK < peak < _LARGEST_PEAK else peak
    scaled = (tall if scale == 1 else tall / scale).astype(np.float32)
    alive: NDArray[np.bool_] = np.any(scaled, axis=0)
    size = int(alive.sum())
    if size < LEAST_SIDE // 2:  # soon done, and hardly room for a Krylov space
        return Spectrum(singular_values(matrix))
    krylov = _lanczos(scaled, alive)
    total = (float(np.linalg.norm(matrix)) / scale) ** 2
    largest = max(float(np.linalg.eigvalsh(krylov.projected)[-1]), 0.0)
    rules = _gauss(krylov, largest), _anti_gauss(krylov, largest)
    values = np.concatenate([rule.values for rule in rules])
    counts = np.concatenate([_counts(rule, size, total) / len(rules) for rule in rules])
    values[values.argmax()] = largest
    order = np.argsort(values)[::-1]
    return Spectrum(
        np.append(scale * np.sqrt(values[order]), 0.0),
        np.append(counts[order], float(len(alive) - size)),
    )


def _lanczos(matrix: NDArray[np.float32], alive: NDArray[np.bool_]) -> _Krylov:
    n = matrix.shape[1]
    n_random = max(_LEAST_RANDOM, _RANDOM_NUMBERS // n)
    block, mixed = _start(matrix, alive, n_random)
    width = block.shape[1]
    basis = np.empty((n, _STEPS * width), dtype=np.float32)
    projected = np.zeros((_STEPS * width, _STEPS * width))
    for step in range(_STEPS):
        end = (step + 1) * width
        basis[:, end - width : end] = block
        known = basis[:, :end]
        image = _gram(matrix, block)
        parts = known.T @ image
        projected[:end, end - width : end] = parts
        block, beyond = np.linalg.qr(image - known @ parts)
        # Again, since what was left may be all rounding: of a matrix of low rank.
        block = np.linalg.qr(_without(known, block))[0]
    upper = np.triu(projected)
    return _Krylov(
        upper + np.triu(upper, 1).T, np.asarray(beyond, dtype=np.float64), mixed, n_random
    )


def _start(
    matrix: NDArray[np.float32], alive: NDArray[np.bool_], n_random: int
) -> tuple[NDArray[np.float32], FloatArray]:
    """Return an orthonormal basis of the starting vectors, and these in that basis."""
    n = matrix.shape[1]
    rng = np.random.default_rng(n)
    leading = rng.standard_normal((n, _LEADING), dtype=np.float32)
    for _ in range(2):
        leading = np.linalg.qr(_gram(matrix, leading))[0]
    signs = rng.choice(np.array([-1, 1], dtype=np.float32), (n, n_random))
    signs[~alive] = 0
    basis, mixed = np.linalg.qr(np.hstack([leading, _without(leading, signs)]))
    return basis, np.asarray(mixed, dtype=np.float64)


def _gauss(krylov: _Krylov, largest: float) -> _Quadrature:
    """The rule of one step less than there are, so that both have the same error."""
    width = len(krylov.mixed)
    beyond = krylov.projected[-width:, -2 * width : -width]
    return _quadrature(krylov.projected[:-width, :-width], beyond, krylov, largest)


def _anti_gauss(krylov: _Krylov, largest: float) -> _Quadrature:
    width = len(krylov.mixed)
    projected = krylov.projected.copy()
    projected[-width:, -2 * width : -width] *= np.sqrt(2)
    projected[-2 * width : -width, -width:] *= np.sqrt(2)
    return _quadrature(projected, krylov.beyond, krylov, largest)


def _quadrature(
    projected: FloatArray, beyond: FloatArray, krylov: _Krylov, largest: float
) -> _Quadrature:
    values, vectors = np.linalg.eigh(projected)
    values = np.clip(values, 0, largest)
    width, n_random = len(krylov.mixed), krylov.n_random
    parts = np.square(vectors[:width].T @ krylov.mixed)  # of each starting vector along each
    away = np.linalg.norm(beyond @ vectors[-width:], axis=0)
    near = (away <= _CONVERGED * values) & (values > _ROUNDING * largest)
    # Of more equal values than there are starting vectors, no more than these are found.
    cluster = np.concatenate([[0], np.cumsum(np.diff(values) > _CONVERGED * values[1:])])
    alone = np.bincount(cluster)[cluster] <= width // 2
    leading, random = parts[:, :-n_random], parts[:, -n_random:]
    return _Quadrature(values, leading.sum(axis=1), random.mean(axis=1), near & alone)


def _counts(rule: _Quadrature, size: int, total: float) -> FloatArray:
    """For how many of ``size`` eigenvalues, of that sum, each Ritz value stands."""
    known = np.where(rule.is_single, 1.0, rule.leading)
    rest = np.where(rule.is_single, 0.0, rule.rest)
    return known + _calibrated(
        rest, rule.values, size - float(known.sum()), total - float(known @ rule.values)
    )


def _calibrated(counts: FloatArray, values: FloatArray, n: float, total: float) -> FloatArray:
    """Multiply counts by a + b values so that they sum to ``n``, and to ``total`` over values.

    Where all values are nearly zero, rounding may leave nothing that does: then to ``n`` alone.
    """
    moments = [float(counts @ values**power) for power in range(3)]
    matrix = np.array([moments[:2], moments[1:]])
    a, b = np.linalg.lstsq(matrix, np.array([n, max(total, 0.0)]))[0]
    found: FloatArray = np.clip(counts * (a + b * values), 0, None)
    return found * (max(n, 0.0) / found.sum()) if found.any() else found


def _gram(matrix: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(matrix.T @ (matrix @ vectors), dtype=np.float32)


def _without(basis: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take their part in an orthonormal basis out of vectors; twice is enough."""
    for _ in range(2):
        vectors = vectors - basis @ (basis.T @ vectors)
    return vectors
