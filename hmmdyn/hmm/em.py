"""EM for many Gaussian hidden Markov models at once: all runs and all restarts together.

A Gaussian log-density is linear in φ(z) = (1, z, products of z), see ``lifted.py``. What remains
per model is forward–backward, which is compiled, and the closed forms of the M-step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hmmdyn.hmm.inference import decode
from hmmdyn.hmm.kernels import TimeMajor, forward_backward
from hmmdyn.hmm.lifted import Lifted
from hmmdyn.results import FloatArray, HMMParameters, IntArray

# Added to every state's scatter before it is divided by the state's weight: Σ = (Q + ψI) / n.
# On standardised data it keeps a state of a few nearly equal checkpoints from a singular Σ.
COVARIANCE_PRIOR = 0.01
MAX_ITERATIONS = 500
# EM stops when the objective has less than this left to rise, in nats per checkpoint.
TOLERANCE = 1e-6
# Rises below this share of the objective are rounding.
_ROUNDING = 1e-12
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


class Model:
    """One model on its way: where EM has brought it, and how."""

    def __init__(self, start: HMMParameters) -> None:
        self.parameters = start
        self.objective: list[float] = []

    @property
    def reached(self) -> float:
        """The objective, -inf where it is not known or not finite."""
        known = bool(self.objective) and np.isfinite(self.objective[-1])
        return self.objective[-1] if known else -np.inf

    @property
    def left_to_rise(self) -> float:
        """How much the objective will still rise if its rises go on shrinking as they do.

        Aitken's extrapolation (for EM: Böhning et al. 1994). That the last rise was small does not
        tell: EM crosses plateaus. Infinite while rises grow; NaN where the objective is.
        """
        if len(self.objective) < 3:
            return np.inf if np.isfinite(self.objective).all() else np.nan
        before, last = np.diff(self.objective[-3:])
        if last < _ROUNDING * abs(self.objective[-1]):
            return 0.0
        return float(last**2 / (before - last)) if last < before else np.inf

    @property
    def fell(self) -> bool:
        """Whether the objective ever fell by more than rounding."""
        objective = np.array(self.objective)
        return bool((np.diff(objective) < -1e-7 * np.abs(objective[1:])).any())


class EM:
    """Expectation maximisation (Baum–Welch) on given runs.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Standardised observations, runs contiguous; NaN where a metric is missing, over which is
        marginalised.
    lengths : ndarray, shape (R,)
        Checkpoints per run.
    covariance_type : str
        ``diag`` or ``full``, of every model.
    compat : bool
        Use hmmlearn's formulas at its default settings: its prior is added to *every* entry of a
        full covariance, and what is monitored is the log-likelihood without the prior's penalty.

    Notes
    -----
    The objective is log L - ψ/2 Σ_k tr(Σ_k⁻¹), with ψ = ``COVARIANCE_PRIOR``; EM never lowers it,
    and a fit in which it fell is not valid.
    """

    def __init__(
        self,
        values: FloatArray,
        lengths: IntArray,
        covariance_type: str,
        *,
        compat: bool = False,
    ) -> None:
        self._values = values
        self._lengths = lengths
        self._order = TimeMajor(lengths)
        with np.errstate(all="ignore"):  # as in advance
            self._lifted = Lifted(values[self._order.rows], covariance_type)
        self._tolerance = TOLERANCE * len(values)
        self._compat = compat
        n_features = values.shape[1]
        everywhere = compat or covariance_type == "diag"
        shape = (n_features,) * (1 if covariance_type == "diag" else 2)
        self._scatter_prior: FloatArray = COVARIANCE_PRIOR * (
            np.ones(shape) if everywhere else np.eye(n_features)
        )

    def advance(
        self, models: Sequence[Model], n_iterations: int, *, until_converged: bool = True
    ) -> None:
        """Do up to so many iterations on each model; one that has converged stays as it is."""
        # What is not finite ends its model, and is named as the reason.
        with np.errstate(all="ignore"):
            batch = _Batch([m for m in models if not until_converged or self._goes_on(m)])
            for _ in range(n_iterations):
                if not batch.models:
                    return
                self._iterate(batch)
                if until_converged:
                    batch = batch.only([self._goes_on(model) for model in batch.models])
            batch.write_back()

    def decode(self, model: Model) -> IntArray:
        """Most likely states of all checkpoints under the model as it is, shape (n,)."""
        return decode(model.parameters, self._values, self._lengths)

    def judge(self, model: Model) -> Fit:
        """Compute the likelihood and path a model ends with, and say whether it is valid."""
        objective = tuple(model.objective)
        if not np.isfinite(objective).all():
            return Fit(
                None, None, np.nan, objective, "not finite: the data or a covariance overflow"
            )
        parameters = model.parameters if self._compat else _floored(model.parameters)
        states = decode(parameters, self._values, self._lengths)
        visited = len(np.unique(states))
        reason = ""
        if model.fell:
            reason = "the objective fell during EM"
        elif self._goes_on(model):
            reason = f"not converged after {len(objective)} iterations"
        elif visited < parameters.n_states:
            reason = f"only {visited} of {parameters.n_states} states are visited"
        return Fit(parameters, states, self._log_likelihood(parameters), objective, reason)

    def _goes_on(self, model: Model) -> bool:
        return bool(model.left_to_rise >= self._tolerance)  # NaN does not go on

    def _log_likelihood(self, parameters: HMMParameters) -> float:
        log_likelihood, _, _ = forward_backward(
            self._lifted.log_density(parameters.means, parameters.covariances),
            parameters.startprob,
            parameters.transmat,
            self._order.begins,
        )
        return log_likelihood

    def _iterate(self, batch: _Batch) -> None:
        """Do one iteration of EM on every model."""
        penalty = 0.5 * COVARIANCE_PRIOR * _precision_trace(batch.covariances)
        if self._compat:
            penalty = np.zeros_like(penalty)
        posterior = self._lifted.log_density(batch.means, batch.covariances)
        for m, (model, states) in enumerate(zip(batch.models, batch.states, strict=True)):
            startprob, transmat = batch.startprob[m], batch.transmat[m]
            log_likelihood, transitions, first = forward_backward(
                posterior[states], startprob, transmat, self._order.begins
            )
            model.objective.append(float(log_likelihood - penalty[states].sum()))
            batch.startprob[m] = first / first.sum()
            # A state only ever left by the end of a run has no transition to count.
            leaving = transitions.sum(axis=1, keepdims=True)
            batch.transmat[m] = np.where(leaving > 0, transitions / leaving, transmat)
        count, total, products = self._lifted.moments(posterior, batch.means, batch.covariances)
        batch.maximise(count, total, products, self._scatter_prior)


def fit(
    values: FloatArray,
    lengths: IntArray,
    starts: Sequence[HMMParameters],
    *,
    compat: bool = False,
) -> list[Fit]:
    """Fit models by penalised EM to all runs jointly, each from its start to its end.

    ``starts`` are all of one covariance type; their K may differ. See :class:`EM`.
    """
    em = EM(values, lengths, starts[0].covariance_type, compat=compat)
    models = [Model(start) for start in starts]
    em.advance(models, MAX_ITERATIONS)
    return [em.judge(model) for model in models]


class _Batch:
    """Models side by side: the states of all of them are the rows of one array."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = list(models)
        parameters = [model.parameters for model in models]
        self.startprob = [p.startprob for p in parameters]
        self.transmat = [p.transmat for p in parameters]
        bounds = np.cumsum([0, *(p.n_states for p in parameters)])
        self.states = [slice(a, b) for a, b in pairwise(bounds)]
        if parameters:
            self.means = np.concatenate([p.means for p in parameters])
            self.covariances = np.concatenate([p.covariances for p in parameters])

    def maximise(
        self, count: FloatArray, total: FloatArray, products: FloatArray, prior: FloatArray
    ) -> None:
        """Set means and covariances, Σ = (Q + ψ) / n; a starved state keeps its own."""
        fed = count > _STARVED
        n = np.where(fed, count, 1.0)[:, None]
        means = total / n
        if self.covariances.ndim == 2:
            covariances = (products - n * means**2 + prior) / n
        else:
            outer = means[:, :, None] * means[:, None, :]
            covariances = (products - n[..., None] * outer + prior) / n[..., None]
        self.means[fed] = means[fed]
        self.covariances[fed] = covariances[fed]

    def only(self, chosen: Sequence[bool]) -> _Batch:
        """Return the models that go on; the others are given what they have reached."""
        if all(chosen):
            return self
        self.write_back()
        return _Batch([model for model, go in zip(self.models, chosen, strict=True) if go])

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


def _floored(parameters: HMMParameters) -> HMMParameters:
    return HMMParameters(
        _floor(parameters.startprob),
        _floor(parameters.transmat),
        parameters.means,
        parameters.covariances,
        parameters.covariance_type,
    )


def _floor(probabilities: FloatArray) -> FloatArray:
    floored = np.maximum(probabilities, PROBABILITY_FLOOR)
    return floored / floored.sum(axis=-1, keepdims=True)
