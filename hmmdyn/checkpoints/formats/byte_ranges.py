"""Bytes that can be read at any position: of a file, of a part of it, or in memory.

Files are read with positioned reads and never mapped into memory: a map kills the process when the
file shrinks under it, and training may still be writing.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from threading import Lock
from typing import Protocol

from hmmdyn.checkpoints.formats.checksums import crc32
from hmmdyn.errors import CheckpointError

CHUNK = 1 << 20  # bytes read at once where a buffer of our own is needed


class ByteRange(Protocol):
    """A known number of bytes.

    ``read_into`` fills all of ``view`` with the bytes from ``start`` on, which must lie within
    ``size``. ``verify`` is called once what is wanted has been read, and raises where the bytes
    do not match a checksum stored with them. Both raise `CheckpointError`.
    """

    @property
    def size(self) -> int: ...  # noqa: D102

    def read_into(self, view: memoryview, start: int) -> None: ...  # noqa: D102

    def verify(self) -> None: ...  # noqa: D102


def read_bytes(source: ByteRange, start: int, count: int, what: str) -> bytes:
    """Read ``count`` bytes; that they are there is checked before memory is taken for them.

    Parameters
    ----------
    source : ByteRange
        What to read from.
    start, count : int
        Which bytes of it.
    what : str
        What they are, for the message.

    Raises
    ------
    CheckpointError
        They are not all there.
    """
    if not 0 <= start <= source.size or not 0 <= count <= source.size - start:
        raise CheckpointError(
            f"it is truncated or damaged: {what} would take {count:,} bytes from byte {start:,}, "
            f"and {source.size:,} are there. Copy or save the file anew."
        )
    data = bytearray(count)
    source.read_into(memoryview(data), start)
    return bytes(data)


class FileBytes:
    """All bytes of a regular file, kept open until `close`.

    Raises
    ------
    CheckpointError
        The path is no regular file; or, on reading, the file has changed since it was opened.
    OSError
        The system refuses to open or read the file.
    """

    def __init__(self, path: Path) -> None:
        # Without O_NONBLOCK, opening a FIFO would wait for a writer for ever.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise CheckpointError("it is neither a file nor a folder.")
        self._file = os.fdopen(descriptor, "rb", buffering=0)
        self._lock = Lock()
        if hasattr(os, "posix_fadvise"):
            # Tensors are read in order: let the system read further ahead than it would.
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        self.size = status.st_size
        self._modified = status.st_mtime_ns

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def read_into(self, view: memoryview, start: int) -> None:
        """Fill ``view`` with the bytes from ``start`` on."""
        if self._file.closed:
            raise CheckpointError("it is closed. Read its tensors before closing the checkpoint.")
        done = 0
        while done < len(view):
            count = self._read_some(view[done:], start + done)
            if not count:
                break
            done += count
        status = os.fstat(self._file.fileno())
        if done < len(view) or (status.st_size, status.st_mtime_ns) != (self.size, self._modified):
            raise CheckpointError(
                f"it changed while it was read ({self.size:,} bytes when opened, "
                f"{status.st_size:,} now). Read it again when nothing writes it any more."
            )

    def verify(self) -> None:
        """Do nothing: a file carries no checksum of its own."""

    def _read_some(self, view: memoryview, start: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [view], start)
        with self._lock:  # Windows has no positioned reads
            self._file.seek(start)
            return self._file.readinto(view) or 0


class MemoryBytes:
    """Bytes in memory: a file inside a file."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self.size = len(data)

    def read_into(self, view: memoryview, start: int) -> None:
        """Fill ``view`` with the bytes from ``start`` on."""
        view[:] = self._data[start : start + len(view)]

    def verify(self) -> None:
        """Do nothing: there is no checksum."""


class ReadAhead:
    """Other bytes, read a few thousand at a time: for many small things that stand together."""

    _BLOCK = 4096

    def __init__(self, whole: ByteRange) -> None:
        self._whole = whole
        self._block = b""
        self._start = 0
        self.size = whole.size

    def read_into(self, view: memoryview, start: int) -> None:
        """Fill ``view`` with the bytes from ``start`` on."""
        end = start + len(view)
        if start < self._start or end > self._start + len(self._block):
            self._start = start - start % self._BLOCK
            count = min(max(end - self._start, self._BLOCK), self.size - self._start)
            self._block = read_bytes(self._whole, self._start, count, "its start")
        view[:] = self._block[start - self._start : end - self._start]

    def verify(self) -> None:
        """Verify the bytes that are read."""
        self._whole.verify()


class Part:
    """A stretch of other bytes; that it lies within them is checked at once."""

    def __init__(self, whole: ByteRange, offset: int, size: int, what: str) -> None:
        if offset < 0 or size < 0 or offset + size > whole.size:
            raise CheckpointError(
                f"it is truncated or damaged: {what} would take {size:,} bytes from byte "
                f"{offset:,}, and {whole.size:,} are there. Copy or save the file anew."
            )
        self._whole = whole
        self._offset = offset
        self.size = size
        self.what = what

    def read_into(self, view: memoryview, start: int) -> None:
        """Fill ``view`` with the bytes from ``start`` on."""
        self._whole.read_into(view, self._offset + start)

    def verify(self) -> None:
        """Verify the bytes this is a part of."""
        self._whole.verify()


class CheckedPart(Part):
    """A part whose CRC-32 is known; it is checked along the way, and once.

    The sum runs on over bytes that are read in order, so that reading all of a part in order
    reads nothing twice. `verify` reads what is missing.
    """

    def __init__(self, whole: ByteRange, offset: int, size: int, what: str, crc: int) -> None:
        super().__init__(whole, offset, size, what)
        self._expected = crc
        self._sum = 0
        self._summed = 0  # bytes from the start that are in the sum

    def read_into(self, view: memoryview, start: int) -> None:
        """Fill ``view`` with the bytes from ``start`` on."""
        if start != self._summed:
            super().read_into(view, start)
            return
        for at in range(0, len(view), CHUNK):
            piece = view[at : at + CHUNK]
            super().read_into(piece, start + at)
            self._add(piece)

    def verify(self) -> None:
        """Read what no one has read yet, and compare the sum with the one stored."""
        if self._summed == self.size:
            return
        buffer = memoryview(bytearray(min(CHUNK, self.size - self._summed)))
        while self._summed < self.size:
            piece = buffer[: self.size - self._summed]
            super().read_into(piece, self._summed)
            self._add(piece)

    def _add(self, piece: memoryview) -> None:
        self._sum = crc32(piece, self._sum)
        self._summed += len(piece)
        if self._summed == self.size and self._sum != self._expected:
            self._sum = self._summed = 0  # what is read again is checked again
            raise CheckpointError(
                f"it is damaged: the checksum of {self.what} does not fit its bytes. "
                "Copy or save the file anew."
            )
