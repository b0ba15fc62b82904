"""Gaussian log-densities and moments of many states at once, as matrix products.

A Gaussian log-density is linear in φ(z) = (1, z, products of z). With Φ the matrix of lifted
observations, the log-densities of all states are W Φᵀ, and their sufficient statistics γ Φ.
"""

from __future__ import annotations

from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from hmmdyn.hmm.model.missing import marginal, patterns
from hmmdyn.results.arrays import FloatArray, IntArray

# In double precision, or in single.
Floats = NDArray[np.float64] | NDArray[np.float32]
_Float = TypeVar("_Float", np.float64, np.float32)

# The terms of the lifted form are as large as the squared values times the precision, and cancel to
# a density of ordinary size. Where they are larger than this, too few digits are left: of a state
# with hardly any variance in some direction, or of values many deviations away. The densities of
# such a state are computed from whitened differences instead.
_CANCELS = 1e9
# The same for single precision: terms of this size leave errors of some 1e-2 nats per checkpoint.
_CANCELS_IN_SINGLE = 1e5


class Lifted:
    """Observations lifted to φ(z) = 1, z, then z² (diag) or vech(z zᵀ) (full).

    Missing values (NaN) are marginalised over. Under full covariances, rows that lack the same
    metrics are lifted together, in the metrics they have; diagonal ones need no such groups.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        The observations.
    covariance_type : str
        ``diag`` or ``full``.
    single : bool
        Work in single precision, twice as fast, where it suffices: no value is missing and no
        state is so narrow that digits cancel. The type of the log-densities tells.
    """

    def __init__(self, values: FloatArray, covariance_type: str, *, single: bool = False) -> None:
        self.n, self.n_features = values.shape
        self._complete = not np.isnan(values).any()
        if self._complete:
            every = np.arange(self.n_features)
            self._parts = [_Part(slice(None), every, values, covariance_type, single=single)]
            return
        self._diagonal = _DiagonalWithHoles(values) if covariance_type == "diag" else None
        self._parts = [
            _Part(rows, observed, values[np.ix_(rows, observed)], covariance_type)
            for rows, observed in (patterns(values) if self._diagonal is None else ())
        ]

    def log_density(self, means: FloatArray, covariances: FloatArray) -> Floats:
        """Log-densities under S states, shape (S, n), nats.

        ``means`` (S, D); ``covariances`` (S, D) or (S, D, D). NaN for a state whose covariance is
        not positive definite.
        """
        if self._complete:
            return self._parts[0].log_density(means, covariances)
        if self._diagonal is not None:
            return self._diagonal.log_density(means, covariances)
        out = np.empty((len(means), self.n))
        for part in self._parts:
            out[:, part.rows] = part.log_density(*marginal(means, covariances, part.observed))
        return out

    def moments(
        self, posterior: Floats, means: FloatArray, covariances: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Weighted counts (S, 1) or (S, D), sums (S, D) and sums of products (S, D) or (S, D, D).

        ``posterior`` has shape (S, n); moments are added up in its precision. Under full
        covariances what is missing is replaced by its expectation given what was observed, under
        ``means`` and ``covariances`` (Little & Rubin, section 8.2). Under diagonal ones it is left
        out: moments are those of the known values, and every metric has a count of its own.
        """
        if self._complete:
            return self._parts[0].moments(posterior)
        if self._diagonal is not None:
            return self._diagonal.moments(posterior)
        parts = [
            part.completed_moments(posterior[:, part.rows], means, covariances)
            for part in self._parts
        ]
        count, total, products = (sum(moments) for moments in zip(*parts, strict=True))
        return count, total, products


class _Part:
    """Rows that have the same metrics ``observed``, lifted in these."""

    def __init__(
        self,
        rows: IntArray | slice,
        observed: IntArray,
        values: FloatArray,
        covariance_type: str,
        *,
        single: bool = False,
    ) -> None:
        self.rows, self.observed = rows, observed
        self._values = values
        self._may_be_single = single
        self._largest = max(1.0, float((values**2).max(initial=0.0)))
        self._full = covariance_type == "full"
        d = values.shape[1]
        self._pairs = np.triu_indices(d) if self._full else (np.arange(d), np.arange(d))

    @cached_property
    def _double(self) -> FloatArray:
        return self._lift(np.float64)

    @cached_property
    def _single(self) -> NDArray[np.float32]:
        return self._lift(np.float32)

    def _lift(self, dtype: type[_Float]) -> NDArray[_Float]:
        """Φ with a column per row of the data, shape (P, rows)."""
        n, d = self._values.shape
        phi = np.empty((1 + d + len(self._pairs[0]), n), dtype=dtype)
        phi[0] = 1
        z = phi[1 : 1 + d]
        z[:] = self._values.T
        for product, i, j in zip(phi[1 + d :], *self._pairs, strict=True):
            np.multiply(z[i], z[j], out=product)
        return phi

    def log_density(self, means: FloatArray, covariances: FloatArray) -> Floats:
        """Log-densities of these rows under marginal parameters, shape (S, rows)."""
        if self._full:
            sign, magnitude = np.linalg.slogdet(covariances)
            log_determinant = np.where(sign > 0, magnitude, np.nan)
            precision = np.linalg.inv(covariances)
            linear = (precision @ means[:, :, None])[:, :, 0]
            rows, columns = self._pairs
            quadratic = np.where(rows == columns, -0.5, -1.0) * precision[:, rows, columns]
            trace = np.trace(precision, axis1=1, axis2=2)
        else:
            log_determinant = np.log(covariances).sum(axis=1)
            precision = 1 / covariances
            linear = precision * means
            quadratic = -0.5 * precision
            trace = precision.sum(axis=1)
        normaliser = means.shape[1] * np.log(2 * np.pi) + log_determinant
        constant = -0.5 * (normaliser + (linear * means).sum(axis=1))
        weights = np.concatenate([constant[:, None], linear, quadratic], axis=1)
        # The smallest variance lies between 1 and D times the reciprocal of the precision's trace.
        terms = trace * self._largest
        if self._may_be_single and (terms < _CANCELS_IN_SINGLE).all():
            return weights.astype(np.float32) @ self._single
        density = weights @ self._double
        for s in np.flatnonzero(terms > _CANCELS):
            density[s] = -0.5 * (normaliser[s] + self._whitened(means[s], covariances[s]))
        return density

    def _whitened(self, mean: FloatArray, covariance: FloatArray) -> FloatArray:
        """Squared Mahalanobis distance of these rows to a state, without cancellation."""
        difference = (self._values - mean).T
        if not self._full:
            return np.asarray((difference**2 / covariance[:, None]).sum(axis=0))
        try:
            root = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return np.full(len(self._values), np.nan)
        return np.asarray((solve_triangular(root, difference, lower=True) ** 2).sum(axis=0))

    def moments(self, posterior: Floats) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Weighted counts, sums and sums of products of the metrics these rows have."""
        d = self._values.shape[1]
        phi = self._single if posterior.dtype == np.float32 else self._double
        statistics = (posterior @ phi.T).astype(np.float64, copy=False)
        products = statistics[:, 1 + d :]
        if self._full:
            square = np.empty((len(statistics), d, d))
            square[:, self._pairs[0], self._pairs[1]] = products
            square[:, self._pairs[1], self._pairs[0]] = products
            products = square
        return statistics[:, :1], statistics[:, 1 : 1 + d], products

    def completed_moments(
        self, posterior: Floats, means: FloatArray, covariances: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Counts, sums and sums of products of all metrics, the missing ones in expectation.

        Given what is observed, the whole z has mean μ + B (z_o - μ_o) and covariance C, where
        B = Σ_·o Σ_oo⁻¹ and C = Σ - B Σ_o·.
        """
        o = self.observed
        n, total, products = self.moments(posterior)
        shift = total - n * means[:, o]
        across = covariances[:, :, o]
        b = across @ np.linalg.inv(marginal(means, covariances, o)[1])
        rest = covariances - b @ across.transpose(0, 2, 1)
        outer = means[:, o, None] * total[:, None, :]
        scatter = products - outer - outer.transpose(0, 2, 1)
        scatter += n[..., None] * means[:, o, None] * means[:, None, o]
        moved = (b @ shift[:, :, None])[:, :, 0]
        cross = means[:, :, None] * moved[:, None, :]
        squares = n[..., None] * (rest + means[:, :, None] * means[:, None, :])
        squares += cross + cross.transpose(0, 2, 1) + b @ scatter @ b.transpose(0, 2, 1)
        # Rounding must not make them asymmetric: EM would amplify that from step to step.
        return n, n * means + moved, (squares + squares.transpose(0, 2, 1)) / 2


class _DiagonalWithHoles:
    """Rows lifted metric by metric, φ(z) = known, z, z² with zeros where z is missing."""

    def __init__(self, values: FloatArray) -> None:
        known = (~np.isnan(values)).astype(np.float64)
        z = np.nan_to_num(values, nan=0.0)
        self._phi = np.concatenate([known, z, z**2], axis=1)

    def log_density(self, means: FloatArray, covariances: FloatArray) -> FloatArray:
        """Log-densities under S states, shape (S, n)."""
        constant = -0.5 * (np.log(2 * np.pi * covariances) + means**2 / covariances)
        weights = np.concatenate([constant, means / covariances, -0.5 / covariances], axis=1)
        return np.asarray(weights @ self._phi.T)

    def moments(self, posterior: Floats) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Counts, sums and sums of squares of the known values, each (S, D)."""
        count, total, squares = np.split(posterior @ self._phi, 3, axis=1)
        return count, total, squares
