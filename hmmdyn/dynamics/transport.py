"""Optimal transport between bags of a few states, for every pair of many runs.

numba compiles the loop at first use and keeps the result on disk after that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from hmmdyn.results.arrays import FloatArray

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    return cast(_Function, njit(cache=True, nogil=True, error_model="numpy")(function))


def transport_costs(shares: FloatArray, cost: FloatArray) -> FloatArray:
    """Return the least cost of turning one bag into another, for every two of them.

    Each pair is solved exactly by successive shortest paths [1]_, which for a dozen states takes
    microseconds; nothing but the result grows with the number of pairs.

    Parameters
    ----------
    shares : ndarray, shape (R, K)
        Bags: what is where, each summing to the same.
    cost : ndarray, shape (K, K)
        Of carrying one unit from state to state: a metric, so that what two bags share stays.

    Returns
    -------
    ndarray, shape (R, R)
        Symmetric, zero on the diagonal.

    References
    ----------
    .. [1] Ahuja, Magnanti & Orlin (1993), Network Flows, section 9.7.
    """
    costs: FloatArray = np.zeros((len(shares), len(shares)))
    _fill(np.ascontiguousarray(shares), np.ascontiguousarray(cost), costs)
    return costs


@_compiled
def _fill(shares: FloatArray, cost: FloatArray, costs: FloatArray) -> None:
    n_runs, n_states = shares.shape
    carried = np.zeros((n_states, n_states))
    length = np.zeros(n_states)
    before = np.zeros(n_states, dtype=np.int64)
    for i in range(n_runs):
        for j in range(i):
            least = _least_cost(shares[i] - shares[j], cost, carried, length, before)
            costs[i, j] = least
            costs[j, i] = least


@_compiled
def _least_cost(
    surplus: FloatArray,
    cost: FloatArray,
    carried: FloatArray,
    length: FloatArray,
    before: np.ndarray,
) -> float:
    """Carry the surplus of some states to those that lack it, always on the shortest way left.

    ``carried`` (K, K), ``length`` and ``before`` (K,) are room to work in. A way may take back
    what was carried before. Each way uses up a surplus, a lack, or what it takes back.
    """
    n_states = len(surplus)
    carried[:] = 0.0
    gives = surplus > 0
    while True:
        for k in range(n_states):
            length[k] = 0.0 if gives[k] and surplus[k] > 0 else np.inf
            before[k] = -1
        shorter = True
        while shorter:  # Bellman and Ford: taking back has negative length
            shorter = False
            for j in range(n_states):
                for k in range(n_states):
                    if gives[j] == gives[k] or length[j] == np.inf:
                        continue
                    if gives[j]:
                        through = length[j] + cost[j, k]
                    elif carried[k, j] > 0:
                        through = length[j] - cost[k, j]
                    else:
                        continue
                    if through < length[k] - 1e-12 * cost[j, k]:
                        length[k] = through
                        before[k] = j
                        shorter = True
        end = -1
        for k in range(n_states):
            nearer = end < 0 or length[k] < length[end]
            if not gives[k] and surplus[k] < 0 and length[k] < np.inf and nearer:
                end = k
        if end < 0:
            break
        amount = -surplus[end]
        k = end
        while before[k] >= 0:
            if gives[k]:
                amount = min(amount, carried[k, before[k]])
            k = before[k]
        amount = min(amount, surplus[k])
        surplus[k] -= amount
        surplus[end] += amount
        k = end
        while before[k] >= 0:
            if gives[k]:
                carried[k, before[k]] -= amount
            else:
                carried[before[k], k] += amount
            k = before[k]
    return float((carried * cost).sum())
