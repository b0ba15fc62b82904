"""Strided tensors read from a storage on disk: only the bytes needed, widened in chunks.

PyTorch saves the whole storage (a flat block of memory) that a tensor looks at, and of the tensor
its offset, sizes and strides. Transposed, expanded and sliced tensors are therefore read by
following the strides through the storage.
"""

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.formats.byte_ranges import CHUNK, ByteRange
from hmmdyn.checkpoints.tensor import WIDENED
from hmmdyn.errors import CheckpointError

# Numbers as they lie in a storage, by PyTorch's names.
STORED_TYPES: dict[str, np.dtype[Any]] = {
    **WIDENED,
    **{
        name: np.dtype(name)
        for name in (
            *("float32", "float64", "complex64", "complex128", "bool"),
            *("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64"),
        )
    },
    "complex32": np.dtype((np.void, 4)),  # two float16, which NumPy has no complex type for
}
_READ_AS: dict[str, np.dtype[Any]] = {
    **{name: np.dtype(np.float32) for name in WIDENED},
    "complex32": np.dtype(np.complex64),
}

# An expanded tensor repeats a small storage. Beyond this many numbers it is taken for a trap,
# unless its storage is as large.
_MOST_REPEATED = 1 << 28
MOST_AXES = 64  # NumPy's limit


@dataclass(frozen=True)
class Strided:
    """Where the numbers of a tensor lie in a storage, in elements of ``dtype``.

    Attributes
    ----------
    dtype : str
        A key of `STORED_TYPES`.
    shape, strides : tuple of int
    offset : int
    big_endian : bool
    negative, conjugate : bool
        Whether the values are to be negated or conjugated once read.

    Raises
    ------
    CheckpointError
        From `check`: the tensor reaches beyond its storage, or is absurdly large.
    """

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    big_endian: bool = False
    negative: bool = False
    conjugate: bool = False

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def itemsize(self) -> int:
        """Bytes per element as stored."""
        return STORED_TYPES[self.dtype].itemsize

    def check(self, storage_bytes: int) -> None:
        """Refuse a tensor that does not lie within a storage of this size."""
        numbers = (*self.shape, *self.strides, self.offset)
        if len(self.shape) != len(self.strides) or min(numbers) < 0:
            raise _impossible("has a negative size, stride or offset, or strides for other axes")
        if (self.negative or self.conjugate) and not re.match("b?float|complex", self.dtype):
            raise _impossible(f"is to be negated or conjugated, and holds {self.dtype}")
        if len(self.shape) > MOST_AXES:
            raise _impossible(f"has {len(self.shape):,} axes; NumPy allows {MOST_AXES}")
        if math.prod(max(n, 1) for n in self.shape) * max(self.itemsize, 8) >= 1 << 63:
            raise _impossible("has more elements than memory has addresses")
        capacity = storage_bytes // self.itemsize
        end = self.offset + _span(self.shape, self.strides) if self.size else 0
        if end > capacity:
            raise _impossible(f"reaches to element {end:,} of a storage that holds {capacity:,}")
        if self.size > max(capacity, _MOST_REPEATED):
            raise _impossible(f"repeats a storage of {capacity:,} elements into {self.size:,}")


def read_dtype(dtype: str) -> np.dtype[Any]:
    """Return the type in which numbers of a stored type are handed over.

    Raises
    ------
    CheckpointError
        The type is unknown.
    """
    if dtype not in STORED_TYPES:
        raise CheckpointError(f"it holds numbers of type {dtype}, which hmmdyn does not read.")
    return _READ_AS.get(dtype, STORED_TYPES[dtype])


