"""A cheap look into a checkpoint, by which another one in its place is noticed.

Size and time of a file say little about what is in it: ``cp -p`` and ``rsync -t`` put another one
of the same size and time there. Where a store tells a version of each file, that is enough.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import PurePosixPath

from hmmdyn.checkpoints.find.walking import place_of, walk
from hmmdyn.checkpoints.formats.byte_ranges import read_bytes
from hmmdyn.checkpoints.formats.whole_file import open_bytes
from hmmdyn.errors import CheckpointError
from hmmdyn.places import Place, RemotePath, digest_of, version_of

_BLOCKS = 5  # from the start to the end, where zip files have the checksums of all they hold
_BLOCK, _LAST_BLOCK = 4096, 16384  # bytes
_MOST_FILES = 200  # of a folder; names and sizes of all count
_WEIGHTS = re.compile(r"-[0-9]{5,}-of-[0-9]{5,}\.(?:safetensors|bin)$")  # of one in several files
_LONGEST_INDEX = 1 << 24  # bytes


def content_probe(path: Place) -> str:
    """Return a hash of some stretches of a checkpoint, or of what a store calls its versions.

    Every step of training changes nearly every weight, so stretches of a few kilobytes at the
    start, at the end and between tell any two checkpoints apart that are not the same but for
    tensors in between which they do not touch. Empty where the checkpoint cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    try:
        for file in _looked_into(path, digest):
            _look_into(file, digest)
    except (OSError, CheckpointError):
        return ""
    return digest.hexdigest()


def told_digest(path: Place) -> str:
    """Return a hash of all of a checkpoint from those that its store tells of its files.

    Nothing of it is read. Empty where the store does not tell, or does not answer.
    """
    if not isinstance(path, RemotePath):
        return ""
    try:
        files = [path]
        if path.is_dir():
            files = [one for one in path.iterdir() if _WEIGHTS.search(one.name)]
        digests = sorted(digest_of(file) for file in files)
    except OSError:
        return ""
    return "\n".join(digests) if all(digests) else ""


def _looked_into(path: Place, digest: hashlib.blake2b) -> list[Place]:
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
            files.append(place_of(entry))
    return files[:: max(1, len(files) // _MOST_FILES)]


def _shards(path: Place) -> Iterator[Place]:
    """Go through the files that the index of a checkpoint in several files names."""
    if path.suffix != ".json" or path.stat().st_size > _LONGEST_INDEX:
        return
    with suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
        names = json.loads(path.read_bytes())["weight_map"].values()
        yield from (path.parent / PurePosixPath(name).name for name in sorted(set(names)))


def _look_into(path: Place, digest: hashlib.blake2b) -> None:
    told = version_of(path)
    if told:
        digest.update(told.encode(errors="surrogateescape"))
        return
    with closing(open_bytes(path)) as file:
        digest.update(f"{file.size}".encode())
        for i in range(_BLOCKS):
            length = _LAST_BLOCK if i == _BLOCKS - 1 else _BLOCK
            start = max(0, file.size - length) * i // (_BLOCKS - 1)
            digest.update(read_bytes(file, start, min(length, file.size - start), "a stretch"))
