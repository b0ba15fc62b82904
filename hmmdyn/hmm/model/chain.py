"""How states follow each other: probabilities per checkpoint, or rates in a clock.

The ordinary chain has one transition matrix, whatever lies between two checkpoints. A chain that
knows the gaps is a Markov process in continuous time, seen at the checkpoints: over a gap δ it
moves by A(δ) = exp(Q δ), with Q its generator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import gammaln

from hmmdyn.hmm.model.clock import gaps
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.observations import Sequences

# Probabilities (and rates) are kept above this after the fit, so that a run which takes a
# transition never seen in the fitted ones is improbable (-23 nats) rather than impossible (-inf).
PROBABILITY_FLOOR = 1e-10
# States are left at most so often per unit. Beyond, checkpoints a unit apart tell nothing about the
# rate, so that EM would raise it for ever.
MAX_RATE = 3.0
# Every checkpoint of the minimum dwell is a state of its own to forward–backward.
MAX_DWELL = 20
# The exponential of a longer gap than so many jumps is squared from that of a part of it.
_SUMMED_JUMPS = 64.0
# Sums over the number of jumps go on to so many deviations above its mean.
_DEVIATIONS = 10


class Transitions(NamedTuple):
    """Transition probabilities: distinct ``matrices`` (G, K, K), and which of them leads to a row.

    ``which`` has shape (n,).
    """

    matrices: FloatArray
    which: IntArray


class TransitionModel(Protocol):
    """The part of a model that says how states follow each other.

    A state may be made of several *stages*, which are what forward–backward and Viterbi step
    through: stage i of state k is at k m + i, with m = ``n_stages``. The fields of an
    implementation are those of :class:`hmmdyn.results.model.HMMParameters` of the same names, so
    that a model is put together from its parts: see :mod:`hmmdyn.hmm.model.parts`.
    """

    @property
    def transmat(self) -> FloatArray:
        """Transition probabilities between states over one unit, (K, K)."""

    @property
    def dynamics(self) -> FloatArray:
        """What EM changes, (K, K): the probabilities, or the rates behind them."""

    @property
    def counts_time(self) -> bool:
        """Whether it knows the gaps between checkpoints, and so needs their steps."""

    @property
    def is_plain(self) -> bool:
        """Whether it is one transition matrix, by which a state may be left at any checkpoint."""

    @property
    def n_stages(self) -> int:
        """Stages per state, m."""

    def with_dynamics(self, dynamics: FloatArray) -> TransitionModel:
        """Return the same kind of chain with other dynamics."""

    def gaps(self, data: Sequences) -> FloatArray:
        """Gap before every checkpoint in units of the clock, (n,); 1 before a run's first."""

    def start(self, startprob: FloatArray) -> FloatArray:
        """Start probabilities of the stages, (Km,), from those of the states, (K,)."""

    def between_stages(self, gaps: FloatArray) -> Transitions:
        """Transition probabilities over given gaps between stages, matrices (G, Km, Km)."""

    def between_states(self, gaps: FloatArray) -> Transitions:
        """Transition probabilities over given gaps once a state may be left, (G, K, K)."""

    def log_path(self, path: IntArray, gaps: FloatArray) -> float:
        """Log-probability of one run's path given its first state; path and gaps (n,), nats."""

    def among(self, states: IntArray) -> TransitionModel:
        """Take some of the states, in this order; what led to others is cut off as it is."""

    def closed(self) -> TransitionModel:
        """Make rows whole again after states were cut off; one of no way stays in its state."""


