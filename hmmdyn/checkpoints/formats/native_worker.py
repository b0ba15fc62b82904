"""The process that native libraries read in, one checkpoint after another; started by `native`.

A request is a line of JSON, and so is the reply, which the bytes of a tensor may follow. Of a file
in a store it asks for the bytes that it wants before it replies, and gets them: it asks no store
itself. It ends when its standard input does, and so with the process that started it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from hmmdyn.checkpoints.formats import limits
from hmmdyn.checkpoints.formats.byte_ranges import ByteRange, FileBytes
from hmmdyn.checkpoints.formats.keras_file import open_hdf5, open_keras_zip
from hmmdyn.checkpoints.formats.orbax_folder import open_orbax
from hmmdyn.checkpoints.tensor import Contents, LazyTensor
from hmmdyn.errors import CheckpointError
from hmmdyn.names import printable

_LONGEST_REASON = 300  # characters
_NOTHING = Contents("", {})

_PIECE = 1 << 23  # bytes that are asked for at once

Reply = tuple[dict[str, Any], bytes | memoryview]


class _AskedFor:
    """All bytes of a file that the other process reads."""

    def __init__(self, size: int, requests: BinaryIO, replies: BinaryIO) -> None:
        self.size = size
        self._requests, self._replies = requests, replies

    def read_into(self, view: memoryview, start: int) -> None:
        """Fill ``view`` with the bytes from ``start`` on."""
        for at in range(0, len(view), _PIECE):
            piece = view[at : at + _PIECE]
            with limits.waiting():
                self._replies.write(json.dumps({"want": [start + at, len(piece)]}).encode() + b"\n")
                self._replies.flush()
                data = self._requests.read(len(piece))
            piece[:] = data

    def verify(self) -> None:
        """Do nothing: a file carries no checksum of its own."""


class _Served:
    """The checkpoint that is open, if any."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._streams = requests, replies
        self._contents = _NOTHING
        self._close: list[Callable[[], None]] = []

    def answer(self, request: dict[str, Any]) -> Reply:
        """Do what is asked for, within its limits."""
        bounds = limits.Limits(**request["limits"])
        with limits.within(bounds):
            try:
                if "open" in request:
                    return self._open(request["open"], request["path"], request["size"]), b""
                if "read" in request:
                    return self._read(*request["read"])
                self._let_go()
                return {}, b""
            except CheckpointError as error:
                return {"refused": str(error)}, b""
            except MemoryError:
                return {"refused": _too_much(bounds)}, b""
            except OSError as error:
                return {"errno": error.errno or 0, "reason": error.strerror or str(error)}, b""
            except Exception as error:  # whatever a library makes of a damaged file
                reason = printable(f"{type(error).__name__}: {error}"[:_LONGEST_REASON])
                return {
                    "refused": f"it is damaged: it cannot be read ({reason}). "
                    "Was training stopped while it was saved? Copy or save the file anew."
                }, b""

    def _open(self, kind: str, path: str | None, size: int) -> dict[str, Any]:
        self._let_go()
        if kind == "orbax":
            self._contents = open_orbax(Path(str(path)))
        else:
            file = self._file(path, size)
            self._contents = (open_hdf5 if kind == "hdf5" else open_keras_zip)(file)
        return {
            "format": self._contents.format,
            "tensors": _described(self._contents.tensors),
            "beside": _described(self._contents.beside),
            "scalars": dict(self._contents.scalars),
            "left_out": dict(self._contents.left_out),
        }

    def _file(self, path: str | None, size: int) -> ByteRange:
        if path is None:
            return _AskedFor(size, *self._streams)
        file = FileBytes(Path(path))
        self._close.append(file.close)
        return file

    def _read(self, of: Literal["tensors", "beside"], name: str) -> Reply:
        tensors = self._contents.beside if of == "beside" else self._contents.tensors
        # Whoever asks keeps the order of axes that NumPy takes for granted.
        values = np.ascontiguousarray(tensors[name].read())
        return {"dtype": values.dtype.name, "size": values.nbytes}, _bytes_of(values)

    def _let_go(self) -> None:
        contents, self._contents = self._contents, _NOTHING
        contents.close()
        while self._close:
            self._close.pop()()


def _described(tensors: Mapping[str, LazyTensor]) -> list[list[Any]]:
    """Return of each tensor its name, shape and dtype, and a number for what it shares."""
    numbers: dict[Hashable, int] = {}
    return [
        [name, tensor.shape, tensor.dtype]
        + ([] if tensor.identity is None else [numbers.setdefault(tensor.identity, len(numbers))])
        for name, tensor in tensors.items()
    ]


def _bytes_of(values: np.ndarray[Any, Any]) -> memoryview:
    return values.reshape(-1).view(np.uint8).data


def _too_much(bounds: limits.Limits) -> str:
    return (
        f"reading it takes more than {bounds.memory >> 20:,} MB of memory. Either it is damaged or "
        "made to exhaust the memory, or use a machine with more of it."
    )


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until there are no more."""
    served = _Served(requests, replies)
    for line in requests:
        reply, data = served.answer(json.loads(line))
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.write(data)
        replies.flush()


def main() -> None:
    """Serve whoever started this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that started it
    # What a library prints must not get among the replies.
    replies = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    try:
        serve(sys.stdin.buffer, replies)
    except BrokenPipeError:
        os._exit(1)


if __name__ == "__main__":
    main()
