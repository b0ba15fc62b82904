"""Loss and accuracy curves logged beside the checkpoints, and their join to the checkpoints.

Logs are tables (CSV, TSV, JSON lines) with a step or epoch column, TensorBoard's event files, and
Hugging Face's ``trainer_state.json``. A log belongs to the run whose folder holds it; a log of
several runs says whose each row is in a ``run`` or ``seed`` column.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import stat
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.checkpoints.find import layouts
from hmmdyn.checkpoints.find.walking import walk
from hmmdyn.checkpoints.logs.event_file import is_event_file, read_events
from hmmdyn.errors import OutcomeError
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import is_outcome, natural_key, printable, some
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.checkpoints import CheckpointIndex, OutcomeTable
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY
from hmmdyn.results.notice import Notice

_STAGE = "outcomes"
_TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson")
_TRAINER_STATE = "trainer_state.json"
_LARGEST_FILE = 256 * 2**20  # bytes; what is larger is no log of losses
_LARGEST_STEP = 2**53  # beyond it a float does not tell successive steps apart

# Names of columns, normalised, that tell the time; the first that is there counts.
_TIME_COLUMNS = {
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
_NO_TIME = "it has no step or epoch column"
_TIMES = frozenset(name for names in _TIME_COLUMNS.values() for name in names)
_IDENTITY = ("group", "run", "seed")


@dataclass(frozen=True)
class JoinedOutcomes:
    """Outcomes at the checkpoints.

    Attributes
    ----------
    table : DataFrame
        One row per checkpoint, in the order of the index: ``group, run, step`` and one float64
        column per outcome, NaN where none was logged for that checkpoint.
    counts : DataFrame
        One row per outcome: ``outcome`` and at how many checkpoints it was logged at their
        ``exact`` step, was taken from an ``earlier`` one, or is ``missing``.
    notices : tuple of Notice
    """

    table: pd.DataFrame
    counts: pd.DataFrame
    notices: tuple[Notice, ...] = ()


class _Log(NamedTuple):
    """A log file, its names below the root (stem last), and what messages call it."""

    path: Path
    parts: tuple[str, ...]
    shown: str


@dataclass
class _Findings:
    """What is left out while logs are read, gathered by reason so that each is told once."""

    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    other_columns: set[str] = field(default_factory=set)

    def count(self, reason: str, subject: str, number: int) -> None:
        """Note how many rows, values, … of a subject are left out, if any."""
        if number:
            self.left_out[reason].append(f"{subject} ({number})")

    def notices(self) -> tuple[Notice, ...]:
        """Tell what was gathered."""
        messages = [
            ("logs", f"{reason}: {some(subjects)}.") for reason, subjects in self.left_out.items()
        ]
        if self.other_columns:
            columns = some(sorted(self.other_columns), 12)
            messages.append(
                (
                    "columns",
                    Message(
                        "Numeric columns whose names do not say loss, accuracy or the like: "
                        f"{columns}. ",
                        Remedy("outcomes_file", "FILE"),
                        " takes every numeric column of a file.",
                    ),
                )
            )
        return tuple(Notice(_STAGE, "left out", subject, text) for subject, text in messages)


def find_outcomes(index: CheckpointIndex, extra: Path | None = None) -> OutcomeTable:
    """Read the losses and accuracies logged beside the checkpoints.

    Any CSV, TSV or JSON-lines file under the index's root with a column in the index's step unit
    counts as a log, any event file of TensorBoard, and the latest ``trainer_state.json`` of a run
    (earlier ones only for the steps that it does not cover). Column names are normalised: lower
    case, ``eval/loss`` becomes ``eval_loss``. Where a step is logged twice, as a resumed run does,
    the last value counts.

    Parameters
    ----------
    index : CheckpointIndex
        What discovery found.
    extra : Path, optional
        A further log. All its numeric columns are taken, whatever their names, and its values go
        before those of logs found.

    Returns
    -------
    OutcomeTable
        Empty (but for its key columns) where nothing is logged. Its notices name the files, rows
        and columns that were left out.

    Raises
    ------
    OutcomeError
        ``extra`` cannot be read, or fits none of the runs.
    """
    runs = _Runs(index)
    findings = _Findings()
    given = None if extra is None else _given_log(index.root, Path(extra))
    tables, states = _logs_under(index.root)
    frames = {
        log.shown: _read_found(log, runs, findings)
        for log in tables
        if given is None or os.path.realpath(log.path) != str(given.path)
    }
    for of_one_run in _by_run(states, runs):
        frames |= _read_trainer_states(of_one_run, runs, findings)
    if given is not None:
        frames[given.shown] = _read_given(given, runs, findings)
    frames = {shown: frame for shown, frame in frames.items() if len(frame)}
    table = _merge(frames, runs, findings)
    sources = {shown: len(frame) for shown, frame in frames.items()}
    return OutcomeTable(table, sources, findings.notices())


def join_outcomes(index: CheckpointIndex, outcomes: OutcomeTable) -> JoinedOutcomes:
    """Give each checkpoint the outcomes logged for it.

    A checkpoint takes the value logged at its own step, else the last one logged after the run's
    previous checkpoint (Lightning logs step 199 for the checkpoint it calls 200). The first
    checkpoint of a run takes only its own step's.

    An outcome that no checkpoint gets is left out, with a notice.
    """
    keys = pd.DataFrame(
        [(file.group, file.run, file.step) for file in index.checkpoints], columns=CHECKPOINT_KEY
    )
    logs = outcomes.table
    rows_of_run = keys.groupby(RUN_KEY).indices
    logs_of_run = logs.groupby(RUN_KEY).indices
    joined = {}
    counts = []
    for outcome in outcomes.outcomes:
        values = np.full(len(keys), np.nan)
        exact = np.zeros(len(keys), dtype=bool)
        for run in rows_of_run.keys() & logs_of_run.keys():
            rows, log = rows_of_run[run], logs.iloc[logs_of_run[run]]
            values[rows], exact[rows] = _at_checkpoints(
                keys["step"].to_numpy()[rows], log["step"].to_numpy(), log[outcome].to_numpy()
            )
        missing = int(np.isnan(values).sum())
        counts.append((outcome, int(exact.sum()), int((~exact).sum()) - missing, missing))
        if missing < len(keys):
            joined[outcome] = values
    table = pd.concat([keys, pd.DataFrame(joined, index=keys.index)], axis=1)
    counted = pd.DataFrame(counts, columns=["outcome", "exact", "earlier", "missing"])
    return JoinedOutcomes(table, counted, tuple(_join_notices(counted, len(table))))


def _at_checkpoints(
    steps: IntArray, logged: IntArray, values: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return one outcome at a run's checkpoints, and where it was logged at that very step."""
    told = ~np.isnan(values)
    if not told.any():
        return np.full(len(steps), np.nan), np.zeros(len(steps), dtype=bool)
    logged, values = logged[told], values[told]
    latest = np.searchsorted(logged, steps, side="right") - 1
    found = np.where(latest >= 0, logged[latest], -np.inf)
    exact = found == steps
    earlier = found > np.concatenate([[np.inf], steps[:-1]])
    return np.where(exact | earlier, values[latest], np.nan), exact


