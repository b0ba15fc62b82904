"""Fitting a Gaussian hidden Markov model by EM: the one place that knows hmmlearn.

hmmlearn does the iterations; this module guards against what it lets pass: an exhausted iteration
budget counted as convergence, a state without checkpoints turning into NaN, a falling objective
that is only logged, and a scalar covariance prior that enters the off-diagonals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hmmlearn.base import ConvergenceMonitor
from hmmlearn.hmm import GaussianHMM

from hmmdyn.hmm.inference import beliefs, decode
from hmmdyn.results import FloatArray, HMMParameters, IntArray

# Added to every state's scatter before it is divided by the state's weight: Σ = (Q + ψI) / n.
# On standardised data it keeps a state of a few nearly equal checkpoints from a singular Σ.
COVARIANCE_PRIOR = 0.01
MAX_ITERATIONS = 500
# EM stops when the objective rises by less than this, in nats per checkpoint.
TOLERANCE = 1e-6
# Probabilities are kept above this after the fit, so that a run which takes a transition never
# seen in the fitted ones is improbable (-23 nats) rather than impossible (-inf).
PROBABILITY_FLOOR = 1e-10
# A state that holds less than this many checkpoints in expectation keeps its parameters.
_STARVED = 1e-3


@dataclass(frozen=True)
class Fit:
    """Outcome of one EM run.

    ``parameters`` and ``states`` (most likely path, shape (n,)) are None only where the fit turned
    non-finite. ``log_likelihood`` in nats (without the prior's penalty), NaN where not finite.
    ``reason`` says why a fit is not valid; a valid one is finite, visits every state and stopped
    by tolerance.
    """

    parameters: HMMParameters | None
    states: IntArray | None
    log_likelihood: float
    n_iterations: int
    reason: str

    @property
    def valid(self) -> bool:
        """Whether the fit may represent its K."""
        return not self.reason


def fit(values: FloatArray, lengths: IntArray, start: HMMParameters) -> Fit:
    """Fit by penalised EM (Baum–Welch) to all runs jointly, from the given start.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Standardised observations, runs contiguous.
    lengths : ndarray, shape (R,)
        Checkpoints per run.
    start : HMMParameters
        Where EM starts; gives K and the covariance type.

    Notes
    -----
    The objective is log L - ψ/2 Σ_k tr(Σ_k⁻¹), with ψ = ``COVARIANCE_PRIOR``; EM never lowers it,
    and a fit in which it fell is not valid.
    """
    model = _GuardedHMM.start_from(start, tolerance=TOLERANCE * len(values))
    with np.errstate(all="ignore"):  # what is not finite is found below, not by NumPy's warnings
        try:
            model.fit(values, lengths)
        except (ValueError, np.linalg.LinAlgError) as error:
            return Fit(None, None, np.nan, model.monitor_.iter, f"not finite: {error}")
    parameters = model.parameters()
    if not _finite(parameters):
        return Fit(None, None, np.nan, model.monitor_.iter, "not finite: a parameter is NaN")
    log_likelihood = float(beliefs(parameters, values, lengths).log_likelihood.sum())
    states = decode(parameters, values, lengths)
    visited = len(np.unique(states))
    reason = ""
    if model.monitor_.fell:
        reason = "the objective fell during EM"
    elif not model.monitor_.stopped_by_tolerance:
        reason = f"not converged after {MAX_ITERATIONS} iterations"
    elif visited < parameters.n_states:
        reason = f"only {visited} of {parameters.n_states} states are visited"
    return Fit(parameters, states, log_likelihood, model.monitor_.iter, reason)


def n_parameters(n_states: int, n_features: int, covariance_type: str) -> int:
    """Count the free parameters of the model (METHOD: (K-1) + K(K-1) + KD + covariances)."""
    per_covariance = n_features if covariance_type == "diag" else n_features * (n_features + 1) // 2
    return (n_states - 1) + n_states * (n_states - 1) + n_states * (n_features + per_covariance)


class _Monitor(ConvergenceMonitor):
    """Stops by tolerance, and remembers whether it did and whether the objective ever fell."""

    fell = False

    def report(self, log_prob: float) -> None:
        # hmmlearn's own report() logs a fall; here it is recorded and makes the fit invalid.
        if self.history and log_prob < self.history[-1] - 1e-7 * abs(self.history[-1]):
            self.fell = True
        self.history.append(log_prob)
        self.iter += 1

    @property
    def stopped_by_tolerance(self) -> bool:
        return len(self.history) >= 2 and self.history[-1] - self.history[-2] < self.tol

    @property
    def converged(self) -> bool:
        return self.stopped_by_tolerance


class _GuardedHMM(GaussianHMM):
    """hmmlearn's model with a matrix prior, a penalised objective and states that cannot starve."""

    @classmethod
    def start_from(cls, start: HMMParameters, tolerance: float) -> _GuardedHMM:
        n_features = start.means.shape[1]
        prior: float | FloatArray = COVARIANCE_PRIOR
        if start.covariance_type == "full":
            prior = COVARIANCE_PRIOR * np.eye(n_features)
        model = cls(
            start.n_states,
            covariance_type=start.covariance_type,
            covars_prior=prior,
            covars_weight=1,
            init_params="",
            n_iter=MAX_ITERATIONS,
        )
        model.monitor_ = _Monitor(tolerance, MAX_ITERATIONS, False)
        model.startprob_ = start.startprob.copy()
        model.transmat_ = start.transmat.copy()
        model.means_ = start.means.copy()
        model.covars_ = start.covariances.copy()
        return model

    def parameters(self) -> HMMParameters:
        return HMMParameters(
            startprob=_floored(self.startprob_),
            transmat=_floored(self.transmat_),
            means=self.means_.copy(),
            covariances=self._covars_.copy(),
            covariance_type=self.covariance_type,
        )

    def _compute_lower_bound(self, curr_logprob: float) -> float:
        if self.covariance_type == "diag":
            precision_trace = (1 / self._covars_).sum()
        else:
            precision_trace = np.trace(np.linalg.inv(self._covars_), axis1=1, axis2=2).sum()
        return curr_logprob - 0.5 * COVARIANCE_PRIOR * precision_trace

    def _do_mstep(self, stats: dict) -> None:
        before = (self.means_, self._covars_, self.transmat_)
        super()._do_mstep(stats)
        starved = stats["post"] < _STARVED
        self.means_[starved] = before[0][starved]
        self._covars_[starved] = before[1][starved]
        # A state only ever left by the end of a run has no transition to count either.
        no_exit = stats["trans"].sum(axis=1) <= 0
        self.transmat_[starved | no_exit] = before[2][starved | no_exit]


def _floored(probabilities: FloatArray) -> FloatArray:
    floored = np.maximum(probabilities, PROBABILITY_FLOOR)
    return floored / floored.sum(axis=-1, keepdims=True)


def _finite(parameters: HMMParameters) -> bool:
    return all(
        np.isfinite(array).all()
        for array in (
            parameters.startprob,
            parameters.transmat,
            parameters.means,
            parameters.covariances,
        )
    )
