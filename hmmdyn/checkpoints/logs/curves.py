"""Logs of runs that kept no checkpoints: their losses and accuracies as curves of their own.

Each log is a run's, named by its folder, or by its own name where several lie in one; columns
``group``, ``run`` and ``seed`` within a log go before that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from hmmdyn.checkpoints.find import layouts
from hmmdyn.checkpoints.find.logs import TRAINER_STATE, find_logs, is_event_file
from hmmdyn.checkpoints.find.walking import Tree
from hmmdyn.checkpoints.logs.read import IDENTITY, TIME_COLUMNS, read_log
from hmmdyn.errors import OutcomeError
from hmmdyn.names import data_split, is_outcome, some
from hmmdyn.results.checkpoints import LogFile
from hmmdyn.results.keys import CHECKPOINT_KEY
from hmmdyn.results.notice import Notice

_STAGE = "outcomes"


@dataclass(frozen=True)
class LoggedCurves:
    """Outcomes of runs as they were logged: a row per run and step or epoch, as ``unit`` says.

    ``table`` has ``group, run, seed, step`` and a column per outcome, some value in every row.
    """

    table: pd.DataFrame
    unit: str
    notices: tuple[Notice, ...]


def read_curves(tree: Tree) -> LoggedCurves | None:
    """Read the outcomes of all logs in a tree of folders; None where there are none.

    Of a step that is logged several times, the last value counts. Runs are told in one unit: steps
    where any log has them, else epochs; logs without it are left out, by name.
    """
    logs = find_logs(tree.folders)
    read: dict[str, pd.DataFrame] = {}
    left_out: dict[str, str] = {}
    per_folder = Counter(log.parts[:-1] for log in logs)
    for log in logs:
        try:
            read[log.shown] = _curves(log, tree.root.resolve().name, per_folder[log.parts[:-1]])
        except OutcomeError as error:
            left_out[log.shown] = str(error)
    unit = "step" if any("step" in frame for frame in read.values()) else "epoch"
    for shown in [shown for shown, frame in read.items() if unit not in frame]:
        left_out[shown] = f"it does not count {unit}s, as other logs do"
        del read[shown]
    if not read:
        return None
    logged = pd.concat([frame.rename(columns={unit: "step"}) for frame in read.values()])
    logged = logged[logged["step"] % 1 == 0]
    merged = logged.groupby(CHECKPOINT_KEY, sort=False).last().reset_index()
    outcomes = [str(c) for c in merged if is_outcome(str(c))]
    kept = merged[[*CHECKPOINT_KEY, "seed", *outcomes]].dropna(subset=outcomes, how="all")
    return LoggedCurves(kept, unit, (*_notices(left_out), _of_logs(len(read))))


def _curves(log: LogFile, root: str, n_in_folder: int) -> pd.DataFrame:
    """Return ``group, run, seed``, the step or epoch, and the outcomes of a log, a row per row.

    Raises
    ------
    OutcomeError
        With the reason alone.
    """
    frame = read_log(log.path).frame
    frame = frame.loc[:, ~frame.columns.duplicated()]
    outcomes = [str(c) for c in frame if is_outcome(str(c))]
    if not outcomes:
        raise OutcomeError("it holds no loss, accuracy or the like")
    read = layouts.read_path((*_named_by(log, n_in_folder), "log"), root)
    told = {"group": read.group, "run": read.run, "seed": read.seed}
    result = pd.DataFrame({name: frame.get(name, told[name]) for name in IDENTITY}, frame.index)
    if "run" not in frame and "seed" in frame:
        result["run"] = "seed" + frame["seed"].astype(str)
    for unit, names in TIME_COLUMNS.items():
        column = next((name for name in names if name in frame), None)
        if column is not None:
            result[unit] = pd.to_numeric(frame[column], errors="coerce")
    return result.join(frame[outcomes].apply(pd.to_numeric, errors="coerce"))


def _named_by(log: LogFile, n_in_folder: int) -> tuple[str, ...]:
    """Return the names that say whose a log is: those of its folders, and its own if need be."""
    name = log.path.name
    nameless = is_event_file(name) or name == TRAINER_STATE or bool(data_split(log.parts[-1]))
    return log.parts[:-1] if nameless or n_in_folder == 1 else log.parts


def _of_logs(n: int) -> Notice:
    message = f"No checkpoints were found, but {n:,} logs: this is what outcomes alone tell."
    return Notice(_STAGE, "odd", "logs", message)


def _notices(left_out: dict[str, str]) -> Iterator[Notice]:
    for reason in sorted(set(left_out.values())):
        which = some(shown for shown, why in left_out.items() if why == reason)
        yield Notice(_STAGE, "left out", "logs", f"Logs not used, because {reason}: {which}.")
