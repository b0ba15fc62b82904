"""How long runs take, seen only at evaluations, and where some never converge.

Curves, medians, means and log-rank scores. Steps are whole numbers: a run that had not converged at
an evaluation converges at the next step at the earliest, and at the evaluation at which it is first
seen to have at the latest. Where the two are the same for all runs, everything here is what it is
for right-censored times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import beta, t

from hmmdyn.results.arrays import FloatArray, IntArray

BoolArray = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2
_ROUNDING = 1e-12
_HALF = 1e-5  # how far from one half an estimated share is one half
# An estimate of the masses is done where no mass moved elsewhere gains more likelihood per run.
_GAIN = 1e-8
_NONE = 1e-6  # a share that is on its way to nothing
_MAX_ITERATIONS = 20_000


@dataclass(frozen=True)
class Watched:
    """Runs, and how long each was watched: right-censored times, in the terms of survival analysis.

    ``end`` (R,) is the step at which a run converged or was last seen not to have, ``converged``
    (R,) which of the two.
    """

    end: IntArray
    converged: BoolArray

    def __len__(self) -> int:
        return len(self.end)

    def until(self, step: float) -> Watched:
        """Return the same runs, watched no longer than to a step."""
        return Watched(np.minimum(self.end, int(step)), self.converged & (self.end <= step))


@dataclass(frozen=True)
class Bracketed:
    """Runs, and between which evaluations each converged: interval-censored times.

    ``after`` (R,) is the last step at which a run is known not to have converged, -1 where even
    that of step 0 is not known; ``end`` (R,) the step at which it was first seen to have, and where
    it was not, ``after`` once more; ``converged`` (R,) which of the two.
    """

    after: IntArray
    end: IntArray
    converged: BoolArray

    def __len__(self) -> int:
        return len(self.end)

    @property
    def earliest(self) -> Watched:
        """The runs, had each converged as soon as it can have."""
        return Watched(np.where(self.converged, self.after + 1, self.end), self.converged)

    @property
    def latest(self) -> Watched:
        """The runs, had each converged when it was first seen to have."""
        return Watched(self.end, self.converged)


@dataclass(frozen=True)
class Masses:
    """An estimated distribution: shares of runs (J,) that converge from ``first`` to ``last`` (J,).

    Where within these steps is not known. ``last`` is infinite of the share that is never seen to.
    """

    first: FloatArray
    last: FloatArray
    share: FloatArray


def turnbull(runs: Bracketed) -> Masses:
    """Estimate the distribution of interval-censored times by maximum likelihood.

    By the EM of Turnbull (1976), Journal of the Royal Statistical Society B 38, 290-295, to where
    no other distribution is better (Gentleman and Geyer 1994, Biometrika 81, 618-623). Where runs
    converge between the same evaluations or not at all it is the Kaplan–Meier estimate.
    """
    first = (runs.after + 1).astype(np.float64)
    last = np.where(runs.converged, runs.end, np.inf)
    spans = _innermost(first, last)
    within = ((first[:, None] <= spans[:, 0]) & (spans[:, 1] <= last[:, None])).astype(np.float64)
    share = np.full(len(spans), 1 / len(spans))
    for _ in range(_MAX_ITERATIONS):
        gain = (1 / (within @ share)) @ within / len(runs)
        share = share * gain
        if gain.max() - 1 < _GAIN:
            break
    kept = share > _NONE
    share = share[kept] / share[kept].sum()
    return Masses(spans[kept, 0], spans[kept, 1], share)


def _innermost(first: FloatArray, last: FloatArray) -> FloatArray:
    """Return the spans that begin where a run's does, end where one's does, and hold no other.

    Shape (J, 2); the likelihood depends on the shares within these alone.
    """
    ends = sorted({(at, 0) for at in first.tolist()} | {(at, 1) for at in last.tolist()})
    inner = [(a, b) for (a, kind), (b, other) in pairwise(ends) if (kind, other) == (0, 1)]
    return np.array(inner)


def waiting_curve(runs: Bracketed) -> pd.DataFrame:
    """Return the share of runs still to converge, with 95 % intervals, step by step.

    It is known at the steps returned; between two of them it falls from the one value to the other,
    nobody knows where.

    Returns
    -------
    DataFrame
        See :data:`.results.convergence.SURVIVAL_CURVES`; without ``group``.
    """
    steps = np.union1d(np.union1d([0], runs.end), runs.after[runs.after >= 0])
    masses = turnbull(runs)
    n_converged = (runs.end[runs.converged] == steps[:, None]).sum(axis=1)
    return pd.DataFrame(
        {
            "step": steps,
            "n_at_risk": (runs.end >= steps[:, None]).sum(axis=1),
            "n_converged": n_converged,
            "n_censored": (runs.end[~runs.converged] == steps[:, None]).sum(axis=1),
            "waiting": (masses.share * (masses.last > steps[:, None])).sum(axis=1),
            # Whatever happens between evaluations, no run converges later than when first seen to
            # have, nor sooner than right after the evaluation before.
            "low": _limits(runs.earliest, steps)[0],
            "high": _limits(runs.latest, steps)[1],
        }
    )


@dataclass(frozen=True)
class Median:
    """Between which steps the median lies, and its 95 % interval; infinite where not reached."""

    earliest: float
    latest: float
    low: float
    high: float


def median_step(runs: Bracketed) -> Median:
    """Return between which steps the median lies, with its 95 % interval.

    Of an even number of runs it is the mean of the two in the middle. The interval are the steps at
    which the intervals of the curve hold one half, however the runs converged between evaluations.
    """
    masses = turnbull(runs)
    reached = np.cumsum(masses.share)
    # The first to make a half, and the first to make more: the same but for even numbers.
    middle = [np.argmax(reached >= 0.5 - _HALF), np.argmax(reached > 0.5 + _HALF)]
    return Median(
        float(masses.first[middle].mean()) if np.isfinite(masses.last[middle]).all() else np.inf,
        float(masses.last[middle].mean()),
        _first_step(runs.earliest, lambda low, _: low <= 0.5),
        _first_step(runs.latest, lambda _, high: high < 0.5),
    )


def _first_step(runs: Watched, holds: Callable[[Floats, Floats], BoolArray]) -> float:
    """Return the first step at which something holds of the limits, infinity where at none."""
    steps = np.union1d([0], runs.end)
    found = steps[holds(*_limits(runs, steps))]
    return float(found[0]) if len(found) else np.inf


@dataclass(frozen=True)
class Mean:
    """A restricted mean with its standard error and 95 % interval ``low`` … ``high``.

    ``earliest`` and ``latest`` are what it is if all runs converged as soon and as late as they can
    have, each with its error; ``value`` and ``error`` lie half way between.
    """

    earliest: float
    latest: float
    error_earliest: float
    error_latest: float
    low: float
    high: float

    @property
    def value(self) -> float:
        """Half way between the earliest and the latest."""
        return (self.earliest + self.latest) / 2

    @property
    def error(self) -> float:
        """The standard error of ``value``."""
        return (self.error_earliest + self.error_latest) / 2


def mean_step(runs: Bracketed, horizon: float) -> Mean:
    """Return the mean step of convergence, later steps counting as ``horizon``.

    The interval holds wherever between their evaluations runs converged.
    """
    sides = (runs.earliest, runs.latest)
    earliest, latest = (restricted_mean(side, horizon) for side in sides)
    errors = tuple(restricted_mean_error(side, horizon) for side in sides)
    lowest, highest = _area_under_limits(runs, horizon)
    low = _interval_of_mean(earliest, errors[0], len(runs), horizon)[0]
    high = _interval_of_mean(latest, errors[1], len(runs), horizon)[1]
    return Mean(
        earliest,
        latest,
        errors[0],
        errors[1],
        lowest if np.isnan(low) else low,
        highest if np.isnan(high) else high,
    )


@dataclass(frozen=True)
class Difference:
    """By how much two means differ, with the 95 % interval, NaN where there is none."""

    value: float
    low: float
    high: float


def difference_of_means(a: Bracketed, b: Bracketed, horizon: float) -> Difference:
    """Return the restricted mean of ``a`` less that of ``b``.

    It is least where the runs of ``a`` converged as soon as they can have and those of ``b`` as
    late, and most the other way round; the interval is Welch's around these two.
    """
    first, second = mean_step(a, horizon), mean_step(b, horizon)
    least, most = first.earliest - second.latest, first.latest - second.earliest
    n_runs = np.array([len(a), len(b)])
    below = _welch_margin(np.array([first.error_earliest, second.error_latest]), n_runs)
    above = _welch_margin(np.array([first.error_latest, second.error_earliest]), n_runs)
    return Difference((least + most) / 2, least - below, most + above)


def _interval_of_mean(
    mean: float, error: float, n_runs: int, horizon: float
) -> tuple[float, float]:
    """Return the interval of a restricted mean, NaN where the runs show no spread.

    It is symmetric on the logit scale of the share of the horizon, so it stays within it.
    """
    share = mean / horizon if horizon > 0 else np.nan
    if not (error > 0 and 0 < share < 1):
        return np.nan, np.nan
    margin = _t_quantile(n_runs - 1) * error / (horizon * share * (1 - share))
    low, high = horizon * expit(logit(share) + np.array([-margin, margin]))
    return float(low), float(high)


def _welch_margin(errors: FloatArray, n_runs: IntArray) -> float:
    """Return Welch's margin, NaN where a group shows no spread, which is not to have none."""
    if not (errors > 0).all():
        return np.nan
    total = (errors**2).sum()
    return float(_t_quantile(total**2 / (errors**4 / (n_runs - 1)).sum()) * np.sqrt(total))


