"""All bytes of a file, wherever it lies."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from hmmdyn.checkpoints.formats.byte_ranges import FileBytes
from hmmdyn.errors import CheckpointError
from hmmdyn.places import Place, RemotePath

_FIRST = 1 << 16  # bytes asked of a store at first: they hold the header, as a rule
_LEAST = 1 << 12  # … and later on
_MOST = 1 << 22  # bytes asked for ahead of those that are wanted now
_PIECE = 1 << 23  # bytes of a large tensor that are in memory twice


class RemoteBytes:
    """All bytes of a file in a store, of which those that are wanted are fetched.

    Many small stretches that follow each other are fetched together, more of them each time.

    Raises
    ------
    CheckpointError
        There is no file; or, on closing, it is another one than at the start.
    OSError
        The store does not give it.
    """

    def __init__(self, path: RemotePath) -> None:
        if not path.is_file():
            raise CheckpointError("it is not there, or is a folder.")
        self._path = path
        self._status = path.stat()
        self._window = b""
        self._start = 0  # of the window
        self._is_open = True
        self._has_read = False
        self.size = self._status.st_size

    def close(self) -> None:
        """Let go of the file; what was read is only right if it is still the same."""
        was_open, self._is_open, self._window = self._is_open, False, b""
        if was_open and self._has_read and not self._path.is_still(self._status):
            raise CheckpointError(
                "it changed while it was read. Read it again when nothing writes it any more."
            )

    def read_into(self, view: memoryview, start: int) -> None:
        """Fill ``view`` with the bytes from ``start`` on."""
        if not self._is_open:
            raise CheckpointError("it is closed. Read its tensors before closing the checkpoint.")
        done = 0
        if self._start <= start < self._end:
            done = min(len(view), self._end - start)
            view[:done] = self._window[start - self._start : start - self._start + done]
        if done < len(view):
            self._fetch_into(view[done:], start + done)

    def verify(self) -> None:
        """Do nothing: a file carries no checksum of its own."""

    @property
    def _end(self) -> int:
        return self._start + len(self._window)

    def _fetch_into(self, view: memoryview, start: int) -> None:
        if len(view) >= _MOST:
            for at in range(0, len(view), _PIECE):
                until = min(at + _PIECE, len(view))
                view[at:until] = self._path.read_range(start + at, start + until)
            self._start, self._window = start + len(view), b""
        else:
            ahead = _LEAST if self._has_read else _FIRST
            if self._has_read and start == self._end:
                ahead = min(2 * len(self._window), _MOST)
            end = min(start + max(len(view), ahead), self.size)
            self._start, self._window = start, self._path.read_range(start, end)
            view[:] = self._window[: len(view)]
        self._has_read = True


WholeFile: TypeAlias = FileBytes | RemoteBytes


def open_bytes(path: Place) -> WholeFile:
    """Open a file for reading at any position.

    Raises
    ------
    CheckpointError
        It is no file.
    OSError
        It cannot be opened.
    """
    return RemoteBytes(path) if isinstance(path, RemotePath) else FileBytes(_local(path))


def require_local(path: Place, what: str) -> Path:
    """Return a path of this machine, which a library needs to open a file of some format.

    Raises
    ------
    CheckpointError
        It lies elsewhere.
    """
    if isinstance(path, RemotePath):
        raise CheckpointError(
            f"it is {what}, which is read from disks of this machine only. Copy the runs here, or "
            "save the weights as safetensors."
        )
    return _local(path)


def _local(path: Place) -> Path:
    assert isinstance(path, Path)
    return path
