"""Read one log: a file as trainers write it, to a table with normalised column names.

CSV, TSV and JSON lines, TensorBoard's event files, and Hugging Face's ``trainer_state.json``. What
the columns mean, and whose rows they are, is not asked here.
"""

from __future__ import annotations

import csv
import json
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hmmdyn.checkpoints.find.logs import is_event_file
from hmmdyn.checkpoints.logs.event_file import read_events
from hmmdyn.errors import OutcomeError
from hmmdyn.names import normalise_column, printable

_LARGEST_FILE = 256 * 2**20  # bytes; what is larger is no log of losses
LARGEST_STEP = 2**53  # beyond it a float does not tell successive steps apart

# Names of columns, normalised, that tell the time; the first that is there counts.
TIME_COLUMNS = {
    "step": (
        "global_step",
        "trainer_global_step",
        "step",
        "_step",
        "steps",
        "iteration",
        "iterations",
        "iter",
    ),
    "epoch": ("epoch", "epochs"),
}
NO_TIME = "it has no step or epoch column"
TIMES = frozenset(name for names in TIME_COLUMNS.values() for name in names)
IDENTITY = ("group", "run", "seed")


@dataclass(frozen=True)
class LoggedRows:
    """A log as it was written: texts stay texts, and ``run``, ``seed`` and ``group`` are texts.

    ``n_damaged`` counts the lines that could not be read.
    """

    frame: pd.DataFrame
    n_damaged: int = 0


def read_log(path: Path) -> LoggedRows:
    """Read a log, column names normalised; also count the lines that could not be read.

    Raises
    ------
    OutcomeError
        With the reason alone.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise OutcomeError("it is not a regular file")
        if status.st_size > _LARGEST_FILE:
            raise OutcomeError(f"it is larger than {_LARGEST_FILE // 2**20} MiB")
        rows = _reader_of(path)(path)
    except UnicodeDecodeError:
        raise OutcomeError("it is not UTF-8 text") from None
    except OSError as error:
        raise OutcomeError(f"it cannot be read ({error.strerror})") from None
    except RecursionError:
        raise OutcomeError("its JSON is nested too deeply") from None
    except (ValueError, OverflowError, csv.Error, pd.errors.ParserWarning) as error:
        reason = printable(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise OutcomeError(f"it is malformed ({reason})") from None
    if rows.frame.empty:
        raise OutcomeError("it has no rows")
    names = [normalise_column(str(name)) for name in rows.frame.columns]
    return LoggedRows(rows.frame.set_axis(names, axis=1), rows.n_damaged)


def _reader_of(path: Path) -> Callable[[Path], LoggedRows]:
    if is_event_file(path.name):
        return lambda events: LoggedRows(read_events(events))
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise OutcomeError(f"its suffix is none of {', '.join(_READERS)}")
    return reader


def _read_separated(path: Path) -> LoggedRows:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline(1 << 20)
    separator = max(",;\t", key=header.count)
    names = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
    if TIMES.isdisjoint(map(normalise_column, names)):  # so that a large table is not read in vain
        raise OutcomeError(NO_TIME)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            path,
            sep=separator,
            encoding="utf-8-sig",
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
            dtype={name: str for name in names if normalise_column(name) in IDENTITY},
        )
    return LoggedRows(frame)


def _read_json_lines(path: Path) -> LoggedRows:
    rows = []
    n_damaged = 0
    with path.open(encoding="utf-8-sig") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if isinstance(record, dict):
                rows.append(dict(_scalars(record)))
            else:
                n_damaged += 1
    if n_damaged and not rows:
        raise OutcomeError("no line of it is a JSON object")
    return LoggedRows(pd.DataFrame(rows), n_damaged)


def _read_trainer_state(path: Path) -> LoggedRows:
    """Read Hugging Face's log history, without its last row: totals of the whole training."""
    state = json.loads(path.read_text(encoding="utf-8-sig"))
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        raise OutcomeError("it holds no log_history")
    rows = [row for row in history if isinstance(row, dict) and "train_runtime" not in row]
    return LoggedRows(pd.DataFrame([dict(_scalars(row)) for row in rows]))


def _scalars(
    record: Mapping[str, object], prefix: str = "", depth: int = 3
) -> Iterator[tuple[str, float | str]]:
    """Yield the numbers and texts of a record; what is nested gets a joined name."""
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and depth:
            yield from _scalars(value, f"{name}/", depth - 1)
        elif isinstance(value, str) or (value is not None and normalise_column(name) in IDENTITY):
            yield name, str(value)
        elif isinstance(value, float):
            yield name, value
        elif type(value) is int and abs(value) < LARGEST_STEP:  # a truth value is no number
            yield name, float(value)


_READERS: dict[str, Callable[[Path], LoggedRows]] = {
    ".csv": _read_separated,
    ".tsv": _read_separated,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_trainer_state,
}