def read_strided(tensor: Strided, storage: ByteRange) -> NDArray[Any]:
    """Read a tensor that `Strided.check` has passed.

    Returns
    -------
    ndarray
        Of ``tensor.shape``, in native byte order, narrow types widened to float32 (complex32 to
        complex64). Repeated numbers are repeated as a view that cannot be written to. Beyond the
        result, memory is needed for one chunk.
    """
    # Axes in the order in which they lie in the storage; a repeated axis is read once.
    order = sorted(range(len(tensor.shape)), key=lambda axis: -tensor.strides[axis])
    sizes = tuple(1 if tensor.strides[i] == 0 else tensor.shape[i] for i in order)
    strides = tuple(tensor.strides[i] for i in order)
    values: NDArray[Any] = np.empty(sizes, read_dtype(tensor.dtype))
    if tensor.size:
        _fill(values, sizes, strides, tensor, storage)
        storage.verify()
    if tensor.negative:
        np.negative(values, out=values)
    if tensor.conjugate:
        np.conjugate(values, out=values)
    back = sorted(range(len(order)), key=order.__getitem__)
    values = values.transpose(back)
    return values if values.shape == tensor.shape else np.broadcast_to(values, tensor.shape)


def _fill(
    values: NDArray[Any],
    sizes: tuple[int, ...],
    strides: tuple[int, ...],
    tensor: Strided,
    storage: ByteRange,
) -> None:
    """Read the numbers block by block, in the order in which they lie in the storage."""
    if tensor.dtype not in _READ_AS and _is_dense(sizes, strides):
        raw = values.reshape(-1).view(np.uint8)
        storage.read_into(raw.data, tensor.offset * tensor.itemsize)
        _to_native(raw, tensor)
        return
    blocks = [(values, sizes, strides, tensor.offset)]
    while blocks:
        target, sizes, strides, offset = blocks.pop()
        span = _span(sizes, strides)
        if span * tensor.itemsize <= CHUNK:
            raw_block = bytearray(span * tensor.itemsize)
            storage.read_into(memoryview(raw_block), offset * tensor.itemsize)
            dtype = STORED_TYPES[tensor.dtype]
            _to_native(np.frombuffer(raw_block, np.uint8), tensor)
            steps = tuple(step * tensor.itemsize for step in strides)
            block = np.ndarray(sizes, dtype, buffer=raw_block, strides=steps)
            _assign(target, block, tensor.dtype)
            continue
        # Split the outermost axis that can be split, into runs of rows that fit into a chunk.
        axis = next(i for i, n in enumerate(sizes) if n > 1)
        inner = _span(sizes[axis + 1 :], strides[axis + 1 :])
        rows = max(1, (CHUNK // tensor.itemsize - inner) // strides[axis] + 1)
        for first in reversed(range(0, sizes[axis], rows)):
            count = min(rows, sizes[axis] - first)
            index = (slice(None),) * axis + (slice(first, first + count),)
            smaller = (*sizes[:axis], count, *sizes[axis + 1 :])
            blocks.append((target[index], smaller, strides, offset + first * strides[axis]))


def _assign(target: NDArray[Any], block: NDArray[Any], dtype: str) -> None:
    if dtype == "complex32":
        pairs = np.ascontiguousarray(block).view(np.float16).reshape(*block.shape, 2)
        target.real, target.imag = pairs[..., 0], pairs[..., 1]
    else:
        target[...] = block


def _to_native(raw: NDArray[np.uint8], tensor: Strided) -> None:
    """Swap the bytes of each number in place where they lie the other way round."""
    unit = tensor.itemsize // 2 if tensor.dtype.startswith("complex") else tensor.itemsize
    if unit > 1 and tensor.big_endian == (sys.byteorder == "little"):
        raw.view(f"u{unit}").byteswap(inplace=True)


def _is_dense(sizes: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether the elements fill their stretch of the storage, in order and once each."""
    expected = 1
    for n, step in zip(reversed(sizes), reversed(strides), strict=True):
        if n > 1 and step != expected:
            return False
        expected *= n
    return True


def _span(sizes: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last one of a tensor that is not empty."""
    return 1 + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))


def _impossible(reason: str) -> CheckpointError:
    return CheckpointError(
        f"{reason}. PyTorch never writes such a tensor: the file is damaged or forged. "
        "Copy or save it anew."
    )
