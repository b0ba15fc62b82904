"""Keras models and weights (``.keras``, ``.weights.h5``, ``.h5``), and other HDF5 files.

HDF5 does more than hold arrays: links and virtual or external datasets make one file open
another, and filters are plugins. None of that is followed here: HDF5 gets its bytes from the one
file that was opened, through our own positioned reads, and what would lead elsewhere is left out
by name. Of a model's configuration only the names of its layers' classes are looked at.

References
----------
https://keras.io/guides/serialization_and_saving/
https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t4.html
"""

from __future__ import annotations

import io
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.formats.byte_ranges import ByteRange, read_bytes
from hmmdyn.checkpoints.formats.extras import missing_package, require_plausible
from hmmdyn.checkpoints.formats.keras_names import Location, names_of, snake_case
from hmmdyn.checkpoints.formats.zip_entries import (
    STORED,
    ZipEntry,
    entry_bytes,
    read_directory,
    stored_part,
)
from hmmdyn.checkpoints.tensor import WIDENED, Contents, LazyTensor, widen
from hmmdyn.errors import CheckpointError
from hmmdyn.names import natural_key, printable

_MAGIC = b"\x89HDF\r\n\x1a\n"
_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"
_LONGEST_CONFIG = 1 << 26  # bytes

_DEEPEST = 64  # real models nest fewer than twenty groups
_MOST_LINKS = 1_000_000
_LONGEST_TITLE = 1000  # bytes
_OPTIMIZER = re.compile(r"(.*_)?optimizer(_weights)?")

# Filters by number, in the order in which they may be applied when writing.
_DEFLATE = 1
_FILTERS = (2, _DEFLATE, 3)  # shuffle, deflate (gzip), Fletcher's checksum


def is_hdf5(start: bytes) -> bool:
    """Whether a file that starts with these bytes is an HDF5 file."""
    return start.startswith(_MAGIC)


def is_keras_zip(names: list[str]) -> bool:
    """Whether a zip file with these entries was written by Keras."""
    return _WEIGHTS in names


def open_hdf5(file: ByteRange) -> Contents:
    """Read which datasets an HDF5 file holds; their numbers stay on disk.

    Variables are named as Keras names them, ``dense/kernel``; datasets of files that Keras did not
    write by their path. Links to elsewhere, optimizers and what holds no numbers are left out.

    Raises
    ------
    CheckpointError
        The file is damaged, claims more than it can hold, or h5py is not installed.
    """
    return _open(file, "hdf5", {})


def open_keras_zip(file: ByteRange) -> Contents:
    """Read which variables a ``.keras`` file holds, as `open_hdf5` does."""
    entries = read_directory(file)
    weights = entries[_WEIGHTS]
    if weights.method != STORED:
        raise CheckpointError(
            f"its {_WEIGHTS} is compressed, which Keras never does. Unpack the file and use "
            f"{_WEIGHTS} itself."
        )
    return _open(stored_part(file, weights), "keras", _layer_classes(file, entries))


def _open(source: ByteRange, kind: str, classes: Mapping[str, str]) -> Contents:
    """Find the tensors in the bytes of an HDF5 file."""
    try:
        import h5py
    except ImportError as error:
        raise missing_package("an HDF5 file, as Keras writes", "h5py", "keras") from error
    stream, found = _Stream(source), _Found()
    with ExitStack() as opened:
        with _as_damage(stream):
            hdf5 = opened.enter_context(h5py.File(stream, "r"))
            _walk(hdf5, found)
            tensors = _tensors(found, stream, source.size)
        shapes = {path: tensor.shape for path, tensor in tensors.items()}
        names = names_of(shapes, found.titles, classes)
        by_name = {names[path]: tensor for path, tensor in tensors.items()}
        return Contents(kind, by_name, left_out=found.left_out, close=opened.pop_all().close)