@dataclass(frozen=True)
class CheckpointTransitions:
    """One matrix of transition probabilities, ``transmat`` (K, K), for every gap alike.

    States that are entered are kept for ``minimum_dwell`` checkpoints, each of which is a stage.
    """

    transmat: FloatArray
    minimum_dwell: int = 1

    counts_time = False

    @property
    def dynamics(self) -> FloatArray:
        """The transition probabilities."""
        return self.transmat

    @property
    def is_plain(self) -> bool:
        """Where no state is kept."""
        return self.minimum_dwell == 1

    @property
    def n_stages(self) -> int:
        """One stage per checkpoint of the minimum dwell."""
        return self.minimum_dwell

    def with_dynamics(self, dynamics: FloatArray) -> CheckpointTransitions:
        """Take other transition probabilities."""
        return replace(self, transmat=dynamics)

    def gaps(self, data: Sequences) -> FloatArray:
        """One between any two checkpoints."""
        return np.ones(len(data.values))

    def start(self, startprob: FloatArray) -> FloatArray:
        """See :func:`first_stages`."""
        return first_stages(startprob, self.minimum_dwell)

    def between_stages(self, gaps: FloatArray) -> Transitions:
        """See :func:`between_stages`."""
        return _the_same(between_stages(self.transmat, self.minimum_dwell), gaps)

    def between_states(self, gaps: FloatArray) -> Transitions:
        """Leave a state as after its dwell."""
        return _the_same(self.transmat, gaps)

    def log_path(self, path: IntArray, gaps: FloatArray) -> float:
        """Leave out transitions within a dwell: a state is kept for certain until it is over."""
        transitions = self.transmat[path[:-1], path[1:]]
        entered = np.flatnonzero(np.diff(path, prepend=path[0] - 1))
        age = np.arange(len(path)) - np.repeat(entered, np.diff(entered, append=len(path)))
        first_visit_ends = entered[1:].min(initial=len(path))
        # A first visit may have begun before the run: nothing keeps it.
        later = np.arange(len(path) - 1) >= first_visit_ends
        kept = (age[:-1] + 1 < self.minimum_dwell) & later
        return float(np.log(transitions[~kept]).sum())

    def among(self, states: IntArray) -> CheckpointTransitions:
        """Take some of the states."""
        return replace(self, transmat=self.transmat[np.ix_(states, states)])

    def closed(self) -> CheckpointTransitions:
        """Make rows sum to one."""
        transmat = self.transmat + PROBABILITY_FLOOR * np.eye(len(self.transmat))
        return replace(self, transmat=transmat / transmat.sum(axis=1, keepdims=True))


@dataclass(frozen=True)
class ContinuousTransitions:
    """A process in continuous time: a ``generator`` (K, K) of rates per ``unit`` of a ``clock``.

    ``transmat`` is that of a gap of one unit.
    """

    transmat: FloatArray
    generator: FloatArray
    clock: str
    unit: float

    counts_time = True
    is_plain = False
    n_stages = 1

    @property
    def dynamics(self) -> FloatArray:
        """The generator."""
        return self.generator

    def with_dynamics(self, dynamics: FloatArray) -> ContinuousTransitions:
        """Take another generator."""
        transmat = propagators(dynamics, np.ones(1))[0]
        return replace(self, transmat=transmat, generator=dynamics)

    def gaps(self, data: Sequences) -> FloatArray:
        """See :func:`hmmdyn.hmm.model.clock.gaps`."""
        return gaps(self.clock, self.unit, data.steps, data.lengths)

    def start(self, startprob: FloatArray) -> FloatArray:
        """As the states': each is one stage."""
        return startprob

    def between_stages(self, gaps: FloatArray) -> Transitions:
        """As between states."""
        return self.between_states(gaps)

    def between_states(self, gaps: FloatArray) -> Transitions:
        """One matrix per distinct gap."""
        distinct, which = np.unique(gaps, return_inverse=True)
        return Transitions(propagators(self.generator, distinct), which)

    def log_path(self, path: IntArray, gaps: FloatArray) -> float:
        """Every transition over its gap."""
        if len(path) < 2:
            return 0.0
        matrices, which = self.between_states(gaps[1:])
        return float(np.log(matrices[which, path[:-1], path[1:]]).sum())

    def among(self, states: IntArray) -> ContinuousTransitions:
        """Take some of the states."""
        both = np.ix_(states, states)
        return replace(self, transmat=self.transmat[both], generator=self.generator[both])

    def closed(self) -> ContinuousTransitions:
        """Make rows of the generator sum to zero."""
        return self.with_dynamics(as_generator(self.generator))


def _the_same(transmat: FloatArray, gaps: FloatArray) -> Transitions:
    """One matrix for every gap alike."""
    return Transitions(transmat[None], np.zeros(len(gaps), dtype=np.int64))


