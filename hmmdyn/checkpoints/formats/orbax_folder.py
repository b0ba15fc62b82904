"""Orbax checkpoints: folders of arrays in Zarr's format, in files of their own or in an OCDBT.

The arrays are found by looking, not by what the JSON files in the folder say of them, so that no
file decides what is opened. TensorStore itself refuses names that lead out of a folder.

References
----------
https://orbax.readthedocs.io/en/latest/guides/checkpoint/checkpoint_format.html
https://google.github.io/tensorstore/kvstore/ocdbt/index.html
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.formats.byte_ranges import FileBytes, read_bytes
from hmmdyn.checkpoints.formats.extras import missing_package, require_plausible
from hmmdyn.checkpoints.formats.flax_file import is_flax, model_tree, read_tree
from hmmdyn.checkpoints.state_dict import flatten, outcome_scalars
from hmmdyn.checkpoints.tensor import WIDENED, Contents, LazyTensor, widen
from hmmdyn.errors import CheckpointError
from hmmdyn.names import natural_key, printable
from hmmdyn.places import Place, RemotePath

_P = TypeVar("_P", bound=Place)

_DATABASE = "manifest.ocdbt"
_ARRAY_MARKS = {".zarray": "zarr", "zarr.json": "zarr3"}  # the file that describes an array
_STEP_METADATA = "_CHECKPOINT_METADATA"
_STEP_MARKS = (_STEP_METADATA, "orbax.checkpoint")  # the latter since Orbax's second interface
# Parts of a step that Orbax's own examples and defaults name so, before steps had marks.
_PART_NAMES = {"default", "items", "params", "state", "train_state"}
_UNFINISHED = ".orbax-checkpoint-tmp"

_MOST_FILES = 1_000_000
_DEEPEST = 64  # levels
_LONGEST_METADATA = 1 << 26  # bytes


def is_orbax(folder: Place) -> bool:
    """Whether a folder is one checkpoint of Orbax: a step, or one saved without a manager."""
    return bool(_parts(folder)) or _is_marked(folder)


def open_orbax(folder: Path) -> Contents:
    """Find the arrays of an Orbax checkpoint; their numbers stay on disk.

    A step may have several parts, each in a folder of its own (``state``, ``params``, …); a
    single one is looked through.

    Raises
    ------
    CheckpointError
        The folder was not finished, is damaged, claims more than it holds, or tensorstore is not
        installed.
    """
    if _UNFINISHED in folder.name:
        raise CheckpointError("it was not finished: Orbax renames a folder once it is complete.")
    size = _checked_size(folder)
    with ExitStack() as opened:
        claims = _Claims()
        trees: dict[object, dict[object, object]] = {}
        for name, part in _parts(folder).items():
            tensors = _arrays(part, claims) | _aggregated(part, opened)
            if tensors:
                trees[name] = model_tree(_nested(tensors))
        require_plausible(claims.claimed, claims.n_chunks, size)
        if not trees:
            raise CheckpointError("this Orbax checkpoint holds no arrays.")
        found = flatten(*trees.values()) if len(trees) == 1 else flatten(dict(trees))
        scalars = {**found.scalars, **_metrics(folder)}
        left_out = {**found.left_out, **claims.left_out}
        close = opened.pop_all().close
        return Contents("orbax", found.tensors, scalars, left_out, found.beside, close)


# ---------------------------------------------------------------------------------- the folder


def _parts(folder: _P) -> dict[str, _P]:
    """Return the folders that hold arrays: the folder itself, or those of its parts by name."""
    if _holds_arrays(folder):
        return {"": folder}
    inner = sorted(_folders(folder), key=lambda path: natural_key(path.name))
    parts = {path.name: path for path in inner if _holds_arrays(path)}
    return parts if _is_marked(folder) or parts.keys() <= _PART_NAMES else {}


def _is_marked(folder: Place) -> bool:
    return any((folder / mark).is_file() for mark in _STEP_MARKS)


def _holds_arrays(folder: Place) -> bool:
    return any((folder / mark).is_file() for mark in (_DATABASE, "_METADATA")) or any(
        (inner / mark).is_file() for inner in _folders(folder) for mark in _ARRAY_MARKS
    )


def _folders(folder: _P) -> list[_P]:
    if isinstance(folder, RemotePath):
        return [inner for inner in folder.iterdir() if inner.is_dir()]
    assert isinstance(folder, Path)
    with os.scandir(folder) as entries:
        return [folder / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def _checked_size(folder: Path) -> int:
    """Add up the sizes of the files below a folder, none of which may be something else.

    A FIFO would keep TensorStore waiting for ever, and a link to a folder leads out of this one.
    """
    size = n_files = 0
    for parent, folders, files in os.walk(folder, onerror=_raise):
        for name in (*folders, *files):
            path = Path(parent, name)
            status = path.stat()
            n_files += 1
            if n_files > _MOST_FILES:
                raise CheckpointError(f"it holds more than {_MOST_FILES:,} files.")
            if not stat.S_ISREG(status.st_mode) and (path.is_symlink() or name in files):
                raise CheckpointError(
                    f"its {printable(str(path.relative_to(folder)))} is neither a file nor a "
                    "folder of its own. Copy the checkpoint anew."
                )
            size += status.st_size if name in files else 0
    return size


def _raise(error: OSError) -> None:
    raise error


def _metrics(folder: Path) -> dict[str, float]:
    """Return the outcomes that Orbax' manager keeps with a step."""
    found = _json(folder / "metrics" / "metrics")
    found |= _as_dict(_json(folder / _STEP_METADATA).get("metrics"))
    return outcome_scalars(found.items())


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    if path.stat().st_size > _LONGEST_METADATA:
        raise CheckpointError(f"its {path.name} is too long to describe a checkpoint.")
    try:
        return _as_dict(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"it is damaged: its {path.name} is not valid JSON.") from error


