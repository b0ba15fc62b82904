"""Find what may be a log in a tree of folders, by the names of files.

Nothing is opened here; whether a file is a log is told by its content when it is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from hmmdyn.checkpoints.find.walking import Entry, Folder, place_of
from hmmdyn.logs.files import PACKED, is_event_file, is_log, may_be_log
from hmmdyn.names import natural_key, printable
from hmmdyn.places import Place, RemotePath
from hmmdyn.results.checkpoints import LogFile


def find_logs(folders: Iterable[Folder]) -> tuple[LogFile, ...]:
    """Find what may be a log, in natural order."""
    logs = [
        LogFile(
            place_of(entry),
            (*folder.parts, _stem(Path(entry.name))),
            printable("/".join((*folder.parts, entry.name))),
        )
        for folder in folders
        for entry in folder.files
        if _is_tried(entry)
    ]
    return tuple(sorted(logs, key=in_order))


def _is_tried(entry: Entry) -> bool:
    """Whether a file is opened to see if it is a log; where that costs a request, its name says."""
    return is_log(entry.name) if isinstance(entry, RemotePath) else may_be_log(entry.name)


def given_log(root: Place, path: Path) -> LogFile:
    """Return the user's log; below the root its path may say whose it is."""
    shown = printable(str(path))
    try:
        path = Path(os.path.realpath(path))
        below = path.relative_to(root.resolve()) if isinstance(root, Path) else Path(path.name)
    except ValueError:
        below = Path(path.name)
    return LogFile(path, (*below.parts[:-1], _stem(below)), shown)


def in_order(log: LogFile) -> tuple[object, ...]:
    """Sort key of logs: the natural order of their paths."""
    return natural_key(log.shown), log.shown


def _stem(path: Path) -> str:
    # TensorBoard puts a time, the machine and a number into the names of its files.
    if is_event_file(path.name):
        return "events"
    return path.name.removesuffix("".join(path.suffixes[-2:])) if _is_packed(path) else path.stem


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() in PACKED and len(path.suffixes) > 1
