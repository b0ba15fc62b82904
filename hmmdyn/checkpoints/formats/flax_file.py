"""Flax's MessagePack files (``checkpoint_N``, ``.msgpack``), read with positioned reads.

The ``msgpack`` package decodes a file as a whole, so that all its tensors would be in memory at
once. Here only the headers are walked, and the numbers stay on disk until asked for.

References
----------
https://github.com/msgpack/msgpack/blob/master/spec.md
https://flax.readthedocs.io/en/latest/api_reference/flax.serialization.html
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.formats.byte_ranges import ByteRange, Part, read_bytes
from hmmdyn.checkpoints.formats.dense import dense_tensor, is_shape
from hmmdyn.checkpoints.state_dict import flatten
from hmmdyn.checkpoints.tensor import Contents, LazyTensor
from hmmdyn.errors import CheckpointError

# Real files nest fewer than twenty levels and hold some ten values for each tensor.
_DEEPEST = 64
_MOST_VALUES = 2_000_000
_WINDOW = 512  # bytes read at once
_LONGEST_TEXT = 10_000  # bytes; longer texts are no names, and are skipped

# Flax's extension types.
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_CHUNKED = "__msgpack_chunked_array__"  # an array too long for one MessagePack value
# What an array kept in other files leaves in its place.
_ELSEWHERE = ("PLACEHOLDER://", "//GDAPlaceholder:", "//ArrayPlaceholder:")

# First byte of a value -> what it is, and struct format of its length or of itself.
_TEXTS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_BYTES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}
_LISTS = {0xDC: ">H", 0xDD: ">I"}
_MAPS = {0xDE: ">H", 0xDF: ">I"}
_EXTENSIONS = {0xC7: ">B", 0xC8: ">H", 0xC9: ">I"}
_FIXED_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_NUMBERS = {
    **{0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q"},
    **{0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"},
}
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def is_flax(start: bytes) -> bool:
    """Whether a file that starts with these bytes is a MessagePack map with a text as first key."""
    if not start or not (0x81 <= start[0] <= 0x8F or start[0] in _MAPS):
        return False
    key = start[1 + struct.calcsize(_MAPS.get(start[0], ">")) :][:1]
    return bool(key) and (0xA0 <= key[0] <= 0xBF or key[0] in _TEXTS)


def open_flax(file: ByteRange) -> Contents:
    """Walk the values of a Flax checkpoint; the numbers of its arrays stay on disk.

    Raises
    ------
    CheckpointError
        The file is truncated, contradicts itself, or holds arrays of an unknown type.
    """
    tree, left_out = read_tree(file)
    found = flatten(model_tree(tree))
    left_out = found.left_out | left_out
    return Contents("flax", found.tensors, found.scalars, left_out, found.beside)


def read_tree(file: ByteRange) -> tuple[dict[str, object], dict[str, str]]:
    """Read the nested dictionary of a file, and which of its arrays are in other files.

    Raises
    ------
    CheckpointError
        As `open_flax`.
    """
    walk = _Walk(file)
    tree = walk.value()
    if walk.position != file.size:
        raise CheckpointError(
            f"{file.size - walk.position:,} bytes follow the end of its data. "
            "Copy or save the file anew."
        )
    if not isinstance(tree, dict):
        raise CheckpointError("it is MessagePack, but not a Flax checkpoint.")
    return tree, walk.left_out


def model_tree(tree: Mapping[str, object]) -> dict[object, object]:
    """Undo what Flax and its predecessors wrap around a model's variables.

    Modules of ``nnx`` and boxed parameters keep each array as ``{"value": array}``. T5X and
    ``flax.optim`` call the parameters ``target``, beside the optimizer's ``state``.
    """
    wrapped = tree.get("optimizer")
    if isinstance(wrapped, dict) and "target" in wrapped:
        tree = {key: value for key, value in tree.items() if key != "optimizer"} | wrapped
    if "target" in tree and "state" in tree:
        tree = {"params" if key == "target" else key: value for key, value in tree.items()}
    return {key: _unboxed(value) for key, value in tree.items()}


def _unboxed(value: object) -> object:
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("value"), LazyTensor) and len(value) == 1:
        return value["value"]
    return {key: _unboxed(inner) for key, inner in value.items()}


class _Walk:
    """Reads one value after another; arrays become lazy tensors."""

    def __init__(self, file: ByteRange) -> None:
        self.position = 0
        self.left_out: dict[str, str] = {}
        self._file = file
        self._n_values = 0
        self._window = b""  # bytes read ahead, so that small values do not take a read each
        self._window_start = 0

    def value(self, path: tuple[str, ...] = ()) -> object:
        """Read the value at the position and move behind it."""
        self._n_values += 1
        if self._n_values > _MOST_VALUES or len(path) > _DEEPEST:
            raise CheckpointError(
                f"it holds more than {_MOST_VALUES:,} values, or nests them more than {_DEEPEST} "
                "levels deep, which no checkpoint does."
            )
        first = self._take(1)[0]
        if first <= 0x7F:
            return first
        if first >= 0xE0:
            return first - 0x100
        if first in _CONSTANTS:
            return _CONSTANTS[first]
        if first in _NUMBERS:
            return self._number(_NUMBERS[first])
        if first <= 0x8F or first in _MAPS:
            return self._map(self._length(first, 0x0F, _MAPS), path)
        if first <= 0x9F or first in _LISTS:
            length = self._length(first, 0x0F, _LISTS)
            return [self.value((*path, str(i))) for i in range(length)]
        if first <= 0xBF or first in _TEXTS:
            return self._text(self._length(first, 0x1F, _TEXTS), path)
        if first in _BYTES:
            self._skip(self._number(_BYTES[first]))
            return None
        if first in _EXTENSIONS or first in _FIXED_EXTENSIONS:
            return self._extension(first, path)
        raise CheckpointError(f"it is damaged: byte {self.position - 1:,} starts no value.")

    def _map(self, length: int, path: tuple[str, ...]) -> object:
        entries: dict[str, object] = {}
        for _ in range(length):
            key = self.value(path)
            if not isinstance(key, str | int) or isinstance(key, bool):
                raise CheckpointError("it is damaged: the key of a value is not a text.")
            if str(key) in entries:
                raise CheckpointError(f"it holds two values called {key!r}.")
            entries[str(key)] = self.value((*path, str(key)))
        return _joined(entries, ".".join(path)) if _CHUNKED in entries else entries

    def _text(self, length: int, path: tuple[str, ...]) -> str | None:
        if length > _LONGEST_TEXT:
            self._skip(length)
            return None
        try:
            text = self._take(length).decode()
        except UnicodeDecodeError as error:
            raise CheckpointError("it is damaged: a text in it is not UTF-8.") from error
        if text.startswith(_ELSEWHERE):
            self.left_out[".".join(path)] = "its numbers are in another file"
        return text

    def _extension(self, first: int, path: tuple[str, ...]) -> LazyTensor | None:
        length = _FIXED_EXTENSIONS.get(first) or self._number(_EXTENSIONS[first])
        (code,) = struct.unpack(">b", self._take(1))
        end = self.position + length
        if code == _COMPLEX or end > self._file.size:
            self._skip(length)
            return None
        if code not in (_ARRAY, _SCALAR):
            raise CheckpointError(f"it holds a value of type {code}, which Flax does not write.")
        return self._array(end, path)

    def _array(self, end: int, path: tuple[str, ...]) -> LazyTensor:
        """Read an array's header: a list of its shape, the name of its dtype, and its bytes."""
        # Flax calls dtypes by NumPy's names and writes numbers in the byte order of the machine,
        # which has been little-endian wherever Flax runs.
        name = ".".join(path)
        wrong = f"it is damaged: it describes the array {name!r} wrongly."
        if self._take(1)[0] != 0x93:
            raise CheckpointError(wrong)
        shape, dtype = self.value((*path, "shape")), self.value((*path, "dtype"))
        kind = self._take(1)[0]
        if not isinstance(shape, list) or not isinstance(dtype, str) or kind not in _BYTES:
            raise CheckpointError(wrong)
        size = self._number(_BYTES[kind])
        if self.position + size != end:
            raise CheckpointError(wrong)
        numbers = Part(self._file, self.position, size, f"array {name!r}")
        self._skip(size)
        return dense_tensor(name, dtype, tuple(shape), numbers)

    def _length(self, first: int, mask: int, formats: Mapping[int, str]) -> int:
        """Return the length of a container or text; short ones have it in their first byte."""
        return self._number(formats[first]) if first in formats else first & mask

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _take(self, count: int) -> bytes:
        start = self.position - self._window_start
        if start + count > len(self._window):
            self._window_start, start = self.position, 0
            length = max(count, min(_WINDOW, self._file.size - self.position))
            self._window = read_bytes(self._file, self.position, length, "a value")
        self.position += count
        return self._window[start : start + count]

    def _skip(self, count: int) -> None:
        if count > self._file.size - self.position:
            raise CheckpointError(
                f"it is truncated: a value takes {count:,} bytes from byte {self.position:,}, and "
                f"the file ends at {self._file.size:,}. Was training stopped while it was saved?"
            )
        self.position += count


