"""Which metrics change before an outcome does, by how much, and whether that is more than chance.

In every run with a transition of the outcome, a window is laid around it. In this window both, the
outcome and the raw metric, are dated in one way: when they cross the middle between their levels in
its first and in its last quarter. Nothing is smoothed or standardised, so no value knows what comes
after it; and whatever noise does to a date, it does to either side.

A metric that drifts to its level, or from it, would cross the middle early or late for that: a
date counts where the metric is faster in the middle of its way than before and after it, and only
if that is so in half of the runs. What drifts otherwise, or changes at a time of its own, has a
date in the window as well. So it is asked whether metric and outcome go together run by run
(:mod:`hmmdyn.dynamics.outcomes.matching`): the metric of each run is also dated in the windows of
all others, and has to be closer to its own run's transition than to theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.dynamics.moves import (
    FEWEST,
    Median,
    crossings,
    median_between,
    pass_between_levels,
    way_done,
)
from hmmdyn.dynamics.outcomes.inflections import STRETCH, from_clock, to_clock
from hmmdyn.dynamics.outcomes.matching import WINDOW, p_of_pairings, pairings_of
from hmmdyn.dynamics.outcomes.transitions import has_logarithmic_clock, main_improvements
from hmmdyn.dynamics.significance import SIGNIFICANT, corrected
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.told_first import AFTER, BEFORE, TOLD_FIRST
from hmmdyn.results.verdicts import CANNOT_TELL

BEGUN = 0.2  # of its way that an outcome has gone when it has begun to change


class _Curves(NamedTuple):
    """Curves known at the same checkpoints: ``values`` (T, P), each of a run and a metric."""

    steps: FloatArray
    values: FloatArray
    run: IntArray
    metric: IntArray


class _Seen(NamedTuple):
    """What windows show of metrics, shape (R, R, M): the window's run first, then the metric's.

    Bounds of dates, NaN where a metric does not move; and whether the run has checkpoints there.
    """

    low: FloatArray
    high: FloatArray
    is_covered: NDArray[np.bool_]


class _Window(NamedTuple):
    """Steps between which levels before are taken, and those after."""

    begin: float
    before: float
    after: float
    end: float


def told_first(
    table: pd.DataFrame,
    metrics: Sequence[str],
    transitions: pd.DataFrame,
    *,
    random_state: int = 0,
) -> pd.DataFrame:
    """Say for every outcome with transitions, and every metric, which of the two changes first.

    Parameters
    ----------
    table : DataFrame
        ``group, run, seed, step``, metrics and outcomes in their raw units, sorted by run and step.
    metrics : sequence of str
        Those that are asked about.
    transitions : DataFrame
        See :data:`.results.outcomes.OUTCOME_TRANSITIONS`. Of each run and outcome the largest
        improvement counts, unless it has no calm before it (``from_start``).
    random_state : int
        Of the pairings of runs, where there are too many to go through all.

    Returns
    -------
    DataFrame
        See :data:`.results.told_first.TOLD_FIRST`.

    Notes
    -----
    The window reaches 30 % of the run from the transition to either side, or as far as the run
    goes, the same on both sides. A lead of more than half of that cannot be seen. Before and
    after say when a metric changes, not what depends on what.

    ``benchmarks/told_first.md`` has the rates of error.
    """
    logarithmic = has_logarithmic_clock(table)
    rows: list[dict[str, object]] = []
    events = main_improvements(transitions[~transitions["from_start"].astype(bool)])
    for (group, outcome), own in events.groupby(["group", "outcome"], sort=False):
        of_group = dict(list(table[table["group"] == group].groupby("run", sort=False)))
        runs = [of_group[run] for run in own["run"]]
        windows = [
            _window(run["step"].to_numpy(), start, end, logarithmic)
            for run, start, end in zip(runs, own["start"], own["end"], strict=True)
        ]
        names = {"group": group, "outcome": outcome}
        found = _of_outcome(runs, windows, str(outcome), metrics, logarithmic, random_state)
        rows += ({**names, **row} for row in found)
    told = TOLD_FIRST.frame(rows)
    told["p_corrected"] = corrected(told["p"].to_numpy())
    # A metric that passes from level to level in few runs may do so by chance in these.
    is_told = (told["p_corrected"] < SIGNIFICANT) & (2 * told["n_runs"] >= told["n_total"])
    told["when"] = told["when"].where(is_told, CANNOT_TELL)
    return told


def _window(steps: IntArray, start: float, end: float, logarithmic: bool) -> _Window:
    """Lay the window around a transition, on the clock."""
    start, end, first, last = to_clock(
        np.array([start, end, steps[0], steps[-1]], dtype=np.float64), logarithmic
    )
    middle = (start + end) / 2
    half = min(STRETCH * (last - first) + (end - start) / 2, middle - first, last - middle)
    return _Window(*from_clock(middle + half * np.array([-1, -0.5, 0.5, 1]), logarithmic))


def _of_outcome(
    runs: list[pd.DataFrame],
    windows: list[_Window],
    outcome: str,
    metrics: Sequence[str],
    logarithmic: bool,
    random_state: int,
) -> Iterator[dict[str, object]]:
    """Hold the metrics of the runs of a group against one outcome's transitions."""
    dates, begins = _dates_of_outcome(runs, windows, outcome)
    kept = np.flatnonzero(np.isfinite(dates).all(axis=0))
    if not len(kept):
        return
    runs, windows = [runs[i] for i in kept], [windows[i] for i in kept]
    dates, begins = dates[:, kept], begins[:, kept]
    seen = _dates_of_metrics(runs, windows, metrics)
    shares = _done(runs, windows, metrics, begins)
    low, high = (np.diagonal(end).T for end in (seen.low, seen.high))  # each run in its own window
    p = _p_values(runs, windows, metrics, dates, seen, logarithmic, random_state)
    for m, metric in enumerate(metrics):
        moved = np.isfinite(low[:, m])
        earliest, latest = (dates[0] - high[:, m])[moved], (dates[1] - low[:, m])[moved]
        row: dict[str, object] = {
            "metric": metric,
            "n_runs": int(moved.sum()),
            "n_total": len(runs),
            "earlier_runs": int((earliest >= 0).sum()),
            "later_runs": int((latest <= 0).sum()),
            "when": CANNOT_TELL,
        }
        if moved.any():
            lead = median_between(earliest, latest, len(metrics))
            done = median_between(shares[:, moved, m].min(axis=0), shares[:, moved, m].max(axis=0))
            row |= {
                "lead": lead.middle,
                "lead_low": lead.low,
                "lead_high": lead.high,
                "p": p[m],
                "when": _verdict(lead),
                "done": done.middle,
                "done_low": done.low,
                "done_high": done.high,
            }
        yield row


