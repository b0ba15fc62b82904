"""The compiled inner loops: forward–backward and Viterbi over every run of a model.

numba compiles them at first use (about a second) and keeps the result on disk after that. They
release Python's lock, so that models can be fitted side by side in threads.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from hmmdyn.results import FloatArray, IntArray

# Below these, a forward pass is rescaled by what is reachable, and a probability counts as zero.
_TINY_TOTAL = 1e-250
_UNREACHABLE = 1e-300


@njit(cache=True, nogil=True)
def forward_backward(
    log_emission: FloatArray,
    startprob: FloatArray,
    transmat: FloatArray,
    ends: IntArray,
    transitions: FloatArray,
    first: FloatArray,
) -> float:
    """Replace log-densities by smoothed posteriors; return the log-likelihood of all runs, nats.

    Densities are scaled by the largest at each checkpoint, and forward probabilities to sum to
    one (Rabiner 1989, section V.A). Where the largest density belongs to a state that cannot be
    reached, the scale is that of the reachable ones, so nothing underflows.

    Parameters
    ----------
    log_emission : ndarray, shape (K, n)
        Overwritten with p(s_t | z_1:T).
    startprob, transmat : ndarray, shapes (K,) and (K, K)
    ends : ndarray, shape (R,)
        Row after the last one of each run.
    transitions, first : ndarray, shapes (K, K) and (K,)
        Expected transition counts and expected first states are added here.
    """
    n_states = len(startprob)
    longest, begin = 0, 0
    for end in ends:
        longest = max(longest, end - begin)
        begin = end
    forward = np.empty((longest, n_states))
    density = np.empty((longest, n_states))
    scale = np.empty(longest)
    backward = np.empty(n_states)
    ahead = np.empty(n_states)
    log_likelihood = 0.0
    begin = 0
    for end in ends:
        length = end - begin
        for t in range(length):
            largest = -np.inf
            for k in range(n_states):
                largest = max(largest, log_emission[k, begin + t])
            total = 0.0
            for k in range(n_states):
                reached = startprob[k]
                if t > 0:
                    reached = 0.0
                    for j in range(n_states):
                        reached += forward[t - 1, j] * transmat[j, k]
                density[t, k] = np.exp(log_emission[k, begin + t] - largest)
                ahead[k] = reached
                forward[t, k] = reached * density[t, k]
                total += forward[t, k]
            if not total > _TINY_TOTAL:
                largest = -np.inf
                for k in range(n_states):
                    if ahead[k] > _UNREACHABLE:
                        largest = max(largest, np.log(ahead[k]) + log_emission[k, begin + t])
                total = 0.0
                for k in range(n_states):
                    density[t, k] = 0.0
                    if ahead[k] > _UNREACHABLE:
                        density[t, k] = np.exp(log_emission[k, begin + t] - largest)
                    forward[t, k] = ahead[k] * density[t, k]
                    total += forward[t, k]
            scale[t] = 1.0 / total
            for k in range(n_states):
                forward[t, k] *= scale[t]
            log_likelihood += np.log(total) + largest
        for k in range(n_states):
            backward[k] = 1.0
            log_emission[k, end - 1] = forward[length - 1, k]
        for t in range(length - 2, -1, -1):
            for k in range(n_states):
                ahead[k] = density[t + 1, k] * backward[k] * scale[t + 1]
            for j in range(n_states):
                total = 0.0
                for k in range(n_states):
                    flow = transmat[j, k] * ahead[k]
                    total += flow
                    transitions[j, k] += forward[t, j] * flow
                backward[j] = total
                log_emission[j, begin + t] = forward[t, j] * total
        for k in range(n_states):
            first[k] += log_emission[k, begin]
        begin = end
    return log_likelihood


@njit(cache=True, nogil=True)
def viterbi(
    log_emission: FloatArray, log_startprob: FloatArray, log_transmat: FloatArray, ends: IntArray
) -> IntArray:
    """Most likely state path of every run, shape (n,); ties go to the lower state.

    Parameters
    ----------
    log_emission : ndarray, shape (K, n)
    log_startprob, log_transmat : ndarray, shapes (K,) and (K, K)
        ``-inf`` where a start or transition is impossible.
    ends : ndarray, shape (R,)
        Row after the last one of each run.
    """
    n_states, n = log_emission.shape
    path = np.empty(n, dtype=np.int64)
    came_from = np.empty((n, n_states), dtype=np.int64)
    score = np.empty(n_states)
    before = np.empty(n_states)
    begin = 0
    for end in ends:
        for k in range(n_states):
            score[k] = log_startprob[k] + log_emission[k, begin]
        for t in range(begin + 1, end):
            before[:] = score
            for k in range(n_states):
                best = 0
                for j in range(1, n_states):
                    if before[j] + log_transmat[j, k] > before[best] + log_transmat[best, k]:
                        best = j
                came_from[t, k] = best
                score[k] = before[best] + log_transmat[best, k] + log_emission[k, t]
        path[end - 1] = np.argmax(score)
        for t in range(end - 1, begin, -1):
            path[t - 1] = came_from[t, path[t]]
        begin = end
    return path
