"""EM for many Gaussian hidden Markov models at once: all runs and all restarts together.

A Gaussian log-density is linear in φ(z) = (1, z, products of z). With Φ the matrix of lifted
observations, the log-densities of every state of every model are one matrix product, and so are
the sufficient statistics γΦ. What remains per model is forward–backward, which is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmmdyn.hmm.inference import decode
from hmmdyn.hmm.kernels import forward_backward
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
    ``objective``: what EM raised, before each iteration. ``reason`` says why a fit is not valid; a
    valid one is finite, visits every state and stopped by tolerance.
    """

    parameters: HMMParameters | None
    states: IntArray | None
    log_likelihood: float
    objective: tuple[float, ...]
    reason: str

    @property
    def valid(self) -> bool:
        """Whether the fit may represent its K."""
        return not self.reason


def fit(
    values: FloatArray,
    lengths: IntArray,
    starts: Sequence[HMMParameters],
    *,
    on_finished: Callable[[int], None] = lambda n: None,
) -> list[Fit]:
    """Fit models by penalised EM (Baum–Welch) to all runs jointly, each from its start.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Standardised observations, runs contiguous.
    lengths : ndarray, shape (R,)
        Checkpoints per run.
    starts : sequence of HMMParameters
        All of one covariance type; K may differ.
    on_finished : callable
        Called with the number of models that have just been finished.

    Notes
    -----
    The objective is log L - ψ/2 Σ_k tr(Σ_k⁻¹), with ψ = ``COVARIANCE_PRIOR``; EM never lowers it,
    and a fit in which it fell is not valid.
    """
    with np.errstate(all="ignore"):  # what is not finite ends its model, and is named as the reason
        lifted = Lifted(values, starts[0].covariance_type)
        ends = np.cumsum(lengths)
        models = [_Model(start) for start in starts]
        batch = _Batch(models)
        for _ in range(MAX_ITERATIONS):
            before = len(batch.models)
            batch.iterate(lifted, ends)
            batch = batch.without_finished(tolerance=TOLERANCE * len(values))
            on_finished(before - len(batch.models))
            if not batch.models:
                break
        on_finished(len(batch.models))
        batch.write_back()
        return [_judged(model, values, lengths, lifted, ends) for model in models]


