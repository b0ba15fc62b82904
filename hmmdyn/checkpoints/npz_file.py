"""NumPy archives (``.npz``): a zip file of arrays, never of pickled objects."""

from __future__ import annotations

import math
import zipfile
import zlib
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hmmdyn.checkpoints.tensor import WIDENED, Contents, LazyTensor, widen
from hmmdyn.errors import CheckpointError

# What the standard library and NumPy raise on archives that are damaged, encrypted or compressed
# in an unknown way.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    TokenError,
    ValueError,
    EOFError,
    NotImplementedError,
    RuntimeError,
)


def is_npz(names: list[str]) -> bool:
    """Whether a zip file with these entries is a NumPy archive."""
    return bool(names) and all(name.endswith(".npy") for name in names)


def open_npz(path: Path) -> Contents:
    """Read the headers of the arrays in a NumPy archive; the numbers stay on disk.

    Tied tensors are stored once per name here, and cannot be told from equal ones. Arrays that
    are not numbers (text, dates, records) are left out.

    Raises
    ------
    CheckpointError
        The archive is damaged, or an array holds Python objects, which are never loaded.
    """
    archive = zipfile.ZipFile(path)
    try:
        entries = archive.infolist()
        if len({entry.filename for entry in entries}) < len(entries):
            raise CheckpointError("it holds two arrays of one name.")
        tensors: dict[str, LazyTensor] = {}
        left_out: dict[str, str] = {}
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            shape, dtype = _header(archive, entry)
            if _is_numeric(dtype):
                read = partial(_read_array, archive, entry)
                tensors[name] = LazyTensor(shape, dtype.name, read)
            else:
                left_out[name] = f"not numbers ({dtype})"
    except BaseException:
        archive.close()
        raise
    return Contents("npz", tensors, left_out=left_out, close=archive.close)


def _is_numeric(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biufc" or dtype.name in WIDENED


def _header(
    archive: zipfile.ZipFile, entry: zipfile.ZipInfo
) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        with archive.open(entry) as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)
            start = file.tell()
    except _DAMAGE as error:
        raise CheckpointError(f"array {entry.filename!r} is damaged ({error}).") from error
    if dtype.hasobject:
        raise CheckpointError(
            f"array {entry.filename!r} holds Python objects, and loading those could run code. "
            "Save arrays of numbers only."
        )
    if math.prod(shape) * dtype.itemsize != entry.file_size - start:
        raise CheckpointError(
            f"array {entry.filename!r} claims shape {shape}, which does not fill its "
            f"{entry.file_size - start:,} bytes."
        )
    return shape, dtype


def _read_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> NDArray[Any]:
    try:
        with archive.open(entry) as file:
            return widen(npy.read_array(file, allow_pickle=False))
    except _DAMAGE as error:
        raise CheckpointError(f"array {entry.filename!r} is damaged ({error}).") from error
