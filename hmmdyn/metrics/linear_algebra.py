"""What takes cubes of a matrix's side: by NumPy, or by PyTorch on a device such as a GPU."""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

import numpy as np

from hmmdyn.errors import UsageError
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
        return np.asarray(np.linalg.eigvalsh(_smaller_gram(matrix)), dtype=np.float64)

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
        gram = _smaller_gram(self._there(matrix))
        return np.asarray(self._torch.linalg.eigvalsh(gram).cpu(), dtype=np.float64)

    def singular_values(self, matrix: FloatArray) -> FloatArray:
        """As of `LinearAlgebra`."""
        values = self._torch.linalg.svdvals(self._there(matrix))
        return np.asarray(values.cpu(), dtype=np.float64)

    def _there(self, matrix: FloatArray) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(matrix)).to(self._device)


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
