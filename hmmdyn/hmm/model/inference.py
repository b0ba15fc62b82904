"""What a Gaussian hidden Markov model says about given observations: densities, paths, beliefs.

Everything works in log space and on all runs at once: runs are padded to the longest one, and the
recursions step over time only. Runs are separate sequences; nothing crosses their borders.
Notation follows Rabiner (1989): b emission densities, α forward, β backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from hmmdyn.hmm.model.autoregression import expected_in
from hmmdyn.hmm.model.chain import first_stages, gaps, transition_matrices
from hmmdyn.hmm.model.kernels import viterbi
from hmmdyn.hmm.model.missing import patterns
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import HMMParameters


@dataclass(frozen=True)
class Beliefs:
    """Posterior beliefs about the hidden states; n checkpoints pooled over runs, K states.

    ``filtered`` (n, K): p(s_t | z_1:t), what could be known at the time. ``smoothed`` (n, K):
    p(s_t | z_1:T). ``log_likelihood`` (R,): log p(z_1:T) of each run, nats. ``log_forward``,
    ``log_backward`` (n, K, or every stage of a minimum dwell), ``log_emission`` (n, K) and ``gaps``
    (n,), before each checkpoint in the model's unit, are what they were computed from.
    """

    filtered: FloatArray
    smoothed: FloatArray
    log_likelihood: FloatArray
    log_forward: FloatArray
    log_backward: FloatArray
    log_emission: FloatArray
    gaps: FloatArray


def log_emission(
    parameters: HMMParameters, values: FloatArray, lengths: IntArray | None = None
) -> FloatArray:
    """Gaussian log-density of each observation under each state, shape (n, K), nats.

    Without ``lengths`` the rows are one run; only autoregressive emissions need to know.

    Of a row with missing metrics (NaN), the marginal density of those it has; of one without any,
    zero: it tells nothing about the state.
    """
    lengths = np.array([len(values)]) if lengths is None else lengths
    groups = list(patterns(values))
    out = np.empty((len(values), parameters.n_states))
    for k, covariance in enumerate(parameters.covariances):
        mean = expected_in(parameters, k, values, lengths)
        out[:, k] = log_density(values, mean, covariance, groups)
    return out


def log_density(
    values: FloatArray,
    mean: FloatArray,
    covariance: FloatArray,
    groups: Sequence[tuple[IntArray, IntArray]],
) -> FloatArray:
    """Log-density of one Gaussian with a mean (n, D) for every row, shape (n,).

    ``groups`` are the rows of ``values`` by what they have: see :func:`missing.patterns`.
    """
    if covariance.ndim == 1:  # metric by metric: rows need no grouping
        each = -0.5 * (np.log(2 * np.pi * covariance) + (values - mean) ** 2 / covariance)
        density: FloatArray = np.nansum(each, axis=1)
        return density
    out = np.empty(len(values))
    for rows, observed in groups:
        part = np.ix_(rows, observed)
        root = np.linalg.cholesky(covariance[np.ix_(observed, observed)])
        whitened = solve_triangular(root, (values[part] - mean[part]).T, lower=True)
        log_determinant = 2 * np.log(np.diag(root)).sum()
        normaliser = len(observed) * np.log(2 * np.pi) + log_determinant
        out[rows] = -0.5 * (normaliser + (whitened**2).sum(axis=0))
    return out


def beliefs(
    parameters: HMMParameters,
    values: FloatArray,
    lengths: IntArray,
    steps: IntArray | None = None,
) -> Beliefs:
    """Filtered and smoothed state posteriors of every run, by the forward–backward algorithm.

    ``steps`` (n,) are needed where the model's chain knows the gaps between checkpoints.
    """
    dwell = parameters.minimum_dwell
    log_b = log_emission(parameters, values, lengths)
    padded = _Padded.of(lengths)
    before = gaps(parameters.clock, parameters.unit, steps, lengths)
    start, transitions, which = _log_chain(parameters, before)
    into = padded.spread(which)
    b = padded.spread(np.repeat(log_b, dwell, axis=1))
    forward = np.empty_like(b)
    forward[0] = start + b[0]
    for t in range(1, len(b)):
        forward[t] = b[t] + np.logaddexp.reduce(
            forward[t - 1][:, :, None] + transitions[into[t]], axis=1
        )
    backward = np.zeros_like(b)
    for t in range(len(b) - 2, -1, -1):
        step = np.logaddexp.reduce(
            transitions[into[t + 1]] + (b[t + 1] + backward[t + 1])[:, None], axis=2
        )
        # Beyond a run's end there is nothing to sum over: its last checkpoint keeps β = 0.
        backward[t] = np.where((t + 1 < lengths)[:, None], step, 0.0)
    log_forward, log_backward = padded.gather(forward), padded.gather(backward)
    return Beliefs(
        filtered=_of_states(_normalised(log_forward), dwell),
        smoothed=_of_states(_normalised(log_forward + log_backward), dwell),
        log_likelihood=np.logaddexp.reduce(log_forward[np.cumsum(lengths) - 1], axis=1),
        log_forward=log_forward,
        log_backward=log_backward,
        log_emission=log_b,
        gaps=before,
    )


def decode(
    parameters: HMMParameters,
    values: FloatArray,
    lengths: IntArray,
    steps: IntArray | None = None,
) -> IntArray:
    """Most likely state path of every run (Viterbi), shape (n,); ``steps`` as in `beliefs`."""
    return most_likely_path(parameters, log_emission(parameters, values, lengths).T, lengths, steps)


def most_likely_path(
    parameters: HMMParameters,
    log_b: FloatArray,
    lengths: IntArray,
    steps: IntArray | None = None,
) -> IntArray:
    """As :func:`decode`, from log-densities of the emissions, shape (K, n)."""
    dwell = parameters.minimum_dwell
    before = gaps(parameters.clock, parameters.unit, steps, lengths)
    of_stages = np.repeat(log_b, dwell, axis=0)
    path: IntArray = viterbi(of_stages, *_log_chain(parameters, before), np.cumsum(lengths))
    return path // dwell


def transition_posterior(
    parameters: HMMParameters,
    seen: Beliefs,
    rows: IntArray,
    from_state: IntArray,
    to_state: IntArray,
) -> FloatArray:
    """Smoothed p(s_{t-1} = j, s_t = k | z_1:T) for given rows t and pairs (j, k), shape (m,).

    A row must not be the first of its run.
    """
    if not len(rows):  # no change of state anywhere
        return np.empty(0)
    _, transitions, which = _log_chain(parameters, seen.gaps[rows])
    evidence = np.logaddexp.reduce(seen.log_forward[rows] + seen.log_backward[rows], axis=1)
    # Over every pair of stages, of which an ordinary state has one.
    stages = np.arange(parameters.minimum_dwell)
    j = from_state[:, None, None] * len(stages) + stages[:, None]
    k = to_state[:, None, None] * len(stages) + stages
    t = rows[:, None, None]
    joint = (
        seen.log_forward[t - 1, j]
        + transitions[which[:, None, None], j, k]
        + seen.log_emission[t, to_state[:, None, None]]
        + seen.log_backward[t, k]
        - evidence[:, None, None]
    )
    posterior: FloatArray = np.exp(joint).sum(axis=(1, 2))
    return posterior


def _log_chain(
    parameters: HMMParameters, before: FloatArray
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Logarithms of start (K,) and transitions (G, K, K), and which of these each gap takes."""
    transitions, which = transition_matrices(parameters, before)
    with np.errstate(divide="ignore"):  # a forbidden transition has log-probability -inf
        start = first_stages(parameters.startprob, parameters.minimum_dwell)
        return np.log(start), np.log(transitions), which


def _of_states(probabilities: FloatArray, dwell: int) -> FloatArray:
    """Add up the stages of every state, (n, Km) to (n, K)."""
    stages = probabilities.reshape(len(probabilities), -1, dwell)
    of_states: FloatArray = stages.sum(axis=2)
    return of_states


def _normalised(log_weights: FloatArray) -> FloatArray:
    return np.exp(log_weights - np.logaddexp.reduce(log_weights, axis=1, keepdims=True))


@dataclass(frozen=True)
class _Padded:
    """Moves between pooled rows (n, …) and padded sequences (T_max, R, …)."""

    times: IntArray
    runs: IntArray
    shape: tuple[int, int]

    @classmethod
    def of(cls, lengths: IntArray) -> _Padded:
        times = np.concatenate([np.arange(n) for n in lengths])
        runs = np.repeat(np.arange(len(lengths)), lengths)
        return cls(times, runs, (int(lengths.max()), len(lengths)))

    def spread(self, rows: np.ndarray) -> np.ndarray:
        padded = np.zeros((*self.shape, *rows.shape[1:]), dtype=rows.dtype)
        padded[self.times, self.runs] = rows
        return padded

    def gather(self, padded: np.ndarray) -> np.ndarray:
        return padded[self.times, self.runs]
