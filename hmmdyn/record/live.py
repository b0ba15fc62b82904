"""The weights of a model in memory, as the lazy checkpoint that a file of them would be.

PyTorch's tensors and modules are known by their methods, so that this module needs no PyTorch.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.read import Checkpoint
from hmmdyn.checkpoints.state_dict import flatten
from hmmdyn.checkpoints.tensor import WIDENED, Contents, LazyTensor, widen
from hmmdyn.errors import UsageError

_NAME = Path("the model given")  # stands for the file in messages


class LiveWeights(NamedTuple):
    """A model's tensors, and the names of those that no optimizer changes as far as it says."""

    checkpoint: Checkpoint
    untrained: frozenset[str]


def live_weights(model: Any, optimizer: Any = None) -> LiveWeights:
    """Look at the weights of a model; nothing is copied until a tensor is read.

    Parameters
    ----------
    model : torch.nn.Module or mapping
        A module, or a (nested) mapping of names to PyTorch tensors or NumPy arrays, such as a state
        dictionary or what would be saved as a checkpoint.
    optimizer : torch.optim.Optimizer, mapping or list of these, optional
        What trains it, or its state dictionary: its tensors stand beside the model.

    Raises
    ------
    UsageError
        It is neither, or a tensor is spread over several devices.
    """
    is_module = callable(getattr(model, "state_dict", None))
    tree = model.state_dict() if is_module else model
    if not isinstance(tree, Mapping):
        raise UsageError(
            "'model' must be a PyTorch module or a mapping of names to tensors, got "
            f"{type(model).__name__}."
        )
    found = flatten({key: _lazy(value, str(key)) for key, value in tree.items()})
    beside = {**found.beside, **_state_of(optimizer)}
    checkpoint = Checkpoint(
        _NAME, Contents("in memory", found.tensors, found.scalars, found.left_out, beside)
    )
    if not is_module:
        return LiveWeights(checkpoint, frozenset())
    trained = {_memory_of(p) for _, p in model.named_parameters() if p.requires_grad}
    return LiveWeights(
        checkpoint,
        frozenset(name for name in checkpoint if checkpoint[name].identity not in trained),
    )


def _state_of(optimizer: Any) -> dict[str, LazyTensor]:
    """Name the tensors that an optimizer keeps, or several, as they would be in a checkpoint."""
    if isinstance(optimizer, list | tuple):
        states = [_state_of(one) for one in optimizer]
        return {f"{i}.{name}": one for i, of in enumerate(states) for name, one in of.items()}
    has_state = callable(getattr(optimizer, "state_dict", None))
    tree = optimizer.state_dict() if has_state else optimizer or {}
    if not isinstance(tree, Mapping):
        raise UsageError(
            "'optimizer' must be an optimizer of PyTorch, its state dictionary or a list of these, "
            f"got {type(optimizer).__name__}."
        )
    found = flatten(_lazy(tree, "optimizer"))
    return {f"optimizer.{name}": one for name, one in {**found.tensors, **found.beside}.items()}


def copied(checkpoint: Checkpoint, names: frozenset[str]) -> Checkpoint:
    """Copy the named tensors into main memory; the others can be looked at, but not kept."""
    tensors = {
        name: _held(checkpoint[name]) if name in names else checkpoint[name] for name in checkpoint
    }
    told = (checkpoint.scalars, checkpoint.left_out, checkpoint.beside)
    return Checkpoint(_NAME, Contents(checkpoint.format, tensors, *told))


def _held(tensor: LazyTensor) -> LazyTensor:
    values = tensor.read().copy()
    return replace(tensor, read=lambda: values)


def _lazy(value: Any, name: str) -> Any:
    """Make the leaves of a nested mapping lazy tensors; what is none stays as it is."""
    if isinstance(value, Mapping):
        return {key: _lazy(inner, f"{name}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_lazy(inner, f"{name}.{i}") for i, inner in enumerate(value)]
    if hasattr(value, "full_tensor"):
        raise UsageError(
            f"{name} is spread over several devices, and metrics need the whole of it. Gather the "
            "weights first\n(torch.distributed.checkpoint.state_dict.get_model_state_dict with "
            "full_state_dict=True) and give the state dictionary instead of the model."
        )
    if hasattr(value, "detach") and hasattr(value, "data_ptr"):
        dtype = str(value.dtype).removeprefix("torch.")
        return LazyTensor(
            tuple(value.shape), dtype, lambda: _torch_numbers(value, dtype), _memory_of(value)
        )
    if hasattr(value, "__array__") and getattr(value, "shape", None) is not None:
        return LazyTensor(
            tuple(value.shape), value.dtype.name, lambda: widen(np.asarray(value)), id(value)
        )
    return value


def _torch_numbers(tensor: Any, dtype: str) -> NDArray[Any]:
    """Copy one tensor to main memory; NumPy has none of the narrow types."""
    on_cpu = tensor.detach().cpu()
    return np.asarray((on_cpu.float() if dtype in WIDENED else on_cpu).numpy())


def _memory_of(tensor: Any) -> Hashable:
    """Tell tied tensors: the same numbers in the same memory, seen in the same way."""
    return str(tensor.device), tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride())
