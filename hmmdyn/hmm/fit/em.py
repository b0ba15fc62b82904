"""EM for many Gaussian hidden Markov models at once: all runs and all restarts together.

A Gaussian log-density is linear in φ(z) = (1, z, products of z), which makes those of all states
one matrix product (:mod:`hmmdyn.hmm.fit.densities`). What remains to be done model by model is
forward–backward, which is compiled, and the closed forms of the M-step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from hmmdyn.hmm.fit.chains import ChainStep, CheckpointChain, ContinuousChain, floored
from hmmdyn.hmm.fit.emissions import AutoregressiveEmissions, Emissions, EmissionStep
from hmmdyn.hmm.model.autoregression import predecessors
from hmmdyn.hmm.model.clock import gaps
from hmmdyn.hmm.model.emissions import joined
from hmmdyn.hmm.model.inference import most_likely_path
from hmmdyn.hmm.model.kernels import TimeMajor
from hmmdyn.hmm.model.labels import reorder, time_order
from hmmdyn.hmm.model.parts import assembled, emissions_of, transitions_of
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.observations import Sequences

# Added to every state's scatter before it is divided by the state's weight: Σ = (Q + ψI) / n.
# On standardised data it keeps a state of a few nearly equal checkpoints from a singular Σ.
COVARIANCE_PRIOR = 0.01
MAX_ITERATIONS = 500
# EM stops when the objective has less than this left to rise, in nats per checkpoint.
TOLERANCE = 3e-7
# Rises below this share of the objective are rounding.
_ROUNDING = 1e-12


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

    def in_time_order(self, lengths: IntArray) -> HMMParameters:
        """Return the parameters of a valid fit to runs of these lengths, states in time order."""
        if self.parameters is None or self.states is None:
            raise AssertionError("only valid fits represent a K")
        order = time_order(self.states, lengths, self.parameters.n_states)
        return reorder(self.parameters, order)


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

        Aitken's extrapolation (for EM: Böhning et al. 1994). A small last rise alone is no sign of
        the end, because EM crosses plateaus. Infinite while rises grow; NaN where the objective is.
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
    data : Sequences
        The runs. What is missing (NaN) is marginalised over.
    covariance_type : str
        ``diag`` or ``full``, of every model.
    compat : bool
        Use hmmlearn's formulas at its default settings: its prior is added to *every* entry of a
        full covariance, and what is monitored is the log-likelihood without the prior's penalty.
    options : ModelOptions
        Of every model; their starts must be made with the same ones.
    unit : float
        Of the options' clock, the same as the starts'.
    single : bool
        Take densities and moments in single precision where that brings models near their end
        quicker, see :class:`hmmdyn.hmm.fit.densities.Lifted`. The objective is then known to some
        1e-5 nats per checkpoint and may fall by as much: too little to judge a fit by.

    Notes
    -----
    The objective is log L - ψ/2 Σ_k tr(Σ_k⁻¹), with ψ = ``COVARIANCE_PRIOR``, and with stickiness
    κ also κ Σ_k log(probability to stay in k for one unit). EM never lowers it, and a fit in which
    it fell is not valid.
    """

    def __init__(
        self,
        data: Sequences,
        covariance_type: str,
        *,
        compat: bool = False,
        options: ModelOptions = PLAIN_MODEL,
        unit: float = 1.0,
        single: bool = False,
    ) -> None:
        self._data, self._options = data, options
        self._order = TimeMajor(data.lengths)
        values, rows = data.values, self._order.rows
        self._chain: ChainStep = CheckpointChain(options)
        if options.clock != "checkpoint":
            apart = gaps(options.clock, unit, data.steps, data.lengths)
            self._chain = ContinuousChain(options, apart[rows])
        self._emissions: EmissionStep[Any]
        if options.autoregressive:
            self._emissions = AutoregressiveEmissions(values[rows], predecessors(data)[rows])
        else:
            with np.errstate(all="ignore"):  # as in advance
                self._emissions = Emissions(values[rows], covariance_type, single=single)
        self._tolerance = TOLERANCE * len(values)
        self._compat = compat
        n_features = data.n_features
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
            for model in models:
                self._require_made_alike(model.parameters)
            going = [m for m in models if not until_converged or self._goes_on(m)]
            batch = _Batch(going)
            for _ in range(n_iterations):
                if not batch.models:
                    return
                self._iterate(batch)
                if until_converged:
                    batch = batch.only([self._goes_on(model) for model in batch.models])
            batch.write_back()

    def decode(self, model: Model) -> IntArray:
        """Most likely states of all checkpoints under the model as it is, shape (n,)."""
        return self._path(model.parameters, self._log_density(model.parameters))

    def judge(self, model: Model) -> Fit:
        """Compute the likelihood and path a model ends with, and say whether it is valid."""
        objective = tuple(model.objective)
        if not np.isfinite(objective).all():
            return Fit(
                None, None, np.nan, objective, "not finite: the data or a covariance overflow"
            )
        parameters = model.parameters if self._compat else self._floored(model.parameters)
        log_density = self._log_density(parameters)
        states = self._path(parameters, log_density)
        visited = len(np.unique(states))
        reason = ""
        if model.fell:
            reason = "the objective fell during EM"
        elif self._goes_on(model):
            reason = f"not converged after {len(objective)} iterations"
        elif visited < parameters.n_states:
            reason = f"only {visited} of {parameters.n_states} states are visited"
        log_likelihood, _, _ = self._chain.smooth(
            log_density,
            parameters.startprob,
            self._chain.matrices(transitions_of(parameters).dynamics),
            self._order.begins,
        )
        return Fit(parameters, states, log_likelihood, objective, reason)

    def _require_made_alike(self, parameters: HMMParameters) -> None:
        """Require a start to be of the variant that is fitted."""
        counts_time = transitions_of(parameters).counts_time
        remembers = emissions_of(parameters).remembers
        fitted = self._options.clock != "checkpoint", self._options.autoregressive
        if (counts_time, remembers) != fitted:
            raise AssertionError("a start must be made with the options of the EM that fits it")

    def _floored(self, parameters: HMMParameters) -> HMMParameters:
        """Make nothing impossible but what the options exclude."""
        transitions = transitions_of(parameters)
        dynamics = self._chain.floored(transitions.dynamics)
        startprob = floored(parameters.startprob)
        return assembled(startprob, transitions.with_dynamics(dynamics), emissions_of(parameters))

    def _goes_on(self, model: Model) -> bool:
        return bool(model.left_to_rise >= self._tolerance)  # NaN does not go on

    def _log_density(self, parameters: HMMParameters) -> FloatArray:
        log_density = self._emissions.log_density(emissions_of(parameters))
        return log_density.astype(np.float64, copy=False)

    def _path(self, parameters: HMMParameters, log_density: FloatArray) -> IntArray:
        pooled = np.empty_like(log_density)
        pooled[:, self._order.rows] = log_density
        return most_likely_path(parameters, pooled, self._data)

    def _iterate(self, batch: _Batch) -> None:
        """Do one iteration of EM on every model."""
        penalty = 0.5 * COVARIANCE_PRIOR * _precision_trace(batch.emissions.covariances)
        if self._compat:
            penalty = np.zeros_like(penalty)
        posterior = self._emissions.log_density(batch.emissions)
        for m, (model, states) in enumerate(zip(batch.models, batch.states, strict=True)):
            dynamics = batch.dynamics[m]
            matrices = self._chain.matrices(dynamics)
            # Single precision has the digits for densities, but not the range for their products.
            smoothed = posterior[states].astype(np.float64, copy=False)
            log_likelihood, transitions, first = self._chain.smooth(
                smoothed, batch.startprob[m], matrices, self._order.begins
            )
            if posterior.dtype == np.float32:
                posterior[states] = smoothed
            log_prior = self._chain.log_prior(dynamics) - penalty[states].sum()
            model.objective.append(float(log_likelihood + log_prior))
            batch.startprob[m] = first / first.sum()
            batch.dynamics[m] = self._chain.maximise(dynamics, matrices, transitions)
        self._emissions.maximise(posterior, batch.emissions, self._scatter_prior)