def _join_notices(counts: pd.DataFrame, n: int) -> Iterator[Notice]:
    nowhere = counts[counts["missing"] == n]
    partly = counts[(counts["missing"] > 0) & (counts["missing"] < n)]
    earlier = counts[counts["earlier"] > 0]
    for kind, rows, column, message in (
        ("left out", nowhere, "missing", "Outcomes logged at none of the checkpoints"),
        ("limit", partly, "missing", f"Outcomes not logged at some of the {n} checkpoints"),
        (
            "odd",
            earlier,
            "earlier",
            f"Outcomes that some of the {n} checkpoints take from the last step logged before them",
        ),
    ):
        if len(rows):
            listed = some(f"{name} ({number})" for name, number in rows[["outcome", column]].values)
            yield Notice(_STAGE, kind, "outcomes", f"{message}: {listed}.")


# ----------------------------------------------------------------------------- whose log is it


class _Run(NamedTuple):
    group: str
    run: str
    seed: int | None


class _Runs:
    """The runs of an index, numbered, and which of them have checkpoints below each folder."""

    def __init__(self, index: CheckpointIndex) -> None:
        self.step_unit = index.step_unit
        self.root_name = index.root.resolve().name
        self.all = list(dict.fromkeys(_Run(f.group, f.run, f.seed) for f in index.checkpoints))
        numbers = {run: number for number, run in enumerate(self.all)}
        folders = {(_Run(f.group, f.run, f.seed), f.path.parent) for f in index.checkpoints}
        self._below: dict[tuple[str, ...], set[int]] = defaultdict(set)
        for run, folder in folders:
            parts = folder.relative_to(index.root).parts
            for depth in range(len(parts) + 1):
                self._below[parts[:depth]].add(numbers[run])

    def at(self, parts: tuple[str, ...]) -> list[int]:
        """Return the numbers of the runs that a log with these names may belong to.

        They are those below the nearest folder that holds checkpoints, narrowed down by the seed
        or, between several, the run and group that the log's own path names.
        """
        depth = next(d for d in range(len(parts) - 1, -1, -1) if parts[:d] in self._below)
        found = sorted(self._below[parts[:depth]])
        named = layouts.read_path(parts, self.root_name)
        if named.seed is not None and any(self.all[n].seed is not None for n in found):
            found = [n for n in found if self.all[n].seed == named.seed]
        elif len(found) > 1:
            found = [n for n in found if self.all[n].run == named.run] or found
        if len(found) > 1:
            found = [n for n in found if self.all[n].group == named.group] or found
        return found

    def of_rows(self, frame: pd.DataFrame, candidates: Sequence[int]) -> pd.Series:
        """Return the number of the run each row of a log belongs to, -1 where it is unknown."""
        labels = [label for label in ("run", "seed") if label in frame]
        if len(candidates) == 1 and all(frame[label].nunique() <= 1 for label in labels):
            return pd.Series(candidates[0], index=frame.index)
        by_group = "group" in frame and len({self.all[n].group for n in candidates}) > 1
        for label in labels:
            keys = frame[label].str.strip()
            if by_group:
                keys = frame["group"].str.strip() + "\0" + keys
            owners = self._owners(candidates, label, by_group)
            found = pd.Series([owners.get(key, -1) for key in keys], index=frame.index)
            if (found >= 0).any():
                return found
        return pd.Series(-1, index=frame.index)

    def _owners(self, candidates: Sequence[int], label: str, by_group: bool) -> dict[str, int]:
        """Map what a ``run`` or ``seed`` column may hold to the one run that it can mean."""
        meanings: dict[str, set[int]] = defaultdict(set)
        for number in candidates:
            group, run, seed = self.all[number]
            for name in {run, str(seed)} if label == "run" else {str(seed)}:
                meanings[f"{group}\0{name}" if by_group else name].add(number)
        return {name: min(numbers) for name, numbers in meanings.items() if len(numbers) == 1}


