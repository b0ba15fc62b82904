"""Which columns of a table are metrics: not those that count, nor those alike in all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.messages import Message, Remedy
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.roles import (
    is_clock,
    is_counter,
    is_of_the_machine,
    is_outcome,
    is_provenance,
    is_schedule,
    is_spread,
)

_LEAST_STEPS = 4  # with fewer, too much lies on a line, or is alike, by chance
_ON_A_LINE = 1e-6  # of the range: what grows in proportion does so to rounding


@dataclass(frozen=True)
class Kept:
    """Columns that are metrics and outcomes, and why each other one is neither."""

    metrics: tuple[str, ...]
    outcomes: tuple[str, ...]
    left_out: Mapping[str, str | Message] = field(default_factory=dict)


def sort_columns(numbers: pd.DataFrame, outcomes: Sequence[str], metrics: Sequence[str]) -> Kept:
    """Sort numeric columns by their names.

    Parameters
    ----------
    numbers : DataFrame
        The columns, float64.
    outcomes, metrics : sequence of str
        Columns that are asked for as these, whatever their names say.
    """
    names = list(numbers.columns)
    clocks = [name for name in names if is_clock(name) and name not in (*outcomes, *metrics)]
    found_outcomes, found_metrics, left_out = [], [], dict[str, str | Message]()
    for name in names:
        if name in outcomes:
            found_outcomes.append(name)
        elif name in metrics:
            found_metrics.append(name)
        elif is_spread(name):
            left_out[name] = Message(
                "It is the spread of an outcome, neither a metric nor an outcome. ",
                Remedy("outcome_columns", (name,)),
                " or ",
                Remedy("keep_metrics", (name,)),
                " takes it for one.",
            )
        elif name in clocks or any(numbers[name].equals(numbers[clock]) for clock in clocks):
            left_out[name] = _not_asked("It tells the time, not the state of the model", name)
        elif is_of_the_machine(name):
            left_out[name] = _not_asked("It tells of the machine, not the state of the model", name)
        elif is_counter(name):
            left_out[name] = _not_asked("It counts work done, not the state of the model", name)
        elif is_schedule(name):
            left_out[name] = _not_asked("It is set by the recipe", name)
        elif is_provenance(name, names):
            left_out[name] = _not_asked("It tells of the checkpoint's file", name)
        elif is_outcome(name):
            found_outcomes.append(name)
        else:
            found_metrics.append(name)
    return Kept(tuple(found_metrics), tuple(found_outcomes), left_out)


def without_time(kept: Kept, table: pd.DataFrame, asked: Sequence[str]) -> Kept:
    """Leave out metrics whose values are those of a clock or schedule, whatever they are called.

    Such are alike at equal steps in all runs, or grow in proportion to the step in every one.

    Parameters
    ----------
    kept : Kept
        Columns sorted by name.
    table : DataFrame
        One row per checkpoint, ``group, run, step`` and the columns.
    asked : sequence of str
        Metrics asked for by name: they stay.
    """
    left_out = dict(kept.left_out)
    unasked = [name for name in kept.metrics if name not in asked]
    alike = _alike_in_all_runs(table, unasked)
    growing = _growing_with_the_step(table, unasked)
    for name in unasked:
        if name in alike:
            left_out[name] = _not_asked("It is the same at equal steps in all runs", name)
        elif name in growing:
            left_out[name] = _not_asked("It grows in proportion to the step in every run", name)
    metrics = tuple(name for name in kept.metrics if name not in left_out)
    return Kept(metrics, kept.outcomes, left_out)


def _not_asked(why: str, name: str) -> Message:
    return Message(f"{why}. ", Remedy("keep_metrics", (name,)), " takes it for a metric.")


def _alike_in_all_runs(table: pd.DataFrame, names: Sequence[str]) -> set[str]:
    """Return the columns of which runs of one group have the same values at the same steps."""
    if not names:
        return set()
    by_step = table.groupby(["group", "step"], observed=True)[list(names)]
    counts, low, high = by_step.count(), by_step.min(), by_step.max()
    groups, steps = (counts.index.get_level_values(level) for level in ("group", "step"))
    shared = counts.to_numpy() >= 2
    least, most = low.to_numpy(np.float64), high.to_numpy(np.float64)
    same = (np.isclose(least, most, rtol=1e-9, atol=0.0) | ~shared).all(axis=0)
    alike = set()
    for i in np.flatnonzero(same).tolist():
        rows = shared[:, i]
        if steps[rows].nunique() < _LEAST_STEPS:
            continue
        if pd.Series(least[rows, i]).groupby(groups[rows].to_numpy()).nunique().gt(1).any():
            alike.add(names[i])
    return alike


def _growing_with_the_step(table: pd.DataFrame, names: Sequence[str]) -> set[str]:
    """Return the columns that lie on a rising line in every run long enough to tell."""
    grows = np.ones(len(names), dtype=bool)
    judged = np.zeros(len(names), dtype=bool)
    for _, run in table.groupby(RUN_KEY, observed=True):
        left = np.flatnonzero(grows)
        if not len(left):
            break
        values = run[[names[i] for i in left.tolist()]].to_numpy(np.float64)
        told, on_a_line = _on_a_rising_line(run["step"].to_numpy(np.float64), values)
        judged[left] |= told
        grows[left] = on_a_line | ~told
    return {name for name, told in zip(names, grows & judged, strict=True) if told}


def _on_a_rising_line(
    step: FloatArray, values: FloatArray
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of a run's columns (n, C), which have values enough to tell, and which lie on such a line.

    Both have shape (C,). A count is whole, or begins at nothing: a metric may happen to lie on any
    other line.
    """
    known = ~np.isnan(values)
    n = known.sum(axis=0)
    told = n >= _LEAST_STEPS
    with np.errstate(invalid="ignore", divide="ignore"):  # what is not finite is on no line
        values = np.where(known, values, 0.0)
        whole = (values % 1 == 0).all(axis=0)
        values = values / np.abs(values).max(axis=0)  # of numbers near 1e300 squares overflow
        at = np.where(known, step[:, None], 0.0)
        middle, level = at.sum(axis=0) / n, values.sum(axis=0) / n
        off = np.where(known, at - middle, 0.0)
        slope = (off * (values - level)).sum(axis=0) / (off**2).sum(axis=0)
        start = level - slope * middle
        span = np.where(known, values, -np.inf).max(axis=0)
        span -= np.where(known, values, np.inf).min(axis=0)
        rest = np.abs(np.where(known, level + slope * off - values, 0.0)).max(axis=0)
        counts = whole | (np.abs(start) < _ON_A_LINE * span)
        return told, (slope > 0) & (span > 0) & counts & (rest <= _ON_A_LINE * span)