def fit(
    data: Sequences,
    starts: Sequence[HMMParameters],
    *,
    compat: bool = False,
    options: ModelOptions = PLAIN_MODEL,
) -> list[Fit]:
    """Fit models by penalised EM to all runs jointly, each from its start to its end.

    Parameters
    ----------
    data : Sequences
        The runs.
    starts : sequence of HMMParameters
        All of one covariance type, and made with the same options; their K may differ.
    compat : bool
        As in :class:`EM`.
    options : ModelOptions
        What the models assume beyond the plain hidden Markov model.
    """
    em = EM(
        data,
        starts[0].covariance_type,
        compat=compat,
        options=options,
        unit=starts[0].unit,
    )
    models = [Model(start) for start in starts]
    em.advance(models, MAX_ITERATIONS)
    return [em.judge(model) for model in models]


class _Batch:
    """Models side by side: the states of all of them are the rows of one array."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = list(models)
        parameters = [model.parameters for model in models]
        self._transitions = [transitions_of(p) for p in parameters]
        self.startprob = [p.startprob for p in parameters]
        self.dynamics = [transitions.dynamics for transitions in self._transitions]
        bounds = np.cumsum([0, *(p.n_states for p in parameters)])
        self.states = [slice(a, b) for a, b in pairwise(bounds)]
        if parameters:
            self.emissions = joined([emissions_of(p) for p in parameters])

    def only(self, chosen: Sequence[bool]) -> _Batch:
        """Return the models that go on; the others are given what they have reached."""
        if all(chosen):
            return self
        self.write_back()
        going = [model for model, go in zip(self.models, chosen, strict=True) if go]
        return _Batch(going)

    def write_back(self) -> None:
        """Give every model the parameters it has reached."""
        for m, (model, states) in enumerate(zip(self.models, self.states, strict=True)):
            model.parameters = assembled(
                self.startprob[m],
                self._transitions[m].with_dynamics(self.dynamics[m]),
                self.emissions.among(np.arange(states.start, states.stop)),
            )


def _precision_trace(covariances: FloatArray) -> FloatArray:
    """Trace of the inverse of each covariance, shape (S,)."""
    if covariances.ndim == 2:
        return np.asarray((1 / covariances).sum(axis=1))
    return np.asarray(np.trace(np.linalg.inv(covariances), axis1=1, axis2=2))
