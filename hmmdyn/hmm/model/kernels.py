"""The compiled inner loops: forward–backward and Viterbi over every run of a model.

numba compiles them at first use (about a second) and keeps the result on disk after that. They
release Python's lock, so that models can be fitted side by side in threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from hmmdyn.results.arrays import FloatArray, IntArray

# Forward probabilities whose sum is less than this are scaled anew, by the states in reach alone.
_TINY_TOTAL = 1e-250
# A state of less forward probability than this is out of reach.
_UNREACHABLE = 1e-300
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    """Compile a function in the exact order of its operations."""
    return cast(_Function, njit(cache=True, nogil=True, error_model="numpy")(function))


def _compiled_in_any_order(function: _Function) -> _Function:
    """Compile a function whose sums may be taken in any order: several runs at a time."""
    any_order = {"reassoc", "contract"}
    options = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": any_order}
    return cast(_Function, njit(**options)(function))


# Stands for "which transition matrix" where there is one only.
ONE_MATRIX: IntArray = np.zeros(0, dtype=np.int64)


def forward_backward(
    log_emission: FloatArray,
    startprob: FloatArray,
    transmat: FloatArray,
    begins: IntArray,
    which: IntArray = ONE_MATRIX,
) -> tuple[float, FloatArray, FloatArray]:
    """Replace log-densities by smoothed posteriors, for all runs side by side.

    Densities are scaled by the largest at each checkpoint, and forward probabilities to sum to
    one (Rabiner 1989, section V.A). Where the largest density belongs to a state that cannot be
    reached, the scale is that of the reachable ones, so nothing underflows.

    Parameters
    ----------
    log_emission : ndarray, shape (K, n)
        Columns by time and within a time by run, longest run first: see :class:`TimeMajor`.
        Overwritten with p(s_t | z_1:T).
    startprob, transmat : ndarray, shapes (K,) and (K, K)
        Or several transition matrices, (G, K, K).
    begins : ndarray, shape (T + 1,)
        First column of every time, and n.
    which : ndarray, shape (n,)
        Which of several transition matrices leads to each column.

    Returns
    -------
    log_likelihood : float
        Of all runs, nats.
    transitions, first : ndarray, shapes (K, K) and (K,)
        Expected transition counts (by each of several matrices: (G, K, K)) and first states.
    """
    peak = log_emission.max(axis=0)
    density = np.subtract(log_emission, peak)
    np.exp(density, out=density)
    scale = np.empty(len(peak))
    _forward(log_emission, density, peak, scale, startprob, transmat, begins, which)
    log_likelihood = float(peak.sum() - np.log(scale).sum())
    transitions = _backward(log_emission, density, scale, transmat, begins, which)
    return log_likelihood, transitions, log_emission[:, : begins[1]].sum(axis=1)


@_compiled_in_any_order
def _forward(
    log_emission: FloatArray,
    density: FloatArray,
    peak: FloatArray,
    scale: FloatArray,
    startprob: FloatArray,
    transmat: FloatArray,
    begins: IntArray,
    which: IntArray,
) -> None:
    """Replace log-densities by filtered posteriors; the inner loops run over the runs.

    ``scale`` (n,) is given what the densities relative to ``peak`` are multiplied by, for the
    forward probabilities to sum to one.
    """
    n_states = len(startprob)
    reached = np.empty((n_states, begins[1]))
    total = np.empty(begins[1])
    for t in range(len(begins) - 1):
        a, m = begins[t], begins[t + 1] - begins[t]
        for k in range(n_states):
            if t == 0:
                reached[k] = startprob[k]
                continue
            into = reached[k]
            into[:] = 0.0
            for j in range(n_states):
                before = log_emission[j, begins[t - 1] : begins[t - 1] + m]
                if transmat.ndim == 2:  # decided when this is compiled
                    p = transmat[j, k]
                    for r in range(m):
                        into[r] += before[r] * p
                else:
                    for r in range(m):
                        into[r] += before[r] * transmat[which[a + r], j, k]
        total[:m] = 0.0
        for k in range(n_states):
            into, here = reached[k], density[k, a : a + m]
            for r in range(m):
                total[r] += into[r] * here[r]
        for r in range(m):
            if not total[r] > _TINY_TOTAL:
                total[r] = _rescale(log_emission, density, peak, reached[:, r], a + r)
            scale[a + r] = 1.0 / total[r]
        factor = scale[a : a + m]
        for k in range(n_states):
            into, here, out = reached[k], density[k, a : a + m], log_emission[k, a : a + m]
            for r in range(m):
                out[r] = into[r] * here[r] * factor[r]


@_compiled_in_any_order
def _rescale(
    log_emission: FloatArray,
    density: FloatArray,
    peak: FloatArray,
    reached: FloatArray,
    column: int,
) -> float:
    """Scale one checkpoint's densities by what can be reached; return the new total."""
    n_states = len(reached)
    largest = -np.inf
    for k in range(n_states):
        if reached[k] > _UNREACHABLE:
            largest = max(largest, np.log(reached[k]) + log_emission[k, column])
    total = 0.0
    for k in range(n_states):
        density[k, column] = 0.0
        if reached[k] > _UNREACHABLE:
            density[k, column] = np.exp(log_emission[k, column] - largest)
        total += reached[k] * density[k, column]
    peak[column] = largest
    return total