# --------------------------------------------------------------------------------- finding logs


def _given_log(root: Path, path: Path) -> _Log:
    """Return the user's log; below the root its path may say whose it is."""
    shown = printable(str(path))
    try:
        path = Path(os.path.realpath(path))
        below = path.relative_to(root.resolve())
    except ValueError:
        below = Path(path.name)
    return _Log(path, (*below.parts[:-1], _stem(below)), shown)


def _stem(path: Path) -> str:
    # TensorBoard puts a time, the machine and a number into the names of its files.
    return "events" if is_event_file(path.name) else path.stem


def _logs_under(root: Path) -> tuple[list[_Log], list[_Log]]:
    """Return the tables and the trainer states below the root, in natural order."""
    tables: list[_Log] = []
    states: list[_Log] = []
    for folder in walk(root, {}):  # what cannot be read was told by discovery
        for entry in folder.files:
            is_state = entry.name == _TRAINER_STATE
            is_table = entry.name.lower().endswith(_TABLE_SUFFIXES) or is_event_file(entry.name)
            if is_state or is_table:
                path = Path(entry.path)
                shown = printable("/".join((*folder.parts, entry.name)))
                log = _Log(path, (*folder.parts, _stem(path)), shown)
                (states if is_state else tables).append(log)
    return sorted(tables, key=_natural), sorted(states, key=_natural)


def _natural(log: _Log) -> tuple[object, ...]:
    return natural_key(log.shown), log.shown


def _by_run(logs: Iterable[_Log], runs: _Runs) -> Iterator[list[_Log]]:
    groups: dict[tuple[int, ...], list[_Log]] = defaultdict(list)
    for log in logs:
        groups[tuple(runs.at(log.parts))].append(log)
    yield from groups.values()


# ---------------------------------------------------------------------------------- using logs


def _read_found(log: _Log, runs: _Runs, findings: _Findings) -> pd.DataFrame:
    try:
        return _outcomes_in(log, runs, findings, given=False)
    except OutcomeError as error:
        findings.left_out[f"Logs not used, because {error}"].append(log.shown)
        return pd.DataFrame()


