"""What a native library may take of the machine while it reads one thing, and what that is called.

Limits grow with what is read, so that large models have what they need, and a small file that makes
a library loop or fill the memory is done with in seconds.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

try:
    import resource
except ImportError:  # Windows: there the process that waits ends the one that works
    resource = None  # type: ignore[assignment]

ARE_SET = resource is not None

_MEMORY = 512 << 20  # bytes; threads and caches of TensorStore alone reserve a third of it
_OPENING_CPU, _OPENING_RATE = 5.0, 200_000  # seconds, and bytes of the file for each second more
_READING_CPU, _READING_RATE = 10.0, 5_000_000  # bytes of the tensor, by which gzip is fast enough
_PATIENCE, _PER_SECOND = 120.0, 10  # a busy machine, a slow disk: seconds beyond those of work


@dataclass(frozen=True)
class Limits:
    """Bytes of memory beyond what the process has, seconds of processor time, and seconds."""

    memory: int
    cpu: float
    wall: float


def of_opening(stored: int) -> Limits:
    """Return the limits for looking at what a file of so many bytes holds."""
    cpu = _OPENING_CPU + stored / _OPENING_RATE
    return Limits(_MEMORY + stored, cpu, _PATIENCE + _PER_SECOND * cpu)


def of_reading(nbytes: int) -> Limits:
    """Return the limits for reading a tensor of so many bytes."""
    cpu = _READING_CPU + nbytes / _READING_RATE
    return Limits(_MEMORY + 4 * nbytes, cpu, _PATIENCE + _PER_SECOND * cpu)


@contextmanager
def within(limits: Limits) -> Iterator[None]:
    """Bound this process: beyond time it is ended by the system, beyond memory there is no more.

    Neither asks the library's leave. Where the system has no such limits, nothing is done.
    """
    if resource is None:
        yield
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(usage.ru_utime + usage.ru_stime + limits.cpu) + 1
    before = {what: resource.getrlimit(what) for what in (resource.RLIMIT_AS, resource.RLIMIT_CPU)}
    _lower(resource.RLIMIT_AS, _address_space() + limits.memory)
    _lower(resource.RLIMIT_CPU, cpu)
    signal.setitimer(signal.ITIMER_REAL, limits.wall)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for what, limit in before.items():
            resource.setrlimit(what, limit)


@contextmanager
def waiting() -> Iterator[None]:
    """Let this process's time stand still: it waits for another that is patient itself."""
    if resource is None:
        yield
        return
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)


def why_it_died(status: int, limits: Limits) -> str:
    """Say what became of a process that was to read something, by its exit status."""
    if status == -getattr(signal, "SIGXCPU", 0):
        return (
            f"was stopped after {limits.cpu:,.0f} seconds of work, which no checkpoint of this "
            "size takes. It is damaged, or made to take up the machine: do not trust it. Copy or "
            "save the file anew."
        )
    if status == -getattr(signal, "SIGALRM", 0) or not ARE_SET:
        return (
            f"was stopped after {limits.wall:,.0f} seconds. Either its disk does not answer, or it "
            "is damaged. Try again, or copy the file anew."
        )
    if status == -getattr(signal, "SIGKILL", 0):
        return (
            "was killed, most likely because memory ran out. Use a machine with more memory, or "
            "fewer processes."
        )
    return (
        f"ended it ({_signal_name(-status)}). It is damaged, or made to exhaust the memory: do not "
        "trust it. Copy or save the file anew."
    )


def _lower(what: int, limit: int) -> None:
    soft, hard = resource.getrlimit(what)
    allowed = [n for n in (limit, soft, hard) if n != resource.RLIM_INFINITY]
    resource.setrlimit(what, (min(allowed), hard))


def _address_space() -> int:
    """Return how many bytes of address space this process has taken, 0 where it does not say."""
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - read for every tensor
            return int(file.read().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 1 << 35  # macOS: the limit counts what is shared, too, and is not enforced


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number > 0 else f"exit status {-number}"
