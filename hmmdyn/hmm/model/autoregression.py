"""Emissions that remember: a checkpoint is drawn to its state's level from the one before.

Within state k, z_t = μ_k + ρ_k (z_{t-1} - μ_k) + noise, metric by metric, with noise N(0, Σ_k).
Where the checkpoint before is not there, because the run begins or the metric is missing in it,
the metric is drawn around μ_k alone: it starts anew. After a hole that is an approximation, which
widens Σ_k a little (a tenth missing at ρ = 0.8: by a sixth).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.observations import Sequences

# Kept below one, so that the level a state draws to is determined: at this bound a checkpoint
# still goes a twentieth of the way.
MAX_AUTOREGRESSION = 0.95

# So many times the mean, the autoregression and the covariance are set in each M-step.
_CYCLES = 20

_Patterns = Sequence[tuple[IntArray, IntArray]]


def predecessors(data: Sequences) -> FloatArray:
    """Observations at the checkpoint before, NaN at a run's first, shape (n, D)."""
    before = np.full_like(data.values, np.nan)
    before[1:] = data.values[:-1]
    before[data.first_rows] = np.nan
    return before


def expected(mean: FloatArray, autoregression: FloatArray, before: FloatArray) -> FloatArray:
    """Mean of every observation in one state given the one before, shape (n, D)."""
    pull = np.where(np.isnan(before), 0.0, before - mean)
    return mean + autoregression * pull


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
    closed form, and a few times over, because they lean on each other.

    Parameters
    ----------
    weights : ndarray, shape (n,)
        Posterior of the state.
    values, before : ndarray, shape (n, D)
        Observations and their predecessors; NaN where missing.
    groups : sequence of (rows, observed metrics)
        Rows of ``values`` by what they have.
    mean, covariance, autoregression : ndarray, shapes (D,), (D,) or (D, D), (D,)
        Where to start: the state's parameters so far.
    scatter_prior : ndarray, in the shape of ``covariance``
        Added to the scatter before it is divided by the weights.

    References
    ----------
    .. [1] Meng & Rubin (1993), Biometrika 80(2), 267-278.
    """
    known = ~np.isnan(before)
    y = np.where(known, before, 0.0)
    d = values.shape[1]
    centre = expected(mean, autoregression, before)
    x, spread = _completed(weights, values, centre, groups, covariance)
    diagonal = covariance.ndim == 1
    weighted = np.sqrt(weights)[:, None] * np.hstack([x, y, known, np.ones((len(x), 1))])
    moments = weighted.T @ weighted
    # Everything below is a combination of x, y, known and 1: their columns, by metric.
    of_x, of_y, of_known, of_one = np.split(np.eye(3 * d + 1), [d, 2 * d, 3 * d])
    rho = autoregression
    for _ in range(_CYCLES):
        precision = np.linalg.inv(np.diag(covariance) if diagonal else covariance)
        deviation, pull = of_x - mean[:, None] * of_one, of_y - mean[:, None] * of_known
        rho = _bounded(*_normal_equations(moments, deviation, pull, precision), rho)
        rest, share = of_x - rho[:, None] * of_y, of_one - rho[:, None] * of_known
        curvature, slope = _normal_equations(moments, rest, share, precision)
        mean = np.asarray(np.linalg.solve(curvature, slope), dtype=np.float64)
        noise = rest - mean[:, None] * share
        scatter = noise @ moments @ noise.T
        scatter = np.diag(scatter) if diagonal else (scatter + scatter.T) / 2
        covariance = np.asarray((scatter + spread + scatter_prior) / weights.sum())
    return mean, covariance, rho


def _completed(
    weights: FloatArray,
    values: FloatArray,
    centre: FloatArray,
    groups: _Patterns,
    covariance: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Replace what is missing by its expectation given the rest; and the scatter that leaves out.

    As in :meth:`hmmdyn.hmm.fit.densities.Lifted.moments`, around a centre for every row.
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
    moments: FloatArray, x: FloatArray, v: FloatArray, precision: np.ndarray
) -> tuple[FloatArray, FloatArray]:
    """Curvature (D, D) and slope (D,) in θ of Σ_t w_t (x_t - θ v_t)ᵀ Λ (x_t - θ v_t) / 2.

    ``x`` and ``v`` (D, …) are what combines the columns of which ``moments`` are known.
    """
    return precision * (v @ moments @ v.T), (precision * (v @ moments @ x.T)).sum(axis=1)


def _bounded(curvature: FloatArray, slope: FloatArray, rho: FloatArray) -> FloatArray:
    """Go to the least of a quadratic within the bound, from ``rho``, metric after metric."""
    rho = rho.copy()
    for i in np.flatnonzero(np.diag(curvature) > 0):
        rest = slope[i] - curvature[i] @ rho + curvature[i, i] * rho[i]
        rho[i] = np.clip(rest / curvature[i, i], -MAX_AUTOREGRESSION, MAX_AUTOREGRESSION)
    return rho
