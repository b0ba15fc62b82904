"""By which law of time weights move away from where they began: logarithm or power.

References
----------
Hoffer, Hubara, Soudry, "Train longer, generalize better", NeurIPS 2017 (arXiv:1705.08741), section
3: the distance from initialisation grows as log t, as in a random walk on a random potential.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import minimize_scalar
from scipy.stats import t as student

from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.movement import LOGARITHM, MOVEMENT_LAWS, NO_LAW, POWER, SATURATING
from hmmdyn.results.verdicts import CANNOT_TELL

DISTANCE = "distance_l2"  # the metric
_LEVEL = 0.95
_FEWEST_POINTS = 8  # of a run, for three numbers
_FEWEST_RUNS = 3
_RANGE = (-2.0, 3.0)  # of exponents; one at an end of it is none
_GRID = 41
_NO_FIT = 0.1  # of the deviation of the distances
_NARROW = 0.5  # a random walk and a logarithm must differ, for the latter to be told


def movement_laws(table: pd.DataFrame) -> pd.DataFrame:
    """Fit the law of every group.

    Parameters
    ----------
    table : DataFrame
        See :data:`.results.checkpoints.METRICS`.

    Returns
    -------
    DataFrame
        See :data:`.results.movement.MOVEMENT_LAWS`; empty where the distance from initialisation
        (``distance_l2``) was not measured.

    Notes
    -----
    Distances along a run depend on each other, so that what one fit leaves tells little of how
    sure its exponent is. The interval is that of the mean over runs, which are independent.
    """
    rows: list[dict[str, object]] = []
    if DISTANCE not in table:
        return MOVEMENT_LAWS.frame(rows)
    for group, of_group in table.groupby("group", sort=False):
        fits = np.array(
            [
                fit_exponent(
                    run["step"].to_numpy(np.float64) - run["step"].iloc[0], run[DISTANCE].to_numpy()
                )
                for _, run in of_group.groupby(RUN_KEY, sort=False)
            ]
        )
        exponents, misfits = fits[np.isfinite(fits[:, 0])].T
        row: dict[str, object] = {"group": group, "n_runs": len(exponents), "law": CANNOT_TELL}
        if len(exponents):
            low, high = _interval(exponents)
            misfit = float(np.median(misfits))
            row |= {
                "exponent": float(exponents.mean()),
                "exponent_low": low,
                "exponent_high": high,
                "misfit": misfit,
                "law": NO_LAW if misfit > _NO_FIT else _law(low, high),
            }
        rows.append(row)
    return MOVEMENT_LAWS.frame(rows)


class Fit(NamedTuple):
    """The law of one run: ``misfit`` is a share of the deviation of its distances."""

    exponent: float
    misfit: float


def fit_exponent(time: FloatArray, distance: FloatArray) -> Fit:
    """Fit a + b (tᵞ − 1)/γ by least squares.

    Parameters
    ----------
    time, distance : ndarray, shape (T,)
        Steps since the run's first checkpoint, and the distance from its weights. Those at time 0
        and unknown ones are left out.

    Returns
    -------
    Fit
        γ, and the root mean square of what is left over the deviation of the distances; NaN where
        the points are too few, do not vary, or γ is not within −2 … 3.
    """
    known = (time > 0) & np.isfinite(distance)
    t, d = time[known], distance[known]
    if len(t) < _FEWEST_POINTS or not np.ptp(d) > 0:
        return Fit(math.nan, math.nan)
    log_t = np.log(t) - np.log(t).mean()  # another unit of time changes a and b alone
    centred = d - d.mean()

    def left(exponents: FloatArray) -> FloatArray:
        """Sum of squares that the best a and b leave, for each of the exponents."""
        y = exponents[:, None]
        near_0 = np.abs(y) < 1e-6
        shapes = np.where(near_0, log_t, np.expm1(y * log_t) / np.where(near_0, 1.0, y))
        shapes -= shapes.mean(axis=1, keepdims=True)
        slopes = shapes @ centred / np.square(shapes).sum(axis=1)
        return np.asarray(np.square(centred - slopes[:, None] * shapes).sum(axis=1))

    grid = np.linspace(*_RANGE, _GRID)
    best = int(np.argmin(left(grid)))
    if best in (0, _GRID - 1):
        return Fit(math.nan, math.nan)
    found = minimize_scalar(
        lambda exponent: left(np.array([exponent]))[0],
        bounds=(grid[best - 1], grid[best + 1]),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return Fit(float(found.x), math.sqrt(found.fun / float(centred @ centred)))


def _interval(exponents: FloatArray) -> tuple[float, float]:
    n = len(exponents)
    if n < _FEWEST_RUNS:
        return math.nan, math.nan
    half = student.ppf((1 + _LEVEL) / 2, n - 1) * exponents.std(ddof=1) / math.sqrt(n)
    return float(exponents.mean() - half), float(exponents.mean() + half)


def _law(low: float, high: float) -> str:
    if low > 0:
        return POWER
    if high < 0:
        return SATURATING
    return LOGARITHM if high - low < _NARROW else CANNOT_TELL
