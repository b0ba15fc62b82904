"""All entries of a set of tensors, gone through in pieces: in memory, or read from the file again.

The numbers are the same either way, to the last bit: pieces are cut alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.tensor import WIDENED, LazyTensor
from hmmdyn.results.arrays import FloatArray

CHUNK = 1 << 15  # entries in a piece: as float64, it stays in a processor's cache
_DIGIT = 16  # bits by which entries are counted in one go
# Every so manieth entry is in a sample: a prime number, so that it is not a single column.
_STRIDE = 1009
_SLACK = 3.0  # ranks of a sample to either side, times the square root of its size


class Pool(Protocol):
    """Where entries are."""

    def pieces(self) -> Iterator[NDArray[Any]]:
        """Go through all entries, tensor by tensor, ``CHUNK`` at a time."""

    def at_ranks(self, ranks: Sequence[int]) -> list[float]:
        """Return the entries of these ranks, smallest first; none of the entries is NaN."""


class Kept:
    """Entries in memory: the tensors themselves, as they were read.

    Parameters
    ----------
    kind : dtype
        Of all entries.
    tensors : iterable of array
        Those that are there already.
    """

    def __init__(self, kind: np.dtype[Any], tensors: Iterable[NDArray[Any]] = ()) -> None:
        self._type = kind
        self._tensors: list[NDArray[Any]] = []
        for values in tensors:
            self.add(values)

    @classmethod
    def for_tensors(cls, tensors: Sequence[LazyTensor]) -> Kept:
        """Return a pool for these tensors, each of which is added when it is read."""
        return cls(_type_of(tensors))

    def add(self, values: NDArray[Any]) -> None:
        """Take the entries of the next tensor, which nobody changes."""
        self._tensors.append(values.ravel().astype(self._type, copy=False))

    def pieces(self) -> Iterator[NDArray[Any]]:
        """As of `Pool`."""
        for values in self._tensors:
            yield from cut(values)

    def at_ranks(self, ranks: Sequence[int]) -> list[float]:
        """As of `Pool`."""
        below, entries = self._around(min(ranks), max(ranks))
        within = [rank - below for rank in ranks]
        entries.partition(sorted(set(within)))
        return [float(entries[rank]) for rank in within]

    def _around(self, first: int, last: int) -> tuple[int, NDArray[Any]]:
        """Return entries that hold all of these ranks, and how many entries are smaller.

        A sample says between which two numbers they are, which is tried; only where it was wrong,
        or these are many, all entries are returned.
        """
        low, high = self._bounds(first, last)
        below = n_inside = 0
        inside = []
        most = sum(map(len, self._tensors)) // 4
        for piece in self.pieces():
            chosen = piece >= low
            below += len(piece) - int(np.count_nonzero(chosen))
            chosen &= piece <= high
            inside.append(piece[chosen])
            n_inside += len(inside[-1])
            if below > first or n_inside > most:
                break
        else:
            if last < below + n_inside:
                return below, np.concatenate(inside)
        del inside
        return 0, np.concatenate(self._tensors)

    def _bounds(self, first: int, last: int) -> tuple[Any, Any]:
        """Estimate numbers between which the entries of these ranks are."""
        sample = np.sort(np.concatenate([values[::_STRIDE] for values in self._tensors]))
        share = len(sample) / sum(map(len, self._tensors))
        slack = _SLACK * math.sqrt(len(sample))
        low, high = math.floor(first * share - slack), math.ceil(last * share + slack)
        return (
            sample[low] if low >= 0 else -math.inf,
            sample[high] if high < len(sample) else math.inf,
        )


class ReadAgain:
    """Entries that are read from the checkpoint each time, as they would not fit into memory."""

    def __init__(self, tensors: Sequence[LazyTensor]) -> None:
        self._tensors, self._type = tensors, _type_of(tensors)

    def add(self, values: NDArray[Any]) -> None:
        """Keep nothing."""

    def pieces(self) -> Iterator[NDArray[Any]]:
        """As of `Pool`."""
        for tensor in self._tensors:
            yield from cut(tensor.read().ravel().astype(self._type, copy=False))

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


def cut(values: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Cut a vector into pieces of ``CHUNK`` entries."""
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]


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
