"""What the names in a PyTorch pickle stand for: about twenty are understood, none is called.

Everything else (argument records, schedulers, whole optimisers) stays an inert record.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.formats.byte_ranges import ByteRange, MemoryBytes
from hmmdyn.checkpoints.formats.pickle_symbols import NO_STATE, Global, Pairs, Persistent, Record
from hmmdyn.checkpoints.formats.strided import STORED_TYPES, Strided, read_strided
from hmmdyn.checkpoints.tensor import LazyTensor
from hmmdyn.errors import CheckpointError

_STORAGE_DTYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
}
_UNTYPED_STORAGES = {"UntypedStorage", "_UntypedStorage"}

# Calls that make a tensor of numbers -> the numbers of arguments they can have.
_STRIDED = {
    "torch._utils._rebuild_tensor": (4,),
    "torch._utils._rebuild_tensor_v2": (6, 7),
    "torch._utils._rebuild_tensor_v3": (7, 8),
}
# Calls whose first argument is the tensor, and whose others do not change its numbers.
_WRAPPING = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_device_tensor_from_cpu_tensor",
    "torch._utils._rebuild_device_tensor_from_numpy",
    "torch._utils._rebuild_xla_tensor",
}
_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_FROM_BYTES = "torch.storage._load_from_bytes"
_NOT_PLAIN = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor without numbers (on device meta)",
    "torch._utils._rebuild_wrapper_subclass": "a tensor of a special class (such as DTensor)",
}
_NUMPY = re.compile(r"numpy\.(?:_core|core)\.(?:multiarray|numeric)\.(\w+)")
_NUMPY_CODE = re.compile(r"[<>=|]?([biufc][0-9]{1,2})")
_MOST_WRAPPINGS = 8


@dataclass(frozen=True)
class Storage:
    """A flat block of memory saved by PyTorch; ``dtype`` is None where it is plain bytes."""

    content: ByteRange
    dtype: str | None
    big_endian: bool


@dataclass(frozen=True)
class StorageName:
    """What a persistent reference says about a storage; ``size`` is in bytes."""

    key: str
    dtype: str | None
    size: int
    more: tuple[object, ...]


def storage_name(reference: Persistent) -> StorageName:
    """Read ``("storage", type, key, device, number of elements, …)``.

    Raises
    ------
    CheckpointError
        It is no reference to a storage.
    """
    match reference.identifier:
        case ("storage", Global(name=name), str(key), _, int(count), *more) if count >= 0:
            module, _, kind = name.rpartition(".")
            if module.partition(".")[0] == "torch":
                if kind in _UNTYPED_STORAGES:
                    return StorageName(key, None, count, tuple(more))
                if kind in _STORAGE_DTYPES:
                    dtype = _STORAGE_DTYPES[kind]
                    size = count * STORED_TYPES[dtype].itemsize
                    return StorageName(key, dtype, size, tuple(more))
            raise CheckpointError(
                f"a tensor lies in a storage of type {name[:80]!r}, which PyTorch does not write. "
                "Copy or save the file anew; if it stays so, do not trust it."
            )
    raise CheckpointError(
        "a tensor lies in no storage that PyTorch could have written: the file is damaged or "
        "forged. Copy or save it anew."
    )


class Interpreter:
    """Knows what the records of one file stand for.

    Parameters
    ----------
    where : str
        What to call the pickle in messages.
    storage : callable
        Finds a storage in the file the pickle is from.
    from_bytes : callable
        Reads a PyTorch file that the pickle holds as bytes, and returns the storage saved in it.
    """

    def __init__(
        self,
        where: str,
        storage: Callable[[Persistent], Storage],
        from_bytes: Callable[[bytes], Storage],
    ) -> None:
        self._where = where
        self._storage = storage
        self._from_bytes = from_bytes
        self._storages: dict[int, Storage] = {}
        # Many records can share a text that stands for bytes.
        self._latin: dict[int, bytes | None] = {}

    def value(self, record: Record) -> LazyTensor | float | complex | None:
        """Return the tensor or number a record stands for; None where it is something else.

        A tensor that is no plain block of numbers has its kind (``a sparse tensor``) as ``dtype``.

        Raises
        ------
        CheckpointError
            A tensor that reaches beyond its storage, or arguments that make no sense.
        """
        start = record
        for _ in range(_MOST_WRAPPINGS):
            if record.name in _WRAPPING:
                (inner, *_) = self._arguments(record, (3, 4))
            elif record.name == _FROM_TYPE:
                function, _, arguments, _ = self._arguments(record, (4,))
                inner = Record(function, arguments, None, record.position)
            else:
                break
            if not isinstance(inner, Record):
                raise self._wrong(record)
            record = inner
        else:
            raise self._wrong(start)
        if record.name in _STRIDED:
            return self._strided(record)
        if record.name in _NOT_PLAIN:
            return _unreadable(_NOT_PLAIN[record.name])
        if numpy := _NUMPY.fullmatch(record.name):
            return self._from_numpy(record, numpy[1])
        return None

    def storage(self, node: object) -> Storage:
        """Return the storage that a reference, or a file in the file, stands for."""
        if id(node) not in self._storages:
            if isinstance(node, Persistent):
                self._storages[id(node)] = self._storage(node)
            elif isinstance(node, Record) and node.name == _FROM_BYTES:
                (data,) = self._arguments(node, (1,))
                self._storages[id(node)] = self._from_bytes(self._bytes(data) or b"")
            else:
                raise CheckpointError(
                    f"a tensor of {self._where} lies in something that is no storage: the file "
                    "is damaged or forged. Copy or save it anew."
                )
        return self._storages[id(node)]

    def _strided(self, record: Record) -> LazyTensor:
        arguments = self._arguments(record, _STRIDED[record.name])
        storage = self.storage(arguments[0])
        offset, shape, strides = arguments[1], integers(arguments[2]), integers(arguments[3])
        is_v3 = record.name.endswith("v3")
        dtype = torch_dtype(arguments[6]) if is_v3 else storage.dtype
        metadata = arguments[7 if is_v3 else 6 :]
        if not isinstance(offset, int) or shape is None or strides is None or dtype is None:
            raise self._wrong(record)
        if dtype not in STORED_TYPES:
            return _unreadable(f"stored as {dtype}", shape)
        bits = [pairs.items for pairs in metadata if isinstance(pairs, Pairs)]
        negative, conjugate = (
            any(key == bit and value is True for items in bits for key, value in items)
            for bit in ("neg", "conj")
        )
        tensor = Strided(dtype, shape, strides, offset, storage.big_endian, negative, conjugate)
        return self._lazy(tensor, storage.content, record)

    def _from_numpy(self, record: Record, function: str) -> LazyTensor | float | complex | None:
        """Interpret NumPy's ``scalar``, ``_reconstruct`` and ``_frombuffer``."""
        match function, record.arguments, record.state:
            case "scalar", (dtype, data), _:
                shape: object = ()
                order = False
            case "_reconstruct", _, (_, shape, dtype, bool(order), data):
                pass
            case "_frombuffer", (data, dtype, shape, "C" | "F" as letter), _:
                order = letter == "F"
            case _:
                return None
        found, raw, sizes = _numpy_dtype(dtype), self._bytes(data), integers(shape)
        if found is None or raw is None or sizes is None:
            return None  # text, dates, objects
        name, big_endian = found
        strides = _contiguous(sizes, fortran=order)
        tensor = Strided(name, sizes, strides, 0, big_endian)
        lazy = self._lazy(tensor, MemoryBytes(raw), record)
        return lazy.read().item() if function == "scalar" else lazy

    def _lazy(self, tensor: Strided, content: ByteRange, record: Record) -> LazyTensor:
        try:
            tensor.check(content.size)
        except CheckpointError as error:
            raise CheckpointError(
                f"the tensor made before byte {record.position:,} of {self._where} {error}"
            ) from error
        return LazyTensor(
            tensor.shape,
            tensor.dtype,
            partial(read_strided, tensor, content),
            # The tensor keeps the content alive, so no other storage can get the same id.
            (id(content), tensor) if tensor.size else None,
        )

    def _bytes(self, node: object) -> bytes | None:
        """Return bytes, also as protocols before 3 write them: as Latin-1 text."""
        if isinstance(node, Record):
            match node.name, node.arguments:
                case "_codecs.encode", (str(node), "latin1" | "latin-1"):
                    pass
                case "builtins.bytes" | "__builtin__.bytes", ():
                    return b""
                case "builtins.bytearray" | "__builtin__.bytearray", (bytes(node),):
                    pass
        if isinstance(node, str):
            if id(node) not in self._latin:
                fits = max(node, default="") < "\u0100"
                self._latin[id(node)] = node.encode("latin-1") if fits else None
            return self._latin[id(node)]
        return node if isinstance(node, bytes) else None

    def _arguments(self, record: Record, counts: tuple[int, ...]) -> tuple[object, ...]:
        """Return the arguments of a call that must be as PyTorch writes it."""
        arguments = record.arguments
        untouched = record.state is NO_STATE and record.items is record.elements is None
        if not isinstance(arguments, tuple) or len(arguments) not in counts or not untouched:
            raise self._wrong(record)
        if record.keywords is not None:
            raise self._wrong(record)
        return arguments

    def _wrong(self, record: Record) -> CheckpointError:
        return CheckpointError(
            f"the call of {record.name} before byte {record.position:,} of {self._where} is not "
            "one that PyTorch writes: the file is damaged or forged. Copy or save it anew."
        )


