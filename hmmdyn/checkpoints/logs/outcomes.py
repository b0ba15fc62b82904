"""Loss and accuracy curves logged beside the checkpoints: which there are, by run and step.

A log belongs to the run whose folder holds it; a log of several runs says whose each row is in a
``run`` or ``seed`` column.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from hmmdyn.checkpoints.find import layouts
from hmmdyn.checkpoints.find.logs import find_logs, given_log, in_order
from hmmdyn.checkpoints.find.walking import walk
from hmmdyn.checkpoints.logs.owners import Runs
from hmmdyn.errors import LogError, NoTimeError, OutcomeError
from hmmdyn.logs import LogReader
from hmmdyn.logs.columns import split_of_path, understand
from hmmdyn.logs.files import TRAINER_STATE, is_log
from hmmdyn.logs.numbers import as_numbers
from hmmdyn.logs.steps import last_written, on_one_axis, whole
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import normalise_column, some
from hmmdyn.results.checkpoints import CheckpointIndex, LogFile, OutcomeTable
from hmmdyn.results.keys import CHECKPOINT_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.roles import data_split, is_outcome


@dataclass
class _LeftOut:
    """What is left out while logs are read, gathered by reason so that each is told once."""

    by_reason: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    other_columns: set[str] = field(default_factory=set)
    read_as: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def count(self, reason: str, subject: str, number: int) -> None:
        """Note how many rows, values, … of a subject are left out, if any."""
        if number:
            self.by_reason[reason].append(f"{subject} ({number})")

    def notices(self) -> tuple[Notice, ...]:
        """Tell what was gathered."""
        messages = [
            ("logs", f"{reason}: {some(subjects)}.") for reason, subjects in self.by_reason.items()
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
        read = [
            Notice("outcomes", "odd", "columns", f"Outcomes read {how}: {some(sorted(columns))}.")
            for how, columns in self.read_as.items()
        ]
        left_out = [Notice("outcomes", "left out", subject, text) for subject, text in messages]
        return (*left_out, *read)


def find_outcomes(
    index: CheckpointIndex, extra: Path | None = None, logs_of: LogReader | None = None
) -> OutcomeTable:
    """Read the losses and accuracies logged beside the checkpoints.

    Any file under the index's root that reads as a log with a column in the index's step unit
    counts as one (see :func:`hmmdyn.logs.read_log`), and the latest ``trainer_state.json`` of a run
    (earlier ones only for the steps that it does not cover). Column names are normalised: lower
    case, ``eval/loss`` becomes ``eval_loss``; what a ``mode`` column, or the names of the file and
    of folders below the run's, say of the part of the data goes before them. Where a step is logged
    twice, as a resumed run does, the last value counts.

    Parameters
    ----------
    index : CheckpointIndex
        What discovery found.
    extra : Path, optional
        A further log. All its numeric columns are taken, whatever their names, and its values go
        before those of logs found.
    logs_of : LogReader, optional
        Who has read some of the logs already.

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
    runs, logs_of = Runs(index), logs_of or LogReader()
    left_out = _LeftOut()
    given = None if extra is None else given_log(index.root, Path(extra))
    logs = find_logs(walk(index.root, {})) if index.logs is None else index.logs
    states = [log for log in logs if log.path.name == TRAINER_STATE]
    frames = {
        log.shown: _read_found(log, runs, left_out, logs_of)
        for log in logs
        if log not in states and not _is_same_file(log, given)
    }
    for of_one_run in _by_run(states, runs):
        frames |= _read_trainer_states(of_one_run, runs, left_out, logs_of)
    if given is not None:
        frames[given.shown] = _read_given(given, runs, left_out, logs_of)
    frames = {shown: frame for shown, frame in frames.items() if len(frame)}
    table = _merge(frames, runs, left_out)
    sources = {shown: len(frame) for shown, frame in frames.items()}
    return OutcomeTable(table, sources, left_out.notices())


def _is_same_file(log: LogFile, given: LogFile | None) -> bool:
    return given is not None and log.path.resolve() == given.path


def _by_run(logs: Iterable[LogFile], runs: Runs) -> Iterator[list[LogFile]]:
    groups: dict[tuple[int, ...], list[LogFile]] = defaultdict(list)
    for log in logs:
        groups[tuple(runs.at(log.parts))].append(log)
    yield from groups.values()


def _read_found(log: LogFile, runs: Runs, left_out: _LeftOut, logs_of: LogReader) -> pd.DataFrame:
    try:
        return _outcomes_in(log, runs, left_out, logs_of, given=False)
    except LogError as error:
        # A file whose name says no log, and whose content neither, is nobody's concern.
        if is_log(log.path.name) or not isinstance(error, NoTimeError):
            left_out.by_reason[f"Logs not used, because {error}"].append(log.shown)
        return pd.DataFrame()


def _read_given(log: LogFile, runs: Runs, left_out: _LeftOut, logs_of: LogReader) -> pd.DataFrame:
    try:
        return _outcomes_in(log, runs, left_out, logs_of, given=True)
    except LogError as error:
        given = Remedy("outcomes_file", log.shown)
        raise OutcomeError(given, f" cannot be used, because {error}.") from None


