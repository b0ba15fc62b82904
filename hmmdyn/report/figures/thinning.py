"""Fewer points for a long curve that looks the same: what a pixel would hide is left out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hmmdyn.results.arrays import FloatArray, IntArray

# Points drawn in one figure at a time: what a browser draws in a few tenths of a second …
_POINTS = 16_000
# … unless many runs would then be drawn coarser, or few finer, than a screen can show.
_PER_RUN = (200, 2_000)
# Points of all curves among which a menu chooses: they are all in the page.
_POINTS_IN_PAGE = 400_000
_FEWEST = 40


def points_per_run(n_runs: int, n_curves: int = 1) -> int:
    """Return how many points of a run to draw, with so many runs and so many curves of each."""
    drawn = int(np.clip(_POINTS // max(n_runs, 1), *_PER_RUN))
    if n_curves == 1:
        return drawn
    return min(drawn, max(_POINTS_IN_PAGE // max(n_runs * n_curves, 1), _FEWEST))


def thin(
    values: FloatArray, stretches: IntArray, run_lengths: IntArray, n_curves: int = 1
) -> NDArray[np.bool_]:
    """Choose the points to draw: of every stretch its two ends, and lows and highs in between.

    A stretch of a run that is too long is cut into pieces of equally many points, and of each piece
    the lowest and the highest are kept. So no spike is lost, and a change from one stretch to the
    next stays where it is. A run of no more than :func:`points_per_run` points is kept whole.

    Parameters
    ----------
    values : ndarray, shape (n,)
        The curve; runs contiguous.
    stretches : ndarray, shape (n,)
        Number of the stretch of each point, rising from 0; a stretch lies within one run.
    run_lengths : ndarray, shape (n,)
        How many points the run of each point has.
    n_curves : int
        Curves of each run among which the reader chooses.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    n = len(values)
    if n == 0:
        return np.zeros(0, dtype=bool)
    first = np.flatnonzero(np.diff(stretches, prepend=-1))
    length = np.diff(first, append=n)
    budget = points_per_run(int((1 / run_lengths).sum().round()), n_curves)
    # Two points are kept of each piece, so a piece holds twice as many as one point stands for.
    size = np.maximum(2 * run_lengths / budget, 1)
    place = np.arange(n) - np.repeat(first, length)
    piece = np.floor(place / size).astype(np.int64)
    new_piece = (np.diff(piece, prepend=-1) != 0) | (place == 0)
    number = np.cumsum(new_piece) - 1
    by_height = np.lexsort((values, number))
    starts = np.flatnonzero(new_piece)
    ends = np.append(starts[1:], n) - 1
    keep = run_lengths <= budget
    keep[by_height[starts]] = keep[by_height[ends]] = True
    keep[first] = keep[first + length - 1] = True
    return keep
