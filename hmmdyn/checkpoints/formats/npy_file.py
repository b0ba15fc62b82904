"""NumPy's arrays (``.npy``) and zip files of them (``.npz``): never of pickled objects."""

from __future__ import annotations

from hmmdyn.checkpoints.formats.byte_ranges import ByteRange, Part
from hmmdyn.checkpoints.formats.dense import dense_tensor
from hmmdyn.checkpoints.formats.npy_header import MAGIC, read_npy_header
from hmmdyn.checkpoints.formats.strided import STORED_TYPES
from hmmdyn.checkpoints.formats.zip_entries import entry_bytes, read_directory
from hmmdyn.checkpoints.tensor import Contents, LazyTensor
from hmmdyn.errors import CheckpointError

_ONLY_NAME = "array"


def is_npy(start: bytes) -> bool:
    """Whether a file that starts with these bytes is a NumPy array."""
    return start.startswith(MAGIC)


def is_npz(names: list[str]) -> bool:
    """Whether a zip file with these entries is a NumPy archive."""
    return bool(names) and all(name.endswith(".npy") for name in names)


def open_npy(file: ByteRange) -> Contents:
    """Read the header of a NumPy array; the numbers stay on disk.

    The array has no name, so it is called ``array``.

    Raises
    ------
    CheckpointError
        The file is truncated or damaged, or holds something other than numbers.
    """
    array = _array(_ONLY_NAME, file)
    if isinstance(array, str):
        raise CheckpointError(f"it is an array of {array}, not of numbers.")
    return Contents("npy", {_ONLY_NAME: array})


def open_npz(file: ByteRange) -> Contents:
    """Read the headers of the arrays in a NumPy archive; the numbers stay on disk.

    Tied tensors are stored once per name here, and cannot be told from equal ones. Arrays that
    are not numbers (text, dates, records) are left out.

    Raises
    ------
    CheckpointError
        The archive is damaged, or an array holds Python objects, which are never loaded.
    """
    tensors: dict[str, LazyTensor] = {}
    left_out: dict[str, str] = {}
    for entry in read_directory(file).values():
        name = entry.name.removesuffix(".npy")
        array = _array(name, entry_bytes(file, entry))
        if isinstance(array, str):
            left_out[name] = f"not numbers ({array})"
        else:
            tensors[name] = array
    return Contents("npz", tensors, left_out=left_out)


def _array(name: str, content: ByteRange) -> LazyTensor | str:
    """Read the header of an array; return what it holds, in NumPy's words, if no numbers."""
    try:
        header = read_npy_header(content)
    except CheckpointError as error:
        raise CheckpointError(
            f"its array {name!r} {error}. Save arrays of numbers, with numpy.save or numpy.savez."
        ) from error
    if header.dtype is None or header.dtype.name not in STORED_TYPES:
        return header.description
    return dense_tensor(
        name,
        header.dtype.name,
        header.shape,
        Part(content, header.length, content.size - header.length, f"array {name!r}"),
        fortran_order=header.fortran_order,
        big_endian=header.dtype.str.startswith(">"),
    )
