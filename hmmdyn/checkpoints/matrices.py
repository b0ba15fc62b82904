"""The matrices that a weight stands for: along which axes it is one, and how many it holds.

Libraries store one and the same layer in different ways. A linear layer is a matrix everywhere, but
a convolution has its output first in PyTorch and last in Keras and Flax, a transposed one second or
last but one, attention may keep its heads on an axis of their own, and a mixture of experts keeps
all experts in one tensor.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmmdyn.checkpoints.tensor import LazyTensor
from hmmdyn.results.arrays import FloatArray

Shape = tuple[int, ...]


class Axes(NamedTuple):
    """Along which axes a tensor is made of matrices, and the rule that says so.

    Every entry of the ``apart`` axes is a matrix of its own; the ``rows`` axes together are its
    rows, all others together its columns.
    """

    rule: str
    rows: tuple[int, ...] = (0,)
    apart: tuple[int, ...] = ()

    def shapes(self, shape: Shape) -> tuple[int, int, int]:
        """Return the number of matrices in a tensor of this shape, their rows and columns."""
        n, rows = (math.prod(shape[axis] for axis in axes) for axes in (self.apart, self.rows))
        return n, rows, math.prod(shape) // max(n * rows, 1)

    def after_split(self, lost_an_axis: bool) -> Axes:
        """Return how the parts of a split tensor are matrices: if an axis is lost, by the first."""
        return MATRIX if lost_an_axis else self


MATRIX = Axes("matrix")
_VECTOR = Axes("vector", rows=())
_CONVOLUTION = Axes("convolution")
_PER_HEAD = Axes("one matrix per head", rows=(1,), apart=(0,))
_PER_EXPERT = Axes("one matrix per expert", rows=(1,), apart=(0,))
_STACK = Axes("one matrix per entry of the first axis", rows=(1,), apart=(0,))
_HEADS_OUT = Axes("heads side by side")
_HEADS_IN = Axes("heads one below the other", rows=(0, 1))

_HEADS = re.compile(r"_?W_[QKVO]")  # TransformerLens: (heads, …)
_EXPERT_WORDS = re.compile(r"(.*_)?(experts?|moe)(_.*|\d*)", re.IGNORECASE)
_KERNEL = re.compile(r"(\w+_)?kernel")
_LONGEST_KERNEL = 64  # a longer last axis is hardly that of a convolution along one dimension
# Flax and Keras keep the heads of attention on an axis of their own.
_INTO_HEADS = re.compile(r"(q|k|v|query|key|value)(_?proj|_dense)?", re.IGNORECASE)
_FROM_HEADS = re.compile(r"(o|out|attention_output)(_?proj)?|output_dense", re.IGNORECASE)
_DEPTHWISE = re.compile(r".*depthwise.*|(.*_)?dw(_.*|\d*)", re.IGNORECASE)
_TRANSPOSED = re.compile(
    r".*(transpose|deconv|convtr).*|(.*[^a-z])?up(scale)?_?conv.*|(.*_)?conv_?t\d*", re.IGNORECASE
)


def axes_of(name: str, checkpoint: Mapping[str, LazyTensor]) -> Axes:
    """Say along which axes a weight is a matrix, by its name, its shape and its neighbours.

    Parameters
    ----------
    name : str
        A tensor of the checkpoint.
    checkpoint : mapping of str to LazyTensor
        Of its neighbours, only the shape of the bias beside it is looked at.
    """
    shape, path = checkpoint[name].shape, path_of(name)
    if len(shape) < 2:
        return _VECTOR
    if len(shape) == 2:
        return MATRIX
    if len(shape) == 3 and _HEADS.fullmatch(path[-1]):
        return _PER_HEAD
    if len(shape) == 3 and any(map(_EXPERT_WORDS.fullmatch, path)):
        return _PER_EXPERT
    bias = _bias_beside(name, checkpoint)
    if _KERNEL.fullmatch(path[-1]):
        return _of_kernel(path, shape, bias)
    if len(shape) == 3 and shape[0] < min(shape[1:]) and shape[2] >= _LONGEST_KERNEL:
        return _STACK
    if _has_output_on(1, path, shape, bias):
        return Axes("transposed convolution", rows=(1,))
    return _CONVOLUTION


def as_matrices(values: NDArray[Any], axes: Axes) -> list[FloatArray]:
    """Turn a weight into the matrices it stands for, float64.

    A vector of n numbers is a matrix (1, n).
    """
    n, rows, columns = axes.shapes(values.shape)
    others = [a for a in range(values.ndim) if a not in axes.apart + axes.rows]
    ordered = np.transpose(values, (*axes.apart, *axes.rows, *others))
    return [part.astype(np.float64) for part in ordered.reshape(n, rows, columns)]


@lru_cache(maxsize=1 << 16)
def path_of(name: str) -> tuple[str, ...]:
    """Cut a tensor's name into the components that dots and slashes separate."""
    return tuple(re.split(r"[./]", name))


def beside(name: str, other: str) -> str:
    """Name of another tensor of the same module."""
    return name[: len(name) - len(path_of(name)[-1])] + other


def _of_kernel(path: tuple[str, ...], shape: Shape, bias: Shape | None) -> Axes:
    """Say along which axes a kernel of Flax or Keras, of three axes or more, is a matrix."""
    module, last = path[-2] if path[1:] else "", len(shape) - 1
    if bias == shape[1:]:
        return _HEADS_OUT
    if last == 2:
        is_long = shape[0] > max(shape[1], _LONGEST_KERNEL) and shape[1] > 1
        if _INTO_HEADS.fullmatch(module) or is_long:
            return _HEADS_OUT
        if _FROM_HEADS.fullmatch(module):
            return _HEADS_IN
    if _is_depthwise(path, shape, bias):
        return Axes("depthwise convolution", rows=(last - 1, last))
    if _has_output_on(last - 1, path, shape, bias, otherwise=last):
        return Axes("transposed convolution", rows=(last - 1,))
    return Axes("convolution", rows=(last,))


def _is_depthwise(path: tuple[str, ...], shape: Shape, bias: Shape | None) -> bool:
    """Whether a kernel (…, channels, multiplier) filters every channel by itself."""
    channels, multiplier = shape[-2:]
    if channels == 1:  # Flax: (…, 1, channels)
        return False
    if any(map(_DEPTHWISE.fullmatch, path[-2:])):
        return True
    return multiplier == 1 and bias in (None, (channels,))


def _has_output_on(
    axis: int, path: tuple[str, ...], shape: Shape, bias: Shape | None, otherwise: int = 0
) -> bool:
    """Whether a convolution has its output on this axis: the bias tells, else the name."""
    if bias in ((shape[axis],), (shape[otherwise],)) and shape[axis] != shape[otherwise]:
        return bias == (shape[axis],)
    modules = [part for part in path[:-1] if part not in ("parametrizations", "weight")]
    # Keras' layer is called conv2d_transpose; Flax's ConvTranspose has its output last.
    return (
        bool(modules)
        and not modules[-1].startswith("ConvTranspose")
        and (_TRANSPOSED.fullmatch(modules[-1]) is not None)
    )


def _bias_beside(name: str, checkpoint: Mapping[str, LazyTensor]) -> Shape | None:
    module = name.removesuffix(path_of(name)[-1])
    module = module.removesuffix("parametrizations.weight.")
    bias = checkpoint.get(f"{module}bias")
    return None if bias is None else bias.shape
