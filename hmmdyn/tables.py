"""The metric table as a file or DataFrame: read, validate, write.

This is where metrics extracted from checkpoints and a table of one's own meet: from here on the
two are the same thing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hmmdyn import __version__
from hmmdyn.errors import TableError
from hmmdyn.files import replacing
from hmmdyn.names import is_outcome, natural_key, some
from hmmdyn.results import CHECKPOINT_KEY, RUN_KEY, Notice
from hmmdyn.trajectories import KEY_COLUMNS, Trajectories, require_known

PROVENANCE_COLUMNS = ["path", "size", "mtime_ns"]
TABLE_SUFFIXES = (".parquet", ".csv", ".tsv")

_STEP_NAMES = ("step", "global_step", "iteration", "iter")
_METADATA_KEY = b"hmmdyn"


def read_table(path: Path, *, outcomes: Sequence[str] = ()) -> Trajectories:
    """Read a metric table: Parquet, CSV or TSV, hmmdyn's own or anybody's.

    A table needs a step (or epoch) column and, unless it holds a single run, a ``run`` or
    ``seed`` column; ``group`` is optional. Every other numeric column is a metric, or an outcome
    where its name says so (loss, accuracy, …) or ``outcomes`` names it.

    Raises
    ------
    TableError
        The file cannot be read, a needed column is missing, or its values are of the wrong kind.
    """
    frame, meta = _read_frame(path)
    if meta is not None:
        known = [*KEY_COLUMNS, *PROVENANCE_COLUMNS, *meta["metrics"], *meta["outcomes"]]
        frame = frame[[c for c in known if c in frame.columns]]
        outcomes = [*meta["outcomes"], *outcomes]
    return from_frame(frame, outcomes=outcomes, source=str(path))


def from_frame(
    frame: pd.DataFrame, *, outcomes: Sequence[str] = (), source: str = "the table"
) -> Trajectories:
    """Make trajectories of a DataFrame; columns as in :func:`read_table`.

    Raises
    ------
    TableError
        A needed column is missing or holds values of the wrong kind, or rows claim the same
        (group, run, step).
    """
    if frame.empty:
        raise TableError(f"{source} has no rows.")
    frame = frame.rename(columns=str)
    step_column, step_unit = _step_column(frame, source)
    keys = pd.DataFrame(index=frame.index)
    keys["group"] = frame["group"].astype(str) if "group" in frame else "all"
    keys["run"], keys["seed"] = _run_and_seed(frame, source)
    keys["step"] = _whole_numbers(frame[step_column], step_column, source)
    columns = [c for c in frame.columns if c not in {*KEY_COLUMNS, step_column}]
    require_known(outcomes, columns, "column")
    values, left_out = _numeric_columns(frame, columns)
    named_outcomes = [c for c in values if c in set(outcomes) or is_outcome(c)]
    metrics = [
        c for c in values if c not in {*named_outcomes, *PROVENANCE_COLUMNS, *_STEP_NAMES, "epoch"}
    ]
    if not metrics:
        raise TableError(
            f"{source} has no metric column: beside {', '.join(KEY_COLUMNS)} and outcomes it "
            f"needs at least one numeric column. It has: {some(columns, 12)}."
        )
    provenance = frame[[c for c in PROVENANCE_COLUMNS if c in frame]]
    table = pd.concat(
        [keys, pd.DataFrame(values, index=frame.index)[[*metrics, *named_outcomes]], provenance],
        axis=1,
    )
    table = _sorted(table)
    _require_unique(table, source)
    notices = [Notice("metrics", "left out", f"column {c}", "It is not numeric.") for c in left_out]
    return Trajectories(table, tuple(metrics), tuple(named_outcomes), step_unit, tuple(notices))


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
    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by group and run in natural order, then by step."""
    runs = sorted(
        table[RUN_KEY].drop_duplicates().itertuples(index=False, name=None),
        key=lambda r: (natural_key(r[0]), natural_key(r[1])),
    )
    rank = {run: i for i, run in enumerate(runs)}
    order = [rank[key] for key in zip(table["group"], table["run"], strict=True)]
    return (
        table.assign(_order=order)
        .sort_values(["_order", "step"], kind="stable")
        .drop(columns="_order")
        .reset_index(drop=True)
    )


def _read_frame(path: Path) -> tuple[pd.DataFrame, dict | None]:
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
            meta = (table.schema.metadata or {}).get(_METADATA_KEY)
            return table.to_pandas(), None if meta is None else json.loads(meta)
        return pd.read_csv(path, sep="\t" if suffix == ".tsv" else ","), None
    except (ValueError, OSError, pa.ArrowException) as error:
        # pandas' parser errors are ValueErrors; so are bad UTF-8 and bad JSON.
        raise TableError(f"{path} cannot be read as a table: {error}") from error


def _step_column(frame: pd.DataFrame, source: str) -> tuple[str, str]:
    by_name = {c.lower(): c for c in reversed(frame.columns)}
    for name in (*_STEP_NAMES, "epoch"):
        if name in by_name:
            return by_name[name], "epoch" if name == "epoch" else "step"
    raise TableError(
        f"{source} has no step column. Name the column of training steps 'step' (or 'epoch'). "
        f"Its columns are: {some(frame.columns, 12)}."
    )


def _run_and_seed(frame: pd.DataFrame, source: str) -> tuple[pd.Series, pd.Series]:
    if "seed" in frame:
        seed = _whole_numbers(frame["seed"], "seed", source, missing_allowed=True)
    else:
        seed = pd.Series(pd.NA, index=frame.index, dtype="Int64")
    if "run" in frame:
        if frame["run"].isna().any():
            raise TableError(f"{source} has rows without a run; every row needs one.")
        return frame["run"].astype(str), seed
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
) -> tuple[dict[str, pd.Series], list[str]]:
    numeric, left_out = {}, []
    for name in columns:
        if name in PROVENANCE_COLUMNS:
            continue
        if pd.api.types.is_numeric_dtype(frame[name]):
            numeric[name] = frame[name].astype("float64")
        else:
            left_out.append(name)
    return numeric, left_out


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