def torch_dtype(node: object) -> str | None:
    """Return the name of a PyTorch type (``float32``), or None where a record is none."""
    if isinstance(node, Global) and node.name.startswith("torch."):
        return node.name.removeprefix("torch.")
    return None


def attributes(record: Record) -> dict[str, object]:
    """Return the attributes that a record's state would set, by name."""
    state = record.state
    parts = state if isinstance(state, tuple) else (state,)
    return {
        key: value
        for part in parts
        if isinstance(part, Pairs)
        for key, value in part.items
        if isinstance(key, str)
    }


def _unreadable(kind: str, shape: tuple[int, ...] = (0,)) -> LazyTensor:
    def refuse() -> NDArray[Any]:
        raise CheckpointError(f"it holds {kind}, which cannot be read as plain numbers.")

    return LazyTensor(shape, kind, refuse)


def integers(node: object) -> tuple[int, ...] | None:
    """Return sizes or strides; None where they are none."""
    if isinstance(node, Record) and node.name == "torch.Size" and isinstance(node.arguments, tuple):
        (node,) = node.arguments if len(node.arguments) == 1 else (None,)
    if isinstance(node, list | tuple) and all(type(n) is int for n in node):
        return tuple(node)
    return None


def _numpy_dtype(node: object) -> tuple[str, bool] | None:
    """Return the name of a NumPy type of numbers, and whether it is big-endian."""
    if not isinstance(node, Record) or node.name != "numpy.dtype":
        return None
    match node.arguments:
        case (str(text), *_) if code := _NUMPY_CODE.fullmatch(text):
            pass
        case _:
            return None
    try:
        name = np.dtype(code[1]).name
    except TypeError:
        return None
    match node.state:
        case (_, ">", *_):
            big_endian = True
        case _:
            big_endian = False
    return (name, big_endian) if name in STORED_TYPES else None


def _contiguous(sizes: tuple[int, ...], *, fortran: bool) -> tuple[int, ...]:
    strides = []
    step = 1
    for n in sizes if fortran else reversed(sizes):
        strides.append(step)
        step *= max(n, 1)
    return tuple(strides if fortran else reversed(strides))
