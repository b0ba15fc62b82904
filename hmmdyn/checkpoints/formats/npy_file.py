"""Single NumPy arrays (``.npy``): never of pickled objects."""

from __future__ import annotations

from pathlib import Path

from hmmdyn.checkpoints.formats.byte_ranges import FileBytes, Part
from hmmdyn.checkpoints.formats.dense import dense_tensor
from hmmdyn.checkpoints.formats.npy_header import MAGIC, read_npy_header
from hmmdyn.checkpoints.tensor import Contents
from hmmdyn.errors import CheckpointError

_ONLY_NAME = "array"


def is_npy(start: bytes) -> bool:
    """Whether a file that starts with these bytes is a NumPy array."""
    return start.startswith(MAGIC)


def open_npy(path: Path) -> Contents:
    """Read the header of a NumPy array; the numbers stay on disk.

    The array has no name, so it is called ``array``.

    Raises
    ------
    CheckpointError
        The file is truncated or damaged, or holds something other than numbers.
    """
    file = FileBytes(path)
    try:
        try:
            header = read_npy_header(file)
        except CheckpointError as error:
            raise CheckpointError(f"its array {error}. Save an array of numbers.") from error
        if header.dtype is None:
            raise CheckpointError(f"it is an array of {header.description}, not of numbers.")
        tensor = dense_tensor(
            _ONLY_NAME,
            header.dtype.name,
            header.shape,
            Part(file, header.length, file.size - header.length, "its array"),
            fortran_order=header.fortran_order,
            big_endian=header.dtype.str.startswith(">"),
        )
    except BaseException:
        file.close()
        raise
    return Contents("npy", {_ONLY_NAME: tensor}, close=file.close)
