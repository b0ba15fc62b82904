"""Measurements kept between calls, in one Parquet file: no checkpoint is measured twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.errors import OutputError
from hmmdyn.files import replacing
from hmmdyn.messages import Either, Message
from hmmdyn.metrics.measure import Architecture, Measurement
from hmmdyn.metrics.registry import VERSION
from hmmdyn.names import printable
from hmmdyn.results.checkpoints import CheckpointFile

# One row per checkpoint. The last three are JSON. The tensors there are have a column of their own:
# it repeats from row to row, and Parquet stores equal values once.
_SCHEMA = pa.schema(
    {
        "root": pa.string(),
        "path": pa.string(),
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
        "options": pa.string(),
        "architecture": pa.string(),
        "metrics": pa.string(),
        "details": pa.string(),
    },
    metadata={"hmmdyn": "measurements"},
)
_FLUSH_SECONDS = 5.0
_MOST_TIME_WRITING = 0.05  # share of the time


class MeasurementCache:
    """Measurements by checkpoint file, written to disk every few seconds and on exit.

    A measurement is found again only while the file (path, size, modification time), the metrics,
    their version and the parameter rules are the same.

    Parameters
    ----------
    path : Path, optional
        The Parquet file; None keeps nothing.
    root : Path
        The folder of the runs.
    metrics : iterable of str
    rules : ParameterRules

    Raises
    ------
    OutputError
        There is a file that is not a cache, or (when writing) the folder cannot be written.
    """

    def __init__(
        self, path: Path | None, root: Path, metrics: Iterable[str], rules: ParameterRules
    ) -> None:
        self._path = path
        self._root = root
        self._root_name = printable(str(root.resolve()))
        self._options = _digest([VERSION, list(metrics), asdict(rules)])
        self._rows = _read(path) if path is not None and path.exists() else {}
        self._unsaved = False
        self._next_flush = time.monotonic() + _FLUSH_SECONDS

    def get(self, file: CheckpointFile) -> Measurement | None:
        """Return the measurement of a checkpoint, or None where it has to be made."""
        row = self._rows.get(self._key(file))
        if row is None or (row["size"], row["mtime_ns"], row["options"]) != (
            file.size,
            file.mtime_ns,
            self._options,
        ):
            return None
        details = json.loads(row["details"])
        return Measurement(
            architecture=_architecture(row["architecture"]),
            metrics=json.loads(row["metrics"]),
            frozen=tuple(details["frozen"]),
            outcomes=details["outcomes"],
            not_finite=tuple(details["not_finite"]),
            fingerprints=details["fingerprints"],
        )

    def put(self, file: CheckpointFile, measurement: Measurement) -> None:
        """Keep a measurement, and write all to disk if that was not done for a while."""
        root, path = key = self._key(file)
        details = asdict(measurement)
        self._rows[key] = {
            "root": root,
            "path": path,
            "size": file.size,
            "mtime_ns": file.mtime_ns,
            "options": self._options,
            "architecture": json.dumps(details.pop("architecture")),
            "metrics": json.dumps(details.pop("metrics")),
            "details": json.dumps(details),
        }
        self._unsaved = True
        if time.monotonic() >= self._next_flush:
            self.flush()

    def flush(self) -> None:
        """Write everything to disk; the file is replaced as a whole."""
        if self._path is None:
            return
        start = time.monotonic()
        rows = [self._rows[key] for key in sorted(self._rows)]
        # An open file, because Arrow takes no path that is not valid UTF-8.
        with replacing(self._path) as temporary, temporary.open("wb") as file:
            pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), file, compression="zstd")
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

    def _key(self, file: CheckpointFile) -> tuple[str, str]:
        return self._root_name, relative_path(file, self._root)


def relative_path(file: CheckpointFile, root: Path) -> str:
    """Path of a checkpoint below the root, as text that every table can hold."""
    return printable(file.path.relative_to(root).as_posix())


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()


def _read(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Read a cache; one of another version of hmmdyn counts as empty."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        if metadata.get(b"hmmdyn") != b"measurements":
            raise OutputError(_taken(path))
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise OutputError(_taken(path)) from error
    if table.schema != _SCHEMA:
        return {}
    return {(row["root"], row["path"]): row for row in table.to_pylist()}


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
