"""What states emit: the emissions' part of EM, for the states of many models at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hmmdyn.hmm.autoregressive import expected, maximise
from hmmdyn.hmm.inference import log_density
from hmmdyn.hmm.lifted import Lifted
from hmmdyn.hmm.missing import patterns
from hmmdyn.results import FloatArray, HMMParameters

# A state that holds less than this many checkpoints in expectation keeps its parameters.
_STARVED = 1e-3


@dataclass
class EmissionParameters:
    """What the states of several models emit: the rows of common arrays, changed in place.

    ``means`` (S, D), ``covariances`` (S, D) or (S, D, D), ``autoregression`` (S, D) where the
    emissions remember.
    """

    means: FloatArray
    covariances: FloatArray
    autoregression: FloatArray | None

    @classmethod
    def of(cls, parameters: Sequence[HMMParameters]) -> EmissionParameters:
        """Gather the states of models that either all remember or all do not."""
        remembered = [p.autoregression for p in parameters if p.autoregression is not None]
        return cls(
            np.concatenate([p.means for p in parameters]),
            np.concatenate([p.covariances for p in parameters]),
            np.concatenate(remembered) if remembered else None,
        )

    def written(self, parameters: HMMParameters, states: slice) -> HMMParameters:
        """Return a model's parameters with copies of its own rows."""
        rho = self.autoregression
        return replace(
            parameters,
            means=self.means[states].copy(),
            covariances=self.covariances[states].copy(),
            autoregression=None if rho is None else rho[states].copy(),
        )


class Emissions:
    """Emissions N(μ_k, Σ_k), of all states at once."""

    def __init__(self, values: FloatArray, covariance_type: str) -> None:
        self._lifted = Lifted(values, covariance_type)

    def log_density(self, states: EmissionParameters) -> FloatArray:
        """Log-densities, shape (S, n)."""
        return self._lifted.log_density(states.means, states.covariances)

    def maximise(
        self, posterior: FloatArray, states: EmissionParameters, prior: FloatArray
    ) -> None:
        """Set means and covariances, Σ = (Q + ψ) / n; a starved state keeps its own."""
        count, total, products = self._lifted.moments(posterior, states.means, states.covariances)
        fed = count > _STARVED
        n = np.where(fed, count, 1.0)[:, None]
        means = total / n
        if states.covariances.ndim == 2:
            covariances = (products - n * means**2 + prior) / n
        else:
            outer = means[:, :, None] * means[:, None, :]
            covariances = (products - n[..., None] * outer + prior) / n[..., None]
        states.means[fed] = means[fed]
        states.covariances[fed] = covariances[fed]


class AutoregressiveEmissions:
    """Autoregressive emissions, state by state: see ``autoregressive.py``."""

    def __init__(self, values: FloatArray, before: FloatArray) -> None:
        self._values, self._before = values, before
        self._groups = list(patterns(values))

    def log_density(self, states: EmissionParameters) -> FloatArray:
        """Log-densities, shape (S, n); NaN where a covariance is not positive definite."""
        out = np.empty((len(states.means), len(self._values)))
        for s, (mean, rho) in enumerate(zip(states.means, _known(states), strict=True)):
            centre = expected(mean, rho, self._before)
            try:
                out[s] = log_density(self._values, centre, states.covariances[s], self._groups)
            except (np.linalg.LinAlgError, ValueError):  # of a matrix that is not finite
                out[s] = np.nan
        return out

    def maximise(
        self, posterior: FloatArray, states: EmissionParameters, prior: FloatArray
    ) -> None:
        """Set means, covariances and autoregression; a starved state keeps its own."""
        rho = _known(states)
        for s in np.flatnonzero(posterior.sum(axis=1) > _STARVED):
            states.means[s], states.covariances[s], rho[s] = maximise(
                posterior[s],
                self._values,
                self._before,
                self._groups,
                states.means[s],
                states.covariances[s],
                rho[s],
                prior,
            )


def _known(states: EmissionParameters) -> FloatArray:
    if states.autoregression is None:
        raise AssertionError("a start for autoregressive emissions has an autoregression")
    return states.autoregression