def _read_given(log: _Log, runs: _Runs, findings: _Findings) -> pd.DataFrame:
    try:
        return _outcomes_in(log, runs, findings, given=True)
    except OutcomeError as error:
        given = Remedy("outcomes_file", log.shown)
        raise OutcomeError(given, f" cannot be used, because {error}.") from None


def _read_trainer_states(
    logs: Sequence[_Log], runs: _Runs, findings: _Findings
) -> dict[str, pd.DataFrame]:
    """Read the latest trainer state of a run, and those before the first step it tells of.

    Each holds the whole history up to its checkpoint, unless training began anew.
    """

    def time(log: _Log) -> float:
        reading = layouts.read_path(log.parts, runs.root_name)
        told = reading.step if runs.step_unit == "step" else reading.epoch
        return math.inf if told is None else told  # beside the checkpoints: written at the end

    frames: dict[str, pd.DataFrame] = {}
    covered_from = math.inf
    for log in sorted(logs, key=lambda log: (time(log), _natural(log)), reverse=True):
        if time(log) <= covered_from:
            frame = _read_found(log, runs, findings)
            if len(frame):
                frames[log.shown] = frame
                covered_from = min(covered_from, frame.index.get_level_values("step").min())
    return dict(reversed(frames.items()))


def _outcomes_in(log: _Log, runs: _Runs, findings: _Findings, *, given: bool) -> pd.DataFrame:
    """Return the outcomes that a log holds, indexed by the number of the run and the step.

    Raises
    ------
    OutcomeError
        With the reason alone: the caller knows which file it was.
    """
    frame, n_damaged = _read_log(log.path)
    if n_damaged and given:
        raise OutcomeError(f"{n_damaged} of its lines are not JSON objects")
    findings.count("Lines that are not JSON objects", log.shown, n_damaged)
    twice = frame.columns.duplicated()
    findings.count("Columns of a name already taken", log.shown, twice.sum())
    frame = frame.loc[:, ~twice]
    step = _steps(frame, runs.step_unit)
    number = runs.of_rows(frame, runs.at(log.parts))
    if (number < 0).all():
        raise OutcomeError(
            "its rows do not say which of the runs they belong to (in a column run or seed, and "
            "group where two groups have the same)"
        )
    values = _outcome_columns(frame, log, findings, given)
    if not values:
        raise OutcomeError(f"it holds no {'numbers' if given else 'loss, accuracy or the like'}")
    no_step = step.isna()
    findings.count("Rows without a whole number as step", log.shown, no_step.sum())
    no_run = ~no_step & (number < 0)
    findings.count("Rows of runs that have no checkpoints here", log.shown, no_run.sum())
    known = ~no_step & ~no_run
    rows = pd.DataFrame(values)[known]
    number, step = number[known].rename("number"), step[known].rename("step").astype(np.int64)
    # A log by epoch may have several rows in each: only what repeats every time is logged again.
    times = [frame[column][known] for column in frame.columns if column in _TIMES]
    repeated = (rows.groupby([number, *times], dropna=False).count() > 1).any(axis=1).sum()
    findings.count("Steps logged again later, where the last value counts", log.shown, repeated)
    return rows.groupby([number, step]).last().dropna(how="all")


def _outcome_columns(
    frame: pd.DataFrame, log: _Log, findings: _Findings, given: bool
) -> dict[str, pd.Series]:
    values = {}
    for column in frame.columns:
        if column in _TIMES or column in _IDENTITY or column.startswith("unnamed:"):
            continue
        numbers = _numbers(frame[column])
        if numbers.isna().all():
            continue
        if given or is_outcome(column):
            n_text = (frame[column].notna() & numbers.isna()).sum()
            findings.count("Values that are not numbers", f"{log.shown}, {column}", n_text)
            values[column] = numbers
        else:
            findings.other_columns.add(column)
    return values


def _steps(frame: pd.DataFrame, unit: str) -> pd.Series:
    """Return the steps, in the unit of the checkpoints; NaN where there is no whole number."""
    column = next((name for name in _TIME_COLUMNS[unit] if name in frame), None)
    if column is None and _TIMES.isdisjoint(frame.columns):
        raise OutcomeError(_NO_TIME)
    if column is None:
        raise OutcomeError(f"the checkpoints count {unit}s and it does not")
    step = _numbers(frame[column])
    return step.where((step % 1 == 0) & (step.abs() < _LARGEST_STEP))


