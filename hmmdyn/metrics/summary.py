"""What metrics are functions of: a weight matrix, a change, a network (and `entries.Entries`).

Whatever several metrics need is computed here once, and only when a metric asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.tensor import LazyTensor
from hmmdyn.errors import NotToldError
from hmmdyn.metrics.entries import cut
from hmmdyn.metrics.linear_algebra import NUMPY, LinearAlgebra
from hmmdyn.metrics.power_law import PowerLaw, fit_power_law
from hmmdyn.metrics.sketch import LEAST_SIDE, sketched_spectrum
from hmmdyn.metrics.spectrum import Spectrum, singular_values
from hmmdyn.results.arrays import FloatArray

_ROUNDING = 1e-12  # of the largest singular value


@dataclass(frozen=True, eq=False)
class Matrix:
    """One weight matrix; its numbers are computed once.

    Attributes
    ----------
    values : array, shape (m, n)
        float64.
    sketched : bool
        Sketch the spectrum if the matrix is large.
    by : LinearAlgebra
        What computes a spectrum that is not sketched.
    """

    values: FloatArray
    sketched: bool = False
    by: LinearAlgebra = NUMPY

    @cached_property
    def l1(self) -> float:
        """Sum of absolute entries."""
        return math.fsum(np.abs(piece).sum() for piece in cut(self.values.ravel(order="K")))

    @cached_property
    def l2(self) -> float:
        """Frobenius norm."""
        return float(np.linalg.norm(self.values))

    @cached_property
    def trace(self) -> float:
        """Sum of the leading diagonal."""
        return float(np.trace(self.values))

    @cached_property
    def spectrum(self) -> Spectrum:
        """The singular values, or a sketch of them; NaN where an entry is not finite."""
        if not np.isfinite(self.values).all():
            return Spectrum(np.full(min(self.values.shape), np.nan))
        if self.sketched and min(self.values.shape) >= LEAST_SIDE:
            return sketched_spectrum(self.values)
        return Spectrum(singular_values(self.values, self.by))

    @property
    def singular_values(self) -> FloatArray:
        """All of them, largest first, shape (min(m, n),).

        Raises
        ------
        NotToldError
            They are sketched.
        """
        if self.spectrum.counts is not None:
            raise NotToldError("a sketch has not the small singular values: --spectrum exact")
        return self.spectrum.values

    @property
    def spectral_norm(self) -> float:
        """Largest singular value."""
        return float(self.spectrum.values[0])

    @cached_property
    def eigenvalues(self) -> FloatArray:
        """Eigenvalues of WᵀW that are not rounding, smallest first; none of a matrix with NaN."""
        values = self.singular_values[::-1]
        return np.asarray(np.square(values[values > _ROUNDING * values[-1]]), dtype=np.float64)

    @cached_property
    def power_law(self) -> PowerLaw:
        """The power law that fits the largest eigenvalues best."""
        return fit_power_law(self.eigenvalues)


@dataclass(frozen=True)
class Change:
    """How weights changed since another checkpoint: sums over entries, which add up.

    Attributes
    ----------
    l1 : float
        Sum of absolute differences.
    squares : float
        Sum of squared differences.
    linf : float
        Largest absolute difference.
    dot : float
        Sum of the products of entries now and then.
    now, then : float
        Sums of squared entries.
    """

    l1: float = 0.0
    squares: float = 0.0
    linf: float = 0.0
    dot: float = 0.0
    now: float = 0.0
    then: float = 0.0

    @classmethod
    def of(cls, now: NDArray[Any], then: NDArray[Any]) -> Change:
        """Compare two tensors in float64.

        Raises
        ------
        ValueError
            Their shapes differ.
        """
        if now.shape != then.shape:
            raise ValueError(f"shapes {now.shape} and {then.shape} differ")
        total = cls()
        for a, b in zip(_chunks(now.ravel()), _chunks(then.ravel()), strict=True):
            d = a - b
            total += cls(
                float(np.abs(d).sum()),
                float(d @ d),
                float(np.abs(d).max(initial=0.0)),
                float(a @ b),
                float(a @ a),
                float(b @ b),
            )
        return total

    def __add__(self, other: Change) -> Change:
        return Change(
            self.l1 + other.l1,
            self.squares + other.squares,
            # NaN wins, as in the sums.
            float(np.maximum(self.linf, other.linf)),
            self.dot + other.dot,
            self.now + other.now,
            self.then + other.then,
        )

    @property
    def l2(self) -> float:
        """Euclidean distance."""
        return math.sqrt(self.squares)

    @property
    def cosine(self) -> float:
        """Cosine between the weights now and then; NaN where either is zero."""
        norms = math.sqrt(self.now) * math.sqrt(self.then)
        return self.dot / norms if norms else math.nan


@dataclass(frozen=True, eq=False)
class Attention:
    """The heads of attention of a network, or of a part of it.

    Attributes
    ----------
    logit_norms : ndarray
        Largest singular value of W_Qᵀ W_K / √d of each head, d its width; shape (n_heads,).
    """

    logit_norms: FloatArray


@dataclass(frozen=True, eq=False)
class Embedding:
    """An embedding of the numbers 0 … P − 1, ``values`` of shape (P, width), float64."""

    values: FloatArray

    @cached_property
    def frequency_norms(self) -> FloatArray:
        """Norm of each frequency 1 … ⌊P/2⌋ along the numbers, over the width."""
        parts = np.fft.rfft(self.values, axis=0, norm="ortho")[1:]
        # All frequencies but P/2 stand for two: a cosine and a sine.
        twice = np.where(2 * np.arange(1, len(parts) + 1) == len(self.values), 1.0, 2.0)
        return np.asarray(np.sqrt(twice * np.square(np.abs(parts)).sum(axis=1)))


@dataclass(frozen=True)
class Moments:
    """Adam's moments of all parameters: the norms of both, and the mean of |m| / (√v + ε)."""

    first: float
    second: float
    step: float


class Network(Mapping[str, NDArray[Any]]):
    """Every tensor of a checkpoint by its name; numbers are read when they are asked for.

    Attributes
    ----------
    weights : tuple of str
        Names of those that count as weight matrices.
    """

    def __init__(self, tensors: Mapping[str, LazyTensor], weights: tuple[str, ...]) -> None:
        self.weights = weights
        self._tensors = tensors

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._tensors[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, without reading it."""
        return self._tensors[name].shape


def _chunks(values: NDArray[Any]) -> Iterator[FloatArray]:
    return (piece.astype(np.float64) for piece in cut(values))
