"""Join metrics that were made elsewhere to those of the runs, by run and step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hmmdyn.errors import TableError
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import printable, some
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.tables.metric_table import read_table
from hmmdyn.tables.trajectories import KEY_COLUMNS, Trajectories

_Run = tuple[str, str]  # group, run


class _Named(NamedTuple):
    """How a run is called."""

    group: str
    run: str
    seed: Any  # an integer or missing


def read_more_metrics(path: Path, metrics: Sequence[str] = ()) -> Trajectories:
    """Read a table of metrics that are to be joined to those of other runs.

    Parameters
    ----------
    path : Path
        As of :func:`read_table`.
    metrics : sequence of str
        Columns that are metrics whatever their names say.

    Raises
    ------
    TableError
        The file cannot be read as a metric table, or holds no metric.
    """
    more, shown = read_table(path, metrics=metrics), printable(str(path))
    if not more.metrics:
        raise TableError(
            f"{shown} holds no metric: the names of its columns ({some(more.outcomes)}) say that "
            "they are outcomes. Say which of them are metrics with ",
            Remedy("keep_metrics", more.outcomes[:1]),
            ".",
        )
    outcomes = [
        Notice(
            "metrics",
            "left out",
            f"column {printable(name)} of {shown}",
            Message(
                "Its name says that it is an outcome, and a table of further metrics brings none. ",
                Remedy("keep_metrics", (name,)),
                " takes it for a metric.",
            ),
        )
        for name in more.outcomes
    ]
    told = [replace(n, subject=f"{n.subject} of {shown}") for n in more.notices]
    return replace(more, notices=(*told, *outcomes))


def require_new(more: Sequence[str], path: Path, taken: Sequence[str]) -> None:
    """Refuse further metrics ``more`` of which one bears the name of another column.

    Raises
    ------
    TableError
    """
    twice = [name for name in more if name in taken]
    if twice:
        raise TableError(
            f"{printable(str(path))} has columns whose names are taken here: {some(twice)}. "
            f"Which of the two is meant cannot be told. Rename {some(twice, 1)} in that file, or "
            "remove it."
        )


def join_metrics(trajectories: Trajectories, more: Trajectories, path: Path) -> Trajectories:
    """Give checkpoints the metrics that another table has for them.

    A row is of the run that has its name or else its seed, in its group if it tells one, at exactly
    its step. Metrics are missing where the other table has no row. Rows of no checkpoint are
    counted and named in a notice.

    Parameters
    ----------
    trajectories : Trajectories
        The runs.
    more : Trajectories
        What to join, from :func:`read_more_metrics`.
    path : Path
        What messages call it.

    Raises
    ------
    TableError
        A column's name is taken, steps are counted in another unit, a row may be of several runs,
        or no row is of a checkpoint.
    """
    shown = printable(str(path))
    require_new(more.metrics, path, [str(name) for name in trajectories.table.columns])
    if more.step_unit != trajectories.step_unit:
        raise TableError(
            f"{shown} counts {more.step_unit}s, and the checkpoints here are counted by "
            f"{trajectories.step_unit}s. Give it a column {trajectories.step_unit!r} instead."
        )
    owners = _owners(trajectories, more, shown)
    keys = pd.DataFrame(
        [owners.get(run, (None, None)) for run in more.table[RUN_KEY].itertuples(index=False)],
        columns=RUN_KEY,
    )
    columns = more.table[["step", *more.metrics]]
    rows = pd.concat([keys, columns], axis=1).dropna(subset=["run"])
    _require_one_each(rows, shown)
    at = pd.MultiIndex.from_frame(trajectories.table[CHECKPOINT_KEY])
    used = pd.MultiIndex.from_frame(rows[CHECKPOINT_KEY]).isin(at)
    unmatched = more.table.drop(index=rows.index[used])
    if not used.any():
        raise TableError(
            f"None of the {len(more.table):,} rows of {shown} is of a checkpoint here: it has "
            f"{_extent(more)}, and here are {_extent(trajectories)}. Name runs and "
            f"{trajectories.step_unit}s there as they are here."
        )
    own = [name for name in trajectories.table if name not in trajectories.metrics]
    keys_first = [*KEY_COLUMNS, *trajectories.metrics, *more.metrics]
    table = trajectories.table.merge(rows, on=CHECKPOINT_KEY, how="left")
    return replace(
        trajectories,
        table=table[[*keys_first, *(name for name in own if name not in KEY_COLUMNS)]],
        metrics=(*trajectories.metrics, *more.metrics),
        notices=(*trajectories.notices, *more.notices, *_left_out(unmatched, owners, more, shown)),
    )


def _owners(trajectories: Trajectories, more: Trajectories, shown: str) -> dict[_Run, _Run]:
    """Run of the other table -> the run here that it is; those that are none of them lack."""
    here = [_Named(*one) for one in trajectories.runs.astype({"seed": object}).to_numpy()]
    there = [_Named(*one) for one in more.runs.astype({"seed": object}).to_numpy()]
    tells_groups = {one.group for one in there} != {"all"}
    found: dict[_Run, _Run] = {}
    for one in there:
        mine = [own for own in here if own.group == one.group or not tells_groups]
        same = [own for own in mine if own.run == one.run] or [
            own for own in mine if not pd.isna(own.seed + one.seed) and own.seed == one.seed
        ]
        if one.run == "run" and len(here) == len(there) == 1:  # a table that names no run has one
            same = here
        if len(same) > 1:
            which = some(f"{own.group}/{own.run}" for own in same)
            raise TableError(
                f"{shown} does not say which run {printable(one.run)!r} of it is: {which}. "
                "Name runs there as they are here, in columns group and run."
            )
        if same:
            found[one.group, one.run] = same[0].group, same[0].run
    return found


def _require_one_each(rows: pd.DataFrame, shown: str) -> None:
    """Refuse two rows of one checkpoint: runs of other names may be one run here."""
    again = rows[rows.duplicated(CHECKPOINT_KEY)]
    if len(again):
        group, run, step = again.iloc[0][CHECKPOINT_KEY]
        raise TableError(
            f"{shown} has several runs that are {printable(group)}/{printable(run)} here, as at "
            f"step {step:,}. Name runs there as they are here, in columns group and run."
        )


def _left_out(
    rows: pd.DataFrame, owners: dict[_Run, _Run], more: Trajectories, shown: str
) -> Iterator[Notice]:
    """Name the rows that are of no checkpoint: of runs that are not here, of other steps."""
    nobodys, elsewhere = list[str](), list[str]()
    for (group, run), of_run in rows.groupby(RUN_KEY, sort=False):
        name = run if more.runs["group"].nunique() == 1 else f"{group}/{run}"
        if (group, run) in owners:
            steps = some((f"{step:,}" for step in of_run["step"]), 3)
            elsewhere.append(f"{name} ({more.step_unit}s {steps})")
        else:
            nobodys.append(f"{name} ({len(of_run):,})")
    if not nobodys and not elsewhere:
        return
    reasons = []
    if nobodys:
        reasons.append(f"of runs that are not here: {some(nobodys)}")
    if elsewhere:
        reasons.append(f"at steps without a checkpoint: {some(elsewhere)}")
    text = f"{len(rows):,} of {len(more.table):,} rows are of no checkpoint, {'; '.join(reasons)}."
    yield Notice("metrics", "left out", f"rows of {shown}", text)


def _extent(trajectories: Trajectories) -> str:
    by_run: dict[str, list[str]] = defaultdict(list)
    for group, run in trajectories.runs[RUN_KEY].itertuples(index=False):
        by_run[group].append(run)
    runs = "; ".join(f"{some(names, 3)} of group {group}" for group, names in by_run.items())
    steps = trajectories.table["step"]
    unit = trajectories.step_unit
    return f"runs {printable(runs)}, {unit}s {steps.min():,} to {steps.max():,}"
