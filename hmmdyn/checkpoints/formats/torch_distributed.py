"""Folders of ``torch.distributed.checkpoint`` (FSDP, torchtitan): tensors cut over several files.

A pickle called ``.metadata`` says which tensors there are, into which chunks each is cut, and in
which file, from which byte on, each chunk lies. A chunk is a PyTorch file of its own, saved inside
the larger file.

References
----------
https://docs.pytorch.org/docs/stable/distributed.checkpoint.html
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.formats.byte_ranges import Part, read_bytes
from hmmdyn.checkpoints.formats.pickle_symbols import Budget, Pairs, Record, read_symbols
from hmmdyn.checkpoints.formats.strided import MOST_AXES, STORED_TYPES, read_dtype
from hmmdyn.checkpoints.formats.torch_file import read_torch
from hmmdyn.checkpoints.formats.torch_objects import attributes, integers, torch_dtype
from hmmdyn.checkpoints.formats.whole_file import open_bytes
from hmmdyn.checkpoints.state_dict import flatten
from hmmdyn.checkpoints.tensor import Contents, LazyTensor
from hmmdyn.errors import CheckpointError
from hmmdyn.names import printable
from hmmdyn.places import Place
from hmmdyn.roles import is_outcome

_METADATA = ".metadata"
_LONGEST_METADATA = 1 << 28  # bytes
_MOST_CHUNKS = 4096  # of one tensor
_LONGEST_AXIS = 1 << 48

_ANEW = "Copy or save the folder anew."


@dataclass(frozen=True)
class _Chunk:
    """A box of a tensor, and where it is kept."""

    start: tuple[int, ...]
    shape: tuple[int, ...]
    place: _Place


@dataclass(frozen=True)
class _Place:
    """A PyTorch file inside a file of the folder."""

    path: Place
    offset: int
    length: int


def is_distributed(folder: Place) -> bool:
    """Whether a folder was written by ``torch.distributed.checkpoint``."""
    return (folder / _METADATA).is_file()


def open_distributed(folder: Place) -> Contents:
    """Read what the folder says of its tensors; their numbers stay on disk.

    Raises
    ------
    CheckpointError
        The folder is incomplete or damaged, or its chunks do not make up their tensors.
    """
    metadata = _read_metadata(folder / _METADATA)
    described, kept = metadata.get("state_dict_metadata"), metadata.get("storage_data")
    if not isinstance(described, Pairs) or not isinstance(kept, Pairs):
        raise CheckpointError(
            f"its {_METADATA} is not one that torch.distributed.checkpoint writes. {_ANEW}"
        )
    places = _places(folder, kept)
    paths = _paths(metadata.get("planner_data"))
    tree: dict[object, object] = {}
    for name, description in described.items:
        if not isinstance(name, str) or not isinstance(description, Record):
            raise CheckpointError(f"its {_METADATA} describes a tensor wrongly. {_ANEW}")
        if description.name.endswith(".TensorStorageMetadata"):
            value: object = _tensor(name, attributes(description), places)
        elif is_outcome(name) and (name, None) in places:
            value = _number(places[name, None])
        else:
            continue
        _put(tree, paths.get(name, (name,)), value)
    found = flatten(tree)
    if not found.tensors:
        raise CheckpointError(f"its {_METADATA} names no tensors. Give the folder with the model.")
    return Contents(
        "pytorch (distributed)", found.tensors, found.scalars, found.left_out, found.beside
    )


def _read_metadata(path: Place) -> dict[str, object]:
    with closing(open_bytes(path)) as file:
        if file.size > _LONGEST_METADATA:
            raise CheckpointError(f"its {_METADATA} is larger than any checkpoint's. {_ANEW}")
        data = read_bytes(file, 0, file.size, f"its {_METADATA}")
    root = read_symbols(io.BytesIO(data), _METADATA, Budget()).root
    return attributes(root) if isinstance(root, Record) else {}


def _places(folder: Place, kept: Pairs) -> dict[tuple[str, tuple[int, ...] | None], _Place]:
    """Map each chunk (name, offset in the tensor; None for other objects) to where it is kept."""
    places = {}
    checked: set[str] = set()
    for key, value in kept.items:
        index = attributes(key) if isinstance(key, Record) else {}
        info = attributes(value) if isinstance(value, Record) else {}
        name, file, box = index.get("fqn"), info.get("relative_path"), index.get("offset")
        start, length = info.get("offset"), info.get("length")
        if not isinstance(name, str) or not isinstance(file, str):
            raise CheckpointError(f"its {_METADATA} says wrongly where a chunk lies. {_ANEW}")
        if type(start) is not int or type(length) is not int:
            raise CheckpointError(f"its {_METADATA} says wrongly where {name[:80]!r} lies. {_ANEW}")
        if info.get("transform_descriptors") is not None:
            raise CheckpointError(
                f"the chunks of {name[:80]!r} are compressed or encrypted by an extension, which "
                "hmmdyn does not read. Save the checkpoint without extensions."
            )
        if file not in checked:
            _require_file(folder, file)
            checked.add(file)
        places[name, integers(box)] = _Place(folder / file, start, length)
    return places


def _require_file(folder: Place, file: str) -> None:
    if file in ("", ".", "..") or re.search(r"[/\\:\0]", file):
        raise CheckpointError(
            f"its {_METADATA} names {file[:80]!r} as a file; files must lie in the same folder. "
            "Do not trust it."
        )
    if not (folder / file).is_file():
        raise CheckpointError(f"its file {printable(file)} is missing. Fetch or copy it too.")


def _paths(planner_data: object) -> dict[str, tuple[str, ...]]:
    """Map the names of entries to their paths in the nested dictionary that was saved."""
    if not isinstance(planner_data, Pairs):
        return {}
    return {
        name: tuple(map(str, path))
        for name, path in planner_data.items
        if isinstance(name, str)
        and isinstance(path, list | tuple)
        and all(isinstance(part, str | int) for part in path)
    }


def _put(tree: dict[object, object], path: tuple[str, ...], value: object) -> None:
    *above, last = path or ("",)
    for part in above:
        inner = tree.setdefault(part, {})
        if not isinstance(inner, dict):
            raise CheckpointError(f"its {_METADATA} puts {path[0]!r} inside a tensor. {_ANEW}")
        tree = inner
    if last in tree:
        raise CheckpointError(f"its {_METADATA} names {last[:80]!r} twice. {_ANEW}")
    tree[last] = value


def _tensor(
    name: str,
    description: dict[str, object],
    places: dict[tuple[str, tuple[int, ...] | None], _Place],
) -> LazyTensor:
    shape = integers(description.get("size"))
    properties, boxes = description.get("properties"), description.get("chunks")
    dtype = ""
    if isinstance(properties, Record) and isinstance(properties.state, tuple):
        dtype = (torch_dtype(properties.state[0]) if properties.state else None) or ""
    if shape is None or dtype not in STORED_TYPES or not isinstance(boxes, list):
        raise CheckpointError(f"its {_METADATA} describes tensor {name[:80]!r} wrongly. {_ANEW}")
    chunks = []
    for box in boxes:
        inner = attributes(box) if isinstance(box, Record) else {}
        start, size = integers(inner.get("offsets")), integers(inner.get("sizes"))
        if start is None or size is None or (name, start) not in places:
            raise CheckpointError(f"a chunk of tensor {name[:80]!r} is missing. {_ANEW}")
        place = places[name, start]
        if math.prod(size) * STORED_TYPES[dtype].itemsize > place.length:
            raise CheckpointError(
                f"a chunk of tensor {name[:80]!r} claims more than the {place.length:,} bytes that "
                f"are kept of it. {_ANEW}"
            )
        chunks.append(_Chunk(start, size, place))
    _require_tiling(name, shape, chunks)
    return LazyTensor(shape, dtype, partial(_read, name, shape, dtype, tuple(chunks)))


def _require_tiling(name: str, shape: tuple[int, ...], chunks: list[_Chunk]) -> None:
    """Require the chunks to make up the tensor: all of it, and nothing of it twice."""
    problem = ""
    if len(chunks) > _MOST_CHUNKS:
        problem = f"they are more than {_MOST_CHUNKS:,}"
    elif len(shape) > MOST_AXES or any(n > _LONGEST_AXIS for n in shape):
        problem = "it has more or longer axes than NumPy allows"
    elif any(
        len(chunk.start) != len(shape)
        or len(chunk.shape) != len(shape)
        or any(
            first < 0 or n < 0 or first + n > whole
            for first, n, whole in zip(chunk.start, chunk.shape, shape, strict=True)
        )
        for chunk in chunks
    ):
        problem = "one reaches beyond it"
    elif sum(int(math.prod(chunk.shape)) for chunk in chunks) != math.prod(shape):
        problem = "they overlap, or some are missing"
    elif len(filled := [chunk for chunk in chunks if 0 not in chunk.shape]) > 1:
        starts = np.array([chunk.start for chunk in filled])
        ends = starts + np.array([chunk.shape for chunk in filled])
        meets = np.ones((len(filled), len(filled)), bool)
        for start, end in zip(starts.T, ends.T, strict=True):
            meets &= (start[:, None] < end[None, :]) & (start[None, :] < end[:, None])
        if meets.sum() > len(filled):
            problem = "they overlap"
    if problem:
        raise CheckpointError(
            f"the chunks of tensor {name[:80]!r} do not make it up: {problem}. {_ANEW}"
        )


def _read(
    name: str, shape: tuple[int, ...], dtype: str, chunks: tuple[_Chunk, ...]
) -> NDArray[Any]:
    values = np.empty(shape, read_dtype(dtype))
    for chunk in chunks:
        with _opened(chunk.place) as (root, value):
            tensor = value(root) if isinstance(root, Record) else None
            if not isinstance(tensor, LazyTensor) or (tensor.shape, tensor.dtype) != (
                chunk.shape,
                dtype,
            ):
                raise CheckpointError(
                    f"a chunk of tensor {name[:80]!r} in {printable(chunk.place.path.name)} is not "
                    f"what the {_METADATA} says. {_ANEW}"
                )
            box = tuple(
                slice(first, first + n) for first, n in zip(chunk.start, chunk.shape, strict=True)
            )
            values[box] = tensor.read()
    return values


def _number(place: _Place) -> object:
    """Return the number or text saved as an object of its own, or None."""
    with _opened(place) as (root, value):
        root = value(root) if isinstance(root, Record) else root
        return root if isinstance(root, int | float | str) else None


@contextmanager
def _opened(place: _Place) -> Iterator[tuple[object, Any]]:
    with closing(open_bytes(place.path)) as file:
        what = f"a chunk in {printable(place.path.name)}"
        root, interpreter = read_torch(Part(file, place.offset, place.length, what), Budget())
        yield root, interpreter.value
