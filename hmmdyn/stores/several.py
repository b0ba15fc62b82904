"""A list of tables, one per run or more: frames or files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from hmmdyn.errors import LogError, TableError
from hmmdyn.logs import read_log
from hmmdyn.logs.columns import understand
from hmmdyn.names import printable
from hmmdyn.places import Place, place
from hmmdyn.results.notice import Notice
from hmmdyn.stores.folder import together
from hmmdyn.stores.pieces import LeftOut, told_by_names, understood
from hmmdyn.tables.metric_table import from_frame
from hmmdyn.tables.trajectories import Trajectories


def read_frames(
    frames: Sequence[pd.DataFrame],
    *,
    names: Iterable[str] | None = None,
    outcomes: Sequence[str] = (),
    metrics: Sequence[str] = (),
    step_column: str | None = None,
) -> Trajectories:
    """Read frames as runs; one that does not say which run it is of is called by its place.

    Parameters
    ----------
    frames : sequence of DataFrame
        Each of a run, or of several that it names.
    names : iterable of str, optional
        Those of the runs, where they are known.
    outcomes, metrics, step_column
        As in :func:`hmmdyn.tables.metric_table.from_frame`.

    Raises
    ------
    TableError
    """
    named, numbered = [], []
    called = [f"run{i}" for i in range(len(frames))] if names is None else list(map(str, names))
    for run, frame in zip(called, frames, strict=True):
        names_run = False
        if frame.columns.is_unique:
            columns = understand(frame.rename(columns=str).reset_index(drop=True))
            names_run = columns.run is not None or columns.seed is not None
        if not names_run:
            numbered.append(run)
            frame = frame.assign(run=run)
        named.append(frame)
    found = from_frame(
        pd.concat(named, ignore_index=True),
        outcomes=outcomes,
        metrics=metrics,
        step_column=step_column,
        source="the frames",
    )
    if not numbered or names is not None:
        return found
    text = "Frames without a column run or seed are called by their place: run0 is the first."
    return replace(found, notices=(Notice("metrics", "odd", "runs", text), *found.notices))


def read_files(
    paths: Sequence[Any],
    *,
    outcomes: Sequence[str] = (),
    metrics: Sequence[str] = (),
    step_column: str | None = None,
) -> Trajectories:
    """Read files of tables as runs; those that do not say which run they are of, by their paths.

    Parameters
    ----------
    paths : sequence of path or URL
        The files.
    outcomes, metrics, step_column
        As in :func:`hmmdyn.tables.metric_table.from_frame`.

    Raises
    ------
    TableError, LayoutError
    """
    files = [place(path).absolute() for path in paths]
    above = [list(_folders_above(file)) for file in files]
    shared = [folder for folder in above[0] if all(folder in folders for folders in above)]
    if not shared:
        raise TableError("The files lie in different stores. Copy them into one folder.")
    left_out = LeftOut()
    pieces = []
    for file in files:
        parts = file.relative_to(shared[0]).parts
        shown = printable("/".join(parts))
        try:
            pieces.append(
                understood((*parts[:-1], file.stem), shown, read_log(file), left_out, step_column)
            )
        except LogError as error:
            raise TableError(f"{printable(str(file))} cannot be read: {error}.") from None
    found = together(shared[0], told_by_names(pieces), left_out, outcomes=outcomes, metrics=metrics)
    if found is None:
        raise TableError("None of the files holds rows that can be used.")
    # Its first notice is about a folder in which checkpoints were looked for.
    return replace(found, notices=found.notices[1:])


def _folders_above(file: Place) -> Iterator[Place]:
    while file != file.parent:
        file = file.parent
        yield file
