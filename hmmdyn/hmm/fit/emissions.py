"""What states emit: the emissions' part of EM, for the states of many models at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hmmdyn.hmm.fit.densities import Floats, Lifted
from hmmdyn.hmm.model.autoregression import expected, maximise
from hmmdyn.hmm.model.emissions import (
    AutoregressiveGaussianEmissions,
    GaussianEmissions,
    log_density,
)
from hmmdyn.hmm.model.missing import patterns
from hmmdyn.results.arrays import FloatArray

# A state of fewer expected checkpoints than this keeps its parameters. One of fewer expected
# checkpoints at which a metric is known has not seen that metric. The limit must be less than
# ``em.COVARIANCE_PRIOR``: see ``_opened``.
_STARVED = 1e-3


_States = TypeVar("_States", contravariant=True)


class EmissionStep(Protocol[_States]):
    """What EM asks of an emission model, on the checkpoints it is fitted to.

    ``states`` is the :class:`hmmdyn.hmm.model.emissions.EmissionModel` of S states, of one model
    or of several put together (:func:`hmmdyn.hmm.model.emissions.joined`).
    """

    def log_density(self, states: _States) -> Floats:
        """Log-densities of all checkpoints, shape (S, n), nats."""

    def maximise(self, posterior: Floats, states: _States, prior: FloatArray) -> None:
        """Set the states' arrays, in place, to what is most likely.

        ``posterior`` (S, n) is p(state | run); ``prior``, in the shape of one covariance, is added
        to every state's scatter.
        """


class Emissions:
    """Emissions N(μ_k, Σ_k), of all states at once."""

    def __init__(self, values: FloatArray, covariance_type: str, *, single: bool = False) -> None:
        self._lifted = Lifted(values, covariance_type, single=single)
        known = ~np.isnan(values)
        self._known = None if known.all() else known.astype(np.float64)

    def log_density(self, states: GaussianEmissions) -> Floats:
        """Log-densities, shape (S, n)."""
        return self._lifted.log_density(states.means, states.covariances)

    def maximise(self, posterior: Floats, states: GaussianEmissions, prior: FloatArray) -> None:
        """Set means and covariances, Σ = (Q + ψ) / n; a starved state keeps its own.

        A state that has not seen a metric has a variance of at least 1 of it: see ``_opened``.
        """
        count, total, products = self._lifted.moments(posterior, states.means, states.covariances)
        fed = count > _STARVED
        n = np.where(fed, count, 1.0)
        means = total / n
        if states.covariances.ndim == 2:
            covariances = (products - n * means**2 + prior) / n
        else:
            outer = means[:, :, None] * means[:, None, :]
            covariances = (products - n[..., None] * outer + prior) / n[..., None]
        for s, unseen in self._unseen(posterior):
            means[s], covariances[s] = _opened(
                means[s], covariances[s], states.means[s], states.covariances[s], unseen
            )
            fed[s] = True
        np.copyto(states.means, means, where=fed)
        fed = fed if states.covariances.ndim == 2 else fed[..., None]
        np.copyto(states.covariances, covariances, where=fed)

    def _unseen(self, posterior: Floats) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """States that have checkpoints, but some metric at none of them; and which, shape (D,)."""
        if self._known is None:
            return
        unseen = posterior @ self._known <= _STARVED
        unseen &= posterior.sum(axis=1, keepdims=True) > _STARVED
        for s in np.flatnonzero(unseen.any(axis=1)):
            yield int(s), unseen[s]


class AutoregressiveEmissions:
    """Autoregressive emissions, state by state: see :mod:`hmmdyn.hmm.model.autoregression`."""

    def __init__(self, values: FloatArray, before: FloatArray) -> None:
        self._values, self._before = values, before
        self._groups = list(patterns(values))

    def log_density(self, states: AutoregressiveGaussianEmissions) -> FloatArray:
        """Log-densities, shape (S, n); NaN where a covariance is not positive definite."""
        out = np.empty((len(states.means), len(self._values)))
        for s, (mean, rho) in enumerate(zip(states.means, states.autoregression, strict=True)):
            centre = expected(mean, rho, self._before)
            try:
                out[s] = log_density(self._values, centre, states.covariances[s], self._groups)
            except (np.linalg.LinAlgError, ValueError):  # of a matrix that is not finite
                out[s] = np.nan
        return out

    def maximise(
        self, posterior: Floats, states: AutoregressiveGaussianEmissions, prior: FloatArray
    ) -> None:
        """Set means, covariances and autoregression; a starved state keeps its own."""
        rho = states.autoregression
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


def _opened(
    mean: FloatArray,
    covariance: FloatArray,
    mean_before: FloatArray,
    covariance_before: FloatArray,
    unseen: NDArray[np.bool_],
) -> tuple[FloatArray, FloatArray]:
    """Update a state that has not seen some metrics: mean (D,), covariance (D,) or (D, D).

    What it says of the unseen metrics z_u given the others z_o stays as it was,
    z_u = a + B z_o + e, except for the variance of e. That is made at least 1, the variance of
    standardised data: left to the prior alone it would rise by ψ/n per iteration, from nearly 0 and
    for ever, so that EM would not end.

    The objective does not fall by it. Where the metric was seen with a weight w < ψ, raising a
    variance v < 1 to 1 costs the density no more than w log(1/v) / 2, and saves ψ (1/v - 1) / 2 of
    the penalty, which is more.

    Parameters
    ----------
    mean, covariance
        As the M-step gives them, right for the metrics seen.
    mean_before, covariance_before
        As they were.
    unseen : ndarray, shape (D,)
        Mask of the metrics not seen.
    """
    mean, covariance = mean.copy(), covariance.copy()
    if covariance.ndim == 1:
        mean[unseen] = mean_before[unseen]
        covariance[unseen] = np.maximum(covariance_before[unseen], 1.0)
        return mean, covariance
    o, u = np.flatnonzero(~unseen), np.flatnonzero(unseen)
    across = covariance_before[np.ix_(u, o)]
    gain = across @ np.linalg.inv(covariance_before[np.ix_(o, o)])
    rest = covariance_before[np.ix_(u, u)] - gain @ across.T
    variances, axes = np.linalg.eigh((rest + rest.T) / 2)
    rest = (axes * np.maximum(variances, 1.0)) @ axes.T
    observed = covariance[np.ix_(o, o)]
    mean[u] = mean_before[u] + gain @ (mean[o] - mean_before[o])
    covariance[np.ix_(u, o)] = gain @ observed
    covariance[np.ix_(o, u)] = covariance[np.ix_(u, o)].T
    covariance[np.ix_(u, u)] = rest + gain @ observed @ gain.T
    return mean, (covariance + covariance.T) / 2
