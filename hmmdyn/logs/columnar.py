"""Tables in Arrow's formats: Parquet and Feather, with the index that pandas keeps in them."""

from __future__ import annotations

import ast
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from hmmdyn.errors import LogError, NoTimeError
from hmmdyn.logs.log import NO_TIME, Log
from hmmdyn.roles import is_group, is_seed, run_rank, tells_time

METADATA_KEY = b"hmmdyn"  # of the metric tables that hmmdyn writes
_MOST_ROWS = 50_000_000
_MOST_BYTES = 4 * 2**30


def read_parquet(data: bytes, require_time: bool = False) -> Log:
    """Read a Parquet file.

    Raises
    ------
    LogError, pyarrow.ArrowException
    """
    file = opened(data)
    if require_time:
        _require_time(file.schema_arrow)
    own = (file.schema_arrow.metadata or {}).get(METADATA_KEY)
    return Log(from_arrow(file.read()), "Parquet", own=own)


def opened(data: bytes) -> pq.ParquetFile:
    """Open a Parquet file, whose rows are read later.

    Raises
    ------
    LogError
        It claims to be larger than any log.
    pyarrow.ArrowException
        It is no Parquet file.
    """
    file = pq.ParquetFile(io.BytesIO(data))
    meta = file.metadata
    size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    if meta.num_rows > _MOST_ROWS or size > _MOST_BYTES:
        raise LogError(f"it claims {meta.num_rows:,} rows and {size:,} bytes, which is no log")
    return file


def read_feather(data: bytes, require_time: bool = False) -> Log:
    """Read a Feather (Arrow IPC) file.

    Raises
    ------
    pyarrow.ArrowException
    """
    table = pyarrow.feather.read_table(io.BytesIO(data))
    if require_time:
        _require_time(table.schema)
    return Log(from_arrow(table), "Feather")


def _require_time(schema: pa.Schema) -> None:
    """Refuse a table without a step by its names alone: a data set may lie beside the logs."""
    names = [str(level) for name in schema.names for level in (name, *_levels(str(name)))]
    names += _range_indices(schema.metadata or {}, 0)
    if not any(map(tells_time, names)) and not any(" - " in name for name in names):
        raise NoTimeError(NO_TIME)


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """Make a frame of an Arrow table; an index that has a name is a column of that name.

    What pandas wrote about the table is believed for names alone: it may be anything.
    """
    frame: pd.DataFrame = table.to_pandas(ignore_metadata=True)
    names = [_levels(str(name)) for name in frame.columns]
    frame = _of_levels(frame, names, _level_names(table.schema.metadata or {}))
    for name, values in _range_indices(table.schema.metadata or {}, len(frame)).items():
        if name not in frame:
            frame.insert(0, name, values)
    return frame


def flattened(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with one level of columns, and named levels of its index as columns.

    A level of columns that names seeds or runs (a pivot) goes back into the rows.
    """
    named = [name for name in frame.index.names if name is not None]
    if named and not set(map(str, named)) & set(map(str, frame.columns)):
        frame = frame.reset_index(named)
    frame = frame.reset_index(drop=True)
    names = [n if isinstance(n, tuple) else _levels(str(n)) for n in frame.columns]
    return _of_levels(frame, names, [str(name) for name in frame.columns.names])


def _levels(name: str) -> tuple[Any, ...]:
    """Return the levels in a column's name: Arrow keeps two as the text ``('weights', 'l2')``."""
    if name.startswith("(") and name.endswith(")"):
        try:
            parts = ast.literal_eval(name)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return (name,)
        if isinstance(parts, tuple) and all(isinstance(p, (str, int, float)) for p in parts):
            return parts
    return (name,)


def _of_levels(
    frame: pd.DataFrame, names: Sequence[tuple[Any, ...]], levels: Sequence[str]
) -> pd.DataFrame:
    """Give columns of several levels one name each, ``weights/l2``; keys have the last alone.

    A level that names seeds or runs, as in a pivot, goes back into the rows.
    """
    parts = [tuple(str(p) for p in name if not pd.isna(p) and str(p) != "") for name in names]
    frame = frame.set_axis(["/".join(part) for part in parts], axis=1)
    if max(map(len, parts), default=1) < 2:
        return frame
    told = next((i for i, level in enumerate(levels) if _is_key(level)), None)
    if told is not None and any(len(name) > told for name in names):
        return _unpivoted(frame, names, told, levels[told])
    keys = {"/".join(part): part[-1] for part in parts if _is_key(part[-1]) or tells_time(part[-1])}
    free = {old: new for old, new in keys.items() if list(keys.values()).count(new) == 1}
    return frame.rename(columns={o: n for o, n in free.items() if n not in frame.columns})


def _unpivoted(
    frame: pd.DataFrame, names: Sequence[tuple[Any, ...]], told: int, role: str
) -> pd.DataFrame:
    """Stack columns that are of one seed or run each; columns without one stay in every row."""
    of_column = dict(zip(frame.columns, names, strict=True))
    shared = [column for column, name in of_column.items() if _is_empty(_level(name, told))]
    of_run: dict[Any, dict[str, str]] = {}
    for column, name in of_column.items():
        if column not in shared:
            rest = [str(p) for i, p in enumerate(name) if i != told and not _is_empty(p)]
            of_run.setdefault(_level(name, told), {})["/".join(rest) or "value"] = column
    pieces = [
        frame[[*shared, *columns.values()]]
        .set_axis([*shared, *columns], axis=1)
        .assign(**{role: str(run)})
        for run, columns in of_run.items()
    ]
    return pd.concat(pieces, ignore_index=True) if pieces else frame


def _level(name: tuple[Any, ...], at: int) -> Any:
    return name[at] if len(name) > at else ""


def _is_empty(part: Any) -> bool:
    return bool(pd.isna(part)) or str(part) == ""


def _is_key(name: str) -> bool:
    return is_seed(name) or run_rank(name) is not None or is_group(name)


def _level_names(metadata: Mapping[bytes, bytes]) -> list[str]:
    """Find what pandas called the levels of the columns; empty for one that has no name."""
    try:
        levels = json.loads(metadata.get(b"pandas", b"{}")).get("column_indexes", [])
        return [str(level.get("name") or "") for level in levels]
    except (ValueError, RecursionError, AttributeError, TypeError):
        return []


def _range_indices(metadata: Mapping[bytes, bytes], n_rows: int) -> dict[str, Any]:
    """Find indices that pandas keeps as a range alone, such as steps 0, 100, 200, …."""
    try:
        columns = json.loads(metadata.get(b"pandas", b"{}")).get("index_columns", [])
    except (ValueError, RecursionError, AttributeError):
        return {}
    found = {}
    for column in columns if isinstance(columns, list) else []:
        if not isinstance(column, dict) or not isinstance(column.get("name"), str):
            continue
        start, step = column.get("start"), column.get("step")
        if type(start) is int and type(step) is int and max(abs(start), abs(step)) < 2**40:
            found[column["name"]] = start + step * np.arange(n_rows)
    return found
