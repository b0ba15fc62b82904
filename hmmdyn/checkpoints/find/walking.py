"""Walk a tree of folders: every real folder once, in a fixed order, whatever links lead where."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from hmmdyn.places import Place, RemotePath, Status

_SKIPPED_FOLDERS = frozenset({"__pycache__", "hmmdyn-report"})
# Of all hidden names, the one that belongs to a checkpoint (of torch.distributed).
_HIDDEN_BUT_NEEDED = ".metadata"


# A file as a walk meets it: its name is free, and whatever else it tells is asked for.
Entry: TypeAlias = "os.DirEntry[str] | RemotePath"


class Folder(NamedTuple):
    """A folder met on the walk: its names from the root down, and all it holds but folders."""

    parts: tuple[str, ...]
    files: Sequence[Entry]


@dataclass(frozen=True)
class Tree:
    """What a walk under a root has seen: the folders, and what was not read, with the reason."""

    root: Place
    folders: tuple[Folder, ...]
    unreadable: Mapping[str, str]


def walked(root: Place | Tree) -> Tree:
    """Walk a tree to its end, once for all who look for something in it: see :func:`walk`."""
    if isinstance(root, Tree):
        return root
    unreadable = dict[str, str]()
    return Tree(root, tuple(walk(root, unreadable)), unreadable)


def place_of(entry: Entry) -> Place:
    """Return where a file that a walk met is."""
    return entry if isinstance(entry, RemotePath) else Path(entry.path)


def walk(root: Place, unreadable: dict[str, str]) -> Iterator[Folder]:
    """Walk the folders under a root, each real folder once, in a fixed order.

    Links to folders come last, so that a folder is met under its own name first; links that lead
    back, or up to a folder that holds the root, end there. Hidden names, caches and hmmdyn's own
    reports are skipped.

    Parameters
    ----------
    root : Place
        An existing folder.
    unreadable : dict
        Filled with the relative path of each folder or link that is not read, and the reason.
    """
    if isinstance(root, RemotePath):
        for names, found in root.folders(unreadable, _is_met):
            yield Folder(names, found)
        return
    assert isinstance(root, Path)
    visited: set[tuple[int, int]] = set()
    for ancestor in root.resolve().parents:
        with suppress(OSError):
            visited.add(_identity(str(ancestor)))
    folders: list[tuple[str, ...]] = [()]
    links: list[tuple[str, ...]] = []
    while folders or links:
        parts = folders.pop() if folders else links.pop(0)
        path = os.path.join(root, *parts)  # noqa: PTH118 - text is twice as fast as Path here
        try:
            identity = _identity(path)
            if identity in visited:
                unreadable["/".join(parts)] = "a link to a folder read under another name"
                continue
            visited.add(identity)
            with os.scandir(path) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            unreadable["/".join(parts)] = f"the folder cannot be read ({error.strerror})"
            continue
        files = []
        subfolders = []
        for entry in entries:
            if not _is_met(entry.name):
                continue
            kind = _kind(entry)
            if kind == "file":
                files.append(entry)
            elif kind == "folder":
                subfolders.append((*parts, entry.name))
            elif kind == "link to a folder":
                links.append((*parts, entry.name))
            else:
                unreadable["/".join((*parts, entry.name))] = kind
        folders += reversed(subfolders)
        yield Folder(parts, files)


def regular_file(entry: Entry, parts: Sequence[str], unreadable: dict[str, str]) -> Status | None:
    """Return the status of a regular file; None, with the reason noted, for anything else."""
    try:
        status = entry.stat()
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
    else:
        if stat.S_ISREG(status.st_mode):
            return status
        reason = "it is not a regular file"
    unreadable["/".join((*parts, entry.name))] = reason
    return None


def _is_met(name: str) -> bool:
    hidden = name.startswith(".") and name != _HIDDEN_BUT_NEEDED
    return not hidden and name not in _SKIPPED_FOLDERS


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - as above
    return status.st_dev, status.st_ino


def _kind(entry: os.DirEntry[str]) -> str:
    if not entry.is_symlink():
        return "folder" if entry.is_dir() else "file"
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "a link that leads nowhere"
    return "link to a folder" if stat.S_ISDIR(mode) else "file"
