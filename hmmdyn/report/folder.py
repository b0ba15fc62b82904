"""A report folder has one analysis at a time, and nothing in it that an earlier one left."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from hmmdyn.errors import OutputError
from hmmdyn.files import remove_unfinished
from hmmdyn.locks import Lock
from hmmdyn.messages import Either, Message
from hmmdyn.report import layout
from hmmdyn.report.document import FORMAT

# The report folders that are held where this is asked, so that what writes one may ask again.
_HELD: ContextVar[frozenset[Path]] = ContextVar("_HELD", default=frozenset())


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other analyses out of a report folder; what a killed one left unfinished there goes.

    Whoever has the folder already goes on having it.

    Raises
    ------
    TakenError
        Another analysis is writing it; the message says which process.
    OutputError
        The folder cannot be written.
    """
    place = folder.resolve()
    if place in _HELD.get():
        yield
        return
    lock = Lock(
        folder / ".hmmdyn.lock",
        f"The report folder {folder} is being written",
        Message(
            "Wait until the other analysis is done, or write into another folder",
            Either(typed=" with -o DIR.", called="."),
        ),
    )
    token = _HELD.set(_HELD.get() | {place})
    try:
        remove_unfinished(folder)
        yield
    finally:
        _HELD.reset(token)
        lock.release()


def remove_other_reports(folder: Path, kept: Collection[str]) -> None:
    """Remove the reports below a report folder that the present analysis does not write.

    ``kept`` names those that it writes, as paths from ``folder``. Only files that hmmdyn writes go,
    and only from folders whose ``report.json`` says that they are hmmdyn's; whatever else lies
    there stays.

    Raises
    ------
    OutputError
        A file cannot be removed.
    """
    for place in list(layout.places_of_reports(folder)):
        if place not in kept:
            _remove(folder / place / layout.RECOMMENDED)
            _remove(folder / place)
    with suppress(OSError):  # not there, or not empty
        (folder / layout.GROUPS).rmdir()


def remove_files_of_map(folder: Path) -> None:
    """Remove the states and the map that an earlier analysis wrote, where this one has none.

    Raises
    ------
    OutputError
        A file cannot be removed.
    """
    if _names_of_files(folder):
        _unlink(folder, (layout.STATES, layout.TRAINING_MAP))


def _remove(folder: Path) -> None:
    names = _names_of_files(folder)
    _unlink(folder, names)
    if names:
        with suppress(OSError):  # not there, or something of the user's lies there
            (folder / layout.FIGURES).rmdir()
        with suppress(OSError):
            folder.rmdir()


def _unlink(folder: Path, names: Collection[str]) -> None:
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} holds the report of an earlier analysis, which cannot be removed: "
            f"{error.strerror or error}. Remove it, or choose another folder",
            Either(typed=" with -o DIR.", called="."),
        ) from error


def _names_of_files(folder: Path) -> list[str]:
    """Name what hmmdyn wrote to a folder, ``report.json`` last; nothing where it did not."""
    if folder.is_symlink():
        return []
    try:
        document = json.loads((folder / layout.DOCUMENT).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        return []
    tables = document.get("tables")
    return layout.files_of_report(folder, tables if isinstance(tables, dict) else ())
