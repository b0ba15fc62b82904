"""What a Gaussian hidden Markov model says about given observations: densities, paths, beliefs.

Everything works in log space and on all runs at once: runs are padded to the longest one, and the
recursions step over time only. Runs are separate sequences; nothing crosses their borders.
Notation follows Rabiner (1989): b emission densities, α forward, β backward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmmdyn.hmm.model.chain import TransitionModel
from hmmdyn.hmm.model.emissions import log_density
from hmmdyn.hmm.model.kernels import viterbi
from hmmdyn.hmm.model.missing import patterns
from hmmdyn.hmm.model.parts import emissions_of, transitions_of
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Sequences


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


def log_emission(parameters: HMMParameters, data: Sequences) -> FloatArray:
    """Gaussian log-density of each observation under each state, shape (n, K), nats.

    Of a row with missing metrics (NaN), the marginal density of those it has; of one without any,
    zero: it tells nothing about the state.
    """
    emissions = emissions_of(parameters)
    groups = list(patterns(data.values))
    out = np.empty((len(data.values), parameters.n_states))
    for k, covariance in enumerate(emissions.covariances):
        out[:, k] = log_density(data.values, emissions.centre(k, data), covariance, groups)
    return out


def beliefs(parameters: HMMParameters, data: Sequences) -> Beliefs:
    """Filtered and smoothed state posteriors of every run, by the forward–backward algorithm.

    Raises
    ------
    UsageError
        The model's clock counts time and the steps are not known, or do not increase.
    """
    chain = transitions_of(parameters)
    lengths, dwell = data.lengths, chain.n_stages
    log_b = log_emission(parameters, data)
    padded = _Padded.of(lengths)
    before = chain.gaps(data)
    start, transitions, which = _log_chain(chain, parameters.startprob, before)
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


def decode(parameters: HMMParameters, data: Sequences) -> IntArray:
    """Most likely state path of every run (Viterbi), shape (n,); raises as :func:`beliefs`."""
    return most_likely_path(parameters, log_emission(parameters, data).T, data)


def most_likely_path(parameters: HMMParameters, log_b: FloatArray, data: Sequences) -> IntArray:
    """As :func:`decode`, from log-densities of the emissions, shape (K, n)."""
    chain = transitions_of(parameters)
    start, transitions, which = _log_chain(chain, parameters.startprob, chain.gaps(data))
    of_stages = np.repeat(log_b, chain.n_stages, axis=0)
    path = viterbi(of_stages, start, transitions, which, np.cumsum(data.lengths))
    return np.asarray(path // chain.n_stages)


def transition_posterior(
    parameters: HMMParameters,
    seen: Beliefs,
    rows: IntArray,
    from_state: IntArray,
    to_state: IntArray,
) -> FloatArray:
    """Smoothed p(s_{t-1} = j, s_t = k | z_1:T) for given rows t and pairs (j, k), shape (m,).

    Parameters
    ----------
    parameters : HMMParameters
        The model whose beliefs these are.
    seen : Beliefs
        What the model believes of the runs, from :func:`beliefs`.
    rows : ndarray, shape (m,)
        Checkpoints t, of which none may be the first of its run.
    from_state, to_state : ndarray, shape (m,)
        States j and k.
    """
    if not len(rows):  # no change of state anywhere
        return np.empty(0)
    chain = transitions_of(parameters)
    _, transitions, which = _log_chain(chain, parameters.startprob, seen.gaps[rows])
    evidence = np.logaddexp.reduce(seen.log_forward[rows] + seen.log_backward[rows], axis=1)
    # Over every pair of stages, of which an ordinary state has one.
    stages = np.arange(chain.n_stages)
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
    return np.asarray(np.exp(joint).sum(axis=(1, 2)))


def _log_chain(
    chain: TransitionModel, startprob: FloatArray, before: FloatArray
) -> tuple[FloatArray, FloatArray, IntArray]:
    """Logarithms of start (Km,) and transitions (G, Km, Km), and which of these each gap takes."""
    transitions, which = chain.between_stages(before)
    with np.errstate(divide="ignore"):  # a forbidden transition has log-probability -inf
        return np.log(chain.start(startprob)), np.log(transitions), which


def _of_states(probabilities: FloatArray, dwell: int) -> FloatArray:
    """Add up the stages of every state, (n, Km) to (n, K)."""
    return np.asarray(probabilities.reshape(len(probabilities), -1, dwell).sum(axis=2))


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
