"""What seeds can show: the smallest difference they would tell, and how many a wanted one needs.

Reckoned for the test that groups are compared by, on steps of convergence taken to be log-normal,
so that groups differ by a factor. ``benchmarks/speed.md`` holds what is said here against how often
the test tells such a difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.optimize import minimize
from scipy.special import ndtr
from scipy.stats import chi2
from statsmodels.stats.power import TTestIndPower

from hmmdyn.dynamics.significance import SIGNIFICANT
from hmmdyn.dynamics.survival import CONFIDENCE, Bracketed
from hmmdyn.results.arrays import FloatArray

POWER = 0.8
# A test by log-rank scores needs 1/0.816 times the runs that the best one does where logarithms are
# normal: the square of the correlation of exponential and normal scores, the integral of
# -log(1 - u) times the normal quantile of u over u from 0 to 1, which is 0.9032.
_EFFICIENCY = 0.816
_FEWEST = 4  # runs a group of which a permutation test can be significant
_MOST = 100_000
_PLAIN = 5.0  # an effect, in standard deviations, that the fewest runs tell
_TINY = 1e-300


@dataclass(frozen=True)
class Spread:
    """By how much runs differ: standard deviation of the logarithm of the step of convergence.

    ``value`` with its 95 % interval ``low`` … ``high``, what coarse evaluation adds to it counted
    in; all NaN where the runs do not tell.
    """

    value: float
    low: float
    high: float


def spread_of(runs: Bracketed) -> Spread:
    """Estimate how much runs differ, by maximum likelihood, of times known to lie within spans.

    The interval is that of a normal variance (chi-squared), of as many runs as converged.
    """
    n_converged = int(runs.converged.sum())
    first = np.maximum(runs.after, 0).astype(np.float64)
    last = np.where(runs.converged, runs.end, np.inf)
    # One step would fit them all, or no logarithm would do.
    if n_converged < 3 or first.max() < last.min() or last.min() <= 0:
        return Spread(np.nan, np.nan, np.nan)
    with np.errstate(divide="ignore"):
        low, high = np.log(first), np.log(last)
    middle = np.log((first + runs.end)[runs.converged] / 2)
    start = [middle.mean(), np.log(middle.std() + 0.1)]
    found = minimize(_unlikeliness, start, args=(low, high), method="Nelder-Mead")
    variance = np.exp(2 * found.x[1]) * n_converged / (n_converged - 1)
    width = (last - first)[runs.converged] / np.exp(middle)
    value = np.sqrt(variance + np.mean(width**2) / 12)
    degrees = n_converged - 1
    quantiles = chi2.ppf([(1 + CONFIDENCE) / 2, (1 - CONFIDENCE) / 2], degrees)
    bounds = value * np.sqrt(degrees / quantiles)
    return Spread(float(value), float(bounds[0]), float(bounds[1]))


def _unlikeliness(parameters: FloatArray, low: FloatArray, high: FloatArray) -> float:
    mean, spread = parameters[0], np.exp(parameters[1])
    a, b = (low - mean) / spread, (high - mean) / spread
    # The tail on the nearer side, so that small shares do not vanish beside one.
    right = a > 0
    share = np.where(right, ndtr(-a) - ndtr(-b), ndtr(b) - ndtr(a))
    return float(-np.log(np.maximum(share, _TINY)).sum())


def smallest_difference(spread: float, n_a: int, n_b: int) -> float:
    """Return by which share slower a group must be to be told with power 0.8 (0.5: by half).

    Infinite where so few runs cannot tell any difference, NaN where the spread is not known.
    """
    if np.isnan(spread):
        return np.nan
    if min(n_a, n_b) < 2 or _least_p(n_a, n_b) >= SIGNIFICANT:
        return np.inf
    with np.errstate(over="ignore"):
        return float(np.expm1(_effect_told(n_a, n_b) * spread / np.sqrt(_EFFICIENCY)))


@cache
def _effect_told(n_a: int, n_b: int) -> float:
    """Return the effect, in standard deviations, that so many runs tell with power 0.8."""
    power = TTestIndPower()
    return float(power.solve_power(nobs1=n_a, ratio=n_b / n_a, alpha=SIGNIFICANT, power=POWER))


def _least_p(n_a: int, n_b: int) -> float:
    """Return the least two-sided p of a permutation test of so many runs."""
    ways = 1.0
    for i in range(min(n_a, n_b)):
        ways *= (n_a + n_b - i) / (i + 1)
    return 2 / ways if n_a == n_b else 1 / ways


def runs_needed(spread: float, difference: float) -> float:
    """Return how many runs that converge each of two groups needs to tell a difference.

    ``difference`` is by which share one is slower. NaN where the spread is not known, infinite
    where more than 100,000 are needed.
    """
    if np.isnan(spread):
        return np.nan
    effect = min(np.log1p(difference) / spread * np.sqrt(_EFFICIENCY), _PLAIN)
    enough = _FEWEST
    while TTestIndPower().power(effect, enough, SIGNIFICANT) < POWER:
        enough *= 2
        if enough > _MOST:
            return np.inf
    too_few = enough // 2
    while enough - too_few > 1 and enough > _FEWEST:
        middle = (enough + too_few) // 2
        if TTestIndPower().power(effect, middle, SIGNIFICANT) < POWER:
            too_few = middle
        else:
            enough = middle
    return float(enough)
