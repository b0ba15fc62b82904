"""PyTorch checkpoints, read by PyTorch itself where it is installed.

Only ``torch.load(weights_only=True)`` is used, so that no code in a file runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from hmmdyn.checkpoints.state_dict import flatten
from hmmdyn.checkpoints.tensor import WIDENED, Contents, LazyTensor
from hmmdyn.errors import CheckpointError

if TYPE_CHECKING:
    import torch

# A pickle of protocol 2 whose first object is PyTorch's magic number: torch.save before 1.6.
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def is_torch_zip(names: list[str]) -> bool:
    """Whether a zip file with these entries was written by ``torch.save``."""
    return any(name.rpartition("/")[2] == "data.pkl" for name in names)


def is_legacy_torch(start: bytes) -> bool:
    """Whether a file that starts with these bytes was written by ``torch.save`` before 1.6."""
    return start.startswith(_LEGACY_START)


def open_torch(path: Path) -> Contents:
    """Load a PyTorch file into memory and find the model in it.

    Raises
    ------
    CheckpointError
        PyTorch is not installed, the file is damaged, or it holds more than tensors, numbers and
        text in plain containers, which weights-only loading refuses.
    """
    try:
        import torch
    except ImportError as error:
        raise CheckpointError(
            "it is a PyTorch file, and PyTorch is not installed. Install it "
            "(pip install 'hmmdyn[torch]') or convert the file to safetensors."
        ) from error
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises nearly anything on a damaged file
        if str(error).startswith("Weights only load failed"):
            raise CheckpointError(
                "PyTorch refuses it as unsafe: it holds Python objects beside tensors, or is "
                "damaged. Save the state dictionary alone: torch.save(model.state_dict(), …)"
            ) from error
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"PyTorch cannot read it: {reason}") from error
    if not isinstance(loaded, Mapping):
        raise CheckpointError(
            f"it holds a {type(loaded).__name__}, not a dictionary of tensors. "
            "Save the state dictionary: torch.save(model.state_dict(), …)"
        )
    found = flatten(_with_lazy_tensors(loaded))
    return Contents("pytorch", found.tensors, found.scalars, found.left_out)


def _with_lazy_tensors(value: Any) -> Any:
    """Copy nested containers, replacing each ``torch.Tensor`` by a `LazyTensor`."""
    import torch

    if isinstance(value, torch.Tensor):
        return _lazy(value)
    if isinstance(value, Mapping):
        return {key: _with_lazy_tensors(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_with_lazy_tensors(inner) for inner in value]
    return value


def _lazy(tensor: torch.Tensor) -> LazyTensor:
    shape, dtype = tuple(tensor.shape), str(tensor.dtype).removeprefix("torch.")
    return LazyTensor(shape, dtype, partial(_read, tensor), _identity(tensor))


def _identity(tensor: torch.Tensor) -> tuple[object, ...] | None:
    """Where the numbers lie in memory; equal for tied tensors."""
    if str(tensor.layout) != "torch.strided" or tensor.numel() == 0:
        return None
    start = tensor.untyped_storage().data_ptr()
    return (start, tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype)


def _read(tensor: torch.Tensor) -> NDArray[Any]:
    values = tensor.detach()
    name = str(tensor.dtype).removeprefix("torch.")
    try:
        return (values.float() if name in WIDENED else values).numpy()
    except (RuntimeError, TypeError) as error:
        raise CheckpointError(
            f"it holds a tensor of kind {tensor.dtype}, {tensor.layout}, which cannot be read "
            "as plain numbers."
        ) from error
