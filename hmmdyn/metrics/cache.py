"""Measurements kept between calls, in one Parquet file: no checkpoint is measured twice.

Every row has a checksum, so that a damaged file gives no wrong numbers: what is damaged is measured
again, and the rest is kept. Whoever shares the file with another process takes its measurements
over when writing.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq
from platformdirs import user_cache_path

from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.checkpoints.probe import content_probe
from hmmdyn.errors import OutputError
from hmmdyn.files import replacing
from hmmdyn.locks import Lock
from hmmdyn.messages import Either, Message
from hmmdyn.metrics.measure import Architecture, Measurement
from hmmdyn.metrics.registry import VERSION
from hmmdyn.metrics.shard import Shard
from hmmdyn.metrics.tally import Part
from hmmdyn.names import file_stem, printable
from hmmdyn.places import Place
from hmmdyn.results.checkpoints import CheckpointFile

# One row per checkpoint. Architecture, metrics and details are JSON. The tensors there are have a
# column of their own: it repeats from row to row, and Parquet stores equal values once.
_SCHEMA = pa.schema(
    {
        "root": pa.string(),
        "path": pa.string(),
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
        "probe": pa.string(),
        "options": pa.string(),
        "architecture": pa.string(),
        "metrics": pa.string(),
        "details": pa.string(),
        "checksum": pa.string(),
    },
    metadata={"hmmdyn": "measurements"},
)
_FLUSH_SECONDS = 5.0
_MOST_TIME_WRITING = 0.05  # share of the time
_ROWS_AT_ONCE = 1000  # damage makes so many rows unreadable at most, unless it is at the file's end
_MAGIC = b"PAR1"  # Parquet files start and end with it
_WAITING = 60.0  # seconds for another process to write the same file

Key = tuple[str, str]
Row = dict[str, Any]


def place_for(root: Place, shard: Shard | None = None) -> Path:
    """Return where measurements of runs are kept by default, whatever is made of them.

    That is a file for each folder of runs in the user's cache folder (``$XDG_CACHE_HOME/hmmdyn``,
    ``~/.cache/hmmdyn``): the runs may be others', or not to be written. A shard has a file of its
    own, so that processes on many machines do not wait for each other.
    """
    whole = str(root.resolve())
    name = f"{file_stem(root.resolve().name)}-{_digest(printable(whole))[:12]}"
    part = "" if shard is None else f"-{shard.stem}"
    return Path(user_cache_path("hmmdyn")) / "metrics" / f"{name}{part}.parquet"


class MeasurementCache:
    """Measurements by checkpoint file, written to disk every few seconds and on exit.

    A measurement is found again only while the file (path, size, modification time, and what a
    few stretches of it hold), the metrics' version and the parameter rules are the same. Other
    metrics measured earlier are kept beside new ones.

    Parameters
    ----------
    path : Path, optional
        The Parquet file; None keeps nothing.
    root : Place
        The folder of the runs.
    rules : ParameterRules
    own : sequence of str
        Digests of the files that further metrics are from.

    Attributes
    ----------
    n_damaged : int or None
        Measurements found damaged, which are made again; None where no one can tell how many.

    Raises
    ------
    OutputError
        There is a file that is not a cache, or (when writing) the folder cannot be written.
    """

    def __init__(
        self,
        path: Path | None,
        root: Place,
        rules: ParameterRules,
        own: Sequence[str] = (),
    ) -> None:
        self._path = path
        self._root = root
        self._root_name = printable(str(root.resolve()))
        self._options = _digest([VERSION, asdict(rules), list(own)])
        self._rows: dict[Key, Row] = {}
        self._mine: set[Key] = set()  # those put here
        self._seen: tuple[int, ...] = ()  # which file was read or written last
        self._probes: dict[Key, str] = {}
        self.n_damaged: int | None = 0
        if path is not None and path.exists():
            self._seen = _identity(path)
            self._rows, self.n_damaged = _read(path)
        self._unsaved = self.n_damaged != 0  # what is whole is written anew
        self._next_flush = time.monotonic() + _FLUSH_SECONDS

    def get(self, file: CheckpointFile) -> Measurement | None:
        """Return the measurement of a checkpoint, whatever metrics it has; None without one."""
        row = self._rows.get(self._key(file))
        wanted = {"size": file.size, "mtime_ns": file.mtime_ns, "options": self._options}
        if row is None or any(row[name] != value for name, value in wanted.items()):
            return None
        # What is kept nowhere was measured just now.
        if self._path is not None and row["probe"] != (self._probe(file) or None):
            return None
        details = json.loads(row["details"])
        return Measurement(
            architecture=_architecture(row["architecture"]),
            metrics=json.loads(row["metrics"]),
            frozen=tuple(details.pop("frozen")),
            not_finite=tuple(details.pop("not_finite")),
            by=tuple(details.pop("by")),
            parts={Part(by, name): values for by, name, values in details.pop("parts")},
            **details,
        )

    def put(self, file: CheckpointFile, measurement: Measurement) -> None:
        """Keep a measurement, and write all to disk if that was not done for a while."""
        root, path = key = self._key(file)
        details = _as_json(self._with_earlier(file, measurement))
        self._mine.add(key)
        self._rows[key] = _checked(
            {
                "root": root,
                "path": path,
                "size": file.size,
                "mtime_ns": file.mtime_ns,
                "probe": self._probe(file),
                "options": self._options,
                "architecture": json.dumps(details.pop("architecture")),
                "metrics": json.dumps(details.pop("metrics")),
                "details": json.dumps(details),
            }
        )
        self._unsaved = True
        if time.monotonic() >= self._next_flush:
            self.flush()

    def _with_earlier(self, file: CheckpointFile, measurement: Measurement) -> Measurement:
        """Add the metrics that were measured of the same tensors earlier.

        Those that compare with another checkpoint are not kept: it may be another one now.
        """
        kept = self.get(file)
        alike = kept is not None and (kept.frozen, kept.by) == (measurement.frozen, measurement.by)
        if kept is None or not alike or kept.compared_with:
            return measurement
        return replace(
            measurement,
            metrics={**kept.metrics, **measurement.metrics},
            problems={**kept.problems, **measurement.problems},
            parts={
                part: {**kept.parts.get(part, {}), **values}
                for part, values in measurement.parts.items()
            },
        )

    def flush(self) -> None:
        """Write everything to disk; the file is replaced as a whole."""
        if self._path is None:
            return
        start = time.monotonic()
        with Lock(
            self._path.with_name(f".{self._path.name}.lock"),
            f"{self._path} is being written",
            "Wait until the other is done, then run this again: what it measured is used.",
            wait=_WAITING,
        ):
            self._take_over()
            rows = [self._rows[key] for key in sorted(self._rows)]
            # An open file, because Arrow takes no path that is not valid UTF-8.
            with replacing(self._path) as temporary, temporary.open("wb") as file:
                pq.write_table(
                    pa.Table.from_pylist(rows, _SCHEMA),
                    file,
                    compression="zstd",
                    row_group_size=_ROWS_AT_ONCE,
                )
            self._seen = _identity(self._path)
        self._unsaved = False
        now = time.monotonic()
        self._next_flush = now + max(_FLUSH_SECONDS, (now - start) / _MOST_TIME_WRITING)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._unsaved:
            self.flush()

    def _take_over(self) -> None:
        """Take the measurements that another process has written since."""
        assert self._path is not None
        if _identity(self._path) not in ((), self._seen):
            theirs, _ = _read(self._path)
            self._rows = theirs | {key: self._rows[key] for key in self._mine}

    def _probe(self, file: CheckpointFile) -> str:
        """Look into a checkpoint, once; that is before it is measured."""
        key = self._key(file)
        if self._path is not None and key not in self._probes:
            self._probes[key] = content_probe(file.path)
        return self._probes.get(key, "")

    def _key(self, file: CheckpointFile) -> Key:
        return self._root_name, relative_path(file, self._root)


def relative_path(file: CheckpointFile, root: Place) -> str:
    """Path of a checkpoint below the root, as text that every table can hold."""
    return printable(file.path.relative_to(root).as_posix())


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


def _as_json(measurement: Measurement) -> dict[str, Any]:
    """Return a measurement as JSON holds it, whose keys are text."""
    details = asdict(replace(measurement, parts={}))
    return {**details, "parts": [[*part, values] for part, values in measurement.parts.items()]}


def _checked(row: Row) -> Row:
    """Give a row its checksum."""
    return {**row, "checksum": _digest([row[name] for name in _SCHEMA.names[:-1]])}


def _identity(path: Path) -> tuple[int, ...]:
    """Tell one file that was put at a path from another, empty where there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _read(path: Path) -> tuple[dict[Key, Row], int | None]:
    """Read what is whole in a cache, and count what is not; None where nobody knows how much.

    One of another version of hmmdyn counts as empty, as one whose list of columns is damaged does.
    What is beyond reading is put aside, in case it is not ours.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(_MAGIC))
            if not start:  # as a full disk leaves it
                return {}, None
            file.seek(-len(_MAGIC), os.SEEK_END)
            is_parquet = _MAGIC in (start, file.read())
    except OSError as error:
        raise OutputError(_taken(path)) from error
    if not is_parquet:
        raise OutputError(_taken(path))
    try:
        # An open file, as for writing.
        with path.open("rb") as file, pq.ParquetFile(file) as cache:
            schema = cache.schema_arrow
            ours = (schema.metadata or {}).get(b"hmmdyn") == b"measurements"
            if not ours and schema.names != _SCHEMA.names:
                raise OutputError(_taken(path))
            if schema != _SCHEMA:
                return {}, None
            groups = [_rows_of(cache, i) for i in range(cache.num_row_groups)]
            n_rows = cache.metadata.num_rows
    except _UNREADABLE:
        with suppress(OSError):
            path.replace(path.with_name(f"{path.name}.damaged"))
        return {}, None
    whole = {(row["root"], row["path"]): row for group in groups for row in group}
    return whole, max(0, n_rows - len(whole))


# What Arrow raises on damaged files.
_UNREADABLE = (OSError, pa.ArrowException, ValueError, TypeError, LookupError, MemoryError)


def _rows_of(cache: pq.ParquetFile, group: int) -> list[Row]:
    """Return the rows of one group that are whole."""
    try:
        rows = cache.read_row_group(group).to_pylist()
    except _UNREADABLE:
        return []
    return [row for row in rows if row["checksum"] == _checked(row)["checksum"]]


def _taken(path: Path) -> Message:
    return Message(
        f"{path} is in the way: measurements are to be kept there, and it is not a file that "
        "hmmdyn kept them in.\nMove or delete it, or choose another place",
        Either(typed=" with -o DIR.", called=" (cache=…)."),
    )


@lru_cache(maxsize=64)
def _architecture(text: str) -> Architecture:
    fields = json.loads(text)
    for kind in ("weights", "biases"):
        fields[kind] = {name: tuple(shape) for name, shape in fields[kind].items()}
    return Architecture(**fields)
