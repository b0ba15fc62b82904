"""What a state emits: the part of a model that says what checkpoints look like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from scipy.linalg import solve_triangular

from hmmdyn.hmm.model.autoregression import expected, predecessors
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.observations import Sequences


class EmissionModel(Protocol):
    """The part of a model that says what its states emit.

    Every emission is Gaussian around a centre, which is what implementations differ in. Their
    fields are those of :class:`hmmdyn.results.model.HMMParameters` of the same names, so that a
    model is put together from its parts: see :mod:`hmmdyn.hmm.model.parts`.
    """

    @property
    def means(self) -> FloatArray:
        """Levels of the states, (K, D)."""

    @property
    def covariances(self) -> FloatArray:
        """Around the centres: (K, D) for ``diag``, (K, D, D) for ``full``."""

    @property
    def remembers(self) -> bool:
        """Whether a checkpoint depends on the one before, beyond its state."""

    def centre(self, state: int, data: Sequences) -> FloatArray:
        """Mean of every checkpoint if it is in this state, given the one before; (n, D)."""

    def among(self, states: IntArray) -> EmissionModel:
        """Take some of the states, in this order, with arrays of their own."""


@dataclass(frozen=True)
class GaussianEmissions:
    """In state k, z ~ N(μ_k, Σ_k): ``means`` (K, D), ``covariances`` (K, D) or (K, D, D)."""

    means: FloatArray
    covariances: FloatArray
    covariance_type: str

    remembers = False

    def centre(self, state: int, data: Sequences) -> FloatArray:
        """The state's mean, whatever came before."""
        return np.broadcast_to(self.means[state], data.values.shape)

    def among(self, states: IntArray) -> GaussianEmissions:
        """Take some of the states."""
        return replace(self, means=self.means[states], covariances=self.covariances[states])


@dataclass(frozen=True)
class AutoregressiveGaussianEmissions:
    """In state k, z_t ~ N(μ_k + ρ_k (z_{t-1} - μ_k), Σ_k), with ``autoregression`` ρ (K, D)."""

    means: FloatArray
    covariances: FloatArray
    covariance_type: str
    autoregression: FloatArray

    remembers = True

    def centre(self, state: int, data: Sequences) -> FloatArray:
        """Where a checkpoint is drawn to from the one before; the mean where there is none."""
        return expected(self.means[state], self.autoregression[state], predecessors(data))

    def among(self, states: IntArray) -> AutoregressiveGaussianEmissions:
        """Take some of the states."""
        return replace(
            self,
            means=self.means[states],
            covariances=self.covariances[states],
            autoregression=self.autoregression[states],
        )


AnyEmissions = GaussianEmissions | AutoregressiveGaussianEmissions


def joined(models: Sequence[AnyEmissions]) -> AnyEmissions:
    """Put the states of several models of one kind into common arrays, one after the other."""
    first = models[0]
    arrays = [name for name, value in vars(first).items() if isinstance(value, np.ndarray)]
    common: dict[str, Any] = {
        name: np.concatenate([getattr(model, name) for model in models]) for name in arrays
    }
    return replace(first, **common)


def log_density(
    values: FloatArray,
    mean: FloatArray,
    covariance: FloatArray,
    groups: Sequence[tuple[IntArray, IntArray]],
) -> FloatArray:
    """Log-density of one Gaussian with a mean of its own for every row, shape (n,), nats.

    Parameters
    ----------
    values, mean : ndarray, shape (n, D)
        A missing metric (NaN) is left out of its row's density.
    covariance : ndarray, shape (D,) or (D, D)
        A vector is a diagonal.
    groups : sequence of (rows, observed metrics)
        The rows of ``values`` by what they have: see
        :func:`hmmdyn.hmm.model.missing.patterns`.
    """
    if covariance.ndim == 1:  # metric by metric: rows need no grouping
        each = -0.5 * (np.log(2 * np.pi * covariance) + (values - mean) ** 2 / covariance)
        return np.asarray(np.nansum(each, axis=1))
    out = np.empty(len(values))
    for rows, observed in groups:
        part = np.ix_(rows, observed)
        root = np.linalg.cholesky(covariance[np.ix_(observed, observed)])
        whitened = solve_triangular(root, (values[part] - mean[part]).T, lower=True)
        log_determinant = 2 * np.log(np.diag(root)).sum()
        normaliser = len(observed) * np.log(2 * np.pi) + log_determinant
        out[rows] = -0.5 * (normaliser + (whitened**2).sum(axis=0))
    return out
