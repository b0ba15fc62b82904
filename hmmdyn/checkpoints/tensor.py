"""What every reader hands over: tensors that are read when asked for, and what else was found."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

# Stored types that are widened to float32 when read, by the names NumPy, PyTorch and ml_dtypes
# share. Every one of their values is a float32.
WIDENED: dict[str, np.dtype[Any]] = {
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e4m3fnuz": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "float8_e5m2fnuz": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "float8_e8m0fnu": np.dtype(ml_dtypes.float8_e8m0fnu),
}


@dataclass(frozen=True)
class LazyTensor:
    """A tensor of a checkpoint whose numbers are still on disk.

    Attributes
    ----------
    shape : tuple of int
    dtype : str
        As stored: ``float32``, ``bfloat16``, ``int64``, …
    read : callable
        Returns the numbers, of ``shape``: float32 where the stored type is narrower, the stored
        type in native byte order otherwise. Raises `CheckpointError` where the file fails.
    identity : hashable, optional
        Equal for tied tensors (two names of the same numbers in the same memory).
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], NDArray[Any]]
    identity: Hashable = None


@dataclass(frozen=True)
class Contents:
    """What a reader found in one file (or one folder of files).

    ``scalars`` are numbers stored beside the tensors that are named like outcomes, ``left_out``
    maps what holds tensors but is not the model (optimizer state, …) to the reason. ``beside`` are
    such tensors, where the reader tells them by name. ``close`` lets go of what the reader itself
    has opened.
    """

    format: str
    tensors: Mapping[str, LazyTensor]
    scalars: Mapping[str, float] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, LazyTensor] = field(default_factory=dict)
    close: Callable[[], None] = lambda: None


def widen(values: NDArray[Any]) -> NDArray[Any]:
    """Return ``values`` in native byte order, as float32 where the type is narrower than that."""
    if values.dtype.name in WIDENED:
        return values.astype(np.float32)
    return values.astype(values.dtype.newbyteorder("="), copy=False)
