"""What measuring may use of a machine: so much memory, and a device. The numbers are the same."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from hmmdyn.checkpoints.tensor import WIDENED, LazyTensor
from hmmdyn.errors import UsageError
from hmmdyn.metrics.linear_algebra import CPU
from hmmdyn.metrics.sketch import LEAST_SIDE
from hmmdyn.names import printable

# A process with its libraries, and the pieces in which it goes through entries.
_OF_A_PROCESS = 300 * 10**6
_PREFIXES = "KMGT"


@dataclass(frozen=True)
class Machine:
    """What a process may use.

    Attributes
    ----------
    room : int, optional
        Bytes that measuring may take beside what the process holds already.
    device : str
        Where singular values are computed: ``cpu``, or a device of PyTorch's.
    """

    room: int | None = None
    device: str = CPU

    @classmethod
    def shared(cls, memory: int | None, n_processes: int, device: str) -> Machine:
        """Return the part of each of so many processes.

        Raises
        ------
        UsageError
            The memory, in bytes, is too small for so many.
        """
        return cls(None if memory is None else _room_of_each(memory, n_processes), device)


ANY_MACHINE = Machine()


def parse_size(text: str) -> int:
    """Read an amount of memory in bytes: ``2GB``, ``1.5G``, ``512MiB``.

    Raises
    ------
    UsageError
        The text is none.
    """
    pattern = rf"([0-9]{{1,9}}(?:\.[0-9]{{1,6}})?) ?([{_PREFIXES}])(I?)B?"
    found = re.fullmatch(pattern, text.upper(), re.ASCII)
    if found is None:
        raise UsageError(f"Memory is written as 2GB or 512MB, got {printable(text)!r}.")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** (1 + _PREFIXES.index(found[2])))


def _room_of_each(memory: int, n_processes: int) -> int:
    """Return the bytes that each may take for tensors; workers have their parent beside them."""
    n_in_all = n_processes + (n_processes > 1)
    room = memory // n_in_all - _OF_A_PROCESS
    if room <= 0:
        raise UsageError(
            f"{n_in_all} processes take {_said(n_in_all * _OF_A_PROCESS)} before they hold a "
            f"tensor, and may take {_said(memory)}. Use fewer (--jobs 1), or give more."
        )
    return room


def require_room(
    tensors: Mapping[str, LazyTensor], room: int, *, as_matrices: bool, sketched: bool
) -> int:
    """Require room for the largest tensor, and return the bytes that it leaves.

    Parameters
    ----------
    tensors : mapping of str to LazyTensor
        What is measured, one after the other.
    room : int
        Bytes.
    as_matrices : bool
        Whether any metric is one of matrices, which may want their singular values.
    sketched : bool
        Whether those of large matrices are sketched.

    Raises
    ------
    UsageError
        It does not fit.
    """
    needs = {
        name: bytes_needed(tensor, as_matrices=as_matrices, sketched=sketched)
        for name, tensor in tensors.items()
    }
    largest = max(needs, key=lambda name: needs[name], default=None)
    if largest is None:
        return room
    if needs[largest] > room:
        sketch = " Sketch its spectrum (--spectrum sketch)." if as_matrices and not sketched else ""
        raise UsageError(
            f"Measuring {printable(largest)} of shape {tensors[largest].shape} takes "
            f"{_said(needs[largest])}, and a process may take {_said(room)} beside what it takes "
            f"for itself. Use fewer processes (--jobs), or give more (--max-memory).{sketch}"
        )
    return room - needs[largest]


def bytes_needed(tensor: LazyTensor, *, as_matrices: bool, sketched: bool) -> int:
    """Bytes that measuring a tensor takes at most, its numbers included."""
    n = math.prod(tensor.shape)
    numbers = n * (4 if tensor.dtype in {"float32", *WIDENED} else 8)
    # As float64, and beside it their absolute values, or what their spectrum takes: the Gram
    # matrix and two of its size to work in, or a copy in single precision.
    matrix, beside = 8 * n, 8 * n
    side = min(tensor.shape) if len(tensor.shape) == 2 else math.isqrt(n)
    if as_matrices and not (sketched and side >= LEAST_SIDE):
        beside = max(beside, 8 * (n + 2 * side**2))
    return numbers + matrix + beside


def _said(size: int) -> str:
    return f"{size / 10**9:.2f} GB"
