"""Shards of a metric table as files: written one by one, put together once all are there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from hmmdyn.errors import LogError, OutputError, TableError
from hmmdyn.logs.columnar import METADATA_KEY, opened
from hmmdyn.messages import Either
from hmmdyn.names import printable, some
from hmmdyn.results.keys import CHECKPOINT_KEY
from hmmdyn.tables.metric_table import (
    PROVENANCE_COLUMNS,
    in_order,
    own_columns,
    parts_beside,
    read_parts,
    write_table,
)
from hmmdyn.tables.trajectories import KEY_COLUMNS, Trajectories


@dataclass(frozen=True)
class Origin:
    """Which shard a table is, and of what.

    Attributes
    ----------
    number, of : int
        Shard ``number`` (from 1) ``of`` so many.
    metrics : tuple of str
        Columns of the whole table, in its order. Those that are made of whole runs are in no shard.
    logged : tuple of str
        Outcomes that are logged beside the runs, in their order.
    stored : mapping of str to str
        Outcomes that are stored in the checkpoints of this shard: column -> name there.
    alike : mapping of str to str
        What must be the same in all shards, in words -> what it is in this one.
    """

    number: int
    of: int
    metrics: tuple[str, ...]
    logged: tuple[str, ...]
    stored: Mapping[str, str]
    alike: Mapping[str, str]

    @property
    def shown(self) -> str:
        """What messages call it."""
        return f"{self.number} of {self.of}"


@dataclass(frozen=True)
class ShardTable:
    """The metrics of one shard, and where they belong."""

    trajectories: Trajectories
    origin: Origin


@dataclass(frozen=True)
class Merged:
    """All rows of a table whose shards were put together.

    Attributes
    ----------
    trajectories : Trajectories
        ``metrics`` are the columns there are, which those of whole runs are made of.
    metrics : tuple of str
        Those of the whole table, in its order.
    alike : mapping of str to str
        As of :class:`Origin`.
    """

    trajectories: Trajectories
    metrics: tuple[str, ...]
    alike: Mapping[str, str]


def write_shard(shard: ShardTable, path: Path) -> None:
    """Write a shard as a metric table, whose metadata say where it belongs.

    Raises
    ------
    OutputError
        The file cannot be written, or something else is there.
    """
    require_place(path, shard.origin.number, shard.origin.of)
    write_table(shard.trajectories, path, asdict(shard.origin))


def require_place(path: Path, number: int, of: int) -> None:
    """Require that a file may be written for a shard: it is not there, or is that very shard.

    Raises
    ------
    OutputError
    """
    if not path.exists():
        return
    try:
        origin = _read(path).origin
    except TableError:
        origin = None
    if origin is not None and (origin.number, origin.of) == (number, of):
        return
    what = f"shard {origin.shown}" if origin else "something that is no shard"
    raise OutputError(
        f"{printable(str(path))} is {what}, and shard {number} of {of} would take its place.\n"
        f"Give each shard a file of its own, such as shards/{number}.parquet",
        Either(typed=f" with -o shards/{number}.parquet.", called="."),
    )


def merge_shards(paths: Sequence[Path]) -> Merged:
    """Put the shards of a table together.

    Parameters
    ----------
    paths : sequence of Path
        A file for each shard, in any order. Metrics of parts of the networks lie beside them.

    Raises
    ------
    TableError
        A file is no shard, shards do not belong together, one is there twice, or some are missing.
    """
    beside = {parts_beside(path) for path in paths}  # a pattern of the shell names them, too
    shards = {path: _read(path) for path in dict.fromkeys(paths) if path not in beside}
    _require_whole({path: shard.origin for path, shard in shards.items()})
    tables = [shard.trajectories for shard in shards.values()]
    first = next(iter(shards.values()))
    outcomes = _outcomes([shard.origin for shard in shards.values()])
    columns = [*KEY_COLUMNS, *first.trajectories.metrics, *PROVENANCE_COLUMNS, *outcomes]
    filled = [t.table.reindex(columns=columns) for t in tables if len(t.table)]
    if not filled:
        raise TableError("The shards hold no checkpoint: none of them could be read.")
    table = in_order(pd.concat(filled, ignore_index=True))
    twice = table[table.duplicated(CHECKPOINT_KEY)]
    if len(twice):
        group, run, step = twice[CHECKPOINT_KEY].iloc[0]
        raise TableError(
            f"{len(twice):,} checkpoints are in several shards, the first is step {step:,} of run "
            f"{printable(run)}, group {printable(group)}. The files were changed after they were "
            "written: make these shards again."
        )
    parts = pd.concat([t.parts for t in tables], ignore_index=True)
    trajectories = replace(
        first.trajectories, table=table, outcomes=outcomes, parts=_parts_in_order(parts, table)
    )
    return Merged(trajectories, first.origin.metrics, first.origin.alike)


def _read(path: Path) -> ShardTable:
    shown = printable(str(path))
    try:
        found = opened(path.read_bytes()).read()
    except (OSError, LogError, pa.ArrowException) as error:
        reason = printable(str(error).splitlines()[0]).rstrip(".")
        raise TableError(f"{shown} cannot be read as a metric table: {reason}.") from None
    meta = found.schema.metadata or {}
    own = own_columns(meta[METADATA_KEY], shown) if METADATA_KEY in meta else {}
    if "shard" not in own:
        raise TableError(
            f"{shown} is no shard of a metric table. Shards are written by "
            "`hmmdyn extract RUNS -o FILE --shard 1/N`."
        )
    table, metrics, outcomes = _frame(found), tuple(own["metrics"]), tuple(own["outcomes"])
    try:
        origin = _origin(own["shard"])
        lacking = {*KEY_COLUMNS, *metrics, *outcomes, *PROVENANCE_COLUMNS} - set(table.columns)
        if lacking:
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise TableError(
            f"{shown} says it is a shard, but what it says of itself is damaged. Make it again."
        ) from None
    parts = read_parts(path, shown)
    return ShardTable(Trajectories(table, metrics, outcomes, own["step_unit"], parts=parts), origin)


def _frame(table: pa.Table) -> pd.DataFrame:
    """Make a frame of a table that was written here; seeds are integers or missing."""
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    if "seed" in frame:
        frame["seed"] = pd.array(table["seed"].to_pylist(), dtype="Int64")
    return frame


def _origin(told: Mapping[str, Any]) -> Origin:
    """Return what a file says of itself, in its own types.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError
        It is not what was written.
    """

    def texts(name: str) -> dict[str, str]:
        return {str(key): str(value) for key, value in told[name].items()}

    origin = Origin(
        number=int(told["number"]),
        of=int(told["of"]),
        metrics=tuple(map(str, told["metrics"])),
        logged=tuple(map(str, told["logged"])),
        stored=texts("stored"),
        alike=texts("alike"),
    )
    if not 1 <= origin.number <= origin.of:
        raise ValueError
    return origin


def _require_whole(shards: Mapping[Path, Origin]) -> None:
    """Require that shards belong together, each is there once, and none is missing."""
    if not shards:
        raise TableError("There is no shard to merge.")
    by_number: dict[int, Path] = {}
    (first_path, first), *_ = shards.items()
    for path, origin in shards.items():
        names = f"{printable(str(first_path))} and {printable(str(path))}"
        if origin.of != first.of:
            raise TableError(
                f"{names} do not belong together: they are shard {first.shown} and shard "
                f"{origin.shown}. Merge shards of one division."
            )
        if origin.number in by_number:
            raise TableError(
                f"{printable(str(by_number[origin.number]))} and {printable(str(path))} are both "
                f"shard {origin.shown}. Leave one of them out."
            )
        by_number[origin.number] = path
        for what, is_first in first.alike.items():
            if origin.alike.get(what) != is_first:
                raise TableError(
                    f"{names} do not belong together: {what} differ ({is_first}; "
                    f"{origin.alike.get(what, 'unknown')}).\nMake the shards again, all with the "
                    "same command and of the same runs: what was measured before is used."
                )
    missing = [n for n in range(1, first.of + 1) if n not in by_number]
    if missing:
        raise TableError(
            f"{len(missing):,} of {first.of:,} shards are missing: {some(map(str, missing), 20)}.\n"
            f"Name their files, too, or make them with --shard {missing[0]}/{first.of}."
        )


def _outcomes(origins: Sequence[Origin]) -> tuple[str, ...]:
    """Return the outcomes of the whole table in its order: those logged, then others by name."""
    logged = origins[0].logged
    stored = {column: name for origin in origins for column, name in origin.stored.items()}
    others = sorted(stored.keys() - set(logged), key=lambda column: stored[column])
    return (*logged, *others)


def _parts_in_order(parts: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Bring rows of parts into the order of the checkpoints; those of one stay as they are."""
    rank = pd.MultiIndex.from_frame(table[CHECKPOINT_KEY]).get_indexer(
        pd.MultiIndex.from_frame(parts[CHECKPOINT_KEY])
    )
    return parts.iloc[rank.argsort(kind="stable")].reset_index(drop=True)