def _as_dict(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


# ---------------------------------------------------------------------------------- the arrays


@dataclass
class _Claims:
    """What the arrays say they take once read, and those that are left out."""

    claimed: int = 0  # bytes, whole chunks counted
    n_chunks: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


def _arrays(part: Path, claims: _Claims) -> dict[str, LazyTensor]:
    """Open all arrays of a folder, in natural order of their names."""
    try:
        import tensorstore
    except ImportError as error:
        raise missing_package("an Orbax checkpoint", "tensorstore", "orbax") from error
    files: dict[str, Any] = {"driver": "file", "path": f"{part.resolve()}{os.sep}"}
    if (part / _DATABASE).is_file():
        files = {"driver": "ocdbt", "base": files}
    with _as_damage():
        keys = tensorstore.KvStore.open(files).result().list().result()
        drivers = {}
        for key in keys:
            name, _, mark = key.decode().rpartition("/")
            if mark in _ARRAY_MARKS:
                drivers[name] = _ARRAY_MARKS[mark]
        opening = {
            name: tensorstore.open(
                {"driver": drivers[name], "kvstore": {**files, "path": _path(files, name)}},
                open=True,
                read=True,
            )
            for name in sorted(drivers, key=natural_key)
        }
        found = {name: _tensor(name, opened.result(), claims) for name, opened in opening.items()}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def _path(files: Mapping[str, Any], name: str) -> str:
    """Return where an array is in the files; in a database, paths start anew."""
    inside = f"{name}/" if name else ""
    return inside if files["driver"] == "ocdbt" else f"{files['path']}{inside}"


def _tensor(name: str, array: Any, claims: _Claims) -> LazyTensor | None:
    dtype: np.dtype[Any] = np.dtype(array.dtype.numpy_dtype)
    if dtype.kind not in "biufc" and dtype.name not in WIDENED:
        claims.left_out[name] = f"not numbers hmmdyn reads ({array.dtype.name})"
        return None
    # Blosc believes the size that a chunk claims, and takes that much memory.
    if "blosc" in json.dumps(array.codec.to_json()):
        raise CheckpointError(
            f"its array {name!r} is compressed with Blosc, which Orbax does not use and hmmdyn "
            "does not read. Save the checkpoint anew with Orbax."
        )
    chunk = array.chunk_layout.read_chunk.shape or ()
    n_chunks = prod(-(-length // step) for length, step in zip(array.shape, chunk, strict=True))
    claims.n_chunks += n_chunks
    claims.claimed += n_chunks * prod(chunk) * dtype.itemsize
    return LazyTensor(array.shape, dtype.name, partial(_read, array))


def _read(array: Any) -> NDArray[Any]:
    with _as_damage():
        return widen(np.asarray(array.read().result()))


@contextmanager
def _as_damage() -> Iterator[None]:
    """Turn what TensorStore raises on damaged arrays into a `CheckpointError`."""
    try:
        yield
    except (ValueError, OSError, TypeError, LookupError, NotImplementedError) as error:
        reason = printable(str(error).splitlines()[0][:300]) if str(error) else type(error).__name__
        raise CheckpointError(
            f"it is damaged: TensorStore cannot read it ({reason}). Copy or save it anew."
        ) from error


def _aggregated(part: Path, opened: ExitStack) -> dict[str, LazyTensor]:
    """Read the arrays that early versions of Orbax put together in one MessagePack file."""
    path = part / "checkpoint"
    if not path.is_file():
        return {}
    file = FileBytes(path)
    opened.callback(file.close)
    if not is_flax(read_bytes(file, 0, min(file.size, 16), "its start")):
        return {}
    return dict(_leaves(read_tree(file)[0]))


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, LazyTensor]]:
    if isinstance(value, LazyTensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}" if path else str(key))


def _nested(tensors: Mapping[str, LazyTensor]) -> dict[str, Any]:
    """Undo the joining of keys: ``params.dense.kernel`` -> three levels."""
    tree: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *groups, leaf = re.split(r"[./]", name or "array")
        if len(groups) > _DEEPEST:
            raise CheckpointError(
                f"it nests arrays more than {_DEEPEST} levels deep, which no checkpoint does."
            )
        inner = tree
        for group in groups:
            inner = inner.setdefault(group, {})
            if isinstance(inner, LazyTensor):
                raise CheckpointError(f"it holds an array inside another, at {name!r}.")
        if leaf in inner:
            raise CheckpointError(f"it holds two arrays called {name!r}.")
        inner[leaf] = tensor
    return tree
