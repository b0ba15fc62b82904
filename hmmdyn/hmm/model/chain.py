"""How states follow each other: probabilities per checkpoint, or rates in a clock.

The chain's part of EM. The ordinary chain has one transition matrix, whatever lies between two
checkpoints. A chain that knows the gaps is a Markov process in continuous time, seen at the
checkpoints: over a gap δ it moves by A(δ) = exp(Q δ), with Q its generator.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import gammaln

from hmmdyn.choices import CLOCKS
from hmmdyn.errors import UsageError
from hmmdyn.hmm.model.kernels import forward_backward
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import HMMParameters, ModelOptions

# Probabilities (and rates) are kept above this after the fit, so that a run which takes a
# transition never seen in the fitted ones is improbable (-23 nats) rather than impossible (-inf).
PROBABILITY_FLOOR = 1e-10
# States are left at most so often per unit. Beyond, checkpoints a unit apart tell nothing about the
# rate, so that EM would raise it for ever.
MAX_RATE = 3.0
# A longer gap counts as so many units. What happens within it is not seen, and EM needs iterations
# in proportion to that: for a single gap of 100, 1,000 and 10,000 units 29, 273 and more than 500,
# to much the same rates.
LONGEST_GAP = 100.0
# Every checkpoint of the minimum dwell is a state of its own to forward–backward.
MAX_DWELL = 20
# The exponential of a longer gap than so many jumps is squared from that of a part of it.
_SUMMED_JUMPS = 64.0
# Sums over the number of jumps go on to so many deviations above its mean.
_DEVIATIONS = 10


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
    if options.clock not in CLOCKS:
        raise UsageError(f"'clock' must be one of {CLOCKS}, got {options.clock!r}.")
    if not 1 <= options.minimum_dwell <= MAX_DWELL:
        raise UsageError(
            f"'minimum_dwell' must be 1 to {MAX_DWELL} checkpoints, got {options.minimum_dwell!r}."
        )
    if options.minimum_dwell > 1 and options.clock != "checkpoint":
        raise UsageError(
            f"'minimum_dwell' counts checkpoints and does not go with clock {options.clock!r}; "
            "use 'stickiness', which counts time there."
        )


def median_gap(clock: str, steps: IntArray | None, lengths: IntArray) -> float:
    """Median gap between successive checkpoints of a run, in a clock; 1 where there is none."""
    if clock == "checkpoint":
        return 1.0
    apart = _apart(clock, steps, lengths)
    return 1.0 if np.isnan(apart).all() else float(np.nanmedian(apart))


def gaps(clock: str, unit: float, steps: IntArray | None, lengths: IntArray) -> FloatArray:
    """Gap before every checkpoint, in units of the clock, shape (n,); 1 before a run's first.

    One of more than ``LONGEST_GAP`` units counts as that many.

    Raises
    ------
    UsageError
        The clock needs steps and there are none, or they do not increase, or the logarithm of
        negative ones is asked for.
    """
    if clock == "checkpoint":
        return np.ones(int(lengths.sum()))
    apart = _apart(clock, steps, lengths) / unit
    return np.where(np.isnan(apart), 1.0, np.minimum(apart, LONGEST_GAP))


def capped(clock: str, steps: IntArray, lengths: IntArray) -> IntArray:
    """Rows of the checkpoints before which :func:`gaps` takes a longer gap for ``LONGEST_GAP``."""
    if clock == "checkpoint":
        return np.empty(0, dtype=np.int64)
    apart = _apart(clock, steps, lengths)
    return np.flatnonzero(apart > LONGEST_GAP * median_gap(clock, steps, lengths))


def _apart(clock: str, steps: IntArray | None, lengths: IntArray) -> FloatArray:
    """Time since the checkpoint before, as the clock counts it, shape (n,); NaN at a run's first.

    Raises
    ------
    UsageError
        As :func:`gaps`.
    """
    if steps is None:
        raise UsageError(f"A model with clock {clock!r} needs the steps of the checkpoints.")
    if clock == "log-step" and steps.min() < 0:
        raise UsageError(
            f"Clock 'log-step' needs steps of 0 or more, got {steps.min()}. Use clock 'step'."
        )
    times = np.log1p(steps) if clock == "log-step" else steps.astype(np.float64)
    out = np.diff(times, prepend=np.nan)
    out[np.cumsum(lengths) - lengths] = np.nan
    if (out <= 0).any():
        raise UsageError(f"Clock {clock!r} needs steps that increase within every run.")
    return out


def transition_matrices(
    parameters: HMMParameters, before: FloatArray
) -> tuple[FloatArray, IntArray]:
    """Transition matrices (G, K, K), and which of them leads to each checkpoint, shape (n,).

    ``before`` (n,) are the gaps as :func:`gaps` gives them for the parameters' clock and unit. With
    a minimum dwell of m checkpoints the matrices are those between stages, (1, Km, Km).
    """
    if parameters.generator is None:
        staged = between_stages(parameters.transmat, parameters.minimum_dwell)
        return staged[None], np.zeros(len(before), dtype=np.int64)
    distinct, which = np.unique(before, return_inverse=True)
    return propagators(parameters.generator, distinct), which


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
    log_p: FloatArray = n * np.log(means)[:, None] - means[:, None] - gammaln(n + 1)
    return np.exp(log_p)


class CheckpointChain:
    """The ordinary chain: its ``dynamics`` are transition probabilities per checkpoint."""

    def __init__(self, options: ModelOptions) -> None:
        self._options = options

    def dynamics(self, parameters: HMMParameters) -> FloatArray:
        """What EM changes of the parameters, shape (K, K)."""
        return parameters.transmat

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
        """Replace log-densities by posteriors: see :func:`kernels.forward_backward`."""
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

    def written(self, parameters: HMMParameters, dynamics: FloatArray) -> HMMParameters:
        """Return the parameters with these dynamics."""
        return replace(parameters, transmat=dynamics)

    def floored(self, parameters: HMMParameters) -> HMMParameters:
        """Make nothing impossible but what the options exclude.

        A left-to-right chain keeps its zeros: every run can still happen, by staying.
        """
        transmat = _floor(parameters.transmat)
        if self._options.left_right:
            transmat = np.triu(transmat)
            transmat /= transmat.sum(axis=1, keepdims=True)
        return replace(parameters, startprob=_floor(parameters.startprob), transmat=transmat)


class ContinuousChain:
    """A chain in continuous time: its ``dynamics`` are the generator, in rates per unit.

    ``before`` (n,) are the gaps in units, by row of the data that EM sees. Stickiness κ is κ units
    of time spent in every state without a jump: it takes κ times the rate of leaving off the
    objective.
    """

    def __init__(self, options: ModelOptions, before: FloatArray) -> None:
        self._options = options
        self._distinct, which = np.unique(before, return_inverse=True)
        self._which: IntArray = which.astype(np.int64)

    def dynamics(self, parameters: HMMParameters) -> FloatArray:
        """What EM changes of the parameters, shape (K, K)."""
        if parameters.generator is None:
            raise AssertionError("a start for a chain in continuous time has a generator")
        return parameters.generator

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
        """Replace log-densities by posteriors: see :func:`kernels.forward_backward`."""
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
        return _generator(rates * np.minimum(1.0, MAX_RATE / np.maximum(leaving, 1e-300)))

    def written(self, parameters: HMMParameters, dynamics: FloatArray) -> HMMParameters:
        """Return the parameters with these dynamics."""
        transmat = propagators(dynamics, np.ones(1))[0]
        return replace(parameters, transmat=transmat, generator=dynamics)

    def floored(self, parameters: HMMParameters) -> HMMParameters:
        """Make nothing impossible but what the options exclude: see :class:`CheckpointChain`."""
        rates = np.maximum(self.dynamics(parameters), PROBABILITY_FLOOR)
        if self._options.left_right:
            rates = np.triu(rates)
        floored = self.written(parameters, _generator(rates))
        return replace(floored, startprob=_floor(parameters.startprob))


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
    generator = _generator(transmat)
    return replace(parameters, generator=generator, clock=options.clock, unit=unit)


def _generator(rates: FloatArray) -> FloatArray:
    """Set the diagonal of a matrix of rates so that its rows sum to zero."""
    generator = rates - np.diag(np.diag(rates))
    np.fill_diagonal(generator, -generator.sum(axis=1))
    return generator


def _floor(probabilities: FloatArray) -> FloatArray:
    floored = np.maximum(probabilities, PROBABILITY_FLOOR)
    normalised: FloatArray = floored / floored.sum(axis=-1, keepdims=True)
    return normalised
