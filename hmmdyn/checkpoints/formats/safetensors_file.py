"""Safetensors files, read with positioned reads.

The ``safetensors`` package maps files into memory, which kills the process when a file shrinks
while it is read (training still writes it), and reads no float8 into NumPy. The format is a
length, a JSON header and one block of bytes.

References
----------
https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import struct
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.state_dict import outcome_scalars
from hmmdyn.checkpoints.tensor import WIDENED, Contents, LazyTensor, widen
from hmmdyn.errors import CheckpointError

_LONGEST_HEADER = 100_000_000  # bytes, the format's own limit
_MOST_AXES = 64  # NumPy's limit
_MOST_ELEMENTS = 1 << 60  # with more, NumPy takes not even an empty array

_DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("<u1"),
    "I8": np.dtype("<i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
    "C64": np.dtype("<c8"),
    "F16": WIDENED["float16"],
    "BF16": WIDENED["bfloat16"],
    "F8_E4M3": WIDENED["float8_e4m3fn"],
    "F8_E4M3FNUZ": WIDENED["float8_e4m3fnuz"],
    "F8_E5M2": WIDENED["float8_e5m2"],
    "F8_E5M2FNUZ": WIDENED["float8_e5m2fnuz"],
}


def is_safetensors(start: bytes) -> bool:
    """Whether a file that starts with these bytes (9 or more) is a safetensors file."""
    return len(start) >= 9 and start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] < 2**32


def open_safetensors(path: Path) -> Contents:
    """Check the header of a safetensors file; the tensors stay on disk.

    Raises
    ------
    CheckpointError
        The file is truncated, or its header contradicts itself or the file's size.
    """
    file = path.open("rb")
    try:
        header, data_start = _read_header(file)
        metadata = header.pop("__metadata__", {})
        size = path.stat().st_size - data_start
        tensors = {name: _tensor(name, entry, file, data_start) for name, entry in header.items()}
        _require_full_cover(header, size)
    except BaseException:
        file.close()
        raise
    scalars = outcome_scalars(metadata.items()) if isinstance(metadata, dict) else {}
    return Contents("safetensors", tensors, scalars, close=file.close)


def _read_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    (length,) = struct.unpack("<Q", _read_exactly(file, 8))
    if length > _LONGEST_HEADER:
        raise CheckpointError(
            f"its header claims {length:,} bytes; safetensors allows {_LONGEST_HEADER:,}."
        )
    text = _read_exactly(file, length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"its header is not valid JSON ({error}).") from error
    if not isinstance(header, dict):
        raise CheckpointError("its header is not a JSON object.")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _tensor(name: str, entry: Any, file: BinaryIO, data_start: int) -> LazyTensor:
    try:
        code, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"its header describes tensor {name!r} wrongly.") from error
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise CheckpointError(f"tensor {name!r} has a size or offset that is no whole number.")
    if not isinstance(code, str) or code not in _DTYPES:
        raise CheckpointError(
            f"tensor {name!r} is stored as {code}, which hmmdyn does not read. "
            "Save the weights as float32, float16 or bfloat16."
        )
    dtype = _DTYPES[code]
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise CheckpointError(
            f"tensor {name!r} of shape {shape} does not fill its {end - begin:,} bytes."
        )
    if len(shape) > _MOST_AXES or math.prod(max(n, 1) for n in shape) > _MOST_ELEMENTS:
        raise CheckpointError(
            f"tensor {name!r} has more axes ({len(shape):,}) or larger ones than NumPy allows."
        )
    return LazyTensor(
        shape, dtype.name, partial(_read_tensor, file, data_start + begin, name, shape, dtype)
    )


def _require_full_cover(header: dict[str, Any], size: int) -> None:
    """Require tensors to fill the data block in order, without gap, overlap or a missing end."""
    covered = 0
    for begin, end in sorted(entry["data_offsets"] for entry in header.values()):
        if begin != covered:
            raise CheckpointError("its tensors overlap, or leave gaps between them.")
        covered = end
    if covered > size:
        raise CheckpointError(
            f"it is truncated: its tensors need {covered:,} bytes and {size:,} are there."
        )
    if covered < size:
        raise CheckpointError(f"{size - covered:,} bytes follow its last tensor.")


def _read_tensor(
    file: BinaryIO, offset: int, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    file.seek(offset)
    data = _read_exactly(file, math.prod(shape) * dtype.itemsize, f"tensor {name!r}")
    return widen(np.frombuffer(data, dtype).reshape(shape))


def _read_exactly(file: BinaryIO, count: int, what: str = "its header") -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise CheckpointError(
            f"it is truncated: {what} ends after {len(data):,} of {count:,} bytes."
        )
    return data