class _Stream(io.RawIOBase):
    """A byte range as the file object from which HDF5 reads.

    HDF5 swallows what a read raises, so it is kept in ``error`` to be raised afterwards.
    """

    def __init__(self, source: ByteRange) -> None:
        self._source = source
        self.size = source.size
        self._position = 0
        self.error: CheckpointError | OSError | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}
        self._position = base[whence] + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self.size - self._position)]
        try:
            self._source.read_into(view, self._position)
        except (CheckpointError, OSError) as error:
            self.error = error
            return 0
        self._position += len(view)
        return len(view)

    def verify(self) -> None:
        """Hold the bytes against their checksum, where there is one."""
        self._source.verify()


@contextmanager
def _as_damage(stream: _Stream) -> Iterator[None]:
    """Turn what h5py raises on damaged files into a `CheckpointError`."""
    try:
        yield
    except CheckpointError:
        raise
    except (OSError, RuntimeError, ValueError, TypeError, LookupError) as error:
        if stream.error is not None:
            raise stream.error from error
        raise CheckpointError(
            f"it is damaged: HDF5 cannot read it ({printable(str(error))}). "
            "Was training stopped while it was saved? Copy or save the file anew."
        ) from error
    if stream.error is not None:
        raise stream.error


# ------------------------------------------------------------------------------ what is in it


@dataclass
class _Found:
    """What a walk found: datasets by path, the titles of Keras' groups of variables, the rest."""

    datasets: dict[Location, Any] = field(default_factory=dict)
    titles: dict[Location, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    groups: set[int] = field(default_factory=set)
    n_links: int = 0


def _walk(group: Any, found: _Found, path: Location = ()) -> None:
    """Find all datasets below a group, in natural order; only hard links are followed."""
    import h5py

    found.groups.add(_address(group))
    found.n_links += len(group)
    if found.n_links > _MOST_LINKS or len(path) > _DEEPEST:
        raise CheckpointError(
            f"it holds more than {_MOST_LINKS:,} objects, or groups nested more than {_DEEPEST} "
            "levels deep, which no checkpoint does."
        )
    if path and path[-1] == "vars":
        found.titles[path] = _title(group)
    for name in sorted(group, key=natural_key):
        here = (*path, name)
        if _OPTIMIZER.fullmatch(name):
            found.left_out["/".join(here)] = "optimizer state"
            continue
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            found.left_out["/".join(here)] = "a link to elsewhere, which is not followed"
            continue
        item = group[name]
        if isinstance(item, h5py.Dataset):
            found.datasets[here] = item
        elif isinstance(item, h5py.Group) and _address(item) not in found.groups:
            _walk(item, found, here)


def _address(item: Any) -> int:
    """Return where an object is in the file: the same for all its hard links."""
    import h5py

    return int(h5py.h5o.get_info(item.id).addr)


def _title(group: Any) -> str:
    """Return the name that Keras noted for a layer, empty where there is none."""
    import h5py

    if "name" not in group.attrs:
        return ""
    attribute = h5py.h5a.open(group.id, b"name")
    if attribute.shape != () or attribute.get_storage_size() > _LONGEST_TITLE:
        return ""
    title = group.attrs["name"]
    return title if isinstance(title, str) and len(title) <= _LONGEST_TITLE else ""


# ------------------------------------------------------------------------------------- tensors


def _tensors(found: _Found, stream: _Stream, size: int) -> dict[Location, LazyTensor]:
    """Check every dataset against the size of the file; what holds no numbers is left out."""
    tensors: dict[Location, LazyTensor] = {}
    claimed = n_chunks = 0
    for path, dataset in found.datasets.items():
        reason = _why_left_out(dataset)
        if reason:
            found.left_out["/".join(path)] = reason
            continue
        n, length = _pieces(dataset, size)
        n_chunks, claimed = n_chunks + n, claimed + n * length
        dtype = _dtype(dataset)
        read = partial(_read, dataset, dtype, stream)
        tensors[path] = LazyTensor(dataset.shape, dtype.name, read, _address(dataset))
    require_plausible(claimed, n_chunks, size)
    return tensors


def _why_left_out(dataset: Any) -> str | None:
    import h5py

    # The layout comes first: asking a virtual dataset for its shape may open other files.
    properties = dataset.id.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
        return "its numbers are in another file, which is not opened"
    if dataset.shape is None:
        return "empty"
    dtype = _dtype(dataset)
    if dtype.kind not in "biufc" and dtype.name not in WIDENED:
        return "not numbers"
    filters = _filters(dataset)
    if filters != [number for number in _FILTERS if number in filters]:
        raise CheckpointError(
            f"its dataset {dataset.name} is compressed in a way that needs a plugin, and hmmdyn "
            "loads none. Unpack the file with: h5repack -f NONE FILE UNPACKED"
        )
    return None


def _filters(dataset: Any) -> list[int]:
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]