def _dates_of_outcome(
    runs: list[pd.DataFrame], windows: list[_Window], outcome: str
) -> tuple[FloatArray, FloatArray]:
    """Date when the outcome of each run has gone half of its way, and when it has begun.

    Returns
    -------
    tuple of ndarray, shape (2, R)
        Bounds; NaN where the outcome does not move clearly.
    """
    found = np.full((2, 2, len(runs)), np.nan)
    for i, (run, window) in enumerate(zip(runs, windows, strict=True)):
        (curve,) = _curves([run], [outcome])
        steps, done = _way_done(curve, window)
        if len(steps):
            found[:, :, i] = [
                np.concatenate(crossings(steps, done, share)) for share in (0.5, BEGUN)
            ]
    return found[0], found[1]


def _dates_of_metrics(
    runs: list[pd.DataFrame], windows: list[_Window], metrics: Sequence[str]
) -> _Seen:
    """Date every metric of every run in every run's window."""
    low, high = (np.full((len(runs), len(runs), len(metrics)), np.nan) for _ in range(2))
    is_covered = np.zeros(low.shape, dtype=bool)
    for curve in _curves(runs, metrics):
        for i, window in enumerate(windows):
            steps, done = _way_done(curve, window)
            if len(steps):
                at = i, curve.run, curve.metric
                low[at], high[at] = crossings(steps, done)
                is_covered[at] = True
    return _Seen(low, high, is_covered)


def _done(
    runs: list[pd.DataFrame], windows: list[_Window], metrics: Sequence[str], begins: FloatArray
) -> FloatArray:
    """Return how far metrics have gone at the checkpoints around ``begins``, shape (2, R, M)."""
    found = np.full((2, len(runs), len(metrics)), np.nan)
    for i, (run, window) in enumerate(zip(runs, windows, strict=True)):
        for curve in _curves([run], metrics):
            steps, done = _way_done(curve, window)
            if len(steps):
                before = np.searchsorted(steps, begins[0, i], side="right") - 1
                after = np.searchsorted(steps, begins[1, i])
                around = [max(int(before), 0), min(int(after), len(steps) - 1)]
                found[:, i, curve.metric] = done[around]
    return found


