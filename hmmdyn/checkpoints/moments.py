"""The moments that Adam and its relatives keep, where a checkpoint holds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

from numpy.typing import NDArray

from hmmdyn.checkpoints.matrices import path_of
from hmmdyn.checkpoints.read import Checkpoint, open_checkpoint
from hmmdyn.checkpoints.tensor import LazyTensor
from hmmdyn.errors import NotToldError
from hmmdyn.names import printable

# What PyTorch and optax call the first moment and the second.
_NAMES = {"exp_avg": "exp_avg_sq", "mu": "nu"}
# Files in the folder of a checkpoint in which Hugging Face's trainers keep the optimizer's state.
_FILES = ("optimizer.pt", "optimizer.bin")


def moments_of(checkpoint: Checkpoint) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Read the first and second moments of every parameter that the optimizer trains.

    They are in the checkpoint, beside the model, or in ``optimizer.pt`` of its folder.

    Parameters
    ----------
    checkpoint : Checkpoint
        An open one.

    Raises
    ------
    NotToldError
        There are none.
    CheckpointError
        The file of the optimizer's state is damaged or unsafe.
    """
    with ExitStack() as opened:
        tensors: Mapping[str, LazyTensor] = {**checkpoint, **checkpoint.beside}
        folder = checkpoint.path if checkpoint.path.is_dir() else None
        for file in (folder / name for name in _FILES) if folder else ():
            if file.is_file():
                tensors = {**tensors, **opened.enter_context(open_checkpoint(file))}
        pairs = [pair for name in tensors if (pair := _pair(name, tensors))]
        if not pairs:
            raise NotToldError("the checkpoint holds no moments of Adam (exp_avg and exp_avg_sq)")
        for first, second in pairs:
            if tensors[first].shape != tensors[second].shape:
                raise NotToldError(f"the moments of {printable(first)} are of two shapes")
            yield tensors[first].read(), tensors[second].read()


def _pair(name: str, tensors: Mapping[str, LazyTensor]) -> tuple[str, str] | None:
    """Return the names of a first moment and its second, None for any other tensor."""
    for part in path_of(name):
        if part in _NAMES and not tensors[name].dtype.startswith("int"):
            second = _replaced(name, part)
            return (name, second) if second in tensors else None
    return None


def _replaced(name: str, part: str) -> str:
    """Name of the second moment: that of the first with its component ``part`` replaced."""
    path = list(path_of(name))
    at = path.index(part)
    start = sum(map(len, path[:at])) + at
    return name[:start] + _NAMES[part] + name[start + len(part) :]
