"""Which columns of a table are metrics: not those that count, nor those alike in all runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from hmmdyn.messages import Message, Remedy
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
    for name in unasked:
        if name in alike:
            left_out[name] = _not_asked("It is the same at equal steps in all runs", name)
        elif _grows_with_the_step(table, name):
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
    alike = set()
    for i, name in enumerate(names):
        shared = counts.iloc[:, i].to_numpy() >= 2
        least, most = (x.iloc[:, i].to_numpy(np.float64)[shared] for x in (low, high))
        if not np.allclose(least, most, rtol=1e-9, atol=0.0):
            continue
        if steps[shared].nunique() < _LEAST_STEPS:
            continue
        if pd.Series(least).groupby(groups[shared].to_numpy()).nunique().gt(1).any():
            alike.add(name)
    return alike


def _grows_with_the_step(table: pd.DataFrame, name: str) -> bool:
    known = table[[*RUN_KEY, "step", name]].dropna()
    judged = False
    for _, run in known.groupby(RUN_KEY):
        if len(run) < _LEAST_STEPS:
            continue
        step, values = run["step"].to_numpy(np.float64), run[name].to_numpy(np.float64)
        size = np.abs(values).max()  # of numbers near 1e300 sums and squares overflow
        if not np.isfinite(size) or size == 0 or np.ptp(step) == 0:
            return False
        whole = bool((values % 1 == 0).all())
        values = values / size
        span = np.ptp(values)
        if span == 0:
            return False
        slope, start = np.polyfit(step, values, 1)
        # A count is whole, or begins at nothing: a metric may happen to lie on any other line.
        counts = whole or abs(start) < _ON_A_LINE * span
        on_a_line = np.abs(start + slope * step - values).max() <= _ON_A_LINE * span
        if slope <= 0 or not counts or not on_a_line:
            return False
        judged = True
    return judged
