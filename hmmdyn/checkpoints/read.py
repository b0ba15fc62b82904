"""One checkpoint as a lazy mapping from name to tensor, whatever its format.

The format is told by content, never by suffix. Everything that is refused is a
`hmmdyn.errors.CheckpointError` whose message names the file, the reason and the remedy.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from hmmdyn.checkpoints.npz_file import is_npz, open_npz
from hmmdyn.checkpoints.safetensors_file import is_safetensors, open_safetensors
from hmmdyn.checkpoints.state_dict import outcome_scalars, without_wrappers
from hmmdyn.checkpoints.tensor import Contents, LazyTensor
from hmmdyn.checkpoints.torch_file import is_legacy_torch, is_torch_zip, open_torch
from hmmdyn.errors import CheckpointError
from hmmdyn.names import printable, some

# In a folder, the first of these that exists is the checkpoint.
_MAIN_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# Files that trainers put beside the model.
_TRAINING_STATE = re.compile(r"optim|sched|scaler|rng|random_states|training_args|trainer_state")
_INDEX_NAME = re.compile(r"\.index(\.[^.]+)?\.json$")
_LONGEST_INDEX = 100_000_000  # bytes


class Checkpoint(Mapping[str, LazyTensor]):
    """The tensors of one checkpoint by name, in the order stored; made by `open_checkpoint`.

    Attributes
    ----------
    path : Path
    format : str
        ``safetensors``, ``npz``, ``pytorch``, each also ``… (sharded)``.
    aliases : Mapping of str to str
        Tied tensors: each further name -> the first name of the same numbers.
    scalars : Mapping of str to float
        Outcomes stored in the file (``loss``, ``val_accuracy``, …); finite.
    left_out : Mapping of str to str
        Parts of the file that hold tensors but not the model's -> the reason.
    """

    def __init__(self, path: Path, contents: Contents) -> None:
        self.path = path
        self.format = contents.format
        tensors = without_wrappers(contents.tensors)
        outcomes = outcome_scalars(tensors.items())
        self._tensors = {name: tensors[name] for name in tensors if name not in outcomes}
        self.aliases: Mapping[str, str] = _aliases(self._tensors)
        self.scalars: Mapping[str, float] = {**outcomes, **contents.scalars}
        self.left_out: Mapping[str, str] = contents.left_out
        self._close = contents.close

    def __getitem__(self, name: str) -> LazyTensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files; tensors cannot be read afterwards."""
        self._close()


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Open a checkpoint: a file, a shard index, or a folder that holds one of them.

    Reads safetensors and NumPy archives, and PyTorch files where PyTorch is installed. In a
    folder, ``model.safetensors``, ``pytorch_model.bin`` or their index is taken, else the only
    file that is a checkpoint. Containers (``state_dict``, ``model``, …) and wrappers
    (``module.``, ``_orig_mod.``) are looked through.

    Parameters
    ----------
    path : path

    Returns
    -------
    Checkpoint
        A context manager and mapping of name to lazy tensor.

    Raises
    ------
    CheckpointError
        The path is missing, truncated, of an unknown format, or unsafe to load.

    Examples
    --------
    >>> with open_checkpoint("runs/seed0/step_100.safetensors") as checkpoint:  # doctest: +SKIP
    ...     weight = checkpoint["fc1.weight"].read()
    """
    path = Path(path)
    file = _file_in(path) if path.is_dir() else path
    contents = _open_shards(file) if _is_json(_start(file)) else _open_file(file)
    return Checkpoint(path, contents)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Put the file's name before what went wrong with it."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{printable(str(path))}: {error}") from error
    except OSError as error:
        raise CheckpointError(
            f"{printable(str(path))} cannot be read: {error.strerror or error}."
        ) from error


def _file_in(folder: Path) -> Path:
    """Find the one file in a folder that is its checkpoint."""
    for name in _MAIN_FILES:
        if (folder / name).is_file():
            return folder / name
    with _naming(folder):
        files = [
            file
            for file in sorted(folder.iterdir())
            if file.is_file() and not _TRAINING_STATE.search(file.name)
        ]
        found = [file for file in files if _INDEX_NAME.search(file.name)]
        found = found or [file for file in files if _is_recognised(file)]
        if not found:
            raise CheckpointError("this folder holds no file that is a checkpoint.")
        if len(found) > 1:
            names = some(file.name for file in found)
            raise CheckpointError(
                f"this folder holds {len(found)} checkpoint files ({names}), and which "
                "one is meant cannot be told. Name the file instead of the folder."
            )
    return found[0]


def _is_recognised(file: Path) -> bool:
    try:
        _reader(file)
    except CheckpointError:
        return False
    return True


def _open_file(file: Path) -> Contents:
    """Open a single file with the reader of its format."""
    reader = _reader(file)
    with _naming(file):
        contents = reader(file)
    tensors = {
        name: replace(tensor, read=partial(_read, file, tensor))
        for name, tensor in contents.tensors.items()
    }
    return replace(contents, tensors=tensors)


def _read(file: Path, tensor: LazyTensor) -> NDArray[Any]:
    with _naming(file):
        return tensor.read()


def _start(file: Path) -> bytes:
    """Read the bytes that tell the format of a file."""
    with _naming(file):
        # A FIFO would wait for a writer for ever.
        if file.exists() and not file.is_file():
            raise CheckpointError("it is neither a file nor a folder.")
        with file.open("rb") as opened:
            return opened.read(512)


def _is_json(start: bytes) -> bool:
    return start.lstrip().startswith(b"{") and not is_safetensors(start)


def _reader(file: Path) -> Callable[[Path], Contents]:
    """Choose the reader of a file by its first bytes (and, in a zip file, its entries)."""
    start = _start(file)
    if is_safetensors(start):
        return open_safetensors
    if is_legacy_torch(start):
        return open_torch
    with _naming(file):
        if start.startswith(b"PK\x03\x04"):
            return _zip_reader(file)
        raise CheckpointError(_why_unknown(start))


def _zip_reader(file: Path) -> Callable[[Path], Contents]:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CheckpointError(
            "it is truncated or damaged: its zip directory cannot be read. "
            "Was training stopped while it was saved?"
        ) from error
    if is_torch_zip(names):
        return open_torch
    if is_npz(names):
        return open_npz
    raise CheckpointError("it is a zip file, but neither a PyTorch checkpoint nor a NumPy archive.")


def _why_unknown(start: bytes) -> str:
    """Say what a file is that is no checkpoint, and what to do about it."""
    if not start:
        return "it is empty (0 bytes). Was training stopped while it was saved?"
    if not start.strip(b"\0"):
        return "it starts with zeros only. Was training stopped while it was saved?"
    if start.startswith(b"version https://git-lfs"):
        return (
            "it is a Git LFS pointer, a few lines that stand for the real file. "
            "Fetch the file with: git lfs pull"
        )
    if start.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "it is a web page, probably an error page saved in place of the file. Fetch it anew."
    if start.startswith(b"\x89HDF"):
        return "it is an HDF5 file, which hmmdyn does not read. Convert it to safetensors or npz."
    if start.startswith(b"\x93NUMPY"):
        return "it is a single NumPy array. Save all weights together: numpy.savez(path, **weights)"
    if start.startswith(b"\x80"):
        return (
            "it is a Python pickle, and loading one can run any code, so hmmdyn does not. "
            "Save the weights as safetensors or npz."
        )
    return (
        f"its format is unknown (it starts with {start[:12]!r}). "
        "hmmdyn reads safetensors, npz and PyTorch files."
    )


def _open_shards(index: Path) -> Contents:
    """Open all files that a shard index names, as one."""
    with _naming(index):
        weight_map = _weight_map(index)
    with ExitStack() as opened:
        shards: dict[str, Contents] = {}
        for name in sorted(set(weight_map.values())):
            shards[name] = _open_file(index.parent / name)
            opened.callback(shards[name].close)
        with _naming(index):
            tensors = {}
            for name, shard in weight_map.items():
                if name not in shards[shard].tensors:
                    raise CheckpointError(
                        f"it says that {shard} holds {name!r}, which it does not."
                    )
                tensors[name] = shards[shard].tensors[name]
        kind = next(iter(shards.values())).format
        left_out = {name: why for shard in shards.values() for name, why in shard.left_out.items()}
        return Contents(
            f"{kind} (sharded)", tensors, left_out=left_out, close=opened.pop_all().close
        )


def _weight_map(index: Path) -> dict[str, str]:
    """Read which shard holds which tensor; every shard must be a file of the same folder."""
    if index.stat().st_size > _LONGEST_INDEX:
        raise CheckpointError("it is too large to be the index of a sharded checkpoint.")
    try:
        weight_map = json.loads(index.read_bytes())["weight_map"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise CheckpointError(
            "it is JSON, but not the index of a sharded checkpoint (which has a 'weight_map')."
        ) from error
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError("its 'weight_map' names no tensors.")
    for shard in weight_map.values():
        if not isinstance(shard, str) or shard in ("", ".", "..") or re.search(r"[/\\:\0]", shard):
            raise CheckpointError(
                f"it names {shard!r} as a shard; shards must be files in the folder of their index."
            )
        if not (index.parent / shard).is_file():
            raise CheckpointError(f"the shard {shard} is missing. Fetch or copy it too.")
    return weight_map


def _aliases(tensors: Mapping[str, LazyTensor]) -> dict[str, str]:
    first: dict[Hashable, str] = {}
    aliases: dict[str, str] = {}
    for name, tensor in tensors.items():
        if tensor.identity is None:
            continue
        owner = first.setdefault(tensor.identity, name)
        if owner != name:
            aliases[name] = owner
    return aliases
