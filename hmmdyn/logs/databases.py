"""Trackers' databases: Trackio's, and MLflow's, as SQLite files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pandas as pd

from hmmdyn.errors import LogError
from hmmdyn.logs.log import Log
from hmmdyn.places import Place, RemotePath

_START = b"SQLite format 3\x00"
_JOURNAL = slice(18, 20)  # where a database says how it is written
_MOST_ROWS = 20_000_000


def is_database(data: bytes) -> bool:
    """Whether a file that begins so is a database of SQLite's."""
    return data.startswith(_START)


def read_database(path: Place) -> Log:
    """Read the metrics of all runs in a tracker's database, each with the run's name and seed.

    It is opened for reading alone, and nothing of it but plain tables is asked.

    Raises
    ------
    LogError
        It is no tracker's, or damaged.
    """
    try:
        with closing(_opened(path)) as database:
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("PRAGMA query_only = ON")
            columns = _columns(database)
            metrics = columns.get("metrics", set())
            if {"run_name", "step", "metrics"} <= metrics:
                return _read_trackio(database, columns)
            if {"key", "value", "step", "run_uuid"} <= metrics:
                return _read_mlflow(database, columns)
    except sqlite3.Error as error:
        raise LogError(f"it is damaged ({error})") from None
    raise LogError("it is a database of no tracker known here (Trackio, MLflow)")


def _opened(path: Place) -> sqlite3.Connection:
    """Open a database to be read alone; one in a store as a copy in memory."""
    if isinstance(path, RemotePath):
        data = bytearray(path.read_bytes())
        data[_JOURNAL] = b"\x01\x01"  # there is no write-ahead log in memory
        database = sqlite3.connect(":memory:")
        database.deserialize(data)
        return database
    return sqlite3.connect(f"file:{quote(str(path.resolve()))}?mode=ro&immutable=1", uri=True)


def _columns(database: sqlite3.Connection) -> dict[str, set[str]]:
    """Columns of each plain table: a view could ask for anything."""
    tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return {
        str(name): {
            str(row[1]) for row in database.execute("SELECT * FROM pragma_table_info(?)", (name,))
        }
        for (name,) in tables
    }


def _read_trackio(database: sqlite3.Connection, columns: dict[str, set[str]]) -> Log:
    rows, n_damaged = [], 0
    seeds = {}
    if {"run_name", "config"} <= columns.get("configs", set()):
        for run, config in _rows(database, "SELECT run_name, config FROM configs"):
            seeds[run] = _seed_in(config)
    for run, step, text in _rows(
        database, "SELECT run_name, step, metrics FROM metrics ORDER BY rowid"
    ):
        try:
            values = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            values = None
        if not isinstance(values, dict):
            n_damaged += 1
            continue
        numbers = {
            str(name): value
            for name, value in values.items()
            if isinstance(value, (int, float, str))
        }
        rows.append({"run": str(run), "step": step, **numbers})
    frame = pd.DataFrame(rows)
    if any(seed is not None for seed in seeds.values()) and rows:
        frame["seed"] = frame["run"].map(seeds)
    return Log(frame, "Trackio", {"Rows that are not JSON objects": n_damaged} if n_damaged else {})


def _read_mlflow(database: sqlite3.Connection, columns: dict[str, set[str]]) -> Log:
    wide: dict[tuple[str, int], dict[str, Any]] = {}
    for run, key, value, step in _rows(
        database, "SELECT run_uuid, key, value, step FROM metrics ORDER BY timestamp"
    ):
        wide.setdefault((str(run), step), {})[str(key)] = value
    names = {}
    if {"run_uuid", "name"} <= columns.get("runs", set()):
        found = _rows(database, "SELECT run_uuid, name FROM runs")
        names = {str(run): str(name) for run, name in found if name}
    if len(set(names.values())) < len(names):  # names may be given twice, ids may not
        names = {}
    seeds = {}
    if {"run_uuid", "key", "value"} <= columns.get("params", set()):
        found = _rows(database, "SELECT run_uuid, value FROM params WHERE key = 'seed'")
        seeds = {str(run): str(value) for run, value in found}
    rows = [
        {"run": names.get(run, run), "step": step, **values, **_seed_of(run, seeds)}
        for (run, step), values in wide.items()
    ]
    return Log(pd.DataFrame(rows), "MLflow")


def _seed_of(run: str, seeds: dict[str, str]) -> dict[str, str]:
    return {"seed": seeds[run]} if run in seeds else {}


def _seed_in(config: Any) -> str | None:
    try:
        found = json.loads(config)
    except (ValueError, TypeError, RecursionError):
        return None
    seed = found.get("seed") if isinstance(found, dict) else None
    return str(seed) if isinstance(seed, int) else None


def _rows(database: sqlite3.Connection, query: str) -> Iterator[tuple[Any, ...]]:
    for n, row in enumerate(database.execute(query)):
        if n >= _MOST_ROWS:
            raise LogError(f"it holds more than {_MOST_ROWS:,} rows")
        yield row
