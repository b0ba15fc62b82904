"""The header of a NumPy array, read as text.

NumPy parses it with Python's own parser, which is safe, but slow to refuse what is no header. The
headers that NumPy writes for arrays of numbers all have one form, and only that form is read here.

References
----------
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from hmmdyn.checkpoints.formats.byte_ranges import ByteRange, read_bytes
from hmmdyn.errors import CheckpointError

MAGIC = b"\x93NUMPY"
_LONGEST = 10_000  # bytes; NumPy's own limit where pickles are not allowed

_FORM = re.compile(
    r"\{'descr': (?P<descr>'[^']{1,40}'|\[[^\n]*\]), "
    r"'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>[0-9, ]*)\),? ?\} *\n?"
)
_NUMBERS = re.compile(r"'([<>|=]?)([biufc][0-9]{1,2}|\?)'")


@dataclass(frozen=True)
class NpyHeader:
    """What a NumPy array is; ``dtype`` is None where it holds something other than numbers.

    ``description`` is the type as the header gives it, ``length`` the bytes before the numbers.
    """

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any] | None
    description: str
    length: int


def read_npy_header(content: ByteRange) -> NpyHeader:
    """Read the header at the start of an array's bytes.

    Raises
    ------
    CheckpointError
        It is cut short or has another form, or the array holds Python objects.
    """
    start = read_bytes(content, 0, min(content.size, 12), "the header of an array")
    if not start.startswith(MAGIC) or len(start) < 12 or start[6] not in (1, 2, 3):
        raise CheckpointError("is damaged: it has no NumPy header")
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(start[8 : 8 + width], "little")
    if length > _LONGEST:
        raise CheckpointError(f"is damaged: its header claims {length:,} bytes")
    raw = read_bytes(content, 8 + width, length, "the header of an array")
    form = _FORM.fullmatch(raw.decode("latin-1"))
    if form is None:
        raise CheckpointError("is damaged: its header is not one that NumPy writes for numbers")
    description = form["descr"]
    if re.search(r"'\|?O", description):
        raise CheckpointError("holds Python objects, and loading those could run code")
    sizes = [size.strip() for size in form["shape"].split(",") if size.strip()]
    if not all(size.isdecimal() and len(size) < 20 for size in sizes):
        raise CheckpointError("is damaged: its header gives sizes that are none")
    dtype = None
    if numbers := _NUMBERS.fullmatch(description):
        try:
            dtype = np.dtype(numbers[1] + numbers[2])
        except TypeError as error:
            raise CheckpointError(f"is damaged: NumPy has no type {description}") from error
    shape = tuple(map(int, sizes))
    shown = description.strip("'")
    return NpyHeader(shape, form["fortran"] == "True", dtype, shown, 8 + width + length)
