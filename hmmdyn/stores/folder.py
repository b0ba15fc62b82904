"""From a folder of logs without checkpoints to trajectories: metrics and outcomes of its runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from hmmdyn.checkpoints.find.candidates import find_candidates
from hmmdyn.checkpoints.find.logs import find_logs
from hmmdyn.checkpoints.find.walking import Tree
from hmmdyn.errors import LayoutError, LogError, NoTimeError
from hmmdyn.logs import read_log
from hmmdyn.logs.align import at_checkpoints
from hmmdyn.logs.files import WANDB, is_log
from hmmdyn.logs.numbers import as_numbers
from hmmdyn.logs.steps import last_written, on_one_axis, whole
from hmmdyn.names import printable, some
from hmmdyn.places import Place
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.roles import is_outcome
from hmmdyn.stores.identity import Identity, identify
from hmmdyn.stores.mlflow import find_mlflow_runs
from hmmdyn.stores.pieces import LeftOut, Piece, told_by_names, understood
from hmmdyn.tables.metric_table import from_frame
from hmmdyn.tables.trajectories import Trajectories


def read_run_logs(
    tree: Tree,
    *,
    outcomes: Sequence[str] = (),
    metrics: Sequence[str] = (),
    step_column: str | None = None,
) -> Trajectories | None:
    """Read the logs below a folder as runs; None where there is none.

    A log may be a table per run or of several, an event file of TensorBoard, a run of MLflow's
    store, …: see :func:`hmmdyn.logs.read_log`. Group, run and seed are read from its columns, or
    from the names of folders and files, as for checkpoints. Several logs of one run are put
    together; what is logged in another rhythm than the metrics is given to the rows of metrics as
    outcomes are to checkpoints.

    Parameters
    ----------
    tree : Tree
        What a walk under the folder has seen.
    outcomes, metrics, step_column
        As in :func:`hmmdyn.tables.metric_table.read_table`; logs without the column are read as if
        it had not been asked for.

    Raises
    ------
    LayoutError
        The paths do not say for certain which runs they are of.
    TableError
        The logs cannot be put together.
    """
    left_out = LeftOut()
    not_read = dict(tree.unreadable)
    find_candidates(tree.folders, not_read)
    for path, why in not_read.items():
        left_out.because(f"Not read: {why}", printable(path))
    pieces = told_by_names(list(_pieces(tree, left_out, step_column)))
    if not pieces:
        return None
    return together(tree.root, pieces, left_out, outcomes=outcomes, metrics=metrics)


def together(
    root: Place,
    pieces: Sequence[Piece],
    left_out: LeftOut,
    *,
    outcomes: Sequence[str],
    metrics: Sequence[str],
) -> Trajectories | None:
    """Put logs together as runs; None where no row is left.

    Parameters
    ----------
    root : Place
        The folder that all lie below.
    pieces : sequence of Piece
        The logs; those whose rows do not name their runs are named by their paths.
    left_out : LeftOut
        Added to: what is left out, and why.
    outcomes, metrics : sequence of str
        As in :func:`read_run_logs`, whose errors are raised, too.
    """
    identities = identify(root, pieces)
    unit = _unit(pieces)
    frames, units = {}, set()
    for piece, identity in zip(pieces, identities, strict=True):
        try:
            frames[piece.shown], counted = _rows(piece, identity, unit, left_out)
            units.add(counted)
        except LogError as error:
            left_out.because(f"Logs not used, because {error}", piece.shown)
    frames = {shown: frame for shown, frame in frames.items() if len(frame)}
    if not frames:
        return None
    _require_no_second_start(root, pieces, identities, frames)
    (unit,) = units if len(units) == 1 else {unit}
    table = _merged(list(frames.values()), unit, left_out)
    found = from_frame(table, outcomes=outcomes, metrics=metrics, source=printable(str(root)))
    logs = "1 log" if len(frames) == 1 else f"{len(frames):,} logs"
    text = f"No checkpoints were found, but {logs}: {some(frames)}."
    read = Notice("metrics", "odd", "logs", text)
    found = _in_the_rhythm_of_metrics(found)
    return replace(found, notices=(read, *left_out.notices(), *found.notices))


def _require_no_second_start(
    root: Place,
    pieces: Sequence[Piece],
    identities: Sequence[Identity],
    frames: Mapping[str, pd.DataFrame],
) -> None:
    """Refuse logs of one run that lie under different dates or versions and begin at one step."""
    first: dict[tuple[str, str, str, int], tuple[tuple[str, ...], str]] = {}
    for piece, identity in zip(pieces, identities, strict=True):
        if piece.names_runs or piece.shown not in frames:
            continue
        frame = frames[piece.shown]
        for column in frame.columns:
            steps = frame[column].dropna().index.get_level_values("step")
            if steps.empty:
                continue
            key = (identity.group, identity.run, column, int(steps.min()))
            occasions, shown = first.setdefault(key, (identity.occasions, piece.shown))
            if occasions != identity.occasions:
                raise LayoutError(
                    f"{shown} and {piece.shown} under {printable(str(root))} both begin with step "
                    f"{key[3]:,} of run {printable(identity.run)}: they may be one run begun anew, "
                    "or two. Put each into a folder of its own name, or remove the one that does "
                    "not count."
                )


def _pieces(tree: Tree, left_out: LeftOut, step_column: str | None) -> Iterator[Piece]:
    in_stores: set[tuple[str, ...]] = set()
    for run in find_mlflow_runs(tree):
        in_stores.add(run.parts)
        try:
            log = run.read()
            yield understood((*run.parts, "metrics"), run.shown, log, left_out)
        except LogError as error:
            left_out.because(f"Logs not used, because {error}", run.shown)
    of_wandb = {f.parts for f in tree.folders if any(e.name.endswith(WANDB) for e in f.files)}
    for file in find_logs(tree.folders):
        above = {file.parts[:depth] for depth in range(len(file.parts))}
        # What W&B puts beside its runs is what they printed, and the machine's state.
        if above & in_stores or (above & of_wandb and not file.path.name.endswith(WANDB)):
            continue
        try:
            log = read_log(file.path, require_time=step_column is None)
            yield understood(file.parts, file.shown, log, left_out, step_column)
        except LogError as error:
            if is_log(file.path.name) or not isinstance(error, NoTimeError):
                left_out.because(f"Logs not used, because {error}", file.shown)


def _unit(pieces: Sequence[Piece]) -> str:
    """Count in steps where most logs do, else in epochs."""
    by_step = sum(bool(p.columns.steps or p.columns.amounts) for p in pieces)
    by_epoch = sum(bool(p.columns.epochs) for p in pieces)
    return "step" if by_step >= by_epoch else "epoch"


def _rows(
    piece: Piece, identity: Identity, unit: str, left_out: LeftOut
) -> tuple[pd.DataFrame, str]:
    """Return the numbers of a log by ``group, run, seed, step``, and what its steps count.

    Raises
    ------
    LogError
    """
    columns = piece.columns
    keys = pd.DataFrame(index=columns.frame.index)
    keys["group"], keys["run"], keys["seed"] = identity.group, identity.run, identity.seed
    if piece.names_runs:
        told = {
            role: columns.frame[name].astype("string") for role, name in columns.identity.items()
        }
        keys["seed"] = told.get("seed", pd.Series(pd.NA, index=keys.index, dtype="string"))
        keys["run"] = told["run"] if "run" in told else "seed" + keys["seed"]
        keys["group"] = told.get("group", keys["group"])
    keys = keys.astype("string")
    owner = pd.Series(pd.MultiIndex.from_frame(keys[RUN_KEY]).factorize()[0], index=keys.index)
    axis = on_one_axis(columns, owner, unit)
    step = whole(axis.at)
    known = step.notna() & keys["run"].notna()
    if (~known).any():
        reason = f"Rows without a whole number as {unit}, or a run"
        left_out.because(reason, f"{piece.shown} ({(~known).sum()})")
    if axis.note:
        left_out.because(f"Understood otherwise than written: {axis.note}", piece.shown)
    values = {}
    for name in columns.values:
        found = as_numbers(columns.frame[name])
        if found.n_others:
            left_out.because("Values that are not numbers", f"{piece.shown}, {name}")
        if found.values.notna().any() and (not found.n_others or is_outcome(name)):
            values[name] = found.values
    if not values:
        raise LogError("it holds no numbers")
    keys["seed"] = keys["seed"].fillna("")
    keys["step"] = step
    by = [keys.loc[known, name] for name in ("group", "run", "seed", "step")]
    merged, contradicts = last_written(pd.DataFrame(values)[known], by)
    again = int(contradicts.to_numpy().sum())
    if again:
        reason = f"Values written again later for the same {unit}, where the last counts"
        left_out.because(reason, f"{piece.shown} ({again})")
    return merged, axis.unit


def _merged(frames: Sequence[pd.DataFrame], unit: str, left_out: LeftOut) -> pd.DataFrame:
    """Put logs together by run and step; of two that tell one value, the later counts."""
    by_step = pd.concat(frames).groupby(level=["group", "run", "seed", "step"])
    for name, n in by_step.nunique().gt(1).sum().items():
        if n:
            reason = f"Two logs of a run differ at some {unit}s, where the later counts"
            left_out.because(reason, f"{name} ({n})")
    table = by_step.last().reset_index().rename(columns={"step": f"{unit}s"})
    table["seed"] = table["seed"].replace("", None)
    return table.drop(columns="seed") if table["seed"].isna().all() else table


def _in_the_rhythm_of_metrics(found: Trajectories) -> Trajectories:
    """Give outcomes that are logged in another rhythm to the rows that have metrics."""
    if not found.metrics or not found.outcomes:
        return found
    has_metrics = found.table[list(found.metrics)].notna().any(axis=1)
    if has_metrics.all():
        return found
    pieces = []
    for _, run in found.table.groupby(RUN_KEY, sort=False):
        kept = run[has_metrics[run.index]].copy()
        for outcome in found.outcomes:
            told = run[run[outcome].notna()]
            if len(told) and len(kept):
                kept[outcome], _ = at_checkpoints(
                    kept["step"].to_numpy(np.int64),
                    told["step"].to_numpy(np.int64),
                    told[outcome].to_numpy(np.float64),
                )
        pieces.append(kept)
    table = pd.concat(pieces, ignore_index=True)
    n = int((~has_metrics).sum())
    text = (
        f"Outcomes were logged at {n:,} other {found.step_unit}s than the metrics. Each row of "
        "metrics has the outcomes of its own, or the last logged since the row before it."
    )
    notice = Notice("metrics", "odd", "outcomes in another rhythm", text)
    return replace(found, table=table, notices=(*found.notices, notice))
