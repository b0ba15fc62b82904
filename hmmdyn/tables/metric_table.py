"""The table of metrics and outcomes as a file or DataFrame: read, validate, write.

This is where metrics extracted from checkpoints and a table of one's own meet: from here on the
two are the same thing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hmmdyn.errors import TableError
from hmmdyn.files import replacing
from hmmdyn.names import (
    STEP_COLUMNS,
    STEP_UNITS,
    is_outcome,
    natural_key,
    printable,
    require_known,
    some,
)
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.tables.trajectories import KEY_COLUMNS, Trajectories
from hmmdyn.version import __version__

PROVENANCE_COLUMNS = ["path", "size", "mtime_ns"]
TABLE_SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")

_METADATA_KEY = b"hmmdyn"


def read_table(path: Path, *, outcomes: Sequence[str] = ()) -> Trajectories:
    """Read a metric table: Parquet, CSV, TSV or JSON lines, hmmdyn's own or anybody's.

    A table needs a column that counts training (step, epoch, samples, tokens, …) and, unless it
    holds a single run, a ``run`` or ``seed`` column; ``group`` is optional. Every other numeric
    column is a metric, or an outcome where its name says so (loss, accuracy, …) or ``outcomes``
    names it; there may be outcomes alone.

    Raises
    ------
    TableError
        The file cannot be read, a needed column is missing, or its values are of the wrong kind.
    """
    frame, own = _read_frame(path)
    if own is None:
        return from_frame(frame, outcomes=outcomes, source=str(path))
    missing = sorted({*KEY_COLUMNS, *own["metrics"], *own["outcomes"]} - set(frame.columns))
    if missing:
        raise TableError(f"{path} lacks columns that its own metadata name: {some(missing)}.")
    trajectories = from_frame(
        frame.drop(columns=[c for c in PROVENANCE_COLUMNS if c in frame]),
        outcomes=[*own["outcomes"], *outcomes],
        source=str(path),
    )
    provenance = frame[[*CHECKPOINT_KEY, *(c for c in PROVENANCE_COLUMNS if c in frame)]]
    table = trajectories.table.merge(provenance, on=CHECKPOINT_KEY, how="left")
    return replace(trajectories, table=table, step_unit=own["step_unit"])


def from_frame(
    frame: pd.DataFrame, *, outcomes: Sequence[str] = (), source: str = "the table"
) -> Trajectories:
    """Make trajectories of a DataFrame; columns as in :func:`read_table`.

    Raises
    ------
    TableError
        A needed column is missing or holds values of the wrong kind, two columns have one name,
        or rows claim the same (group, run, step).
    """
    if frame.empty:
        raise TableError(f"{source} has no rows.")
    frame = frame.rename(columns=str)
    columns = _columns_by_role(frame, source)
    keys = pd.DataFrame(index=frame.index)
    keys["group"] = _group(frame, columns, source)
    keys["run"], keys["seed"] = _run_and_seed(frame, columns, source)
    keys["step"] = _whole_numbers(frame[columns["step"]], columns["step"], source)
    others = [c for c in frame.columns if c not in columns.values()]
    require_known(outcomes, others, "column")
    values, left_out = _numeric_columns(frame, others)
    named_outcomes = tuple(c for c in values if c in set(outcomes) or is_outcome(c))
    metrics = tuple(c for c in values if c not in named_outcomes)
    if not values:
        raise TableError(
            f"{source} has neither metrics nor outcomes: beside {', '.join(KEY_COLUMNS)} it needs "
            f"at least one numeric column. It has: {some(frame.columns, 12)}."
        )
    numbers = pd.DataFrame(values, index=frame.index)[[*metrics, *named_outcomes]]
    table = _sorted(pd.concat([keys, numbers], axis=1))
    _require_unique(table, source)
    notices = tuple(
        Notice("metrics", "left out", f"column {printable(c)}", why) for c, why in left_out.items()
    )
    unit = STEP_COLUMNS[columns["step"].lower()]
    return Trajectories(table, metrics, named_outcomes, unit, notices)


def write_table(trajectories: Trajectories, path: Path) -> None:
    """Write the table as Parquet, atomically; the file's metadata tell metrics from outcomes.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    meta = {
        "metrics": list(trajectories.metrics),
        "outcomes": list(trajectories.outcomes),
        "step_unit": trajectories.step_unit,
        "hmmdyn_version": __version__,
    }
    table = pa.Table.from_pandas(trajectories.table, preserve_index=False)
    table = table.replace_schema_metadata(
        {**(table.schema.metadata or {}), _METADATA_KEY: json.dumps(meta).encode()}
    )
    # An open file, because Arrow takes no path that is not valid UTF-8.
    with replacing(path) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file)


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by group and run in natural order, then by step."""
    runs = sorted(
        table[RUN_KEY].drop_duplicates().itertuples(index=False, name=None),
        key=lambda r: (natural_key(r[0]), natural_key(r[1])),
    )
    rank = {run: i for i, run in enumerate(runs)}
    order = np.array([rank[key] for key in zip(table["group"], table["run"], strict=True)])
    return table.iloc[np.lexsort((table["step"].to_numpy(), order))].reset_index(drop=True)


def _read_frame(path: Path) -> tuple[pd.DataFrame, dict[str, Any] | None]:
    """Read a table file; hmmdyn's own Parquet carries metadata that tell its columns apart."""
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise TableError(
            f"{path} is not a table hmmdyn reads: it takes {', '.join(TABLE_SUFFIXES)}."
        )
    if not path.is_file():
        raise TableError(f"There is no file {path}.")
    try:
        if suffix == ".parquet":
            table = pq.read_table(path)
            return table.to_pandas(), _own_metadata(table.schema.metadata or {}, path)
        if suffix == ".jsonl":
            return _read_json_lines(path), None
        separator = "\t" if suffix == ".tsv" else ","
        # pandas would rename a second column of a name without a word.
        names = pd.read_csv(path, sep=separator, header=None, nrows=1, dtype=str).iloc[0]
        _require_unique_columns(names.dropna().tolist(), str(path))
        return pd.read_csv(path, sep=separator), None
    except (ValueError, RecursionError, OSError, pa.ArrowException) as error:
        # pandas' parser errors are ValueErrors; so are bad UTF-8 and bad JSON.
        raise TableError(f"{path} cannot be read as a table: {error}") from error