def _joined(entries: Mapping[str, object], name: str) -> LazyTensor:
    """Put the pieces of an array together that was too long for one value."""
    shape, chunks = entries.get("shape"), entries.get("chunks")
    if isinstance(shape, dict):
        shape = [shape.get(str(i)) for i in range(len(shape))]
    if isinstance(chunks, dict):
        chunks = [chunks.get(str(i)) for i in range(len(chunks))]
    if (
        not isinstance(shape, list)
        or not is_shape(shape)
        or not isinstance(chunks, list)
        or not all(isinstance(chunk, LazyTensor) and len(chunk.shape) == 1 for chunk in chunks)
        or len({chunk.dtype for chunk in chunks}) != 1
        or sum(chunk.shape[0] for chunk in chunks) != prod(shape)
    ):
        raise CheckpointError(f"it is damaged: the pieces of its array {name!r} do not fit.")
    return LazyTensor(tuple(shape), chunks[0].dtype, partial(_read_joined, tuple(shape), chunks))


def _read_joined(shape: tuple[int, ...], chunks: list[LazyTensor]) -> NDArray[Any]:
    ends = np.cumsum([0, *(chunk.shape[0] for chunk in chunks)])
    first = chunks[0].read()
    values = np.empty(prod(shape), first.dtype)
    for chunk, (start, end) in zip(chunks, pairwise(ends), strict=True):
        values[start:end] = chunk.read()
    return values.reshape(shape)
