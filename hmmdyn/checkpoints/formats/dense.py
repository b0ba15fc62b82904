"""Arrays that are stored as they are: all their numbers, one after another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod

from hmmdyn.checkpoints.formats.byte_ranges import ByteRange
from hmmdyn.checkpoints.formats.strided import MOST_AXES, STORED_TYPES, Strided, read_strided
from hmmdyn.checkpoints.tensor import LazyTensor
from hmmdyn.errors import CheckpointError

_LARGEST = 1 << 60  # elements; NumPy refuses larger shapes even where one axis is 0


def is_shape(lengths: Sequence[object]) -> bool:
    """Whether NumPy can make an array with axes of these lengths, memory aside."""
    counts = [n for n in lengths if type(n) is int and n >= 0]
    return len(counts) == len(lengths) <= MOST_AXES and prod(max(n, 1) for n in counts) <= _LARGEST


def dense_tensor(
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    content: ByteRange,
    *,
    fortran_order: bool = False,
    big_endian: bool = False,
) -> LazyTensor:
    """Return the tensor that fills ``content``; the first axis is outermost, or the last one.

    Parameters
    ----------
    name : str
        What the tensor is called, for messages.
    dtype : str
        A key of ``STORED_TYPES``.
    shape : tuple of int
        Length of each axis.
    content : ByteRange
        Its values, and nothing else.
    fortran_order : bool
        The first axis varies fastest.
    big_endian : bool
        Of each value, the most significant byte comes first.

    Raises
    ------
    CheckpointError
        The type is unknown, or an array of this shape does not fill the bytes.
    """
    if dtype not in STORED_TYPES:
        raise CheckpointError(
            f"its array {name!r} is stored as {dtype}, which hmmdyn does not read. "
            "Save the weights as float32, float16 or bfloat16."
        )
    if len(shape) > MOST_AXES:
        raise CheckpointError(
            f"it is damaged: its array {name!r} has {len(shape):,} axes; NumPy allows {MOST_AXES}."
        )
    if not is_shape(shape) or prod(shape) * STORED_TYPES[dtype].itemsize != content.size:
        raise CheckpointError(
            f"it is truncated or damaged: its array {name!r} of shape {shape} and type {dtype} "
            f"does not fill its {content.size:,} bytes."
        )
    inner = [shape[:i] if fortran_order else shape[i + 1 :] for i in range(len(shape))]
    strided = Strided(dtype, shape, tuple(map(prod, inner)), 0, big_endian)
    return LazyTensor(shape, dtype, partial(read_strided, strided, content))
