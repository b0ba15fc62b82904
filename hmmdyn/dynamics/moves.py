"""When curves move from one level to another, and by how much one is ahead of another, over runs.

A date lies between two checkpoints: it is two bounds, and so is a lead, their difference.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmmdyn.dynamics.outcomes.medians import median_interval
from hmmdyn.results.arrays import FloatArray, IntArray

_LEVEL = 0.95  # of what is said of all that is compared together
FEWEST = 3  # checkpoints on either side, for levels
_CLEAR = 4.0  # a curve moves where its levels are so many times the noise apart
# Pace from a level to the first quarter of the way, or from the last to a level, over that between
# quarter and middle, at most.
_SLOWER = 0.6
# Median of absolute differences of two normal numbers -> their standard deviation.
_NOISE = 1.4826 / np.sqrt(2)


class Dates(NamedTuple):
    """Bounds of when curves move, shape (P,) each; NaN where one does not."""

    low: FloatArray
    high: FloatArray


class Median(NamedTuple):
    """A median over runs with its interval, which is NaN where too few runs bound a median."""

    middle: float
    low: float
    high: float


def way_done(values: FloatArray, n_before: int, n_after: int) -> FloatArray:
    """Return which share of their way curves have gone, shape (T, P).

    NaN for a curve whose levels before and after are not clearly apart: it does not move.

    Parameters
    ----------
    values : ndarray, shape (T, P)
        A curve in each column.
    n_before, n_after : int
        Levels are medians over so many of the first and of the last checkpoints, `FEWEST` or more.
    """
    before, after = np.median(values[:n_before], axis=0), np.median(values[-n_after:], axis=0)
    with np.errstate(over="ignore", invalid="ignore"):  # between numbers near the greatest
        way = after - before
        noise = _NOISE * np.median(np.abs(np.diff(values, axis=0)), axis=0)
        is_clear = (np.abs(way) > _CLEAR * noise) & np.isfinite(way)
        return np.asarray((values - before) / np.where(is_clear, way, np.nan))


def crossings(steps: NDArray[np.number], done: FloatArray, share: float = 0.5) -> Dates:
    """Date when curves have gone a share of their way.

    Parameters
    ----------
    steps : ndarray, shape (T,)
        Of the checkpoints.
    done : ndarray, shape (T, P)
        As :func:`way_done` returns it.
    share : float
        Of the way; the middle of it is where noise disturbs a date least.
    """
    is_past = done >= share
    # The cut that leaves the fewest checkpoints on the wrong side: one outlier makes no date.
    wrong: IntArray = np.cumsum(is_past, axis=0) - np.cumsum(~is_past, axis=0)
    cut = wrong[:-1].argmin(axis=0) + 1
    moves = np.isfinite(done).all(axis=0)
    low, high = (steps[cut - i].astype(np.float64) for i in (1, 0))
    return Dates(np.where(moves, low, np.nan), np.where(moves, high, np.nan))


def pass_between_levels(
    steps: NDArray[np.number], done: FloatArray, n_before: int, n_after: int
) -> NDArray[np.bool_]:
    """Say of curves, shape (P,), whether they are faster in the middle of their way than around it.

    One that drifts on its way to a level, or from it, crosses the middle early or late for that.

    Parameters
    ----------
    steps, done, n_before, n_after
        As in :func:`crossings` and :func:`way_done`.
    """
    quarter, half, rest = (
        np.mean(crossings(steps, done, share), axis=0) for share in (0.25, 0.5, 0.75)
    )
    # Where curves are at their levels, in the middle of the checkpoints that these are taken from.
    begin, end = np.median(steps[:n_before]), np.median(steps[-n_after:])
    return np.asarray(
        (half - quarter <= _SLOWER * (quarter - begin)) & (rest - half <= _SLOWER * (end - rest))
    )


def median_between(low: FloatArray, high: FloatArray, n_compared: int = 1) -> Median:
    """Return the median over runs of what is known of each run to within bounds.

    Parameters
    ----------
    low, high : ndarray, shape (R,)
        Bounds, of one run or more.
    n_compared : int
        How many intervals shall hold together with 95 % confidence (Bonferroni).
    """
    level = 1 - (1 - _LEVEL) / n_compared
    middle = float(np.median((low + high) / 2))
    # Too few runs cannot bound a median: the share of all intervals from least to greatest that
    # miss it is 2 · 2^-n.
    if 2.0 ** (1 - len(low)) > 1 - level:
        return Median(middle, np.nan, np.nan)
    return Median(middle, *median_interval(low, high, level))
