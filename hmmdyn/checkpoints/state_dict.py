"""Finding the model in what people save: nested dictionaries, wrappers, outcomes beside them.

This works on names and on nested mappings whose leaves are lazy tensors, so it is the same for
every file format.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from hmmdyn.checkpoints.tensor import LazyTensor
from hmmdyn.errors import CheckpointError
from hmmdyn.roles import is_outcome

# Keys under which training scripts keep the model, most specific first.
_CONTAINERS = (
    "model_state_dict",
    "state_dict",
    "model",
    "module",
    "network",
    "net",
    "params",
)
# Keys under which training scripts keep the outcomes of the step.
_RESULTS = ("metrics", "results", "logs")
# Path components that DDP, torch.compile, FSDP and activation checkpointing put into names.
_WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Real state dictionaries nest fewer than ten levels.
_DEEPEST = 64


@dataclass(frozen=True)
class Flattened:
    """The model of a nested dictionary, and what stood beside it; see `Contents`."""

    tensors: dict[str, LazyTensor]
    scalars: dict[str, float]
    left_out: dict[str, str]
    beside: dict[str, LazyTensor]


def flatten(tree: Mapping[object, object]) -> Flattened:
    """Find the model in a nested dictionary and give each tensor its dotted name.

    The outermost container (``model``, ``state_dict``, …) that holds tensors is the model, and
    its siblings are left out; without one, everything in the dictionary is the model.

    Raises
    ------
    CheckpointError
        The dictionary is nested too deeply to be one of tensors.
    """
    scalars: dict[str, float] = {}
    left_out: dict[str, str] = {}
    beside: dict[str, LazyTensor] = {}
    while True:
        scalars |= _outcomes(tree)
        container = _container(tree)
        if container is None:
            return Flattened(_named(tree), scalars, left_out, beside)
        for key, value in tree.items():
            if value is not container and _has_tensors(value):
                left_out[str(key)] = "kept beside the model"
                beside |= {".".join(path): one for path, one in _leaves(value, (str(key),))}
        tree = container


def without_wrappers(tensors: Mapping[str, LazyTensor]) -> dict[str, LazyTensor]:
    """Drop the path components of wrappers: ``module._orig_mod.fc.weight`` -> ``fc.weight``.

    Where that would make two names equal, the names stay as they were stored.
    """
    names = {name: _without_wrappers(name) for name in tensors}
    if any(count > 1 for count in Counter(names.values()).values()):
        return dict(tensors)
    return {names[name]: tensor for name, tensor in tensors.items()}


def outcome_scalars(entries: Iterable[tuple[str, object]]) -> dict[str, float]:
    """Entries that are finite numbers (or text that reads as one) and named like an outcome."""
    # The names of weights are not looked at: there are many, and each takes its time.
    single = ((name, value) for name, value in entries if getattr(value, "shape", ()) == ())
    found = {name: _number(value) for name, value in single if is_outcome(name)}
    return {name: number for name, number in found.items() if number is not None}


def _without_wrappers(name: str) -> str:
    *path, leaf = name.split(".")
    return ".".join([*(part for part in path if part not in _WRAPPERS), leaf])


def _outcomes(tree: Mapping[object, object]) -> dict[str, float]:
    found = outcome_scalars((str(key), value) for key, value in tree.items())
    for key in _RESULTS:
        inner = tree.get(key)
        if isinstance(inner, Mapping):
            found |= outcome_scalars((str(name), value) for name, value in inner.items())
    return found


def _number(value: object) -> float | None:
    if isinstance(value, LazyTensor):
        if value.dtype.startswith("complex"):
            return None
        value = value.read().item()
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _container(tree: Mapping[object, object]) -> Mapping[object, object] | None:
    for key in _CONTAINERS:
        value = tree.get(key)
        if isinstance(value, Mapping) and _has_tensors(value):
            return value
    return None


def _has_tensors(value: object) -> bool:
    return any(tensor.shape for _, tensor in _leaves(value))


def _named(tree: Mapping[object, object]) -> dict[str, LazyTensor]:
    tensors: dict[str, LazyTensor] = {}
    for path, tensor in _leaves(tree):
        name = ".".join(path)
        if name in tensors:
            raise CheckpointError(f"it holds two tensors called {name!r}.")
        tensors[name] = tensor
    return tensors


def _leaves(
    value: object, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], LazyTensor]]:
    if len(path) > _DEEPEST:
        raise CheckpointError(
            f"it nests containers more than {_DEEPEST} levels deep, which no state dictionary does."
        )
    if isinstance(value, LazyTensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from _leaves(inner, (*path, str(i)))
