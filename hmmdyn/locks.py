"""One holder at a time: locks on files, which end with the process that holds them.

The lock is the operating system's (``flock``): it is let go when its process ends, in whichever
way, and leaves nothing behind that could be taken for a holder. Network file systems hand it on to
their server (NFS since Linux 2.6.12, Lustre where it is mounted so). Where a file system has no
such lock, a marker file takes its place, which names process and machine; one of a process of this
machine that is gone is overridden.
"""

from __future__ import annotations

import errno
import os
import platform
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Self

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from hmmdyn.errors import OutputError
from hmmdyn.files import cannot_write
from hmmdyn.messages import Message
from hmmdyn.names import printable

_WAITING = 2.0  # seconds: processes forked by a killed one take a moment to end
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
_NOTE = "held by "
_LONGEST_NOTE = 200  # characters
_JOBS = {"SLURM_JOB_ID": "Slurm job", "PBS_JOBID": "PBS job", "LSB_JOBID": "LSF job"}


class TakenError(OutputError):
    """Another process, or another object of this one, holds the lock."""


class Lock:
    """A lock that is held from the start until `release`, or until the process ends.

    Parameters
    ----------
    path : Path
        File to lock, made for that and removed afterwards.
    what : str
        What is locked, and the verb: ``runs/seed0 is being recorded``.
    remedy : str or Message
        What to do if it is taken.
    wait : float
        Seconds to wait for another holder.

    Raises
    ------
    TakenError
        Another holds it; the message says who, as far as that is known.
    OutputError
        The file cannot be made.
    """

    def __init__(
        self, path: Path, what: str, remedy: str | Message, *, wait: float = _WAITING
    ) -> None:
        self._path = path
        try:
            self._lock = _acquired(path, wait)
        except Timeout as error:
            raise TakenError(f"{printable(what)} {_holder(path)}.\n", remedy) from error
        except OSError as error:
            raise cannot_write(path, error) from error
        _leave_note(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let go, and remove the file; a second time does nothing."""
        if not self._lock.is_locked:
            return
        with suppress(OSError, UnicodeDecodeError):
            # Whoever waits for the file that is removed notices, and makes another.
            if self._path.read_text("utf-8").startswith(_NOTE):
                self._path.unlink()
        self._lock.release()


def _acquired(path: Path, wait: float) -> BaseFileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock: BaseFileLock = FileLock(path, timeout=wait, thread_local=False)
    try:
        lock.acquire()
    except OSError as error:
        if isinstance(error, Timeout) or error.errno not in _NO_LOCKS:
            raise
        lock = SoftFileLock(path.with_name(f"{path.name}.marker"), timeout=wait, thread_local=False)
        lock.acquire()
    return lock


def _leave_note(path: Path) -> None:
    """Say in the locked file who holds it, for the message that another gets."""
    jobs = (f", {what} {os.environ[name]}" for name, what in _JOBS.items() if name in os.environ)
    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
    with suppress(OSError, UnicodeDecodeError):
        # Anything else in it is a marker that stands for the lock.
        if not path.stat().st_size or path.read_text("utf-8").startswith(_NOTE):
            path.write_text(
                f"{_NOTE}process {os.getpid()} on {platform.node()}{next(jobs, '')} since {now}\n",
                "utf-8",
            )


def _holder(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        with path.open(encoding="utf-8") as file:
            note = file.read(_LONGEST_NOTE).strip()
        if note.startswith(_NOTE):
            return f"by another: the lock {printable(str(path))} is {printable(note)}"
    return f"by another, which holds the lock {printable(str(path))}"