def _read_json_lines(path: Path) -> pd.DataFrame:
    # pandas' own reader takes columns of some names for dates.
    with path.open(encoding="utf-8-sig") as file:
        rows = [json.loads(line) for line in file if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line of it is not a JSON object")
    return pd.DataFrame(rows)


def _own_metadata(metadata: Mapping[bytes, bytes], path: Path) -> dict[str, Any] | None:
    if _METADATA_KEY not in metadata:
        return None
    own: dict[str, Any] = json.loads(metadata[_METADATA_KEY])
    well_formed = (
        isinstance(own, dict)
        and own.get("step_unit") in STEP_UNITS
        and all(
            isinstance(own.get(kind), list) and all(isinstance(name, str) for name in own[kind])
            for kind in ("metrics", "outcomes")
        )
    )
    if not well_formed:
        raise TableError(f"{path} says it is a table of hmmdyn's, but its metadata are damaged.")
    return own


def _columns_by_role(frame: pd.DataFrame, source: str) -> dict[str, str]:
    """Find the column of each role, whatever its case; a second one of a role is no key."""
    _require_unique_columns(list(frame.columns), source)
    by_name: dict[str, str] = {}
    for column in frame.columns:
        by_name.setdefault(column.lower(), column)
    roles = {role: by_name[role] for role in ("group", "run", "seed") if role in by_name}
    for name in STEP_COLUMNS:
        if name in by_name:
            return roles | {"step": by_name[name]}
    raise TableError(
        f"{source} has no step column. Name the column that counts training 'step' (or "
        f"{some(map(repr, STEP_UNITS[1:]))}). "
        f"Its columns are: {some(frame.columns, 12)}."
    )


def _require_unique_columns(columns: Sequence[str], source: str) -> None:
    twice = sorted({c for c in columns if columns.count(c) > 1})
    if twice:
        raise TableError(f"{source} has several columns called {some(twice)}. Rename them.")


def _group(frame: pd.DataFrame, columns: Mapping[str, str], source: str) -> pd.Series:
    if "group" not in columns:
        return pd.Series("all", index=frame.index)
    group = frame[columns["group"]]
    if group.isna().any():
        raise TableError(f"{source} has rows without a group; every row needs one, or none.")
    return group.astype(str)


def _run_and_seed(
    frame: pd.DataFrame, columns: Mapping[str, str], source: str
) -> tuple[pd.Series, pd.Series]:
    seed = pd.Series(pd.NA, index=frame.index, dtype="Int64")
    if "seed" in columns:
        seed = _whole_numbers(frame[columns["seed"]], "seed", source, missing_allowed=True)
    if "run" in columns:
        run = frame[columns["run"]]
        if run.isna().any():
            raise TableError(f"{source} has rows without a run; every row needs one.")
        return run.astype(str), seed
    if "seed" not in columns and not frame[columns["step"]].duplicated().any():
        return pd.Series("run", index=frame.index), seed
    if seed.isna().any():
        raise TableError(
            f"{source} does not say which rows belong together: it needs a column 'run' or 'seed' "
            f"in every row. Its columns are: {some(frame.columns, 12)}."
        )
    return "seed" + seed.astype(str), seed


def _whole_numbers(
    column: pd.Series, name: str, source: str, *, missing_allowed: bool = False
) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    bad = ~(np.isfinite(numbers) & (numbers == np.floor(numbers)) & (numbers.abs() < 2**53))
    if missing_allowed:
        bad &= column.notna()
    if bad.any():
        shown = ", ".join(repr(v) for v in column[bad].iloc[:3].tolist())
        raise TableError(
            f"{source}: column {name!r} must hold whole numbers, but {int(bad.sum()):,} of "
            f"{len(column):,} rows do not ({shown})."
        )
    return numbers.astype("Int64") if missing_allowed else numbers.astype("int64")


def _numeric_columns(
    frame: pd.DataFrame, columns: Iterable[str]
) -> tuple[dict[str, pd.Series], dict[str, str]]:
    """Numeric columns as float64, and why each other column is left out."""
    numeric, left_out = {}, {}
    for name in columns:
        column = frame[name]
        if name.lower() in (*STEP_COLUMNS, *KEY_COLUMNS):
            left_out[name] = "It counts steps or names runs; another column does that already."
        elif pd.api.types.is_complex_dtype(column) or not _holds_numbers(column):
            left_out[name] = "It does not hold (real) numbers."
        else:
            numeric[name] = pd.to_numeric(column).astype("float64")
    return numeric, left_out


def _holds_numbers(column: pd.Series) -> bool:
    if pd.api.types.is_object_dtype(column):
        return bool(pd.to_numeric(column, errors="coerce").notna().eq(column.notna()).all())
    return pd.api.types.is_numeric_dtype(column)


def _require_unique(table: pd.DataFrame, source: str) -> None:
    twice = table[table.duplicated(CHECKPOINT_KEY, keep=False)]
    if twice.empty:
        return
    first = twice.iloc[0]
    raise TableError(
        f"{source} has {len(twice):,} rows that claim a (group, run, step) another row claims, "
        f"the first at group {first.group!r}, run {first.run!r}, step {first.step:,}. "
        "Keep one row per checkpoint, or tell the runs apart with a 'run' or 'group' column."
    )
