"""Read one log, whatever it is: the format is told by content, not by the file's name."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pandas as pd
import pyarrow as pa

from hmmdyn.errors import LogError
from hmmdyn.logs.arrays import read_evaluations
from hmmdyn.logs.columnar import read_feather, read_parquet
from hmmdyn.logs.content import decoded, read_content, require_readable
from hmmdyn.logs.databases import is_database, read_database
from hmmdyn.logs.event_file import read_events
from hmmdyn.logs.files import TRAINER_STATE, is_event_file, is_too_large_to_try
from hmmdyn.logs.lines import has_mllog, read_mllog, read_step_lines
from hmmdyn.logs.log import Log
from hmmdyn.logs.records import read_document, read_json_lines, read_trainer_state
from hmmdyn.logs.separated import read_separated
from hmmdyn.logs.wandb import read_wandb
from hmmdyn.names import printable
from hmmdyn.places import Place

_BINARY: dict[bytes, Callable[[bytes, bool], Log]] = {
    b"PAR1": read_parquet,
    b"ARROW1": read_feather,
    b"PK\x03\x04": lambda data, _: read_evaluations(data),
    b":W&B": lambda data, _: read_wandb(data),
}
_OLD_SHEET, _SHEET, _HEAD = b"\xd0\xcf\x11\xe0", b"[Content_Types].xml", 4096
_NOT_READ = {
    _OLD_SHEET: "it is a spreadsheet: save it as CSV",
    b"\x89HDF": "it is an HDF5 file, which no log is here: save it as Parquet or CSV",
    b"%PDF": "it is a PDF document",
    b"\x80\x04": "it is a Python pickle, and loading one can run any code: save it as Parquet",
    b"\x80\x05": "it is a Python pickle, and loading one can run any code: save it as Parquet",
}


class LogReader:
    """Reads logs for several askers, and each once.

    ``peek`` reads one that will be asked for again; ``read`` gives it, and forgets it.
    """

    def __init__(self) -> None:
        self._peeked: dict[Place, Log | LogError] = {}

    def peek(self, path: Place) -> Log:
        """Read a log with a column of time, and keep it.

        Raises
        ------
        LogError
        """
        if path not in self._peeked:
            try:
                self._peeked[path] = read_log(path, require_time=True)
            except LogError as error:
                self._peeked[path] = error
        return _given(self._peeked[path])

    def read(self, path: Place) -> Log:
        """Read a log with a column of time, or give what was kept of it.

        Raises
        ------
        LogError
        """
        if path in self._peeked:
            return _given(self._peeked.pop(path))
        return read_log(path, require_time=True)


def _given(found: Log | LogError) -> Log:
    if isinstance(found, LogError):
        raise found
    return found


def read_log(path: Place, *, require_time: bool = False) -> Log:
    """Read a log: a table of text, JSON, Parquet, an event file of TensorBoard, ….

    Parameters
    ----------
    path : Place
        A file, which may be packed (gz, zst, bz2, lz4, xz).
    require_time : bool
        Raise NoTimeError, before the rows are read, where no column tells a step or epoch; and do
        not open what is large and is not called as logs are.

    Raises
    ------
    LogError
        With the reason alone.
    """
    try:
        if require_time and is_too_large_to_try(path):
            raise LogError("it is large, and its name says no log")
        log = _read(path, require_time)
    except UnicodeDecodeError:
        raise LogError("it is not UTF-8 text") from None
    except OSError as error:
        raise LogError(f"it cannot be read ({error.strerror or error})") from None
    except RecursionError:
        raise LogError("its JSON is nested too deeply") from None
    except (
        ValueError,
        OverflowError,
        MemoryError,
        TypeError,
        csv.Error,
        pa.ArrowException,
        pd.errors.ParserWarning,
    ) as error:
        reason = printable(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise LogError(f"it is malformed ({reason})") from None
    if log.frame.empty:
        raise LogError("it has no rows")
    return log


def _read(path: Place, require_time: bool) -> Log:
    if is_event_file(path.name):
        require_readable(path)
        return Log(read_events(path), "TensorBoard")
    data = read_content(path)
    if data.startswith(b"PK") and _SHEET in data[:_HEAD]:
        raise LogError(_NOT_READ[_OLD_SHEET])
    for start, reader in _BINARY.items():
        if data.startswith(start):
            return reader(data, require_time)
    for start, reason in _NOT_READ.items():
        if data.startswith(start):
            raise LogError(reason)
    if is_database(data):
        return read_database(path)
    return _read_text(decoded(data), path.name, require_time)


def _read_text(text: str, name: str, require_time: bool) -> Log:
    if name.lower() == TRAINER_STATE:
        return read_trainer_state(json.loads(text))
    start = text.lstrip()[:1]
    is_lines = not {"jsonl", "ndjson"}.isdisjoint(name.lower().split("."))
    if is_lines:
        return read_json_lines(text)
    if start == "[" or start == "{":
        return _read_json(text)
    if has_mllog(text):
        return read_mllog(text)
    if name.lower().split(".")[-1] in ("csv", "tsv"):
        return read_separated(text, require_time=require_time)
    for read in (partial(read_separated, require_time=True), read_step_lines):
        with suppress(LogError, pd.errors.ParserError, pd.errors.ParserWarning):
            return read(text)
    return read_separated(text, require_time=require_time)


def _read_json(text: str) -> Log:
    """Read a document, or a record per line, which some loggers write to a file named .json."""
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        first = text.lstrip().splitlines()[0]
        try:
            json.loads(first)
        except ValueError:
            raise error from None
        return read_json_lines(text)
    return read_document(document)
