"""Emissions that remember: a checkpoint is drawn to its state's level from the one before.

Within state k, z_t = μ_k + ρ_k (z_{t-1} - μ_k) + noise, metric by metric, with noise N(0, Σ_k).
Where the checkpoint before is not there, because the run begins or the metric is missing in it,
the metric is drawn around μ_k alone: it starts anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hmmdyn.results import FloatArray, HMMParameters, IntArray

# Kept below one, so that the level a state draws to is determined: at this bound a checkpoint
# still goes a twentieth of the way.
MAX_AUTOREGRESSION = 0.95

_Patterns = Sequence[tuple[IntArray, IntArray]]


def predecessors(values: FloatArray, lengths: IntArray) -> FloatArray:
    """Observations at the checkpoint before, NaN at a run's first, shape (n, D)."""
    before = np.full_like(values, np.nan)
    before[1:] = values[:-1]
    before[np.cumsum(lengths) - lengths] = np.nan
    return before


def expected(mean: FloatArray, autoregression: FloatArray, before: FloatArray) -> FloatArray:
    """Mean of every observation in one state given the one before, shape (n, D)."""
    pull = np.where(np.isnan(before), 0.0, before - mean)
    return mean + autoregression * pull


def expected_in(
    parameters: HMMParameters, state: int, values: FloatArray, lengths: IntArray
) -> FloatArray:
    """Mean of every observation in a state given the one before, if the model remembers; (n, D)."""
    mean = parameters.means[state]
    if parameters.autoregression is None:
        return np.broadcast_to(mean, values.shape)
    return expected(mean, parameters.autoregression[state], predecessors(values, lengths))


def maximise(
    weights: FloatArray,
    values: FloatArray,
    before: FloatArray,
    groups: _Patterns,
    mean: FloatArray,
    covariance: FloatArray,
    autoregression: FloatArray,
    scatter_prior: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Raise the expected objective of one state: new mean, covariance and autoregression.

    One after the other, each given the others (expectation conditional maximisation [1]_), in
    closed form.

    Parameters
    ----------
    weights : ndarray, shape (n,)
        Posterior of the state.
    values, before : ndarray, shape (n, D)
        Observations and their predecessors; NaN where missing.
    groups : sequence of (rows, observed metrics)
        Rows of ``values`` by what they have.
    mean, covariance, autoregression, scatter_prior : ndarray, shapes (D,), (D,) or (D, D), …

    References
    ----------
    .. [1] Meng & Rubin (1993), Biometrika 80(2), 267-278.
    """
    known = ~np.isnan(before)
    y = np.where(known, before, 0.0)
    centre = expected(mean, autoregression, before)
    x, spread = _completed(weights, values, centre, groups, covariance)
    diagonal = covariance.ndim == 1
    precision: FloatArray = 1 / covariance if diagonal else np.linalg.inv(covariance)
    curvature, slope = _normal_equations(weights, x - mean, known * (y - mean), precision)
    rho = _bounded(curvature, slope, autoregression)
    share = 1 - rho * known
    curvature, slope = _normal_equations(weights, x - rho * y, share, precision)
    level: FloatArray = slope / curvature if diagonal else np.linalg.solve(curvature, slope)
    noise = np.sqrt(weights)[:, None] * (x - rho * y - share * level)
    scatter = (noise**2).sum(axis=0) if diagonal else noise.T @ noise
    return level, (scatter + spread + scatter_prior) / weights.sum(), rho


def _completed(
    weights: FloatArray,
    values: FloatArray,
    centre: FloatArray,
    groups: _Patterns,
    covariance: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Replace what is missing by its expectation given the rest; and the scatter that leaves out.

    As in :meth:`hmmdyn.hmm.lifted.Lifted.moments`, around a centre for every row.
    """
    x = np.where(np.isnan(values), centre, values)
    spread = np.zeros_like(covariance)
    for rows, observed in groups:
        missing = np.setdiff1d(np.arange(values.shape[1]), observed)
        if not len(missing):
            continue
        count = weights[rows].sum()
        if covariance.ndim == 1:
            spread[missing] += count * covariance[missing]
            continue
        across = covariance[np.ix_(missing, observed)]
        gain = across @ np.linalg.inv(covariance[np.ix_(observed, observed)])
        both = np.ix_(rows, observed)
        x[np.ix_(rows, missing)] += (values[both] - centre[both]) @ gain.T
        rest = covariance[np.ix_(missing, missing)] - gain @ across.T
        spread[np.ix_(missing, missing)] += count * (rest + rest.T) / 2
    return x, spread


def _normal_equations(
    weights: FloatArray, x: FloatArray, v: FloatArray, precision: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Curvature and slope of Σ_t w_t (x_t - θ v_t)ᵀ Λ (x_t - θ v_t) / 2 in θ, one per metric.

    For ``diag`` the metrics are apart, and both have shape (D,).
    """
    weighted = weights[:, None] * v
    if precision.ndim == 1:
        return precision * (weighted * v).sum(axis=0), precision * (weighted * x).sum(axis=0)
    return precision * (v.T @ weighted), (precision * (x.T @ weighted).T).sum(axis=1)


def _bounded(curvature: FloatArray, slope: FloatArray, rho: FloatArray) -> FloatArray:
    """Go to the least of a quadratic within the bound, from ``rho``, metric after metric."""
    matrix = np.diag(curvature) if curvature.ndim == 1 else curvature
    rho = rho.copy()
    for i in np.flatnonzero(np.diag(matrix) > 0):
        rest = slope[i] - matrix[i] @ rho + matrix[i, i] * rho[i]
        rho[i] = np.clip(rest / matrix[i, i], -MAX_AUTOREGRESSION, MAX_AUTOREGRESSION)
    return rho
