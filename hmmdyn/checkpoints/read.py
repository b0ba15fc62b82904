"""One checkpoint as a lazy mapping from name to tensor, whatever its format.

The format is told by content, never by suffix. Everything that is refused is a
`hmmdyn.errors.CheckpointError` whose message names the file, the reason and the remedy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

from hmmdyn.checkpoints.formats.by_content import NATIVE, READERS, format_of, start_of
from hmmdyn.checkpoints.formats.native import open_natively
from hmmdyn.checkpoints.formats.orbax_folder import is_orbax
from hmmdyn.checkpoints.formats.safetensors_file import is_safetensors
from hmmdyn.checkpoints.formats.torch_distributed import is_distributed, open_distributed
from hmmdyn.checkpoints.formats.whole_file import WholeFile, open_bytes, require_local
from hmmdyn.checkpoints.state_dict import outcome_scalars, without_wrappers
from hmmdyn.checkpoints.tensor import Contents, LazyTensor
from hmmdyn.errors import CheckpointError
from hmmdyn.names import printable, some
from hmmdyn.places import Place, place

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
    path : Place
    format : str
        ``safetensors``, ``pytorch``, each also ``… (sharded)``; ``pytorch (distributed)``,
        ``npz``, ``npy``, ``keras``, ``hdf5``, ``flax``, ``stable-baselines3``, ``orbax``.
    aliases : Mapping of str to str
        Tied tensors: each further name -> the first name of the same numbers.
    scalars : Mapping of str to float
        Outcomes stored in the file (``loss``, ``val_accuracy``, …); finite.
    left_out : Mapping of str to str
        Parts of the file that hold tensors but not the model's -> the reason.
    beside : Mapping of str to LazyTensor
        Tensors of such parts by name, where the format's reader gives them: an optimizer's state.
    """

    def __init__(self, path: Place, contents: Contents) -> None:
        self.path = path
        self.format = contents.format
        tensors = without_wrappers(contents.tensors)
        outcomes = outcome_scalars(tensors.items())
        self._tensors = {name: tensors[name] for name in tensors if name not in outcomes}
        self.aliases: Mapping[str, str] = _aliases(self._tensors)
        self.scalars: Mapping[str, float] = {**outcomes, **contents.scalars}
        self.left_out: Mapping[str, str] = contents.left_out
        self.beside: Mapping[str, LazyTensor] = contents.beside
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


def open_checkpoint(path: str | PathLike[str] | Place) -> Checkpoint:
    """Open a checkpoint: a file, a shard index, or a folder that holds one of them.

    Reads PyTorch, safetensors, NumPy and Flax files, models of Stable-Baselines3, and with the
    extras ``keras`` and ``orbax`` also Keras files and Orbax folders. In another folder,
    ``model.safetensors``, ``pytorch_model.bin`` or their index is taken, else the only file that is
    a checkpoint. Containers (``state_dict``, ``model``, …) and wrappers (``module.``,
    ``_orig_mod.``) are looked through.

    Parameters
    ----------
    path : path or URL
        The file or folder; of one in a store (``s3://…``) only what is asked for is fetched.

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
    path = place(path)
    with _naming(path):
        is_folder = path.is_dir()
    contents = _open_folder(path) if is_folder else _open_path(path)
    with ExitStack() as opened:
        opened.callback(contents.close)
        checkpoint = Checkpoint(path, contents)  # reads the outcomes among the tensors
        opened.pop_all()
    return checkpoint


@contextmanager
def _naming(path: Place) -> Iterator[None]:
    """Put the file's name before what went wrong with it."""
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{printable(str(path))}: {error}") from error
    except OSError as error:
        raise CheckpointError(
            f"{printable(str(path))} cannot be read: {error.strerror or error}."
        ) from error


def _open_folder(folder: Place) -> Contents:
    readers = (
        (is_orbax, lambda at: open_natively("orbax", require_local(at, "an Orbax folder"))),
        (is_distributed, open_distributed),
    )
    with _naming(folder):
        reader = next((reader for is_whole, reader in readers if is_whole(folder)), None)
        if reader is not None:
            return _naming_reads(folder, reader(folder))
    return _open_path(_file_in(folder))


def _open_path(path: Place) -> Contents:
    with ExitStack() as opened:
        with _naming(path):
            file = open_bytes(path)
            opened.callback(file.close)
            is_index = _is_json(start_of(file))
        return _open_shards(path) if is_index else _opened(path, file, opened)


def _file_in(folder: Place) -> Place:
    """Find the one file in a folder that is its checkpoint."""
    with _naming(folder):
        for name in _MAIN_FILES:
            if (folder / name).is_file():
                return folder / name
        files = [
            file
            for file in sorted(folder.iterdir(), key=lambda one: one.name)
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


def _is_recognised(path: Place) -> bool:
    try:
        with _naming(path), closing(open_bytes(path)) as file:
            format_of(file)
    except CheckpointError:
        return False
    return True


def _open_file(path: Place) -> Contents:
    """Open a single file with the reader of its format."""
    with ExitStack() as opened:
        with _naming(path):
            file = open_bytes(path)
        opened.callback(file.close)
        return _opened(path, file, opened)


def _opened(path: Place, file: WholeFile, opened: ExitStack) -> Contents:
    """Read what a file holds; what it needs open is let go of with the contents."""
    with _naming(path):
        kind = format_of(file)
        if kind in NATIVE:
            contents = open_natively(kind, path if isinstance(path, Path) else file)
        else:
            contents = READERS[kind](file)
        opened.callback(contents.close)  # called first: before the file is closed
        return _naming_reads(path, replace(contents, close=opened.pop_all().close))


def _naming_reads(path: Place, contents: Contents) -> Contents:
    """Let what goes wrong when a tensor is read, or at the end, name the checkpoint, too."""
    tensors, beside = (
        {name: replace(one, read=partial(_read, path, one)) for name, one in of.items()}
        for of in (contents.tensors, contents.beside)
    )
    close = partial(_close, path, contents.close)
    return replace(contents, tensors=tensors, beside=beside, close=close)


def _close(path: Place, close: Callable[[], None]) -> None:
    with _naming(path):
        close()


def _read(path: Place, tensor: LazyTensor) -> NDArray[Any]:
    with _naming(path):
        try:
            return tensor.read()
        except MemoryError as error:
            raise CheckpointError(
                f"a tensor of shape {tensor.shape} does not fit into memory. Use a machine with "
                "more memory, or leave the tensor out."
            ) from error


def _is_json(start: bytes) -> bool:
    return start.lstrip().startswith(b"{") and not is_safetensors(start)


def _open_shards(index: Place) -> Contents:
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


def _weight_map(index: Place) -> dict[str, str]:
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
    if any(name.startswith("/") for name in weight_map):  # groups of HDF5, not tensors
        raise CheckpointError(
            "it is the index of Keras weights in several files, which hmmdyn does not read. "
            "Save them in one: model.save_weights('….weights.h5'), without max_shard_size."
        )
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