@_compiled_in_any_order
def _backward(
    posterior: FloatArray,
    density: FloatArray,
    scale: FloatArray,
    transmat: FloatArray,
    begins: IntArray,
    which: IntArray,
) -> FloatArray:
    """Replace filtered posteriors by smoothed ones; return the expected transition counts."""
    n_states = len(posterior)
    backward = np.ones((n_states, begins[1]))  # of a run that ends here: one
    ahead = np.empty((n_states, begins[1]))
    counts = np.zeros_like(transmat)
    for t in range(len(begins) - 3, -1, -1):
        a, b = begins[t], begins[t + 1]
        m = begins[t + 2] - b
        factor = scale[b : b + m]
        for k in range(n_states):
            here, behind, out = density[k, b : b + m], backward[k], ahead[k]
            for r in range(m):
                out[r] = here[r] * behind[r] * factor[r]
        for j in range(n_states):
            filtered, out = posterior[j, a : a + m], backward[j]
            out[:m] = 0.0
            for k in range(n_states):
                after = ahead[k]
                if transmat.ndim == 2:
                    p, flow = transmat[j, k], 0.0
                    for r in range(m):
                        out[r] += p * after[r]
                        flow += filtered[r] * after[r]
                    counts[j, k] += p * flow
                else:
                    for r in range(m):
                        g = which[b + r]
                        out[r] += transmat[g, j, k] * after[r]
                        counts[g, j, k] += transmat[g, j, k] * filtered[r] * after[r]
            for r in range(m):
                filtered[r] *= out[r]
    return counts


class TimeMajor:
    """Runs side by side: rows ordered by time, and within a time by run, longest run first.

    ``rows`` (n,) says which row of the pooled runs comes where; ``begins`` (T + 1,) is the first
    row of every time, and n. The runs that go on at a time are the first ones of the time before;
    ``runs`` (R,) are those of the first time.
    """

    def __init__(self, lengths: IntArray) -> None:
        self.runs: IntArray = np.argsort(-lengths, kind="stable")
        starts = (np.cumsum(lengths) - lengths)[self.runs]
        ends = lengths[self.runs]
        times = np.arange(ends[0])
        going = np.searchsorted(-ends, -times, side="left")
        self.begins: IntArray = np.concatenate([[0], np.cumsum(going)])
        self.rows: IntArray = np.concatenate([starts[:m] + t for t, m in enumerate(going)])


@_compiled
def viterbi(
    log_emission: FloatArray,
    log_startprob: FloatArray,
    log_transmats: FloatArray,
    which: IntArray,
    ends: IntArray,
) -> IntArray:
    """Most likely state path of every run, shape (n,); ties go to the lower state.

    Parameters
    ----------
    log_emission : ndarray, shape (K, n)
        Log-densities of every checkpoint in every state.
    log_startprob, log_transmats : ndarray, shapes (K,) and (G, K, K)
        ``-inf`` where a start or transition is impossible.
    which : ndarray, shape (n,)
        Which of the transition matrices leads to each row.
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
            # Copied by hand, as is the last maximum: the array functions take seconds to compile.
            for k in range(n_states):
                before[k] = score[k]
            log_transmat = log_transmats[which[t]]
            for k in range(n_states):
                best = 0
                for j in range(1, n_states):
                    if before[j] + log_transmat[j, k] > before[best] + log_transmat[best, k]:
                        best = j
                came_from[t, k] = best
                score[k] = before[best] + log_transmat[best, k] + log_emission[k, t]
        last = 0
        for k in range(1, n_states):
            if score[k] > score[last]:
                last = k
        path[end - 1] = last
        for t in range(end - 1, begin, -1):
            path[t - 1] = came_from[t, path[t]]
        begin = end
    return path