def _numbers(column: pd.Series) -> pd.Series:
    """Return a column as numbers, NaN for what is none: text, truth values, nothing."""
    if column.dtype.kind not in "iuf":  # text, truth values, or integers beyond 64 bits
        column = pd.to_numeric(column.astype("string"), errors="coerce")
    return pd.Series(column.to_numpy(np.float64, na_value=np.nan), index=column.index)


def _merge(frames: Mapping[str, pd.DataFrame], runs: _Runs, findings: _Findings) -> pd.DataFrame:
    """Put the logs together, by run and step; of two that tell one value, the later counts."""
    if not frames:
        return pd.DataFrame(columns=CHECKPOINT_KEY).astype({"step": np.int64})
    by_step = pd.concat(frames.values()).groupby(level=["number", "step"])
    for outcome, n in by_step.nunique().gt(1).sum().items():
        reason = "Steps at which two logs of a run differ, where the one read last counts"
        findings.count(reason, str(outcome), n)
    merged = by_step.last()
    keys = [(*runs.all[number][:2], step) for number, step in merged.index]
    return pd.concat(
        [pd.DataFrame(keys, columns=CHECKPOINT_KEY), merged.reset_index(drop=True)], axis=1
    )


# -------------------------------------------------------------------------------- reading files


def _read_log(path: Path) -> tuple[pd.DataFrame, int]:
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
        frame, n_damaged = _reader_of(path)(path)
    except UnicodeDecodeError:
        raise OutcomeError("it is not UTF-8 text") from None
    except OSError as error:
        raise OutcomeError(f"it cannot be read ({error.strerror})") from None
    except RecursionError:
        raise OutcomeError("its JSON is nested too deeply") from None
    except (ValueError, OverflowError, csv.Error, pd.errors.ParserWarning) as error:
        reason = printable(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise OutcomeError(f"it is malformed ({reason})") from None
    if frame.empty:
        raise OutcomeError("it has no rows")
    frame.columns = pd.Index([normalise_column(str(name)) for name in frame.columns])
    return frame, n_damaged


def normalise_column(column: str) -> str:
    """Give a column its name here: lower case, and ``_`` for slash, hyphen, blank and dot."""
    return printable(re.sub(r"[/\-\s.]+", "_", column.strip().lower()))


def _reader_of(path: Path) -> Callable[[Path], tuple[pd.DataFrame, int]]:
    if is_event_file(path.name):
        return lambda events: (read_events(events), 0)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise OutcomeError(f"its suffix is none of {', '.join(_READERS)}")
    return reader


def _read_separated(path: Path) -> tuple[pd.DataFrame, int]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline(1 << 20)
    separator = max(",;\t", key=header.count)
    names = next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])
    if _TIMES.isdisjoint(map(normalise_column, names)):  # so that a large table is not read in vain
        raise OutcomeError(_NO_TIME)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(
            path,
            sep=separator,
            encoding="utf-8-sig",
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
            dtype={name: str for name in names if normalise_column(name) in _IDENTITY},
        )
    return frame, 0


def _read_json_lines(path: Path) -> tuple[pd.DataFrame, int]:
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
    return pd.DataFrame(rows), n_damaged


def _read_trainer_state(path: Path) -> tuple[pd.DataFrame, int]:
    """Read Hugging Face's log history, without its last row: totals of the whole training."""
    state = json.loads(path.read_text(encoding="utf-8-sig"))
    history = state.get("log_history") if isinstance(state, dict) else None
    if not isinstance(history, list):
        raise OutcomeError("it holds no log_history")
    rows = [row for row in history if isinstance(row, dict) and "train_runtime" not in row]
    return pd.DataFrame([dict(_scalars(row)) for row in rows]), 0


def _scalars(
    record: Mapping[str, object], prefix: str = "", depth: int = 3
) -> Iterator[tuple[str, float | str]]:
    """Yield the numbers and texts of a record; what is nested gets a joined name."""
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and depth:
            yield from _scalars(value, f"{name}/", depth - 1)
        elif isinstance(value, str) or (value is not None and normalise_column(name) in _IDENTITY):
            yield name, str(value)
        elif isinstance(value, float):
            yield name, value
        elif type(value) is int and abs(value) < _LARGEST_STEP:  # a truth value is no number
            yield name, float(value)


_READERS: dict[str, Callable[[Path], tuple[pd.DataFrame, int]]] = {
    ".csv": _read_separated,
    ".tsv": _read_separated,
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_trainer_state,
}
