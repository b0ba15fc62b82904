"""EM for many Gaussian hidden Markov models at once: all runs and all restarts together.

A Gaussian log-density is linear in φ(z) = (1, z, products of z), see ``lifted.py``. What remains
per model is forward–backward, which is compiled, and the closed forms of the M-step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hmmdyn.hmm.fit.emissions import AutoregressiveEmissions, EmissionParameters, Emissions
from hmmdyn.hmm.model.autoregression import predecessors
from hmmdyn.hmm.model.chain import CheckpointChain, ContinuousChain, gaps
from hmmdyn.hmm.model.inference import most_likely_path
from hmmdyn.hmm.model.kernels import TimeMajor
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions

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
    options : ModelOptions
        Of every model; their starts must be made with the same ones.
    steps : ndarray, shape (n,), optional
        Of the checkpoints; needed for a clock other than ``checkpoint``.
    unit : float
        Of that clock, the same as the starts'.
    single : bool
        Take densities and moments in single precision where that brings models near their end
        quicker, see :class:`Lifted`. The objective is then known to some 1e-5 nats per checkpoint
        and may fall by as much: too little to judge a fit by.

    Notes
    -----
    The objective is log L - ψ/2 Σ_k tr(Σ_k⁻¹), with ψ = ``COVARIANCE_PRIOR``, and with stickiness
    κ also κ Σ_k log(probability to stay in k for one unit). EM never lowers it, and a fit in which
    it fell is not valid.
    """

    def __init__(
        self,
        values: FloatArray,
        lengths: IntArray,
        covariance_type: str,
        *,
        compat: bool = False,
        options: ModelOptions = PLAIN_MODEL,
        steps: IntArray | None = None,
        unit: float = 1.0,
        single: bool = False,
    ) -> None:
        self._values = values
        self._lengths = lengths
        self._steps = steps
        self._order = TimeMajor(lengths)
        rows = self._order.rows
        self._chain: CheckpointChain | ContinuousChain = CheckpointChain(options)
        if options.clock != "checkpoint":
            apart = gaps(options.clock, unit, steps, lengths)
            self._chain = ContinuousChain(options, apart[rows])
        self._emissions: Emissions | AutoregressiveEmissions
        if options.autoregressive:
            before = predecessors(values, lengths)
            self._emissions = AutoregressiveEmissions(values[rows], before[rows])
        else:
            with np.errstate(all="ignore"):  # as in advance
                self._emissions = Emissions(values[rows], covariance_type, single=single)
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
            going = [m for m in models if not until_converged or self._goes_on(m)]
            batch = _Batch(going, self._chain)
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
        parameters = model.parameters if self._compat else self._chain.floored(model.parameters)
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
            self._chain.matrices(self._chain.dynamics(parameters)),
            self._order.begins,
        )
        return Fit(parameters, states, log_likelihood, objective, reason)

    def _goes_on(self, model: Model) -> bool:
        return bool(model.left_to_rise >= self._tolerance)  # NaN does not go on

    def _log_density(self, parameters: HMMParameters) -> FloatArray:
        log_density = self._emissions.log_density(EmissionParameters.of([parameters]))
        return log_density.astype(np.float64, copy=False)

    def _path(self, parameters: HMMParameters, log_density: FloatArray) -> IntArray:
        pooled = np.empty_like(log_density)
        pooled[:, self._order.rows] = log_density
        return most_likely_path(parameters, pooled, self._lengths, self._steps)

    def _iterate(self, batch: _Batch) -> None:
        """Do one iteration of EM on every model."""
        penalty = 0.5 * COVARIANCE_PRIOR * _precision_trace(batch.emitting.covariances)
        if self._compat:
            penalty = np.zeros_like(penalty)
        posterior = self._emissions.log_density(batch.emitting)
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
        self._emissions.maximise(posterior, batch.emitting, self._scatter_prior)


def fit(
    values: FloatArray,
    lengths: IntArray,
    starts: Sequence[HMMParameters],
    *,
    compat: bool = False,
    options: ModelOptions = PLAIN_MODEL,
    steps: IntArray | None = None,
) -> list[Fit]:
    """Fit models by penalised EM to all runs jointly, each from its start to its end.

    ``starts`` are all of one covariance type; their K may differ. See :class:`EM`.
    """
    em = EM(
        values,
        lengths,
        starts[0].covariance_type,
        compat=compat,
        options=options,
        steps=steps,
        unit=starts[0].unit,
    )
    models = [Model(start) for start in starts]
    em.advance(models, MAX_ITERATIONS)
    return [em.judge(model) for model in models]


class _Batch:
    """Models side by side: the states of all of them are the rows of one array."""

    def __init__(self, models: Sequence[Model], chain: CheckpointChain | ContinuousChain) -> None:
        self.models = list(models)
        self._chain = chain
        parameters = [model.parameters for model in models]
        self.startprob = [p.startprob for p in parameters]
        self.dynamics = [chain.dynamics(p) for p in parameters]
        bounds = np.cumsum([0, *(p.n_states for p in parameters)])
        self.states = [slice(a, b) for a, b in pairwise(bounds)]
        if parameters:
            self.emitting = EmissionParameters.of(parameters)

    def only(self, chosen: Sequence[bool]) -> _Batch:
        """Return the models that go on; the others are given what they have reached."""
        if all(chosen):
            return self
        self.write_back()
        going = [model for model, go in zip(self.models, chosen, strict=True) if go]
        return _Batch(going, self._chain)

    def write_back(self) -> None:
        """Give every model the parameters it has reached."""
        for m, (model, states) in enumerate(zip(self.models, self.states, strict=True)):
            reached = replace(
                model.parameters,
                startprob=self.startprob[m],
            )
            reached = self.emitting.written(reached, states)
            model.parameters = self._chain.written(reached, self.dynamics[m])


def _precision_trace(covariances: FloatArray) -> FloatArray:
    """Trace of the inverse of each covariance, shape (S,)."""
    if covariances.ndim == 2:
        trace: FloatArray = (1 / covariances).sum(axis=1)
    else:
        trace = np.trace(np.linalg.inv(covariances), axis1=1, axis2=2)
    return trace
