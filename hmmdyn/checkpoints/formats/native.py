"""Checkpoints that native libraries read (HDF5, TensorStore): in a process that can be stopped.

On a damaged file such a library may loop for ever, take all memory, or end its process. So it reads
in a process of its own, within `limits`, and whatever becomes of that one is a `CheckpointError`
here. Of a file in a store, this process reads what that one asks for. Processes are used again from
checkpoint to checkpoint, since starting one takes as long as reading some hundred small files; each
has one checkpoint open at a time, so that no file pays for another. A process ends with the one
that started it, since its input ends; if it is at work then, at the latest with its limits.

What comes from it is text and numbers, which are checked against what was announced; nothing that
it says is executed.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from importlib.util import find_spec
from math import prod
from pathlib import Path
from threading import Timer
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

import hmmdyn
from hmmdyn.checkpoints.formats import limits
from hmmdyn.checkpoints.formats.byte_ranges import ByteRange, read_bytes
from hmmdyn.checkpoints.formats.extras import missing_package
from hmmdyn.checkpoints.tensor import Contents, LazyTensor
from hmmdyn.errors import CheckpointError

# What a checkpoint of each kind is, what reads it, and the extra that has that.
_PACKAGES = {
    "hdf5": ("an HDF5 file, as Keras writes", "h5py", "keras"),
    "keras": ("an HDF5 file, as Keras writes", "h5py", "keras"),
    "orbax": ("an Orbax checkpoint", "tensorstore", "orbax"),
}
_WORKER = "hmmdyn.checkpoints.formats.native_worker"
_CLOSED = "it is closed. Read its tensors before closing the checkpoint."
_MOST_READINGS = 8  # of all of a file in a store, for any one thing that is asked
_GRACE = 5.0  # seconds that a worker has to end by itself
_KEPT = 2  # workers that are kept waiting


def open_natively(kind: str, at: Path | ByteRange) -> Contents:
    """Open a checkpoint in a process of its own.

    Parameters
    ----------
    kind : str
        ``hdf5``, ``keras`` or ``orbax``.
    at : Path or ByteRange
        Where it is; or, of one in a store, all its bytes, which stay open for as long as it.

    Raises
    ------
    CheckpointError
        Its reader refuses it, fails, or was stopped; or the package is not installed.
    OSError
        It cannot be opened.
    """
    what, package, extra = _PACKAGES[kind]
    if find_spec(package) is None:
        raise missing_package(what, package, extra)
    opened = _Opened(_waiting_or_new(), None if isinstance(at, Path) else at)
    try:
        return opened.contents(kind, at)
    except BaseException:
        opened.close()
        raise


def _waiting_or_new() -> _Worker:
    """Take a worker that waits and lives, or start one."""
    while True:
        try:
            worker = _idle.pop()
        except IndexError:  # not asked before, since threads may both take the last one
            return _Worker()
        if worker.is_alive():
            return worker
        worker.end()


class _Opened:
    """A checkpoint that a worker has open."""

    def __init__(self, worker: _Worker, source: ByteRange | None) -> None:
        self._worker: _Worker | None = worker
        self._source = source

    def contents(self, kind: str, at: Path | ByteRange) -> Contents:
        size = _stored(at) if isinstance(at, Path) else at.size
        path = str(Path.cwd() / at) if isinstance(at, Path) else None
        reply = self._ask(limits.of_opening(size), {"open": kind, "path": path, "size": size})
        tensors, beside = (self._lazy(reply[of], of) for of in ("tensors", "beside"))
        return Contents(
            reply["format"], tensors, reply["scalars"], reply["left_out"], beside, self.close
        )

    def _lazy(self, described: list[list[Any]], of: str) -> dict[str, LazyTensor]:
        tensors = {}
        for name, shape, dtype, *identity in described:
            read = partial(self._read, (of, name), tuple(shape), dtype)
            tensors[name] = LazyTensor(tuple(shape), dtype, read, *identity)
        return tensors

    def close(self) -> None:
        """Let go of the checkpoint; its worker waits for the next one."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if worker.is_alive() and len(_idle) < _KEPT:
            with suppress(CheckpointError):
                worker.ask(limits.of_opening(0), {"close": True})
                _idle.append(worker)
                return
        worker.end()

    def _ask(self, bounds: limits.Limits, request: dict[str, Any]) -> dict[str, Any]:
        if self._worker is None:
            raise CheckpointError(_CLOSED)
        reply = self._worker.ask(bounds, request, self._source)
        if "refused" in reply:
            raise CheckpointError(reply["refused"])
        if "errno" in reply:
            raise OSError(reply["errno"], reply["reason"])
        return reply

    def _read(self, which: tuple[str, str], shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
        # Stored types take 16 bytes at most, widened ones 4.
        reply = self._ask(limits.of_reading(prod(shape) * _itemsize(dtype)), {"read": which})
        if self._worker is None:
            raise CheckpointError(_CLOSED)
        values = np.empty(shape, np.dtype(reply["dtype"]))
        if values.dtype.hasobject or values.nbytes != reply["size"]:
            self._worker.end()
            raise CheckpointError(
                "it changed while it was read. Read it again when nothing writes it."
            )
        self._worker.fill(values.reshape(-1).view(np.uint8).data)
        return values


def _wanted(source: ByteRange, start: int, count: int, left: int) -> bytes:
    """Read what a worker asks for, unless it asks for more and more."""
    if left < 0:
        raise CheckpointError(
            "the library that reads it does not come to an end. It is damaged, or made to take up "
            "the machine: do not trust it. Copy or save the file anew."
        )
    return read_bytes(source, start, count, "what the library asks for")


def _itemsize(dtype: str) -> int:
    try:
        return max(4, np.dtype(dtype).itemsize)
    except TypeError:
        return 4  # a narrow type that NumPy does not know


def _stored(path: Path) -> int:
    """Return how many bytes a file has, or all files below a folder."""
    if not path.is_dir():
        return path.stat().st_size
    return sum(
        os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118 - many files
        for parent, _, names in os.walk(path)
        for name in names
    )


class _Worker:
    """A process that reads, see `native_worker`."""

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _WORKER],  # -P: no module comes from this folder
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(),
            )
        except OSError as error:
            raise CheckpointError(
                f"no process can be started to read it in ({error.strerror or error}). Close other "
                "programs, or save the weights as safetensors."
            ) from error
        self._requests: IO[bytes] = self._process.stdin  # type: ignore[assignment]
        self._replies: IO[bytes] = self._process.stdout  # type: ignore[assignment]
        self._bounds = limits.of_opening(0)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(
        self, bounds: limits.Limits, request: Mapping[str, Any], source: ByteRange | None = None
    ) -> dict[str, Any]:
        """Have something done; raises `CheckpointError` where the worker does not live to say.

        The worker may ask for bytes of ``source`` first.
        """
        self._bounds = bounds
        line = json.dumps({**request, "limits": asdict(bounds)}).encode() + b"\n"
        watch = Timer(bounds.wall + _GRACE, self._process.kill) if not limits.ARE_SET else None
        if watch is not None:
            watch.daemon = True
            watch.start()
        try:
            reply = self._answer_to(line)
            left = 0 if source is None else _MOST_READINGS * source.size
            while source is not None and "want" in reply:
                start, count = reply["want"]
                left -= count
                reply = self._answer_to(_wanted(source, start, count, left))
        except BaseException:  # Ctrl-C: a reply that nobody awaits would be taken for the next one
            self.end()
            raise
        finally:
            if watch is not None:
                watch.cancel()
        return dict(reply)

    def _answer_to(self, data: bytes) -> dict[str, Any]:
        try:
            self._requests.write(data)
            self._requests.flush()
            reply: dict[str, Any] = json.loads(self._replies.readline())
        except (OSError, ValueError) as error:
            raise self._died() from error
        return reply

    def fill(self, view: memoryview) -> None:
        """Read the bytes that follow a reply."""
        done = 0
        try:
            while done < len(view):
                count = self._replies.readinto(view[done:])  # type: ignore[attr-defined]
                if not count:
                    raise self._died()
                done += count
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _died(self) -> CheckpointError:
        try:
            status = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.end()
            status = 1
        self._process.communicate()
        return CheckpointError(
            f"the library that reads it {limits.why_it_died(status, self._bounds)}"
        )


def _environment() -> dict[str, str]:
    """Let a worker find what this process finds, and take no more threads than it needs."""
    here = str(Path(hmmdyn.__file__).resolve().parents[1])
    # The empty one is the folder one is in, which may hold anything by now.
    paths = [path for path in sys.path if path]
    if here not in paths:
        paths = [here, *paths] if "" in sys.path[:1] else [*paths, here]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **os.environ,
        **threads,
        "MALLOC_ARENA_MAX": "2",  # each arena reserves 64 MB
        "PYTHONPATH": os.pathsep.join(paths),
    }


_idle: list[_Worker] = []


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().end()


if hasattr(os, "register_at_fork"):  # a forked process must not ask its parent's workers
    os.register_at_fork(after_in_child=_idle.clear)
