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

# So many times at most the mean, the autoregression and the covariance are set in each M-step; no
# more once an autoregression moves by less than this.
_CYCLES = 20
_STILL = 1e-6

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
    centre = expected(mean, autoregression, before)
    x, spread = _completed(weights, values, centre, groups, covariance)
    moments = _moments(weights, (x, y, known), apart=covariance.ndim == 1)
    n_parts, size = len(moments), (moments.shape[1] - 1) // 3
    # Everything below is a combination of x, y, known and 1: their columns, by metric.
    of_x, of_y, of_known, of_one = np.split(np.eye(3 * size + 1), [size, 2 * size, 3 * size])
    mu, rho = (v.reshape(n_parts, size, 1) for v in (mean, autoregression))
    extra = (spread + scatter_prior).reshape(n_parts, size, size)
    noise_covariance = covariance.reshape(n_parts, size, size)
    for _ in range(_CYCLES):
        precision = np.asarray(np.linalg.inv(noise_covariance), dtype=np.float64)
        deviation, pull = of_x - mu * of_one, of_y - mu * of_known
        last, rho = rho, _bounded(*_normal_equations(moments, deviation, pull, precision), rho)
        rest, share = of_x - rho * of_y, of_one - rho * of_known
        curvature, slope = _normal_equations(moments, rest, share, precision)
        mu = np.asarray(np.linalg.solve(curvature, slope), dtype=np.float64)
        noise = rest - mu * share
        scatter = noise @ moments @ noise.mT
        noise_covariance = ((scatter + scatter.mT) / 2 + extra) / weights.sum()
        if np.abs(rho - last).max() < _STILL:
            break
    return (
        mu.reshape(mean.shape),
        noise_covariance.reshape(covariance.shape),
        rho.reshape(mean.shape),
    )


def _moments(
    weights: FloatArray, columns: tuple[np.ndarray, np.ndarray, np.ndarray], *, apart: bool
) -> FloatArray:
    """Weighted second moments of x, y, known and 1, shape (parts, 3d + 1, 3d + 1).

    One part of all metrics; or, where the covariance is diagonal, one of each metric ``apart``.
    """
    parts = [np.hsplit(c, c.shape[1]) if apart else [c] for c in columns]
    ones = np.ones((len(weights), 1))
    stacked = np.stack([np.hstack([*part, ones]) for part in zip(*parts, strict=True)])
    return np.asarray((stacked * weights[:, None]).mT @ stacked)


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
    moments: FloatArray, x: FloatArray, v: FloatArray, precision: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Curvature (…, d, d) and slope (…, d, 1) in θ of Σ_t w_t (x_t - θ v_t)ᵀ Λ (x_t - θ v_t) / 2.

    ``x`` and ``v`` (…, d, 3d + 1) combine the columns of which ``moments`` are known.
    """
    of_v = v @ moments
    return precision * (of_v @ v.mT), (precision * (of_v @ x.mT)).sum(axis=-1, keepdims=True)


def _bounded(curvature: FloatArray, slope: FloatArray, rho: FloatArray) -> FloatArray:
    """Go to the least of a quadratic within the bound, from ``rho``, metric after metric."""
    rho = rho.copy()
    for i in range(rho.shape[1]):
        own = curvature[:, i, i]
        rest = slope[:, i, 0] - (curvature[:, i] * rho[..., 0]).sum(axis=-1) + own * rho[:, i, 0]
        best = np.divide(rest, own, out=rho[:, i, 0].copy(), where=own > 0)
        rho[:, i, 0] = np.clip(best, -MAX_AUTOREGRESSION, MAX_AUTOREGRESSION)
    return rho