class Lifted:
    """Observations lifted to φ(z), shape (n, P): 1, z, then z² (diag) or vech(z zᵀ) (full)."""

    def __init__(self, values: FloatArray, covariance_type: str) -> None:
        n, d = values.shape
        self.covariance_type = covariance_type
        self.n_features = d
        self._pairs = np.triu_indices(d) if covariance_type == "full" else (np.arange(d),) * 2
        self.phi = np.empty((n, 1 + d + len(self._pairs[0])))
        self.phi[:, 0] = 1
        self.phi[:, 1 : 1 + d] = values
        np.multiply(values[:, self._pairs[0]], values[:, self._pairs[1]], out=self.phi[:, 1 + d :])

    def log_density(self, means: FloatArray, covariances: FloatArray) -> FloatArray:
        """Gaussian log-densities under S states, shape (S, n), nats.

        ``means`` (S, D); ``covariances`` (S, D) or (S, D, D). NaN for a state whose covariance is
        not positive definite.
        """
        if self.covariance_type == "diag":
            precision: NDArray[Any] = 1 / covariances
            log_determinant: NDArray[Any] = np.log(covariances).sum(axis=1)
            linear = precision * means
            quadratic = -0.5 * precision
        else:
            sign, magnitude = np.linalg.slogdet(covariances)
            log_determinant = np.where(sign > 0, magnitude, np.nan)
            precision = np.linalg.inv(covariances)
            linear = (precision @ means[:, :, None])[:, :, 0]
            rows, columns = self._pairs
            quadratic = np.where(rows == columns, -0.5, -1.0) * precision[:, rows, columns]
        normaliser = self.n_features * np.log(2 * np.pi) + log_determinant
        constant = -0.5 * (normaliser + (linear * means).sum(axis=1))
        return np.concatenate([constant[:, None], linear, quadratic], axis=1) @ self.phi.T

    def moments(self, posterior: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Weighted counts (S,), sums (S, D) and sums of products (S, D) or (S, D, D).

        ``posterior`` has shape (S, n).
        """
        d = self.n_features
        statistics = posterior @ self.phi
        products = statistics[:, 1 + d :]
        if self.covariance_type == "full":
            square = np.empty((len(statistics), d, d))
            square[:, self._pairs[0], self._pairs[1]] = products
            square[:, self._pairs[1], self._pairs[0]] = products
            products = square
        return statistics[:, 0], statistics[:, 1 : 1 + d], products


class _Model:
    """One model on its way: where EM has brought it, and how."""

    def __init__(self, start: HMMParameters) -> None:
        self.parameters = start
        self.objective: list[float] = []

    @property
    def rise(self) -> float:
        """By how much the last iteration but one raised the objective."""
        return self.objective[-1] - self.objective[-2] if len(self.objective) > 1 else np.inf

    @property
    def fell(self) -> bool:
        objective = np.array(self.objective)
        return bool((np.diff(objective) < -1e-7 * np.abs(objective[1:])).any())


class _Batch:
    """Models side by side: the states of all of them are the rows of one array."""

    def __init__(self, models: Sequence[_Model]) -> None:
        self.models = list(models)
        parameters = [model.parameters for model in models]
        self.startprob = [p.startprob for p in parameters]
        self.transmat = [p.transmat for p in parameters]
        bounds = np.cumsum([0, *(p.n_states for p in parameters)])
        self.states = [slice(a, b) for a, b in pairwise(bounds)]
        if parameters:
            self.means = np.concatenate([p.means for p in parameters])
            self.covariances = np.concatenate([p.covariances for p in parameters])

    def iterate(self, lifted: Lifted, ends: IntArray) -> None:
        """Do one iteration of EM on every model."""
        penalty = 0.5 * COVARIANCE_PRIOR * _precision_trace(self.covariances)
        posterior = lifted.log_density(self.means, self.covariances)
        for m, (model, states) in enumerate(zip(self.models, self.states, strict=True)):
            transitions, first = np.zeros_like(self.transmat[m]), np.zeros_like(self.startprob[m])
            log_likelihood = forward_backward(
                posterior[states], self.startprob[m], self.transmat[m], ends, transitions, first
            )
            model.objective.append(float(log_likelihood - penalty[states].sum()))
            self.startprob[m] = first / first.sum()
            # A state only ever left by the end of a run has no transition to count.
            leaving = transitions.sum(axis=1, keepdims=True)
            self.transmat[m] = np.where(leaving > 0, transitions / leaving, self.transmat[m])
        self._maximise(*lifted.moments(posterior))

    def _maximise(self, count: FloatArray, total: FloatArray, products: FloatArray) -> None:
        """Set means and covariances, Σ = (Q + ψI) / n; a starved state keeps its own."""
        fed = count > _STARVED
        n = np.where(fed, count, 1.0)[:, None]
        means = total / n
        if self.covariances.ndim == 2:
            covariances = (products - n * means**2 + COVARIANCE_PRIOR) / n
        else:
            outer = means[:, :, None] * means[:, None, :]
            prior = COVARIANCE_PRIOR * np.eye(means.shape[1])
            covariances = (products - n[..., None] * outer + prior) / n[..., None]
        self.means[fed] = means[fed]
        self.covariances[fed] = covariances[fed]

    def without_finished(self, tolerance: float) -> _Batch:
        """Return the models that go on; those that have converged or failed get their result."""
        going = [bool(model.rise >= tolerance) for model in self.models]  # NaN does not go on
        if all(going):
            return self
        self.write_back()
        return _Batch([model for model, goes_on in zip(self.models, going, strict=True) if goes_on])

    def write_back(self) -> None:
        """Give every model the parameters it has reached."""
        for m, (model, states) in enumerate(zip(self.models, self.states, strict=True)):
            model.parameters = HMMParameters(
                self.startprob[m],
                self.transmat[m],
                self.means[states].copy(),
                self.covariances[states].copy(),
                model.parameters.covariance_type,
            )


def _precision_trace(covariances: FloatArray) -> FloatArray:
    """Trace of the inverse of each covariance, shape (S,)."""
    if covariances.ndim == 2:
        return (1 / covariances).sum(axis=1)
    return np.trace(np.linalg.inv(covariances), axis1=1, axis2=2)


def _judged(
    model: _Model, values: FloatArray, lengths: IntArray, lifted: Lifted, ends: IntArray
) -> Fit:
    """Compute the likelihood and path a model ends with, and say whether it is valid."""
    objective = tuple(model.objective)
    if not np.isfinite(objective).all():
        return Fit(None, None, np.nan, objective, "not finite: the data or a covariance overflow")
    reached = model.parameters
    parameters = HMMParameters(
        _floored(reached.startprob),
        _floored(reached.transmat),
        reached.means,
        reached.covariances,
        reached.covariance_type,
    )
    log_likelihood = forward_backward(
        lifted.log_density(parameters.means, parameters.covariances),
        parameters.startprob,
        parameters.transmat,
        ends,
        np.zeros_like(parameters.transmat),
        np.zeros_like(parameters.startprob),
    )
    states = decode(parameters, values, lengths)
    visited = len(np.unique(states))
    reason = ""
    if model.fell:
        reason = "the objective fell during EM"
    elif not model.rise < TOLERANCE * len(values):
        reason = f"not converged after {MAX_ITERATIONS} iterations"
    elif visited < parameters.n_states:
        reason = f"only {visited} of {parameters.n_states} states are visited"
    return Fit(parameters, states, float(log_likelihood), objective, reason)


def _floored(probabilities: FloatArray) -> FloatArray:
    floored = np.maximum(probabilities, PROBABILITY_FLOOR)
    return floored / floored.sum(axis=-1, keepdims=True)
