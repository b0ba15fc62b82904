"""A cheap look into a checkpoint, by which another one in its place is noticed.

Size and time of a file say little about what is in it: ``cp -p`` and ``rsync -t`` put another one
of the same size and time there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from hmmdyn.checkpoints.find.walking import walk
from hmmdyn.checkpoints.formats.byte_ranges import FileBytes, read_bytes
from hmmdyn.errors import CheckpointError

_BLOCKS = 5  # from the start to the end, where zip files have the checksums of all they hold
_BLOCK, _LAST_BLOCK = 4096, 16384  # bytes
_MOST_FILES = 200  # of a folder; names and sizes of all count
_LONGEST_INDEX = 1 << 24  # bytes


def content_probe(path: Path) -> str:
    """Return a hash of some stretches of a checkpoint, empty where it cannot be read.

    Every step of training changes nearly every weight, so stretches of a few kilobytes at the
    start, at the end and between tell any two checkpoints apart that are not the same but for
    tensors in between which they do not touch.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        for file in _looked_into(path, digest):
            _look_into(file, digest)
    except (OSError, CheckpointError):
        return ""
    return digest.hexdigest()


def _looked_into(path: Path, digest: hashlib.blake2b) -> list[Path]:
    """Return the files of a checkpoint that are looked into."""
    if not path.is_dir():
        return [path, *_shards(path)]
    files = []
    for folder in walk(path, {}):
        for entry in folder.files:
            digest.update(
                f"{'/'.join(folder.parts)}/{entry.name} {entry.stat().st_size}".encode(
                    errors="surrogateescape"
                )
            )
            files.append(Path(entry.path))
    return files[:: max(1, len(files) // _MOST_FILES)]


def _shards(path: Path) -> Iterator[Path]:
    """Go through the files that the index of a checkpoint in several files names."""
    if path.suffix != ".json" or path.stat().st_size > _LONGEST_INDEX:
        return
    with suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
        names = json.loads(path.read_bytes())["weight_map"].values()
        yield from (path.parent / Path(name).name for name in sorted(set(names)))


def _look_into(path: Path, digest: hashlib.blake2b) -> None:
    with closing(FileBytes(path)) as file:
        digest.update(f"{file.size}".encode())
        for i in range(_BLOCKS):
            length = _LAST_BLOCK if i == _BLOCKS - 1 else _BLOCK
            start = max(0, file.size - length) * i // (_BLOCKS - 1)
            digest.update(read_bytes(file, start, min(length, file.size - start), "a stretch"))
