"""Published architectures: the names and shapes of their tensors, and what each of them is.

The lists are made by `collect.py`, which says what the letters mean.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

from hmmdyn.checkpoints.read import Checkpoint
from hmmdyn.checkpoints.tensor import Contents, LazyTensor

HERE = Path(__file__).parent
FAMILIES = sorted(path.name.removesuffix(".json.gz") for path in HERE.glob("*.json.gz"))


class Tensor(NamedTuple):
    """A tensor of a published model: what it is, and the matrices that a weight stands for."""

    shape: tuple[int, ...]
    dtype: str
    role: str
    matrices: tuple[int, int, int] | None
    tied_with: str | None


Model = dict[str, Tensor]


@cache
def models_of(family: str) -> dict[str, Model]:
    """Return the models of a library, by name."""
    document = json.loads(gzip.decompress((HERE / f"{family}.json.gz").read_bytes()))
    return {
        model: {name: _tensor(*row) for name, row in tensors.items()}
        for model, tensors in document["models"].items()
    }


def _tensor(shape: list[int], dtype: str, role: str, *rest: object) -> Tensor:
    return Tensor(
        tuple(shape),
        dtype or "float32",
        role,
        tuple(rest) if role == "w" else None,
        str(rest[0]) if role == "t" else None,
    )


def checkpoint_of(model: Model) -> Checkpoint:
    """Return a checkpoint with the tensors of a model, whose numbers cannot be read."""
    tensors = {
        name: LazyTensor(t.shape, t.dtype, _unread, t.tied_with or name)
        for name, t in model.items()
    }
    # A component called "module" is taken for a wrapper's, here for a name of its own.
    with patch("hmmdyn.checkpoints.read.without_wrappers", dict):
        return Checkpoint(Path("model"), Contents("test", tensors))


def _unread() -> None:
    raise AssertionError("a tensor was read")
