"""What is looked at checkpoint by checkpoint along stretches of runs: compiled loops.

numba compiles them at first use and keeps the result on disk after that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from hmmdyn.results.arrays import FloatArray, IntArray

# Running medians reach so many checkpoints to both sides.
_MEDIAN_REACH = 4
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    return cast(_Function, njit(cache=True, nogil=True, error_model="numpy")(function))


@_compiled
def means_of_stretches(values: FloatArray, begin: IntArray, end: IntArray) -> FloatArray:
    """Mean of each stretch of rows ``begin`` … ``end``, the latter exclusive, shape (P, D)."""
    n, d = len(begin), values.shape[1]
    means = np.zeros((n, d))
    for p in range(n):
        for row in range(begin[p], end[p]):
            for k in range(d):
                means[p, k] += values[row, k]
        for k in range(d):
            means[p, k] /= end[p] - begin[p]
    return means


@_compiled
def on_the_way(
    values: FloatArray, directions: FloatArray, begin: IntArray, change: IntArray, end: IntArray
) -> FloatArray:
    """Where the checkpoints of passages stand between the centres of their two visits, (m,).

    White noise is taken out by medians over up to nine checkpoints, each passage by itself. A
    running median leaves jumps and rising courses as they are (Tukey 1977); a mean would smear the
    jump. Towards the ends of a passage the window shrinks, and stays around its checkpoint.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Observations.
    directions : ndarray, shape (P, D)
        Along which each passage is looked at.
    begin, change, end : ndarray, shape (P,)
        Rows of each passage: the first of its two visits is ``begin`` … ``change``.

    Returns
    -------
    ndarray
        0 at the first centre and 1 at the second, passages one after the other; NaN where one goes
        against its direction.
    """
    position = np.empty((end - begin).sum())
    window = np.empty(2 * _MEDIAN_REACH + 1)
    at = 0
    for p in range(len(begin)):
        n, first = end[p] - begin[p], change[p] - begin[p]
        along = np.zeros(n)
        centre, target = 0.0, 0.0
        for i in range(n):
            for k in range(values.shape[1]):
                along[i] += values[begin[p] + i, k] * directions[p, k]
            if i < first:
                centre += along[i]
            else:
                target += along[i]
        centre, target = centre / first, target / (n - first)
        reach = min(max((min(first, n - first) - 1) // 2, 1), _MEDIAN_REACH)
        for i in range(n):
            room = min(min(i, n - 1 - i), reach)
            for j in range(2 * room + 1):  # sorted in as they come
                new, place = along[i - room + j], j
                while place > 0 and window[place - 1] > new:
                    window[place] = window[place - 1]
                    place -= 1
                window[place] = new
            position[at + i] = (window[room] - centre) / (target - centre)
        if not target > centre:
            position[at : at + n] = np.nan
        at += n
    return position