def _t_quantile(degrees_of_freedom: float) -> float:
    return float(t.ppf((1 + CONFIDENCE) / 2, degrees_of_freedom))


def _area_under_limits(runs: Bracketed, horizon: float) -> tuple[float, float]:
    """Return limits of the restricted mean from those of the curve: the areas under these.

    They hold at each step by itself, so this is an interval of 95 % only where the runs show no
    spread: then nothing but two steps of the curve counts, each limit of which holds in 97.5 %.
    """
    areas = []
    for side, watched in enumerate((runs.earliest, runs.latest)):
        steps = np.union1d([0], watched.end)
        steps = steps[steps < horizon] if horizon > 0 else steps[:1]
        limit = _limits(watched, steps)[side]
        areas.append(float(np.diff(np.append(steps, horizon)) @ limit))
    return areas[0], areas[1]


def restricted_mean(runs: Watched, horizon: float) -> float:
    """Return the mean step of convergence, later steps counting as ``horizon``.

    It is the area under the Kaplan–Meier curve from step 0 to the horizon.
    """
    return float(_areas(runs, horizon, np.ones((1, len(runs))))[0])


def restricted_mean_error(runs: Watched, horizon: float) -> float:
    """Return the jackknife standard error of the restricted mean; NaN of a single run.

    Where every run converges before the horizon it is the usual standard error of a mean.
    """
    n_runs = len(runs)
    if n_runs == 1:
        return float("nan")
    without = _areas(runs, horizon, 1 - np.eye(n_runs))
    return float((n_runs - 1) / np.sqrt(n_runs) * np.std(without, ddof=1))


