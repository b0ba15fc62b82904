"""Simulated runs in which it is known which metrics change before an outcome does.

Part of the package because two things stand on it that must not part ways: the study of what is
said of them, and the tests that hold its claims.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from hmmdyn.names import require_one_of
from hmmdyn.results.arrays import FloatArray

# Metrics that pass from one level to another when the outcome does, or a lead before or after.
MOVING = {
    "with": 0.0, "with_quiet": 0.0, "with_noisy": 0.0, "before": 1.0, "before_noisy": 1.0,
    "after": -1.0,
}  # fmt: skip
# Metrics that drift evenly until the outcome changes, or from then on.
DRIFTING = ("with_drift_until", "with_drift_from")
# Metrics that have nothing to do with the outcome.
UNRELATED = ("noise", "random_walk", "settling", "growing", "own_time", "schedule")
SPACINGS = ("even", "uneven", "widening")

_QUIET, _PLAIN, _NOISY = 0.01, 0.05, 0.15  # deviation of the noise, in units of the change
_MEMORY = 0.7  # lag-1 autocorrelation of a metric's noise
_LONG_MEMORY = 0.95  # of the metric that is nothing but noise


def simulate_leads(
    n_runs: int,
    n_checkpoints: int,
    *,
    lead: float = 0.06,
    spread: float = 0.15,
    spacing: str = "even",
    random_state: int = 0,
) -> tuple[pd.DataFrame, pd.Series]:
    """Simulate raw metrics of runs of one recipe, and their accuracy, which rises once.

    Time is counted in shares of a run's clock, which lasts 0.8 to 1.2 times as long in one run as
    in another. The accuracy rises from 0.1 to 0.9 about a time that is uniform within ``spread`` of
    a half. Each metric of `MOVING` changes then, or ``lead`` before or after, by a third of a lead
    earlier or later from run to run. Changes are logistic, with scales of 0.5 to 2 % of the clock.
    Runs differ in the levels, sizes and scales of all changes, and in noise, which remembers (lag-1
    autocorrelation 0.7).

    Those of `DRIFTING` do so at the pace of the clock, and are still before or after.

    Of `UNRELATED`, ``noise`` has a lag-1 autocorrelation of 0.95; ``settling`` is an exponential
    decay and ``growing`` its mirror image, at the pace of the clock; ``own_time`` changes at a time
    of its own, ``schedule`` at 0.45 of the clock in all runs.

    Parameters
    ----------
    n_runs, n_checkpoints : int
        Checkpoints are those of a run of mean length.
    lead, spread : float
        Shares of the clock.
    spacing : str
        Checkpoints are evenly spaced, half of an ``even`` schedule of twice as many, drawn by lot,
        or ``widening``: the clock is log(1 + step).
    random_state : int
        Seeds all that is drawn.

    Returns
    -------
    table : DataFrame
        ``group, run, seed, step``, the metrics, ``eval_accuracy``.
    leads : Series
        True lead of each metric of `MOVING` in steps: the median over runs.

    Raises
    ------
    UsageError
        There is no such spacing.
    """
    require_one_of(spacing, SPACINGS, "spacing")
    rng = np.random.default_rng(random_state)
    runs, leads = [], []
    for r in range(n_runs):
        steps, clock = _checkpoints(rng, n_checkpoints, spacing)
        at = rng.uniform(0.5 - spread, 0.5 + spread)
        columns = {"group": "all", "run": f"seed{r}", "seed": r, "step": steps}
        dates = {
            name: at - sign * lead + abs(sign) * lead * rng.uniform(-1, 1) / 3
            for name, sign in MOVING.items()
        }
        for name, date in dates.items():
            noise = _QUIET if "quiet" in name else _NOISY if "noisy" in name else _PLAIN
            columns[name] = _seen(rng, _rise(rng, clock, date), noise)
        pace = np.exp(-3 * clock)
        columns |= {
            "with_drift_until": _seen(rng, np.minimum(clock, at), _QUIET),
            "with_drift_from": _seen(rng, np.maximum(clock, at), _QUIET),
            "noise": _remembering(rng, len(steps), _LONG_MEMORY),
            "random_walk": np.cumsum(rng.normal(size=len(steps))),
            "settling": _seen(rng, pace, _PLAIN),
            "growing": _seen(rng, pace[::-1], _PLAIN),
            "own_time": _seen(rng, _rise(rng, clock, rng.uniform(0.3, 0.7)), _PLAIN),
            "schedule": _seen(rng, _rise(rng, clock, 0.45), _PLAIN),
            "eval_accuracy": 0.1
            + 0.8 * _rise(rng, clock, at)
            + rng.uniform(0.01, 0.04) * rng.normal(size=len(steps)),
        }
        runs.append(pd.DataFrame(columns))
        in_steps = np.interp([at, *dates.values()], clock, steps)
        leads.append(dict(zip(dates, in_steps[0] - in_steps[1:], strict=True)))
    table = pd.concat(runs, ignore_index=True).astype({"seed": "Int64"})
    return table, pd.DataFrame(leads).median()


def _checkpoints(rng: np.random.Generator, n: int, spacing: str) -> tuple[np.ndarray, FloatArray]:
    """Return the steps of a run's checkpoints, and the time on its clock."""
    n_own = round(n * rng.uniform(0.8, 1.2))
    if spacing == "uneven":
        drawn = rng.choice(np.arange(1, 2 * n_own - 1), n_own - 2, replace=False)
        steps = 50 * np.r_[0, np.sort(drawn), 2 * n_own - 1]
        return steps, steps / steps[-1]
    if spacing == "widening":
        steps = np.unique(np.round(np.expm1(np.linspace(0, np.log(100_000), n_own))).astype(int))
        clock = np.log1p(steps)
        return steps, clock / clock[-1]
    return 100 * np.arange(n_own), np.arange(n_own) / (n_own - 1)


def _rise(rng: np.random.Generator, clock: FloatArray, at: float) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-(clock - at) / rng.uniform(0.005, 0.02))))


def _seen(rng: np.random.Generator, course: FloatArray, noise: float) -> FloatArray:
    """Put a course at a level and a size of its run's own, with noise."""
    own = noise * rng.uniform(0.5, 1.5) * _remembering(rng, len(course), _MEMORY)
    return np.asarray(0.1 * rng.normal() + rng.uniform(1, 1.3) * (course + own))


def _remembering(rng: np.random.Generator, n: int, memory: float) -> FloatArray:
    """Draw normal noise of variance one that remembers."""
    drawn = rng.normal(size=n)
    drawn[1:] *= np.sqrt(1 - memory**2)
    return np.asarray(lfilter([1.0], [1.0, -memory], drawn))