def _dtype(dataset: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = dataset.dtype
    # NumPy has no bfloat16 of its own: h5py stores two opaque bytes, and Keras notes what they are.
    if dtype.kind == "V" and dtype.names is None and dtype.itemsize == 2:
        dtype = np.dtype(ml_dtypes.bfloat16)
    return dtype


def _pieces(dataset: Any, size: int) -> tuple[int, int]:
    """Return in how many pieces a dataset is stored, and the bytes of each once inflated."""
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is not None and offset + dataset.nbytes > size:
            raise _beyond(dataset)
        return 1, dataset.nbytes
    n = prod(
        -(-length // chunk) for length, chunk in zip(dataset.shape, dataset.chunks, strict=True)
    )
    return n, prod(dataset.chunks) * dataset.dtype.itemsize


def _beyond(dataset: Any) -> CheckpointError:
    return CheckpointError(
        f"it is truncated or damaged: {dataset.name} reaches beyond its end. Was training stopped "
        "while it was saved? Copy or save the file anew."
    )


def _read(dataset: Any, dtype: np.dtype[Any], stream: _Stream) -> NDArray[Any]:
    if not dataset:
        raise CheckpointError("it is closed. Read its tensors before closing the checkpoint.")
    with _as_damage(stream):
        stream.verify()
        if dataset.chunks is not None:
            _require_chunks_inflate_to_size(dataset, stream.size)
        return widen(dataset[()].view(dtype))


def _require_chunks_inflate_to_size(dataset: Any, size: int) -> None:
    """Refuse chunks that would inflate to more than a chunk: HDF5 takes the memory, then looks."""
    is_deflated = _DEFLATE in _filters(dataset)
    length = prod(dataset.chunks) * dataset.dtype.itemsize
    chunks: list[Any] = []
    dataset.id.chunk_iter(chunks.append)
    for chunk in chunks:
        if chunk.byte_offset + chunk.size > size:
            raise _beyond(dataset)
        if not is_deflated or chunk.filter_mask:
            continue
        _, stored = dataset.id.read_direct_chunk(chunk.chunk_offset)
        try:
            inflated = zlib.decompressobj().decompress(stored, length + 1)
        except zlib.error as error:
            raise CheckpointError(
                f"it is damaged: a piece of its dataset {dataset.name} cannot be inflated "
                f"({error}). Copy or save the file anew."
            ) from error
        if len(inflated) > length:
            raise CheckpointError(
                f"a piece of its dataset {dataset.name} inflates to more than the {length:,} bytes "
                "it stands for. It is damaged, or made to exhaust the memory: do not trust it."
            )


def _layer_classes(file: ByteRange, entries: Mapping[str, ZipEntry]) -> dict[str, str]:
    """Return which class each named layer of a ``.keras`` file has, ``Conv2D`` as ``conv2d``.

    A name that stands for several classes is left out. Nothing else in the configuration is
    looked at; what it says to import or run is not.
    """
    entry = entries.get(_CONFIG)
    if entry is None:
        return {}
    if entry.size > _LONGEST_CONFIG:
        raise CheckpointError(f"its {_CONFIG} takes {entry.size:,} bytes, which no model's does.")
    text = entry_bytes(file, entry)
    try:
        config = json.loads(read_bytes(text, 0, text.size, f"its {_CONFIG}"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"it is damaged: its {_CONFIG} is not valid JSON.") from error
    classes: dict[str, set[str]] = defaultdict(set)
    waiting = [config]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
            inner = item.get("config")
            if isinstance(inner, dict):
                classes[str(inner.get("name"))].add(snake_case(str(item.get("class_name"))))
        elif isinstance(item, list):
            waiting += item
    return {name: found.pop() for name, found in classes.items() if len(found) == 1}