def _areas(runs: Watched, horizon: float, weights: FloatArray) -> FloatArray:
    """Return the areas under the curves of the runs weighted anew, (W,) of weights (W, R)."""
    steps = np.unique(runs.end[runs.converged])
    steps = steps[steps <= horizon]
    at_risk = weights @ (runs.end[:, None] >= steps)
    converge = weights @ (runs.converged[:, None] & (runs.end[:, None] == steps))
    passing = 1 - np.divide(converge, at_risk, out=np.zeros_like(at_risk), where=at_risk > 0)
    waiting = np.cumprod(np.insert(passing, 0, 1, axis=1), axis=1)
    return np.asarray(waiting @ np.diff(steps, prepend=0, append=horizon))


def log_rank_scores(runs: Watched) -> FloatArray:
    """Return whether each run converged (0 or 1), less what was to be expected were all alike.

    Over the runs of a group they sum to the observed less the expected number of convergences of
    the log-rank test.
    """
    steps = np.unique(runs.end[runs.converged])
    n_converged = (runs.end[runs.converged] == steps[:, None]).sum(axis=1)
    n_at_risk = (runs.end >= steps[:, None]).sum(axis=1)
    expected = np.concatenate([[0.0], np.cumsum(n_converged / n_at_risk)])
    return np.asarray(runs.converged - expected[np.searchsorted(steps, runs.end, side="right")])


def _limits(runs: Watched, steps: IntArray) -> tuple[Floats, Floats]:
    """Return the beta product intervals of the shares still to converge after each step (S,).

    Fay, Brittain and Proschan (2013), Biostatistics 14, 723-736; the product of beta variables is
    taken for the beta variable of its mean and variance, which without censoring it is.
    """
    at = np.union1d(steps, runs.end)
    n_converged = (runs.end[runs.converged] == at[:, None]).sum(axis=1)
    n_censored = (runs.end[~runs.converged] == at[:, None]).sum(axis=1)
    n_at_risk = (runs.end >= at[:, None]).sum(axis=1)
    a, n = n_at_risk - n_converged + 1, n_at_risk + 1  # the share that passes a step: Beta(a, n-a)
    mean, square = np.cumprod(a / n), np.cumprod(a * (a + 1) / (n * (n + 1)))
    left = n_at_risk - n_converged - n_censored
    # Of the runs left, one may converge at any moment now: a further factor Beta(left, 1).
    asked = np.searchsorted(at, steps)
    low = _beta_quantile(_TAIL, mean * (left / (left + 1)), square * (left / (left + 2)))
    return low[asked], _beta_quantile(1 - _TAIL, mean, square)[asked]


def _beta_quantile(q: float, mean: Floats, square: Floats) -> Floats:
    """Return quantiles of beta variables, given their means and the means of their squares."""
    variance = square - mean**2
    varies = variance > _ROUNDING
    result = mean.copy()
    size = (mean - square)[varies] / variance[varies]
    result[varies] = beta.ppf(q, size * mean[varies], size * (1 - mean[varies]))
    return result