def between_stages(transmat: FloatArray, dwell: int) -> FloatArray:
    """Transition matrix between the stages of states that are kept for m checkpoints, (Km, Km).

    Stage i of state k, at km + i, is the (i+1)-th checkpoint of a visit, and the last stage all
    later ones too. Only from the last stage can the state be left, for the first one of another.
    """
    if dwell == 1:
        return transmat
    n = len(transmat) * dwell
    first, last = np.arange(0, n, dwell), np.arange(dwell - 1, n, dwell)
    staged = np.eye(n, k=1)
    staged[last] = 0.0
    staged[np.ix_(last, first)] = transmat
    staged[last, first] = 0.0
    staged[last, last] = np.diag(transmat)
    return staged


def first_stages(startprob: FloatArray, dwell: int) -> FloatArray:
    """Start probabilities of the stages, (Km,): a run's first visit may have begun before."""
    staged = np.zeros((len(startprob), dwell))
    staged[:, -1] = startprob
    return staged.ravel()


def propagators(generator: FloatArray, lengths_of_gaps: FloatArray) -> FloatArray:
    """Transition probabilities exp(Q δ) over gaps δ (G,), shape (G, K, K).

    By uniformisation: jumps at a common rate λ by the matrix R = I + Q/λ, so that A(δ) is the
    mean of R to the number of jumps, which is Poisson of mean λδ. All terms are positive.
    """
    jumps, rate = _uniformised(generator)
    means = rate * lengths_of_gaps
    halvings = np.ceil(np.log2(np.maximum(means / _SUMMED_JUMPS, 1.0)))
    weights = _poisson(means / 2**halvings)
    powers = np.empty((weights.shape[1], *jumps.shape))
    powers[0] = np.eye(len(jumps))
    for n in range(1, len(powers)):
        powers[n] = powers[n - 1] @ jumps
    flat = weights @ powers.reshape(len(powers), -1)
    out = flat.reshape(-1, *jumps.shape)
    out /= out.sum(axis=2, keepdims=True)
    for done in range(int(halvings.max())):
        halved = halvings > done
        out[halved] = out[halved] @ out[halved]
    return out


def dwell_and_jumps(
    generator: FloatArray, lengths_of_gaps: FloatArray, flows: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Expected time in each state (K,) and number of jumps between each pair (K, K).

    ``flows`` (G, K, K) are expected transitions j→k over each gap, divided by A(δ)[j, k]. What
    is summed is ∫ A(s)ᵀ F A(δ-s)ᵀ ds [1]_, of which the diagonal is the time, and Q times the
    rest the jumps. Uniformised, the integral of l jumps before s and m - l after it does not
    depend on l, so that two Horner schemes add up all gaps at once.

    References
    ----------
    .. [1] Hobolth & Jensen (2011), Journal of Applied Probability 48(4), 911-924.
    """
    jumps, rate = _uniformised(generator)
    turned = jumps.T
    weights = _poisson(rate * lengths_of_gaps)[:, 1:] / rate
    terms = (weights.T @ flows.reshape(len(flows), -1)).reshape(-1, *jumps.shape)
    after = np.zeros_like(jumps)
    both = np.zeros_like(jumps)
    for term in terms[::-1]:
        after = term + after @ turned
        both = after + turned @ both
    n_jumps = generator * both
    np.fill_diagonal(n_jumps, 0.0)
    return np.diag(both).copy(), n_jumps


def _uniformised(generator: FloatArray) -> tuple[FloatArray, float]:
    """Jump matrix R = I + Q/λ and the rate λ of jumps, real or not."""
    rate = max(float(-np.diag(generator).min()), PROBABILITY_FLOOR)
    return np.maximum(np.eye(len(generator)) + generator / rate, 0.0), rate


def _poisson(means: FloatArray) -> FloatArray:
    """Poisson probabilities, a row per mean, for as many counts as the largest mean needs."""
    largest = float(means.max())
    n = np.arange(int(largest + _DEVIATIONS * np.sqrt(largest)) + 20)
    return np.asarray(np.exp(n * np.log(means)[:, None] - means[:, None] - gammaln(n + 1)))


def as_generator(rates: FloatArray) -> FloatArray:
    """Set the diagonal of a matrix of rates so that its rows sum to zero."""
    generator = rates - np.diag(np.diag(rates))
    np.fill_diagonal(generator, -generator.sum(axis=1))
    return generator
