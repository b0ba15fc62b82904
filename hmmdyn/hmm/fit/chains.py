"""The transition model's part of EM: smoothing along the chain, and its most likely dynamics."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from hmmdyn.choices import CLOCKS
from hmmdyn.errors import UsageError
from hmmdyn.hmm.model.chain import (
    MAX_DWELL,
    MAX_RATE,
    PROBABILITY_FLOOR,
    as_generator,
    between_stages,
    dwell_and_jumps,
    first_stages,
    propagators,
)
from hmmdyn.hmm.model.kernels import forward_backward
from hmmdyn.names import require_one_of
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import HMMParameters, ModelOptions


def check_options(options: ModelOptions) -> None:
    """Refuse options that mean nothing.

    Raises
    ------
    UsageError
    """
    if not 0 <= options.stickiness < np.inf:
        raise UsageError(
            f"'stickiness' must be a number of checkpoints, 0 or more, got {options.stickiness!r}."
        )
    require_one_of(options.clock, CLOCKS, "clock")
    if not 1 <= options.minimum_dwell <= MAX_DWELL:
        raise UsageError(
            f"'minimum_dwell' must be 1 to {MAX_DWELL} checkpoints, got {options.minimum_dwell!r}."
        )
    if options.minimum_dwell > 1 and options.clock != "checkpoint":
        raise UsageError(
            f"'minimum_dwell' counts checkpoints and does not go with clock {options.clock!r}; "
            "use 'stickiness', which counts time there."
        )


class ChainStep(Protocol):
    """What EM asks of a transition model, on the runs it is fitted to.

    ``dynamics`` (K, K) are those of the :class:`hmmdyn.hmm.model.chain.TransitionModel` that is
    fitted, and ``matrices`` its transition probabilities on these runs. Columns of what has a
    column per checkpoint are in the order of :class:`hmmdyn.hmm.model.kernels.TimeMajor`.
    """

    def matrices(self, dynamics: FloatArray) -> FloatArray:
        """Transition probabilities for forward–backward, (Km, Km) or (G, K, K)."""

    def smooth(
        self,
        log_emission: FloatArray,
        startprob: FloatArray,
        matrices: FloatArray,
        begins: IntArray,
    ) -> tuple[float, FloatArray, FloatArray]:
        """Replace log-densities by posteriors.

        Parameters
        ----------
        log_emission : ndarray, shape (K, n)
            Overwritten with p(s_t | z_1:T).
        startprob : ndarray, shape (K,)
            Probability of each state at a run's first checkpoint.
        matrices : ndarray
            As :meth:`matrices` gives them.
        begins : ndarray, shape (T + 1,)
            First column of every time, and n.

        Returns
        -------
        log_likelihood : float
            Of all runs, nats.
        transitions, first : ndarray
            Expected transition counts in the shape of ``matrices``, and first states (K,).
        """

    def log_prior(self, dynamics: FloatArray) -> float:
        """What the options' stickiness adds to the objective, nats."""

    def maximise(
        self, dynamics: FloatArray, matrices: FloatArray, transitions: FloatArray
    ) -> FloatArray:
        """Most likely dynamics, given expected transition counts and the present ones."""

    def floored(self, dynamics: FloatArray) -> FloatArray:
        """Make nothing impossible but what the options exclude."""


class CheckpointChain:
    """The ordinary chain: its ``dynamics`` are transition probabilities per checkpoint."""

    def __init__(self, options: ModelOptions) -> None:
        self._options = options

    def matrices(self, dynamics: FloatArray) -> FloatArray:
        """Transition matrix for forward–backward, between stages: shape (Km, Km)."""
        return between_stages(dynamics, self._options.minimum_dwell)

    def smooth(
        self,
        log_emission: FloatArray,
        startprob: FloatArray,
        matrices: FloatArray,
        begins: IntArray,
    ) -> tuple[float, FloatArray, FloatArray]:
        """Smooth stage by stage; every stage of a state emits alike.

        Parameters
        ----------
        log_emission, startprob, matrices, begins
            As in :meth:`ChainStep.smooth`.
        """
        dwell = self._options.minimum_dwell
        if dwell == 1:
            return forward_backward(log_emission, startprob, matrices, begins)
        staged = np.repeat(log_emission, dwell, axis=0)
        start = first_stages(startprob, dwell)
        log_likelihood, transitions, first = forward_backward(staged, start, matrices, begins)
        shape = len(startprob), dwell
        log_emission[:] = staged.reshape(*shape, -1).sum(axis=1)
        return log_likelihood, transitions, first.reshape(shape).sum(axis=1)

    def log_prior(self, dynamics: FloatArray) -> float:
        """κ Σ_k log a_kk: what stickiness adds to the objective."""
        kappa = self._options.stickiness
        return kappa * float(np.log(np.diag(dynamics)).sum()) if kappa else 0.0

    def maximise(
        self, dynamics: FloatArray, matrices: FloatArray, transitions: FloatArray
    ) -> FloatArray:
        """Most likely probabilities, given expected transition counts between stages."""
        dwell = self._options.minimum_dwell
        if dwell > 1:
            staying = np.diag(transitions)[dwell - 1 :: dwell]
            transitions = transitions[dwell - 1 :: dwell, ::dwell] + np.diag(staying)
        if self._options.stickiness:
            transitions = transitions + self._options.stickiness * np.eye(len(transitions))
        # A state only ever left by the end of a run has no transition to count.
        leaving = transitions.sum(axis=1, keepdims=True)
        return np.where(leaving > 0, transitions / leaving, dynamics)

    def floored(self, dynamics: FloatArray) -> FloatArray:
        """Raise probabilities to the floor.

        A left-to-right chain keeps its zeros: every run can still happen, by staying.
        """
        transmat = floored(dynamics)
        if self._options.left_right:
            transmat = np.triu(transmat)
            transmat /= transmat.sum(axis=1, keepdims=True)
        return transmat


