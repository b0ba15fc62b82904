"""Logs as JSON: lines of records, lists of records, histories of lists, trainers' states."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from hmmdyn.errors import LogError, NoTimeError
from hmmdyn.logs.log import LARGEST_STEP, NO_TIME, Log
from hmmdyn.roles import is_group, is_outcome, is_seed, run_rank, tells_time

_DEPTH = 3  # records within records whose fields become columns
_HISTORIES = ("log_history", "history", "logs", "records", "rows", "metrics", "data", "results")


def read_json_lines(text: str) -> Log:
    """Read one record per line; lines that are none are counted, a last one cut short apart.

    Raises
    ------
    LogError
    """
    rows: list[dict[str, Any]] = []
    damaged, torn = [], False
    lines = text.splitlines()
    last = next((i for i in range(len(lines) - 1, -1, -1) if lines[i].strip()), -1)
    for at, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            rows.append(dict(flat_fields(_without_plan(record))))
        elif at == last and not text.endswith(("\n", "\r")):
            torn = True
        else:
            damaged.append(at + 1)
    if not rows:
        raise LogError("no line of it is a JSON object")
    left_out = {"Last lines that are cut short": 1} if torn else {}
    return Log(pd.DataFrame(rows), "JSON lines", left_out, tuple(damaged))


def read_trainer_state(document: Any) -> Log:
    """Read Hugging Face's log history, without its last row: totals of the whole training.

    Raises
    ------
    LogError
    """
    history = document.get("log_history") if isinstance(document, dict) else None
    if not isinstance(history, list):
        raise LogError("it holds no log_history")
    rows = [row for row in history if isinstance(row, dict) and "train_runtime" not in row]
    return Log(pd.DataFrame([dict(flat_fields(row)) for row in rows]), "trainer state")


def read_document(document: Any) -> Log:
    """Read a JSON document that holds a log in any of the forms that are usual.

    A list of records; a record that holds such a list, or lists of numbers, one per column (Keras's
    ``History.history``, DeepOBS), or columns of row -> value (as pandas writes them); records by
    step; for each quantity step -> value, pairs of these (or TensorBoard's triples of time, step
    and value), or a list of steps and one of values (Sacred).

    Raises
    ------
    LogError
    """
    if isinstance(document, dict) and "log_history" in document:
        return read_trainer_state(document)
    if isinstance(document, list):
        pairs = _series(document)
        if pairs is not None:
            return _of_series({"value": pairs})
        return _list_of_records(document)
    if not isinstance(document, dict):
        raise LogError("it is not a JSON object or list")
    if isinstance(document.get("columns"), list) and isinstance(document.get("data"), list):
        return _split_form(document["columns"], document["data"])
    by_step = _records_by_step(document)
    if by_step is not None:
        return by_step
    columns = _columns_by_row(document)
    if columns is not None:
        return Log(columns, "JSON columns")
    told = {str(name): _series(values) for name, values in document.items()}
    series = {name: one for name, one in told.items() if one is not None}
    if series:
        return _with_constants(_of_series(series), document)
    for key in _HISTORIES:
        inner = document.get(key)
        if isinstance(inner, list) and inner and isinstance(inner[0], dict):
            return _with_constants(_list_of_records(inner), document)
        if isinstance(inner, dict) and _lists_in(inner):
            return _with_constants(_history(inner), document)
    if _lists_in(document):
        return _with_constants(_history(document), document)
    raise NoTimeError(NO_TIME)


def _list_of_records(records: Sequence[Any]) -> Log:
    rows = [dict(flat_fields(row)) for row in records if isinstance(row, dict)]
    if not rows:
        raise LogError("it holds no records")
    n_others = len(records) - len(rows)
    return Log(
        pd.DataFrame(rows),
        "JSON records",
        {"Entries that are not JSON objects": n_others} if n_others else {},
    )


def _split_form(columns: Sequence[Any], data: Sequence[Any]) -> Log:
    names = ["/".join(map(str, c)) if isinstance(c, list) else str(c) for c in columns]
    rows = [row for row in data if isinstance(row, list) and len(row) == len(names)]
    return Log(pd.DataFrame(rows, columns=names), "JSON columns")


def _columns_by_row(document: Mapping[str, Any]) -> pd.DataFrame | None:
    """Return ``{"loss": {"0": 2.0, "1": 1.5}, …}`` as a table; None where it is something else."""
    inner = list(document.values())
    if not inner or not all(isinstance(column, dict) and column for column in inner):
        return None
    if not all(all(key.isdecimal() for key in column) for column in inner):
        return None
    frame = pd.DataFrame({name: pd.Series(column) for name, column in document.items()})
    frame = frame.loc[sorted(frame.index, key=int)]
    if any(map(tells_time, frame.columns)):
        return frame.reset_index(drop=True)
    return frame.rename_axis("step").reset_index()


def _records_by_step(document: Mapping[str, Any]) -> Log | None:
    """Read ``{"0": {"loss": 2.0}, "100": {"loss": 1.5}, …}``; None where it is something else."""
    named = {key: _NAMED_STEP.fullmatch(key) for key in document}
    if not all(named.values()) or not all(isinstance(row, dict) for row in document.values()):
        return None
    rows = []
    for key, match in named.items():
        row = dict(flat_fields(document[key]))
        if match is not None and not any(map(tells_time, row)):
            row[match["name"] or "step"] = match["number"]
        rows.append(row)
    return Log(pd.DataFrame(rows), "JSON records") if rows else None


_NAMED_STEP = re.compile(r"(?:(?P<name>step|epoch|iter)[-_ ]?)?(?P<number>[0-9]{1,16})")


def _series(values: Any) -> tuple[list[Any], list[Any]] | None:
    """Return steps and values of one quantity, from any form that both come in together."""
    if isinstance(values, dict):
        steps = next((values[name] for name in values if tells_time(name)), None)
        numbers = next((values[name] for name in ("values", "value") if name in values), None)
        if not isinstance(steps, list) or not isinstance(numbers, list):
            return None
        return (steps, numbers) if len(steps) == len(numbers) > 0 else None
    if not isinstance(values, list) or not values or not isinstance(values[0], list):
        return None
    length = len(values[0])
    pairs = length in (2, 3) and all(
        isinstance(row, list) and len(row) == length and all(map(_is_scalar, row)) for row in values
    )
    if not pairs or any(not _is_step(row[-2]) for row in values):
        return None
    return [row[-2] for row in values], [row[-1] for row in values]


def _of_series(series: Mapping[str, tuple[list[Any], list[Any]]]) -> Log:
    frames = [pd.DataFrame({"step": steps, name: v}) for name, (steps, v) in series.items()]
    return Log(pd.concat(frames, ignore_index=True), "JSON series")


def _is_step(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value % 1 == 0


def _lists_in(record: Mapping[str, Any], prefix: str = "", depth: int = 2) -> dict[str, list[Any]]:
    """Find the lists of numbers in a record, and in records in it."""
    found: dict[str, list[Any]] = {}
    for key, value in record.items():
        if isinstance(value, list) and len(value) > 1 and all(map(_is_scalar, value)):
            found[f"{prefix}{key}"] = value
        elif isinstance(value, dict) and depth:
            found |= _lists_in(value, f"{prefix}{key}/", depth - 1)
    return found


def _history(record: Mapping[str, Any]) -> Log:
    """Read lists of numbers as columns: those as long as that of the steps, else as most are.

    Without a list of steps or epochs the entries count epochs, from 0 on, as Keras does.
    """
    lists = _lists_in(record)
    timed = [name for name in lists if tells_time(name)]
    outcomes = [name for name in lists if is_outcome(name)]
    if timed:
        length = len(lists[timed[0]])
    elif outcomes:
        ((length, _),) = Counter(len(lists[name]) for name in lists).most_common(1)
    else:
        raise NoTimeError(NO_TIME)
    columns = {name: values for name, values in lists.items() if len(values) == length}
    left_out = {"Lists of another length than the others": len(lists) - len(columns)}
    if not timed:
        columns["epoch"] = list(range(length))
        left_out["Rows without a step, counted as epochs from 0"] = length
    return Log(pd.DataFrame(columns), "JSON history", {why: n for why, n in left_out.items() if n})


def _with_constants(log: Log, document: Mapping[str, Any]) -> Log:
    """Add what a document says of the whole run: its name, seed and group."""
    constants = {
        name: str(value)
        for name, value in document.items()
        if _is_identity(name) and isinstance(value, (str, int)) and name not in log.frame
    }
    return Log(log.frame.assign(**constants), log.format, log.left_out)


def _without_plan(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what the first row of a recording of hmmdyn's tells of how all was recorded."""
    told = record.get("recording")
    if isinstance(told, dict) and {"hmmdyn_version", "plan"} <= told.keys():
        return {name: value for name, value in record.items() if name != "recording"}
    return record


def flat_fields(
    record: Mapping[str, Any], prefix: str = "", depth: int = _DEPTH
) -> Iterator[tuple[str, Any]]:
    """Yield the values of a record; what is nested gets a joined name, lists are texts."""
    for key, value in record.items():
        name = f"{prefix}{key}"
        if value is None:
            continue
        if isinstance(value, dict) and depth:
            yield from flat_fields(value, f"{name}/", depth - 1)
        elif _is_identity(name):
            yield name, str(value)
        elif isinstance(value, (bool, float, str)):
            yield name, value
        elif isinstance(value, int):
            yield name, float(value) if abs(value) < LARGEST_STEP else _far(value)
        else:
            yield name, "a list" if isinstance(value, list) else "a record"


def _far(value: int) -> float | str:
    """Return an integer that steps cannot be, as a number where it has one."""
    try:
        return float(value)
    except OverflowError:
        return "an integer beyond all numbers"


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (int, float))


def _is_identity(name: str) -> bool:
    return run_rank(name) is not None or is_seed(name) or is_group(name)
