"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from threading import current_thread, main_thread

from hmmdyn.errors import OutputError
from hmmdyn.messages import Either

_UNFINISHED = ".hmmdyn-unfinished-"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it replaces ``path`` at once.

    The folder is made where it is missing. On failure the temporary file goes and ``path`` stays
    as it was. What was written is on the disk before the name is, so that a machine that goes down
    leaves the one or the other.

    Raises
    ------
    OutputError
        The folder or file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{_unique()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("r+b") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder; on success all files in it move into ``folder``, else none does.

    So a full disk, an error half way or Ctrl-C leaves what was there before, and no mixture.

    Raises
    ------
    OutputError
        The folder or a file cannot be written.
    """
    place = folder / f"{_UNFINISHED}{_unique()}"
    try:
        place.mkdir(parents=True)
        yield place
        with _uninterrupted():
            for path in sorted(path for path in place.rglob("*") if path.is_file()):
                target = folder / path.relative_to(place)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
    except OSError as error:
        raise cannot_write(folder, error) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of what takes a moment and must not be cut in two."""
    if current_thread() is not main_thread():  # it is the main thread's alone
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        signal.raise_signal(signal.SIGINT)


def remove_unfinished(folder: Path) -> None:
    """Remove what a killed process had not finished; nobody else may be writing the folder."""
    for place in folder.glob(f"{_UNFINISHED}*"):
        shutil.rmtree(place, ignore_errors=True)


def require_writable(folder: Path) -> None:
    """Make the folder and check that files can be written there, before work is spent.

    Raises
    ------
    OutputError
        The folder cannot be made or written.
    """
    probe = folder / f".writable.{_unique()}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


def _unique() -> str:
    """Return a part of a name that no other machine that shares the disk takes, either."""
    return f"{os.getpid()}-{token_hex(4)}"


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return the error for a place that the system does not let be written."""
    return OutputError(
        f"Cannot write {path}: {error.strerror or error}.\nChoose a place that can be written",
        Either(typed=" with -o DIR.", called="."),
    )
