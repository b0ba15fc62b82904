"""PyTorch checkpoints, read without PyTorch: nothing in them is imported, called or run.

Since version 1.6 ``torch.save`` writes a zip file: a pickle that describes the objects, and one
entry for every storage. Before, it wrote five pickles in a row and the storages behind them. Of
the pickles only the symbols are read (`pickle_symbols`); the numbers stay on disk until asked for.

References
----------
https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import io

from hmmdyn.checkpoints.formats.byte_ranges import (
    ByteRange,
    MemoryBytes,
    Part,
    read_bytes,
)
from hmmdyn.checkpoints.formats.object_tree import to_tree
from hmmdyn.checkpoints.formats.pickle_symbols import (
    Budget,
    Pairs,
    Persistent,
    Record,
    read_symbols,
)
from hmmdyn.checkpoints.formats.strided import STORED_TYPES
from hmmdyn.checkpoints.formats.torch_objects import (
    Interpreter,
    Storage,
    StorageName,
    storage_name,
)
from hmmdyn.checkpoints.formats.zip_entries import ZipEntry, read_directory, stored_part
from hmmdyn.checkpoints.state_dict import flatten
from hmmdyn.checkpoints.tensor import Contents, LazyTensor
from hmmdyn.errors import CheckpointError

# A pickle of protocol 2 whose first object is PyTorch's magic number: torch.save before 1.6.
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_LEGACY_PROTOCOL = 1001
_LONGEST_PICKLE = 1 << 28  # bytes, in the zip format
_MOST_FILES_IN_FILES = 3

_ANEW = "Copy or save the file anew."


def is_torch_zip(names: list[str]) -> bool:
    """Whether a zip file with these entries was written by ``torch.save``."""
    return any(name.rpartition("/")[2] == "data.pkl" for name in names)


def is_legacy_torch(start: bytes) -> bool:
    """Whether a file that starts with these bytes was written by ``torch.save`` before 1.6."""
    return start.startswith(_LEGACY_START)


def open_torch(file: ByteRange) -> Contents:
    """Read what a PyTorch file says of its tensors; their numbers stay on disk.

    State dictionaries are read wherever they are nested, and so are whole modules and other
    objects: as their attributes, without their classes.

    Raises
    ------
    CheckpointError
        The file is damaged, contradicts itself, or holds no dictionary of tensors.
    """
    root, interpreter = read_torch(file, Budget())
    found = flatten(_tree_of_tensors(root, interpreter))
    if not found.tensors:
        raise CheckpointError(
            "it holds no tensors. Give the file with the model: torch.save(model.state_dict(), …)"
        )
    tensors = {n: t for n, t in found.tensors.items() if t.dtype in STORED_TYPES}
    left_out = {n: t.dtype for n, t in found.tensors.items() if n not in tensors}
    beside = {n: t for n, t in found.beside.items() if t.dtype in STORED_TYPES}
    return Contents("pytorch", tensors, found.scalars, found.left_out | left_out, beside)


def read_torch(file: ByteRange, budget: Budget, depth: int = 0) -> tuple[object, Interpreter]:
    """Read the symbols of a PyTorch file of either format, and who knows what they stand for.

    Parameters
    ----------
    file : ByteRange
        The whole file.
    budget : Budget
        How much may still be read of all the file's pickles.
    depth : int
        How many files this one lies in.
    """
    if depth > _MOST_FILES_IN_FILES:
        raise CheckpointError(
            f"it holds files in files, more than {_MOST_FILES_IN_FILES} deep, which PyTorch never "
            "writes: do not trust it."
        )
    start = read_bytes(file, 0, min(file.size, len(_LEGACY_START)), "its start")
    if is_legacy_torch(start):
        return _read_legacy(file, budget, depth)
    return _read_zip(file, budget, depth)


def _tree_of_tensors(root: object, interpreter: Interpreter) -> dict[object, object]:
    if isinstance(root, Pairs) or (isinstance(root, Record) and interpreter.value(root) is None):
        return to_tree(root, interpreter.value)
    kind = type(root).__name__
    if isinstance(root, Record):
        kind = "Tensor" if isinstance(interpreter.value(root), LazyTensor) else "number"
    raise CheckpointError(
        f"it holds a {kind}, not a dictionary of tensors. "
        "Save the state dictionary: torch.save(model.state_dict(), …)"
    )


def _nested_storage(data: bytes, budget: Budget, depth: int) -> Storage:
    """Read the storage that was saved as a PyTorch file of its own, inside a pickle."""
    root, interpreter = read_torch(MemoryBytes(data), budget, depth)
    return interpreter.storage(root)


# -------------------------------------------------------------------------------- zip, since 1.6


def _read_zip(file: ByteRange, budget: Budget, depth: int) -> tuple[object, Interpreter]:
    entries = read_directory(file)
    pickles = [name for name in entries if name.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise CheckpointError(
            f"it holds {len(pickles)} pickles called data.pkl, and PyTorch writes one. {_ANEW}"
        )
    (name,) = pickles
    data = _read_entry(file, entries[name])
    stream = io.BytesIO(data)
    root = read_symbols(stream, repr(name), budget).root
    if stream.tell() < len(data):
        raise CheckpointError(
            f"{len(data) - stream.tell():,} bytes follow the end of the pickle {name!r}: the file "
            f"is damaged or forged. {_ANEW}"
        )
    storages = _ZipStorages(file, entries, name.removesuffix("data.pkl"))
    return root, Interpreter(
        repr(name), storages.find, lambda data: _nested_storage(data, budget, depth + 1)
    )


def _read_entry(file: ByteRange, entry: ZipEntry) -> bytes:
    if entry.size > _LONGEST_PICKLE:
        raise CheckpointError(
            f"its entry {entry.name!r} has {entry.size:,} bytes beside the tensors (limit: "
            f"{_LONGEST_PICKLE:,}). Save the weights alone: torch.save(model.state_dict(), …)"
        )
    part = stored_part(file, entry)
    data = read_bytes(part, 0, part.size, part.what)
    part.verify()
    return data


class _ZipStorages:
    """The storages of a zip file, each an entry ``…/data/<key>``."""

    def __init__(self, file: ByteRange, entries: dict[str, ZipEntry], prefix: str) -> None:
        self._file = file
        self._entries = entries
        self._prefix = prefix
        self._parts: dict[str, Part] = {}
        order = entries.get(f"{prefix}byteorder")
        name = b"little" if order is None else _read_entry(file, order)
        if name not in (b"little", b"big"):
            raise CheckpointError(
                f"its byte order is given as {name[:20]!r}, not as little or big. {_ANEW}"
            )
        self._big_endian = name == b"big"

    def find(self, reference: Persistent) -> Storage:
        """Find the entry with the numbers of a storage."""
        wanted = storage_name(reference)
        if wanted.key not in self._parts:
            entry = self._entries.get(f"{self._prefix}data/{wanted.key}")
            if entry is None:
                raise _missing(wanted)
            self._parts[wanted.key] = stored_part(self._file, entry)
        part = self._parts[wanted.key]
        _require_size(wanted, part.size)
        return Storage(part, wanted.dtype, self._big_endian)


def _missing(wanted: StorageName) -> CheckpointError:
    return CheckpointError(
        f"it is damaged: the storage {wanted.key[:80]!r} of a tensor is missing. {_ANEW}"
    )


def _require_size(wanted: StorageName, size: int) -> None:
    if wanted.size != size:
        raise CheckpointError(
            f"it is damaged or forged: storage {wanted.key[:80]!r} should take {wanted.size:,} "
            f"bytes and takes {size:,}. {_ANEW}"
        )


# ----------------------------------------------------------------------------- before version 1.6


def _read_legacy(file: ByteRange, budget: Budget, depth: int) -> tuple[object, Interpreter]:
    stream = _Stream(file)
    where = "in its head"
    _magic, protocol, _system = (read_symbols(stream, where, budget).root for _ in range(3))
    if protocol != _LEGACY_PROTOCOL:
        raise CheckpointError(
            "it is of a version of PyTorch's old format that no release has written. " + _ANEW
        )
    where = "of its objects"
    symbols = read_symbols(stream, where, budget)
    keys = read_symbols(stream, "of its storages' names", budget).root
    names: dict[str, StorageName] = {}
    for reference in symbols.references:
        if not _is_module_source(reference):
            name = storage_name(reference)
            known = names.setdefault(name.key, name)
            if (known.dtype, known.size) != (name.dtype, name.size):
                raise CheckpointError(
                    f"it is damaged or forged: storage {name.key[:80]!r} is described in two ways. "
                    + _ANEW
                )
    storages = _LegacyStorages(_locate(file, stream.tell(), keys, names))
    return symbols.root, Interpreter(
        f"the pickle {where}", storages.find, lambda data: _nested_storage(data, budget, depth + 1)
    )


def _is_module_source(reference: Persistent) -> bool:
    """Whether this is the class of a pickled module, kept with its source text."""
    identifier = reference.identifier
    return isinstance(identifier, tuple) and identifier[:1] == ("module",)


def _locate(
    file: ByteRange, start: int, keys: object, names: dict[str, StorageName]
) -> dict[str, Part]:
    """Walk the storages behind the pickles: for each a count of elements, then the elements."""
    parts: dict[str, Part] = {}
    for key in keys if isinstance(keys, list) else [keys]:
        if not isinstance(key, str) or key not in names or key in parts:
            raise CheckpointError(
                f"it is damaged or forged: the list of its storages does not fit them. {_ANEW}"
            )
        wanted = names[key]
        itemsize = STORED_TYPES[wanted.dtype].itemsize if wanted.dtype else 1
        count = int.from_bytes(read_bytes(file, start, 8, f"storage {key[:80]!r}"), "little")
        _require_size(wanted, count * itemsize)
        parts[key] = Part(file, start + 8, wanted.size, f"storage {key[:80]!r}")
        start += 8 + wanted.size
    if start != file.size:
        raise CheckpointError(f"{file.size - start:,} bytes follow its last storage. {_ANEW}")
    return parts


class _LegacyStorages:
    """The storages behind the pickles; always little-endian, whatever wrote them."""

    def __init__(self, parts: dict[str, Part]) -> None:
        self._parts = parts

    def find(self, reference: Persistent) -> Storage:
        """Find a storage, or the stretch of one that an old "view" of it is."""
        wanted = storage_name(reference)
        if wanted.key not in self._parts:
            raise _missing(wanted)
        part = self._parts[wanted.key]
        match wanted.more:
            case () | (None,):
                return Storage(part, wanted.dtype, big_endian=False)
            case ((_, int(offset), int(count)),) if wanted.dtype:
                itemsize = STORED_TYPES[wanted.dtype].itemsize
                view = Part(part, offset * itemsize, count * itemsize, f"a view of {part.what}")
                return Storage(view, wanted.dtype, big_endian=False)
        raise CheckpointError(
            f"it is damaged or forged: {part.what} is viewed in a way unknown to PyTorch. {_ANEW}"
        )


class _Stream:
    """Bytes as the readers of `pickletools` take them, in blocks, and never more than there are."""

    _BLOCK = 1 << 16
    _LONGEST_LINE = 1 << 20

    def __init__(self, source: ByteRange) -> None:
        self._source = source
        self._block = b""
        self._block_start = 0
        self._at = 0  # in the block

    def tell(self) -> int:
        """Position in the whole."""
        return self._block_start + self._at

    def read(self, count: int) -> bytes:
        """Return exactly ``count`` bytes."""
        if count > len(self._block) - self._at:
            self._load(max(count, self._BLOCK), at_least=count)
        self._at += count
        return self._block[self._at - count : self._at]

    def readline(self) -> bytes:
        """Return the bytes up to and with the next line feed."""
        end = self._block.find(b"\n", self._at)
        if end < 0:
            self._load(self._LONGEST_LINE, at_least=1)
            end = self._block.find(b"\n")
        return self.read(end + 1 - self._at) if end >= 0 else b""

    def _load(self, count: int, at_least: int) -> None:
        here = self.tell()
        left = self._source.size - here
        if at_least > min(left, _LONGEST_PICKLE):
            raise CheckpointError(
                f"it is truncated or damaged: its pickle claims {at_least:,} bytes at byte "
                f"{here:,}, and {left:,} are left. {_ANEW}"
            )
        self._block = read_bytes(self._source, here, min(count, left), "its pickle")
        self._block_start, self._at = here, 0
