"""How long runs take where some never converge: curves, medians, means, log-rank scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import CensoredData, beta, ecdf

from hmmdyn.results.arrays import FloatArray, IntArray

BoolArray = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]

CONFIDENCE = 0.95
_TAIL = (1 - CONFIDENCE) / 2
_ROUNDING = 1e-12


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

    def curve(self) -> Any:
        """Return the Kaplan–Meier estimate, as SciPy gives it."""
        data = CensoredData(uncensored=self.end[self.converged], right=self.end[~self.converged])
        return ecdf(data).sf


def kaplan_meier(runs: Watched) -> pd.DataFrame:
    """Return the share of runs still to converge, with 95 % intervals, step by step.

    Returns
    -------
    DataFrame
        See :data:`.results.convergence.SURVIVAL_CURVES`; without ``group``.
    """
    steps = np.union1d([0], runs.end)
    n_converged = (runs.end[runs.converged] == steps[:, None]).sum(axis=1)
    n_censored = (runs.end[~runs.converged] == steps[:, None]).sum(axis=1)
    n_at_risk = (runs.end >= steps[:, None]).sum(axis=1)
    low, high = _beta_product(n_at_risk, n_converged, n_censored)
    return pd.DataFrame(
        {
            "step": steps,
            "n_at_risk": n_at_risk,
            "n_converged": n_converged,
            "n_censored": n_censored,
            "waiting": runs.curve().evaluate(steps),
            "low": low,
            "high": high,
        }
    )


def median_step(curve: pd.DataFrame) -> tuple[float, float, float]:
    """Return the median of a curve and its 95 % interval: the steps whose interval holds a half."""
    median = _first(curve, curve["waiting"] <= 0.5 + _ROUNDING)
    return median, _first(curve, curve["low"] <= 0.5), _first(curve, curve["high"] < 0.5)


def _first(curve: pd.DataFrame, holds: pd.Series) -> float:
    """Return the first step at which something holds, infinity where it never does."""
    return float(curve.loc[holds, "step"].min()) if holds.any() else float("inf")


def restricted_mean(runs: Watched, horizon: float) -> float:
    """Return the mean step of convergence, later steps counting as ``horizon``.

    It is the area under the Kaplan–Meier curve from step 0 to the horizon.
    """
    curve = runs.curve()
    shares = -np.diff(curve.probabilities, prepend=1.0)
    never = curve.probabilities[-1]
    return float(shares @ np.minimum(curve.quantiles, horizon) + never * horizon)


def restricted_mean_error(runs: Watched, horizon: float) -> float:
    """Return the jackknife standard error of the restricted mean; NaN of a single run.

    Where every run converges before the horizon it is the usual standard error of a mean.
    """
    n_runs = len(runs)
    if n_runs == 1:
        return float("nan")
    others = ~np.eye(n_runs, dtype=bool)
    without = [
        restricted_mean(Watched(runs.end[kept], runs.converged[kept]), horizon) for kept in others
    ]
    return float((n_runs - 1) / np.sqrt(n_runs) * np.std(without, ddof=1))


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


def _beta_product(
    n_at_risk: IntArray, n_converged: IntArray, n_censored: IntArray
) -> tuple[Floats, Floats]:
    """Return the beta product intervals of the shares still to converge after each step.

    Fay, Brittain and Proschan (2013), Biostatistics 14, 723-736; the product of beta variables is
    taken for the beta variable of its mean and variance, which without censoring it is.
    """
    a, n = n_at_risk - n_converged + 1, n_at_risk + 1  # the share that passes a step: Beta(a, n-a)
    mean, square = np.cumprod(a / n), np.cumprod(a * (a + 1) / (n * (n + 1)))
    left = n_at_risk - n_converged - n_censored
    # Of the runs left, one may converge at any moment now: a further factor Beta(left, 1).
    low = _beta_quantile(_TAIL, mean * (left / (left + 1)), square * (left / (left + 2)))
    return low, _beta_quantile(1 - _TAIL, mean, square)


def _beta_quantile(q: float, mean: Floats, square: Floats) -> Floats:
    """Return quantiles of beta variables, given their means and the means of their squares."""
    variance = square - mean**2
    varies = variance > _ROUNDING
    result = mean.copy()
    size = (mean - square)[varies] / variance[varies]
    result[varies] = beta.ppf(q, size * mean[varies], size * (1 - mean[varies]))
    return result
