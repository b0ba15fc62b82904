"""All entries of a set of tensors, gone through in pieces: in memory, or read from the file again.

The numbers are the same either way, to the last bit: pieces are cut alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.tensor import WIDENED, LazyTensor
from hmmdyn.results.arrays import FloatArray

CHUNK = 1 << 20  # entries in a piece
_DIGIT = 16  # bits by which entries are counted in one go


class Pool(Protocol):
    """Where entries are."""

    def pieces(self) -> Iterator[NDArray[Any]]:
        """Go through all entries, ``CHUNK`` at a time."""

    def at_ranks(self, ranks: Sequence[int]) -> list[float]:
        """Return the entries of these ranks, smallest first; none of the entries is NaN."""


class Kept:
    """Entries in memory, filled tensor by tensor."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values
        self._filled = 0

    @classmethod
    def for_tensors(cls, tensors: Sequence[LazyTensor]) -> Kept:
        """Make room for all entries of these tensors."""
        return cls(np.empty(entries_of(tensors), _type_of(tensors)))

    def add(self, values: NDArray[Any]) -> None:
        """Take the entries of the next tensor."""
        end = self._filled + values.size
        self._values[self._filled : end] = values.ravel()
        self._filled = end

    def pieces(self) -> Iterator[NDArray[Any]]:
        """As of `Pool`."""
        for start in range(0, len(self._values), CHUNK):
            yield self._values[start : start + CHUNK]

    def at_ranks(self, ranks: Sequence[int]) -> list[float]:
        """As of `Pool`."""
        ordered = np.partition(self._values, sorted(set(ranks)))
        return [float(ordered[rank]) for rank in ranks]


class ReadAgain:
    """Entries that are read from the checkpoint each time, as they would not fit into memory."""

    def __init__(self, tensors: Sequence[LazyTensor]) -> None:
        self._tensors, self._type = tensors, _type_of(tensors)

    def add(self, values: NDArray[Any]) -> None:
        """Keep nothing."""

    def pieces(self) -> Iterator[NDArray[Any]]:
        """As of `Pool`."""
        waiting: list[NDArray[Any]] = []
        for tensor in self._tensors:
            values = tensor.read().ravel().astype(self._type, copy=False)
            while sum(map(len, waiting)) + len(values) >= CHUNK:
                cut = CHUNK - sum(map(len, waiting))
                yield np.concatenate([*waiting, values[:cut]])
                waiting, values = [], values[cut:]
            waiting.append(values.copy())  # not the whole tensor
        if any(map(len, waiting)):
            yield np.concatenate(waiting)

    def at_ranks(self, ranks: Sequence[int]) -> list[float]:
        """As of `Pool`."""
        return [self._at_rank(rank) for rank in ranks]

    def _at_rank(self, rank: int) -> float:
        """Find an entry digit by digit: how many entries have each next digit says which it is."""
        bits = 8 * self._type.itemsize
        prefix = 0
        for shift in range(bits - _DIGIT, -1, -_DIGIT):
            counts = np.zeros(1 << _DIGIT, dtype=np.int64)
            for piece in self.pieces():
                keys = _ordered_bits(piece)
                if shift + _DIGIT < bits:
                    keys = keys[keys >> keys.dtype.type(shift + _DIGIT) == prefix]
                digits = (keys >> keys.dtype.type(shift)).astype(np.uint16)
                counts += np.bincount(digits, minlength=1 << _DIGIT)
            up_to = np.cumsum(counts)
            digit = int(np.searchsorted(up_to, rank, side="right"))
            rank -= int(up_to[digit - 1]) if digit else 0
            prefix = prefix << _DIGIT | digit
        return _of_bits(prefix, self._type)


class Entries:
    """All entries of a set of tensors: their moments and quantiles, in float64.

    NaN where there are no entries.

    Parameters
    ----------
    pool : Pool
        Where they are.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def chunks(self) -> Iterator[FloatArray]:
        """Go through all entries in arrays of float64."""
        return (piece.astype(np.float64) for piece in self._pool.pieces())

    @property
    def mean(self) -> float:
        """Mean."""
        return self._sum / self._n if self._n else math.nan

    @property
    def variance(self) -> float:
        """Population variance."""
        return self._moments[0]

    @property
    def kurtosis(self) -> float:
        """Fourth central moment over the squared variance: 3 for a normal distribution."""
        squared = self.variance**2  # which may vanish where the variance does not
        return self._moments[1] / squared if squared else math.nan

    @property
    def median(self) -> float:
        """Median."""
        return self.quantile(0.5)

    def quantile(self, share: float) -> float:
        """Return a quantile, between two entries by linear interpolation."""
        if not self._n or (math.isnan(self._sum) and self._has_nan):
            return math.nan
        at = share * (self._n - 1)
        low, high = self._pool.at_ranks([math.floor(at), math.ceil(at)])
        # As the mean of two for the median, so that it is exact.
        weight = at - math.floor(at)
        return low * (1 - weight) + high * weight if weight else low

    def share_below(self, size: float) -> float:
        """Return the share of entries whose absolute value is below ``size``."""
        if not self._n or math.isnan(size):
            return math.nan
        return sum(int((np.abs(chunk) < size).sum()) for chunk in self.chunks()) / self._n

    @cached_property
    def _totals(self) -> tuple[int, float]:
        n, total = 0, 0.0
        for chunk in self.chunks():
            n += len(chunk)
            total += float(chunk.sum())
        return n, total

    @property
    def _n(self) -> int:
        return self._totals[0]

    @property
    def _sum(self) -> float:
        return self._totals[1]

    @cached_property
    def _has_nan(self) -> bool:
        """Whether the sum is NaN for an entry that is, not for infinities of both signs."""
        return any(np.isnan(chunk).any() for chunk in self.chunks())

    @cached_property
    def _moments(self) -> tuple[float, float]:
        """The second and fourth central moments."""
        if not self._n:
            return math.nan, math.nan
        second = fourth = 0.0
        for chunk in self.chunks():
            squares = np.square(chunk - self.mean)
            second += float(squares.sum())
            fourth += float(squares @ squares)
        return second / self._n, fourth / self._n


def entries_of(tensors: Sequence[LazyTensor]) -> int:
    """Count the entries of tensors."""
    return sum(math.prod(tensor.shape) for tensor in tensors)


def _type_of(tensors: Sequence[LazyTensor]) -> np.dtype[Any]:
    # Narrower types arrive widened to float32, which is half the memory of float64.
    narrow = all(tensor.dtype in {"float32", *WIDENED} for tensor in tensors)
    return np.dtype(np.float32 if narrow else np.float64)


def _ordered_bits(values: NDArray[Any]) -> NDArray[Any]:
    """Return floating-point numbers as unsigned integers in the same order.

    Positive ones have the order of their bits already, once their sign bit is set; of negative
    ones all bits are turned round.
    """
    unsigned = np.dtype(f"u{values.dtype.itemsize}")
    bits = values.view(unsigned)
    sign = unsigned.type(1 << (8 * unsigned.itemsize - 1))
    return np.where(bits & sign, ~bits, bits | sign)


def _of_bits(ordered: int, kind: np.dtype[Any]) -> float:
    sign = 1 << (8 * kind.itemsize - 1)
    bits = ordered ^ sign if ordered & sign else ~ordered & (2 * sign - 1)
    return float(np.array(bits, dtype=f"u{kind.itemsize}").view(kind)) + 0.0  # no -0
