"""What metrics are functions of: one weight matrix, or the entries of a network pooled.

Whatever several metrics need is computed here once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmmdyn.metrics.spectrum import singular_values
from hmmdyn.results.arrays import FloatArray

_CHUNK = 1 << 20  # entries widened to float64 at a time


@dataclass(frozen=True, eq=False)
class Matrix:
    """One weight matrix, ``values`` of shape (m, n), float64; its numbers are computed once."""

    values: FloatArray

    @cached_property
    def l1(self) -> float:
        """Sum of absolute entries."""
        return float(np.abs(self.values).sum())

    @cached_property
    def l2(self) -> float:
        """Frobenius norm."""
        return float(np.linalg.norm(self.values))

    @cached_property
    def trace(self) -> float:
        """Sum of the leading diagonal."""
        return float(np.trace(self.values))

    @cached_property
    def singular_values(self) -> FloatArray:
        """Largest first, shape (min(m, n),); NaN where an entry is not finite."""
        if not np.isfinite(self.values).all():
            return np.full(min(self.values.shape), np.nan)
        return singular_values(self.values)

    @property
    def spectral_norm(self) -> float:
        """Largest singular value."""
        return float(self.singular_values[0])


@dataclass(frozen=True)
class Entries:
    """Mean, median and population variance of all entries of a set of tensors."""

    mean: float
    median: float
    variance: float

    @classmethod
    def of(cls, values: NDArray[Any]) -> Entries:
        """Summarise ``values``, shape (n,), in float64 whatever their type; reorders them.

        All are NaN where there are no values.
        """
        if len(values) == 0:
            return cls(math.nan, math.nan, math.nan)
        mean = float(sum(chunk.sum() for chunk in _chunks(values)) / len(values))
        squares = sum(np.square(chunk - mean).sum() for chunk in _chunks(values))
        return cls(mean, _median(values), float(squares / len(values)))


def _chunks(values: NDArray[Any]) -> Iterator[FloatArray]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK].astype(np.float64)


def _median(values: NDArray[Any]) -> float:
    """Median by partition in place; the mean of the middle two is taken in float64."""
    if np.isnan(values).any():
        return math.nan
    middle = [(len(values) - 1) // 2, len(values) // 2]
    values.partition(middle)
    return float(values[middle].astype(np.float64).mean())
