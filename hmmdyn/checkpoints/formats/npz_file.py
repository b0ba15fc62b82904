"""NumPy archives (``.npz``): a zip file of arrays, never of pickled objects."""

from __future__ import annotations

from pathlib import Path

from hmmdyn.checkpoints.formats.byte_ranges import FileBytes, Part
from hmmdyn.checkpoints.formats.dense import dense_tensor
from hmmdyn.checkpoints.formats.npy_header import read_npy_header
from hmmdyn.checkpoints.formats.strided import STORED_TYPES
from hmmdyn.checkpoints.formats.zip_entries import entry_bytes, read_directory
from hmmdyn.checkpoints.tensor import Contents, LazyTensor
from hmmdyn.errors import CheckpointError


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
    file = FileBytes(path)
    tensors: dict[str, LazyTensor] = {}
    left_out: dict[str, str] = {}
    try:
        for entry in read_directory(file).values():
            name = entry.name.removesuffix(".npy")
            content = entry_bytes(file, entry)
            try:
                header = read_npy_header(content)
            except CheckpointError as error:
                raise CheckpointError(
                    f"its array {name!r} {error}. Save arrays of numbers, with numpy.savez."
                ) from error
            if header.dtype is None or header.dtype.name not in STORED_TYPES:
                left_out[name] = f"not numbers ({header.description})"
                continue
            length = content.size - header.length
            tensors[name] = dense_tensor(
                name,
                header.dtype.name,
                header.shape,
                Part(content, header.length, length, f"array {name!r}"),
                fortran_order=header.fortran_order,
                big_endian=header.dtype.str.startswith(">"),
            )
    except BaseException:
        file.close()
        raise
    return Contents("npz", tensors, left_out=left_out, close=file.close)
