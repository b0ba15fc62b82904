"""What takes cubes of a matrix's side: by NumPy, or by PyTorch on a device such as a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import numpy as np

from hmmdyn.errors import UsageError
from hmmdyn.metrics import two_stage
from hmmdyn.names import printable
from hmmdyn.results.arrays import FloatArray

CPU = "cpu"


class LinearAlgebra(Protocol):
    """Of a matrix of float64, shape (m, n); everything in float64."""

    def gram_eigenvalues(self, matrix: FloatArray) -> FloatArray:
        """Eigenvalues of the smaller Gram matrix, smallest first, shape (min(m, n),)."""

    def singular_values(self, matrix: FloatArray) -> FloatArray:
        """Singular values by SVD, largest first, shape (min(m, n),)."""


class NumPy:
    """On the processor."""

    def gram_eigenvalues(self, matrix: FloatArray) -> FloatArray:
        """As of `LinearAlgebra`."""
        gram = _smaller_gram(matrix)
        if len(gram) >= two_stage.LEAST_SIDE:
            return two_stage.eigenvalues(gram)
        return np.asarray(np.linalg.eigvalsh(gram), dtype=np.float64)

    def singular_values(self, matrix: FloatArray) -> FloatArray:
        """As of `LinearAlgebra`."""
        return np.asarray(np.linalg.svd(matrix, compute_uv=False), dtype=np.float64)


class Torch:
    """On a device of PyTorch's.

    Parameters
    ----------
    device : str
        As PyTorch calls it: ``cuda``, ``cuda:1``.

    Raises
    ------
    UsageError
        PyTorch is not installed, or has no such device.
    """

    def __init__(self, device: str) -> None:
        try:
            import torch
        except ImportError as error:
            raise UsageError(
                f"--device {printable(device)} needs PyTorch, which is not installed: "
                "https://pytorch.org/get-started has the command."
            ) from error
        try:
            float(torch.zeros(1, dtype=torch.float64, device=device))
        except (RuntimeError, AssertionError, TypeError) as error:
            raise UsageError(
                f"PyTorch {torch.__version__} has no device {printable(device)!r} that computes "
                f"in double precision: {printable(str(error).splitlines()[0])}. Leave --device out."
            ) from error
        self._torch, self._device = torch, device

    def gram_eigenvalues(self, matrix: FloatArray) -> FloatArray:
        """As of `LinearAlgebra`."""
        return self._computed(
            lambda there: self._torch.linalg.eigvalsh(_smaller_gram(there)), matrix
        )

    def singular_values(self, matrix: FloatArray) -> FloatArray:
        """As of `LinearAlgebra`."""
        return self._computed(self._torch.linalg.svdvals, matrix)

    def _computed(self, compute: Callable[[Any], Any], matrix: FloatArray) -> FloatArray:
        try:
            there = self._torch.from_numpy(np.ascontiguousarray(matrix)).to(self._device)
            return np.asarray(compute(there).cpu(), dtype=np.float64)
        except RuntimeError as error:  # such as its memory, which is no fault of the matrix
            raise UsageError(
                f"Device {printable(self._device)} failed at a matrix of shape {matrix.shape}: "
                f"{printable(str(error).splitlines()[0])}. Use fewer processes (--jobs 1), or "
                "leave --device out."
            ) from error


NUMPY = NumPy()


@cache
def on_device(device: str) -> LinearAlgebra:
    """Return what computes there.

    Raises
    ------
    UsageError
        As of `Torch`.
    """
    return NUMPY if device == CPU else Torch(device)


def _smaller_gram(matrix: Any) -> Any:
    return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
