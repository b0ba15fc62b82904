"""What a Gaussian hidden Markov model says about given observations: densities, paths, beliefs.

Everything works in log space and on all runs at once: runs are padded to the longest one, and the
recursions step over time only. Runs are separate sequences; nothing crosses their borders.
Notation follows Rabiner (1989): b emission densities, α forward, β backward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from hmmdyn.hmm.kernels import viterbi
from hmmdyn.hmm.missing import marginal, patterns
from hmmdyn.results import FloatArray, HMMParameters, IntArray


@dataclass(frozen=True)
class Beliefs:
    """Posterior beliefs about the hidden states; n checkpoints pooled over runs, K states.

    ``filtered`` (n, K): p(s_t | z_1:t), what could be known at the time. ``smoothed`` (n, K):
    p(s_t | z_1:T). ``log_likelihood`` (R,): log p(z_1:T) of each run, nats. ``log_forward``,
    ``log_backward``, ``log_emission`` (n, K) are what they were computed from.
    """

    filtered: FloatArray
    smoothed: FloatArray
    log_likelihood: FloatArray
    log_forward: FloatArray
    log_backward: FloatArray
    log_emission: FloatArray


def log_emission(parameters: HMMParameters, values: FloatArray) -> FloatArray:
    """Gaussian log-density of each observation under each state, shape (n, K), nats.

    Of a row with missing metrics (NaN), the marginal density of those it has; of one without any,
    zero: it tells nothing about the state.
    """
    out = np.empty((len(values), parameters.n_states))
    for rows, observed in patterns(values):
        means, covariances = marginal(parameters.means, parameters.covariances, observed)
        seen = values[np.ix_(rows, observed)]
        for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
            out[rows, k] = _log_density(seen, mean, covariance)
    return out


def _log_density(values: FloatArray, mean: FloatArray, covariance: FloatArray) -> FloatArray:
    """Log-density of one Gaussian, shape (n,); ``covariance`` (D,) or (D, D)."""
    difference = values - mean
    if covariance.ndim == 1:
        squared = (difference**2 / covariance).sum(axis=1)
        log_determinant = np.log(covariance).sum()
    else:
        root = np.linalg.cholesky(covariance)
        squared = (solve_triangular(root, difference.T, lower=True) ** 2).sum(axis=0)
        log_determinant = 2 * np.log(np.diag(root)).sum()
    return -0.5 * (values.shape[1] * np.log(2 * np.pi) + log_determinant + squared)


def beliefs(parameters: HMMParameters, values: FloatArray, lengths: IntArray) -> Beliefs:
    """Filtered and smoothed state posteriors of every run, by the forward–backward algorithm."""
    log_b = log_emission(parameters, values)
    padded = _Padded.of(lengths)
    start, transitions = _log_chain(parameters)
    b = padded.spread(log_b)
    forward = np.empty_like(b)
    forward[0] = start + b[0]
    for t in range(1, len(b)):
        forward[t] = b[t] + np.logaddexp.reduce(
            forward[t - 1][:, :, None] + transitions[None], axis=1
        )
    backward = np.zeros_like(b)
    for t in range(len(b) - 2, -1, -1):
        step = np.logaddexp.reduce(
            transitions[None] + (b[t + 1] + backward[t + 1])[:, None], axis=2
        )
        # Beyond a run's end there is nothing to sum over: its last checkpoint keeps β = 0.
        backward[t] = np.where((t + 1 < lengths)[:, None], step, 0.0)
    log_forward, log_backward = padded.gather(forward), padded.gather(backward)
    return Beliefs(
        filtered=_normalised(log_forward),
        smoothed=_normalised(log_forward + log_backward),
        log_likelihood=np.logaddexp.reduce(log_forward[np.cumsum(lengths) - 1], axis=1),
        log_forward=log_forward,
        log_backward=log_backward,
        log_emission=log_b,
    )


def decode(parameters: HMMParameters, values: FloatArray, lengths: IntArray) -> IntArray:
    """Most likely state path of every run (Viterbi), shape (n,)."""
    log_b = np.ascontiguousarray(log_emission(parameters, values).T)
    return viterbi(log_b, *_log_chain(parameters), np.cumsum(lengths))


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
    _, transitions = _log_chain(parameters)
    evidence = np.logaddexp.reduce(seen.log_forward[rows] + seen.log_backward[rows], axis=1)
    return np.exp(
        seen.log_forward[rows - 1, from_state]
        + transitions[from_state, to_state]
        + seen.log_emission[rows, to_state]
        + seen.log_backward[rows, to_state]
        - evidence
    )


def _log_chain(parameters: HMMParameters) -> tuple[FloatArray, FloatArray]:
    with np.errstate(divide="ignore"):  # a forbidden transition has log-probability -inf
        return np.log(parameters.startprob), np.log(parameters.transmat)


def _normalised(log_weights: FloatArray) -> FloatArray:
    return np.exp(log_weights - np.logaddexp.reduce(log_weights, axis=1, keepdims=True))


@dataclass(frozen=True)
class _Padded:
    """Moves between pooled rows (n, K) and padded sequences (T_max, R, K)."""

    times: IntArray
    runs: IntArray
    shape: tuple[int, int]

    @classmethod
    def of(cls, lengths: IntArray) -> _Padded:
        times = np.concatenate([np.arange(n) for n in lengths])
        runs = np.repeat(np.arange(len(lengths)), lengths)
        return cls(times, runs, (int(lengths.max()), len(lengths)))

    def spread(self, rows: FloatArray) -> FloatArray:
        padded = np.zeros((*self.shape, rows.shape[1]), dtype=rows.dtype)
        padded[self.times, self.runs] = rows
        return padded

    def gather(self, padded: np.ndarray) -> np.ndarray:
        return padded[self.times, self.runs]
