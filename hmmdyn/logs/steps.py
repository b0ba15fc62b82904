"""When the rows of a log were logged: on one axis for the whole training, or not at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from hmmdyn.errors import LogError, NoTimeError
from hmmdyn.logs.columns import Columns
from hmmdyn.logs.log import LARGEST_STEP, NO_TIME
from hmmdyn.logs.numbers import as_numbers
from hmmdyn.names import some
from hmmdyn.roles import amount_unit

# Seconds, milliseconds, microseconds and nanoseconds since 1970, in the years from 2014 to 2033.
_UNIX_TIMES = tuple((1.4e9 * scale, 2.0e9 * scale) for scale in (1, 1e3, 1e6, 1e9))


class Axis(NamedTuple):
    """When each row was logged.

    ``at`` are whole numbers, NaN where a row has none; ``unit`` is one of ``STEP_UNITS``.
    ``goes_back`` marks the rows of runs in which it falls, as after a resume. ``several`` is why
    several rows may be of one ``at`` without contradicting each other, in words; else empty.
    ``note`` says what was understood, where it is not plain; else empty.
    """

    at: pd.Series
    unit: str
    column: str
    goes_back: pd.Series
    several: str = ""
    note: str = ""


def on_one_axis(columns: Columns, runs: pd.Series, unit: str | None = None) -> Axis:
    """Find when each row was logged.

    A step that starts again in every epoch is no step of the whole training: another column is
    taken if there is one, the epoch at last (where ``unit`` allows it). A time of day is none.

    Parameters
    ----------
    columns : Columns
        The log.
    runs : Series
        A number per row: the run it belongs to.
    unit : str, optional
        ``step`` or ``epoch`` if nothing else will do; whichever is there otherwise.

    Raises
    ------
    NoTimeError
        There is no column of the unit.
    LogError
        None of them counts the whole training.
    """
    candidates = {"step": columns.steps or columns.amounts, "epoch": columns.epochs}
    if unit is not None and not candidates[unit]:
        raise NoTimeError(
            f"the checkpoints count {unit}s and it does not"
            if any(candidates.values())
            else NO_TIME
        )
    wanted = [(kind, name) for kind in (unit,) if kind for name in candidates[kind]] or [
        (kind, name) for kind in ("step", "epoch") for name in candidates[kind]
    ]
    if not wanted:
        raise NoTimeError(NO_TIME)
    frame = columns.frame
    epoch = _counts(frame[columns.epochs[0]]) if columns.epochs else None
    problem, within = "", ""
    for kind, name in wanted:
        why = _no_step(frame[name], name)
        if why:
            problem = problem or why
            continue
        at = _counts(frame[name])
        if kind == "step":
            again = _starts_again(whole(at), epoch, _like_rows(columns, runs))
            if again:
                within = within or f"its {name} starts again {again}"
                continue
        finer = bool(columns.steps) if kind == "epoch" else bool(columns.steps[1:])
        several, note = "", ""
        if within and kind == "epoch":
            several = "the last row of an epoch counts"
            note = f"{within}, and so rows are put at epochs, where {several}"
        elif kind == "epoch" and finer:
            several = "the last row of an epoch counts"
        counted_in = amount_unit(name) if name in columns.amounts else kind
        return Axis(at, counted_in, name, _goes_back(at, runs), several, note)
    if within:
        several = ", unless it holds several runs: a column 'run' or 'seed' must tell them apart"
        raise LogError(
            f"{within}, and so it is no step of the whole training"
            + (several if runs.nunique() == 1 else "")
        )
    raise LogError(problem)


def _counts(column: pd.Series) -> pd.Series:
    """Read a column of counts: numbers, or as people write them (``1,000``, ``10k``, ``step5``)."""
    if column.dtype.kind not in "iufbmM":
        told = column.astype("string").str.strip()
        parts = told.str.extract(_WRITTEN_COUNT)
        if told.notna().any() and (parts["number"].notna() | told.isna()).all():
            numbers = pd.to_numeric(parts["number"].str.replace(",", ""))
            scale = parts["scale"].str.lower().map(_SCALES).fillna(1.0)
            return (numbers.astype("float64") * scale.astype("float64")).round(6)
    return as_numbers(column).values


_SCALES = {"k": 1e3, "m": 1e6, "b": 1e9}
_WRITTEN_COUNT = re.compile(
    r"^(?:[a-z_]*(?:steps?|iter(?:ation)?|epoch|checkpoint|ckpt)[-_=: ]?)?"
    r"(?P<number>[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+(?:\.[0-9]+)?)\s?(?P<scale>[kmb])?$",
    re.IGNORECASE,
)


def _no_step(column: pd.Series, name: str) -> str:
    """Return why a column is no count of steps, as for times of day; else nothing."""
    told = column.dropna()
    if told.empty:
        return ""
    is_time = told.dtype.kind in "mM"
    if not is_time and as_numbers(told.head(50)).n_others == len(told.head(50)):
        texts = told.head(50).astype(str)
        shape = r"\d{4}-\d\d-\d\d([ T].*)?|\d\d?:\d\d(:\d\d.*)?|\d\d?[./]\d\d?[./]\d{4}.*"
        is_time = bool(texts.str.fullmatch(shape).all())
    numbers = as_numbers(told).values.dropna()
    if not is_time and len(numbers) > 1:
        low, high = numbers.min(), numbers.max()
        is_time = any(low > start and high < end for start, end in _UNIX_TIMES)
    if not is_time:
        return ""
    return (
        f"its column {name} holds times of day ({some(map(str, told.head(2)))}, …), which are no "
        "steps: number the rows of each run instead, or give the seconds since it began"
    )


def _like_rows(columns: Columns, runs: pd.Series) -> pd.Series:
    """Number the kinds of rows: of one run, with the same columns filled.

    Training and evaluation may log rows of their own, each in its own rhythm.
    """
    known = columns.frame[list(columns.values)].notna().to_numpy()
    weights = np.random.default_rng(0).integers(1, 2**40, size=known.shape[1])
    pattern = pd.Series(known @ weights if known.size else 0, index=columns.frame.index)
    return pd.Series(
        pd.MultiIndex.from_arrays([runs, pattern]).factorize()[0], index=columns.frame.index
    )


def _starts_again(at: pd.Series, epoch: pd.Series | None, kinds: pd.Series) -> str:
    """Say how a step starts again and again, if it does: with every epoch, or so many times."""
    here = at.notna()
    steps, kind = at[here], kinds[here]
    before = steps.groupby(kind).shift()
    falls = steps < before
    if not falls.any():
        return ""
    if epoch is not None:
        passed = epoch[here].groupby(kind).diff() > 0
        if (falls & passed).sum() * 2 > falls.sum():
            return "in every epoch"
    first = steps.groupby(kind).transform("first")
    to_start = falls & (steps <= first)
    n = int(to_start.groupby(kind).sum().max())
    return f"{n} times" if n >= 2 and to_start.sum() == falls.sum() else ""


def _goes_back(at: pd.Series, runs: pd.Series) -> pd.Series:
    known = whole(at).dropna()
    falls = known.groupby(runs[known.index]).diff() < 0
    return runs.isin(runs[falls[falls].index])


def whole(at: pd.Series) -> pd.Series:
    """Return the whole numbers of a column that can be steps; NaN for the rest."""
    return at.where((at % 1 == 0) & (at.abs() < LARGEST_STEP))


def last_written(
    values: pd.DataFrame, keys: Sequence[pd.Series]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put rows of one key together, the last value of each column; and where values differ.

    Parameters
    ----------
    values : DataFrame
        Numbers, NaN where none was logged, in the order they were written.
    keys : sequence of Series
        Say which rows belong together.

    Returns
    -------
    DataFrame, DataFrame
        One row per key, and of the same shape whether values of it contradict each other.
    """
    grouped = values.groupby(list(keys), sort=True)
    return grouped.last(), grouped.nunique() > 1
