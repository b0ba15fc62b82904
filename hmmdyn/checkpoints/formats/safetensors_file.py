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
import struct
from collections.abc import Iterable
from typing import Any

from hmmdyn.checkpoints.formats.byte_ranges import ByteRange, Part, read_bytes
from hmmdyn.checkpoints.formats.dense import dense_tensor
from hmmdyn.checkpoints.state_dict import outcome_scalars
from hmmdyn.checkpoints.tensor import Contents, LazyTensor
from hmmdyn.errors import CheckpointError

_LONGEST_HEADER = 100_000_000  # bytes, the format's own limit

_DTYPES = {
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "F32": "float32",
    "F64": "float64",
    "C64": "complex64",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
}


def is_safetensors(start: bytes) -> bool:
    """Whether a file that starts with these bytes (9 or more) is a safetensors file."""
    return len(start) >= 9 and start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] < 2**32


def open_safetensors(file: ByteRange) -> Contents:
    """Check the header of a safetensors file; the tensors stay on disk.

    Raises
    ------
    CheckpointError
        The file is truncated, or its header contradicts itself or the file's size.
    """
    header, data_start = _read_header(file)
    metadata = header.pop("__metadata__", {})
    data = Part(file, data_start, file.size - data_start, "its data")
    spans = {name: _span(name, entry) for name, entry in header.items()}
    _require_full_cover(spans.values(), data.size)
    tensors = {name: _tensor(name, header[name], data, spans[name]) for name in header}
    scalars = outcome_scalars(metadata.items()) if isinstance(metadata, dict) else {}
    return Contents("safetensors", tensors, scalars)


def _read_header(file: ByteRange) -> tuple[dict[str, Any], int]:
    (length,) = struct.unpack("<Q", read_bytes(file, 0, 8, "its header"))
    if length > _LONGEST_HEADER:
        raise CheckpointError(
            f"its header claims {length:,} bytes; safetensors allows {_LONGEST_HEADER:,}."
        )
    text = read_bytes(file, 8, length, "its header")
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


def _span(name: str, entry: Any) -> tuple[int, int]:
    """Return where the bytes of a tensor start and end in the data."""
    try:
        begin, end = entry["data_offsets"]
    except (TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"its header describes tensor {name!r} wrongly.") from error
    if not _are_sizes((begin, end)):
        raise CheckpointError(f"tensor {name!r} has an offset that is no whole number.")
    if end < begin:
        raise CheckpointError(f"tensor {name!r} ends before it starts.")
    return begin, end


def _tensor(name: str, entry: Any, data: ByteRange, span: tuple[int, int]) -> LazyTensor:
    try:
        code, shape = entry["dtype"], tuple(entry["shape"])
    except (TypeError, KeyError) as error:
        raise CheckpointError(f"its header describes tensor {name!r} wrongly.") from error
    if not _are_sizes(shape):
        raise CheckpointError(f"tensor {name!r} has a size that is no whole number.")
    if not isinstance(code, str) or code not in _DTYPES:
        raise CheckpointError(
            f"tensor {name!r} is stored as {code}, which hmmdyn does not read. "
            "Save the weights as float32, float16 or bfloat16."
        )
    begin, end = span
    part = Part(data, begin, end - begin, f"tensor {name!r}")
    return dense_tensor(name, _DTYPES[code], shape, part)


def _are_sizes(numbers: tuple[Any, ...]) -> bool:
    return all(type(n) is int and n >= 0 for n in numbers)


def _require_full_cover(spans: Iterable[tuple[int, int]], size: int) -> None:
    """Require tensors to fill the data block in order, without gap, overlap or a missing end."""
    covered = 0
    for begin, end in sorted(spans):
        if begin != covered:
            raise CheckpointError("its tensors overlap, or leave gaps between them.")
        covered = end
    if covered > size:
        raise CheckpointError(
            f"it is truncated: its tensors need {covered:,} bytes and {size:,} are there."
        )
    if covered < size:
        raise CheckpointError(f"{size - covered:,} bytes follow its last tensor.")