def _way_done(curve: _Curves, window: _Window) -> tuple[FloatArray, FloatArray]:
    """Return the steps in a window, shape (T,), and how far curves have gone there, (T, P).

    NaN for curves that do not pass from one level to another; none where too little is known.
    """
    rows, n_before, n_after = _inside(curve.steps, window)
    steps, values = curve.steps[rows], curve.values[rows]
    if min(n_before, n_after) < FEWEST:
        return steps[:0], values[:0]
    done = way_done(values, n_before, n_after)
    return steps, np.where(pass_between_levels(steps, done, n_before, n_after), done, np.nan)


def _curves(runs: list[pd.DataFrame], columns: Sequence[str]) -> list[_Curves]:
    """Put together the curves that are known at the same checkpoints."""
    alike: dict[bytes, list[tuple[int, int, FloatArray, FloatArray]]] = {}
    for r, run in enumerate(runs):
        steps = run["step"].to_numpy(dtype=np.float64)
        for m, values in enumerate(run[list(columns)].to_numpy(dtype=np.float64).T):
            known = np.isfinite(values)
            key = steps[known].tobytes()
            alike.setdefault(key, []).append((r, m, steps[known], values[known]))
    return [
        _Curves(
            steps=ones[0][2],
            values=np.column_stack([values for *_, values in ones]),
            run=np.array([r for r, *_ in ones]),
            metric=np.array([m for _, m, *_ in ones]),
        )
        for ones in alike.values()
    ]


def _inside(steps: FloatArray, window: _Window) -> tuple[slice, int, int]:
    """Return which checkpoints are in a window, and how many of them in its outer quarters."""
    first, after = np.searchsorted(steps, [window.begin, window.after])
    before, last = np.searchsorted(steps, [window.before, window.end], side="right")
    return slice(int(first), int(last)), int(before - first), int(last - after)


def _p_values(
    runs: list[pd.DataFrame],
    windows: list[_Window],
    metrics: Sequence[str],
    dates: FloatArray,
    seen: _Seen,
    logarithmic: bool,
    random_state: int,
) -> FloatArray:
    """Return the share of pairings of runs that bring metrics as close to the outcome, shape (M,).

    A schedule that runs share may be in steps or in shares of the run: where runs differ in length,
    p is the larger of that in steps and that with all runs brought to one length.
    """
    pairings = pairings_of(np.zeros(len(runs)), np.random.default_rng(random_state))
    of_all = [_apart(dates, seen, runs, logarithmic)]
    lasts = np.array([run["step"].iloc[-1] for run in runs])
    if np.ptp(lasts) > 0:
        length = lasts / np.median(lasts)
        alike = [run.assign(step=run["step"] / own) for run, own in zip(runs, length, strict=True)]
        scaled = [_Window(*np.divide(w, own)) for w, own in zip(windows, length, strict=True)]
        seen = _dates_of_metrics(alike, scaled, metrics)
        of_all.append(_apart(dates / length, seen, alike, logarithmic))
    p = [[p_of_pairings(one[:, :, m], pairings) for m in range(len(metrics))] for one in of_all]
    return np.asarray(np.max(p, axis=0))


def _apart(
    dates: FloatArray, seen: _Seen, runs: list[pd.DataFrame], logarithmic: bool
) -> FloatArray:
    """Return by how much each run's metrics lead each run's outcome, shape (R, R, M).

    On the clock, in units of what is close; the event's run first, then the metric's. A run that
    has no checkpoints in a window says nothing there: it counts as the event's own run does.
    """
    ends = np.array([run["step"].to_numpy(dtype=np.float64)[[0, -1]] for run in runs])
    close = WINDOW * np.diff(to_clock(ends, logarithmic), axis=1)[:, :, None]
    of_outcome = to_clock(dates.mean(axis=0), logarithmic)[:, None, None]
    apart = (of_outcome - to_clock((seen.low + seen.high) / 2, logarithmic)) / close
    own = np.diagonal(apart).T[:, None, :]
    return np.where(seen.is_covered, apart, own)


def _verdict(lead: Median) -> str:
    """Say on which side of zero the lead is; a date is after its first bound, so ends are open."""
    return BEFORE if lead.low >= 0 else AFTER if lead.high <= 0 else CANNOT_TELL
