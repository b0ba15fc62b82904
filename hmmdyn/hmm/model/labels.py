"""Naming states: labels are arbitrary in a hidden Markov model.

States are put in order of time, and matched between fits by their means.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from hmmdyn.hmm.model.parts import assembled, emissions_of, transitions_of
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import HMMParameters


def relative_times(lengths: IntArray) -> FloatArray:
    """Position of each checkpoint in its run, 0 (first) … 1 (last), shape (n,).

    Counted in checkpoints, not steps, so that logarithmically spaced checkpoints weigh alike.
    """
    return np.concatenate([np.arange(n) / max(n - 1, 1) for n in lengths])


def time_order(states: IntArray, lengths: IntArray, n_states: int) -> IntArray:
    """Order states by the median relative time at which they are visited, shape (K,).

    ``order[i]`` is the present label of the state that comes i-th. Ties are broken by the mean
    time; states no checkpoint visits come last.
    """
    times = relative_times(lengths)
    keys = []
    for k in range(n_states):
        visited = times[states == k]
        middle = (np.median(visited), visited.mean()) if len(visited) else (np.inf, np.inf)
        keys.append((*middle, k))
    return np.array([key[-1] for key in sorted(keys)], dtype=np.int64)


def chain_order(states: IntArray, lengths: IntArray, n_states: int) -> IntArray:
    """Order states as most runs enter them, shape (K,), for a chain that never goes back.

    Like :func:`time_order`, but where runs differ in speed, a state may come later in median than
    the one that every run enters after it. Neighbours change places while more of the runs that
    visit both enter the later one first.
    """
    order = time_order(states, lengths, n_states).tolist()
    entered = np.full((len(lengths), n_states), np.inf)
    for run, own in enumerate(np.split(states, np.cumsum(lengths)[:-1])):
        visited, first = np.unique(own, return_index=True)
        entered[run, visited] = first
    before = (entered[:, :, None] < entered[:, None, :]) & np.isfinite(entered)[:, None, :]
    n_before = before.sum(axis=0)
    for _ in range(n_states):
        for i in range(n_states - 1):
            a, b = order[i], order[i + 1]
            if n_before[b, a] > n_before[a, b]:
                order[i], order[i + 1] = b, a
    return np.array(order, dtype=np.int64)


def reorder(parameters: HMMParameters, order: IntArray) -> HMMParameters:
    """Relabel states so that state ``order[i]`` becomes state i."""
    return assembled(
        parameters.startprob[order],
        transitions_of(parameters).among(order),
        emissions_of(parameters).among(order),
    )


def match(reference: FloatArray, means: FloatArray) -> IntArray:
    """Match the states of another fit to those of a reference, by their means.

    The assignment with the least sum of Euclidean distances (Kuhn 1955). Either fit may have more
    states.

    Parameters
    ----------
    reference, means : ndarray, shapes (K, D) and (L, D)
        In the same standardised units.

    Returns
    -------
    ndarray, shape (L,)
        Reference state of each state of the other fit, -1 where it has none.
    """
    rows, columns = linear_sum_assignment(cdist(means, reference))
    matched = np.full(len(means), -1)
    matched[rows] = columns
    return matched