class ContinuousChain:
    """A chain in continuous time: its ``dynamics`` are the generator, in rates per unit.

    ``before`` (n,) are the gaps in units, in the order in which EM sees the checkpoints. Stickiness
    κ counts as κ units of time spent in every state without a jump: it lowers the objective by κ
    times each rate of leaving.
    """

    def __init__(self, options: ModelOptions, before: FloatArray) -> None:
        self._options = options
        self._distinct, which = np.unique(before, return_inverse=True)
        self._which: IntArray = which.astype(np.int64)

    def matrices(self, dynamics: FloatArray) -> FloatArray:
        """Transition matrices for forward–backward, one per distinct gap, shape (G, K, K)."""
        return propagators(dynamics, self._distinct)

    def smooth(
        self,
        log_emission: FloatArray,
        startprob: FloatArray,
        matrices: FloatArray,
        begins: IntArray,
    ) -> tuple[float, FloatArray, FloatArray]:
        """Smooth over the gaps as they are.

        Parameters
        ----------
        log_emission, startprob, matrices, begins
            As in :meth:`ChainStep.smooth`.
        """
        return forward_backward(log_emission, startprob, matrices, begins, self._which)

    def log_prior(self, dynamics: FloatArray) -> float:
        """κ Σ_k q_kk: what stickiness adds to the objective."""
        return self._options.stickiness * float(np.trace(dynamics))

    def maximise(
        self, dynamics: FloatArray, matrices: FloatArray, transitions: FloatArray
    ) -> FloatArray:
        """Most likely rates, jumps per time, given expected transition counts (G, K, K)."""
        flows = np.divide(transitions, matrices, out=np.zeros_like(transitions), where=matrices > 0)
        time, n_jumps = dwell_and_jumps(dynamics, self._distinct, flows)
        time = (time + self._options.stickiness)[:, None]
        kept = dynamics - np.diag(np.diag(dynamics))
        rates = np.where(time > 0, n_jumps / time, kept)
        leaving = rates.sum(axis=1, keepdims=True)
        return as_generator(rates * np.minimum(1.0, MAX_RATE / np.maximum(leaving, 1e-300)))

    def floored(self, dynamics: FloatArray) -> FloatArray:
        """Raise rates to the floor; those of a left-to-right chain as in `CheckpointChain`."""
        rates = np.maximum(dynamics, PROBABILITY_FLOOR)
        if self._options.left_right:
            rates = np.triu(rates)
        return as_generator(rates)


def adapted(parameters: HMMParameters, options: ModelOptions, unit: float) -> HMMParameters:
    """Return a start for EM that has what the options ask for, its states in order of time."""
    transmat = parameters.transmat
    if options.left_right:
        # What is zero at the start stays zero in EM.
        transmat = np.triu(transmat)
        transmat = transmat / transmat.sum(axis=1, keepdims=True)
        parameters = replace(parameters, transmat=transmat)
    if options.minimum_dwell > 1:
        parameters = replace(parameters, minimum_dwell=options.minimum_dwell)
    if options.autoregressive:
        parameters = replace(parameters, autoregression=np.zeros_like(parameters.means))
    if options.clock == "checkpoint":
        return parameters
    generator = as_generator(transmat)
    return replace(parameters, generator=generator, clock=options.clock, unit=unit)


def floored(probabilities: FloatArray) -> FloatArray:
    """Raise probabilities to the floor; rows sum to one."""
    raised = np.maximum(probabilities, PROBABILITY_FLOOR)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