def _read_trainer_states(
    logs: Sequence[LogFile], runs: Runs, left_out: _LeftOut, logs_of: LogReader
) -> dict[str, pd.DataFrame]:
    """Read the latest trainer state of a run, and those before the first step it tells of.

    Each holds the whole history up to its checkpoint, unless training began anew.
    """

    def time(log: LogFile) -> float:
        reading = layouts.read_path(log.parts, runs.root_name)
        told = reading.step if runs.step_unit == "step" else reading.epoch
        return math.inf if told is None else told  # no checkpoint's own: written at the end

    frames: dict[str, pd.DataFrame] = {}
    covered_from = math.inf
    for log in sorted(logs, key=lambda log: (time(log), in_order(log)), reverse=True):
        if time(log) <= covered_from:
            frame = _read_found(log, runs, left_out, logs_of)
            if len(frame):
                frames[log.shown] = frame
                covered_from = min(covered_from, frame.index.get_level_values("step").min())
    return dict(reversed(frames.items()))


def _outcomes_in(
    log: LogFile, runs: Runs, left_out: _LeftOut, logs_of: LogReader, *, given: bool
) -> pd.DataFrame:
    """Return the outcomes that a log holds, indexed by the number of the run and the step.

    Raises
    ------
    LogError
        With the reason alone: the caller knows which file it was.
    """
    logged = logs_of.read(log.path)
    if logged.own is not None and not given:  # what these runs were measured to, an earlier time
        return pd.DataFrame()
    if logged.damaged and given:
        raise LogError(f"{len(logged.damaged)} of its lines are not JSON objects")
    left_out.count("Lines that are not JSON objects", log.shown, len(logged.damaged))
    for reason, number in logged.left_out.items():
        left_out.count(reason, log.shown, number)
    twice = logged.frame.columns.duplicated()
    left_out.count("Columns of a name already taken", log.shown, twice.sum())
    columns = understand(logged.frame.loc[:, ~twice])
    frame = columns.frame
    tells_itself = any(frame[name].nunique() > 1 for name in columns.identity.values())
    at = runs.at(log.parts, tells_itself=tells_itself)
    owner = runs.of_rows(frame, columns.identity, at)
    axis = on_one_axis(columns, owner, runs.step_unit)
    step = whole(axis.at)
    if (owner < 0).all():
        raise LogError(runs.why_nobodys(frame, columns.identity))
    part = split_of_path(runs.below_the_run(log.parts))
    values = _outcome_columns(frame, columns.values, log, part, left_out, given)
    if not values:
        raise LogError(f"it holds no {'numbers' if given else 'loss, accuracy or the like'}")
    no_step = step.isna()
    left_out.count("Rows without a whole number as step", log.shown, no_step.sum())
    no_run = ~no_step & (owner < 0)
    left_out.count("Rows of runs that have no checkpoints here", log.shown, no_run.sum())
    known = ~no_step & ~no_run
    rows = pd.DataFrame(values)[known]
    owner, step = owner[known].rename("number"), step[known].rename("step").astype(np.int64)
    # Several rows may be of one epoch. A step was logged again only where every time column of a
    # row repeats.
    times = [frame[name][known] for name in (*columns.steps, *columns.epochs)]
    repeated = (rows.groupby([owner, *times], dropna=False).count() > 1).any(axis=1).sum()
    left_out.count("Steps logged again later, where the last value counts", log.shown, repeated)
    merged, _ = last_written(rows, [owner, step])
    return merged.dropna(how="all")


def _outcome_columns(
    frame: pd.DataFrame,
    names: Iterable[str],
    log: LogFile,
    part: str,
    left_out: _LeftOut,
    given: bool,
) -> dict[str, pd.Series]:
    """Return the outcomes by their normalised names; ``part`` of the data goes before them."""
    values: dict[str, pd.Series] = {}
    for column in names:
        wanted = given or is_outcome(column)
        found = as_numbers(frame[column])
        if found.n_others and wanted:
            shown = f"{log.shown}, {normalise_column(column)}"
            left_out.count("Values that are not numbers", shown, found.n_others)
        if found.values.isna().all():
            continue
        called = normalise_column(column)
        if not wanted:
            left_out.other_columns.add(called)
            continue
        if part and not data_split(column):
            called = f"{part}_{called}"
        if called in values:
            left_out.count("Columns of a name already taken", log.shown, 1)
            continue
        if found.read_as:
            left_out.read_as[found.read_as].add(called)
        values[called] = found.values
    return values


def _merge(frames: Mapping[str, pd.DataFrame], runs: Runs, left_out: _LeftOut) -> pd.DataFrame:
    """Put the logs together, by run and step; of two that tell one value, the later counts."""
    if not frames:
        return pd.DataFrame(columns=CHECKPOINT_KEY).astype({"step": np.int64})
    by_step = pd.concat(frames.values()).groupby(level=["number", "step"])
    for outcome, n in by_step.nunique().gt(1).sum().items():
        reason = "Steps at which two logs of a run differ, where the one read last counts"
        left_out.count(reason, str(outcome), n)
    merged = by_step.last()
    keys = [(*runs.all[number][:2], step) for number, step in merged.index]
    return pd.concat(
        [pd.DataFrame(keys, columns=CHECKPOINT_KEY), merged.reset_index(drop=True)], axis=1
    )
