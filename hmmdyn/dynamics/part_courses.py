"""How the metrics of layers and roles go along training, over the runs of a group."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from hmmdyn.results.arrays import IntArray
from hmmdyn.results.keys import CHECKPOINT_KEY
from hmmdyn.results.parts import PART_COURSES, USUAL_STATES, PartCourses

_SERIES = ["by", "metric", "part"]
_MOST_PARTS = 48  # rows that can be told apart, and read
# Rows of the table, as far as there are neither fewer nor more steps of each part than …
_ROWS = 20_000
_N_STEPS = (40, 160)
# Deviations below this share of a part's largest value are rounding.
_ROUNDING = 1e-12


def find_part_courses(parts: pd.DataFrame, stays: pd.DataFrame) -> PartCourses:
    """Find the median course of every metric of every part, and the state that most runs are in.

    Parameters
    ----------
    parts : DataFrame
        See :data:`.results.parts.PARTS`; parts in the order of the network.
    stays : DataFrame
        ``group, run, state, start, end``: the unbroken stays of runs in states.
    """
    if parts.empty:
        return PartCourses()
    names = {str(by): own["part"].unique() for by, own in parts.groupby("by", sort=False)}
    told = {by: set(own[_evenly(len(own), _MOST_PARTS)]) for by, own in names.items()}
    is_told = [part in told[by] for by, part in zip(parts["by"], parts["part"], strict=True)]
    parts = parts[is_told]
    in_order = pd.MultiIndex.from_frame(parts[_SERIES].drop_duplicates())
    wide = parts.pivot(index=CHECKPOINT_KEY, columns=_SERIES, values="value")
    wide = wide.reindex(columns=in_order)
    wide = wide.where(np.isfinite(wide))
    scales = _scales(wide)
    of_groups = {str(group): wide.loc[[group]] for group in parts["group"].unique()}
    n_steps = int(np.clip(_ROWS // (len(of_groups) * len(in_order)), *_N_STEPS))
    courses = [
        row.assign(group=group)
        for group, own in of_groups.items()
        for row in _courses(own, scales, n_steps)
    ]
    return PartCourses(
        courses=PART_COURSES.frame(pd.concat(courses, ignore_index=True)),
        usual_states=USUAL_STATES.frame(_usual_states(stays)),
        n_parts={by: len(own) for by, own in names.items()},
        n_steps={group: own.index.unique("step").size for group, own in of_groups.items()},
        values=wide,
        scales=scales,
    )


def _evenly(n: int, most: int) -> IntArray:
    """Return the places of all of ``n``, or of so many, evenly spaced, first and last with them."""
    return np.linspace(0, n - 1, min(most, n)).round().astype(np.int64)


def _courses(own: pd.DataFrame, scales: pd.DataFrame, n_steps: int) -> Iterator[pd.DataFrame]:
    """Return the courses of a group, a frame per metric."""
    steps = np.unique(own.index.get_level_values("step"))
    steps = steps[_evenly(len(steps), n_steps)]
    step_of_row, rows = _held(own, steps)
    columns = own.columns.to_frame(index=False)
    for (by, metric), of_metric in columns.groupby(["by", "metric"], sort=False):
        values = own.to_numpy(np.float64)[:, of_metric.index]
        at_steps = pd.DataFrame(values[rows], columns=of_metric["part"]).groupby(step_of_row)
        median = at_steps.median()
        mean, deviation = scales.to_numpy()[of_metric.index].T
        course = median.melt(ignore_index=False, var_name="part")
        course["by"], course["metric"] = str(by), str(metric)
        course["n_runs"] = at_steps.count().to_numpy().ravel(order="F")
        course["deviations"] = ((median.to_numpy() - mean) / deviation).ravel(order="F")
        yield course[course["n_runs"] > 0].rename_axis("step").reset_index()


def _held(own: pd.DataFrame, steps: IntArray) -> tuple[IntArray, IntArray]:
    """Return which row of a group stands for which step: of each run its last one up to there."""
    found = []
    of_step = own.index.get_level_values("step").to_numpy()
    for places in own.groupby(level="run", sort=False).indices.values():
        run_steps = of_step[places]
        last = np.searchsorted(run_steps, steps, side="right") - 1
        runs_then = (last >= 0) & (steps <= run_steps[-1])
        found.append((steps[runs_then], places[last[runs_then]]))
    step_of_row, rows = (np.concatenate(each) for each in zip(*found, strict=True))
    return step_of_row, rows


def _scales(values: pd.DataFrame) -> pd.DataFrame:
    """Return mean and deviation of each column over known values; NaN where it does not change."""
    deviation = values.std(ddof=0)
    changes = deviation > _ROUNDING * values.abs().max()
    return pd.DataFrame({"mean": values.mean(), "deviation": deviation.where(changes)})


def _usual_states(stays: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Go through the times in which most runs of a group are in one state; the first of equals."""
    for group, own in stays.groupby("group", sort=False):
        times = np.unique(own[["start", "end"]].to_numpy())
        if len(times) == 1:  # of a single checkpoint, which takes no time
            continue
        since, length = times[:-1], np.diff(times)
        in_state = np.array(
            [
                np.searchsorted(np.sort(of_state["start"]), since, side="right")
                - np.searchsorted(np.sort(of_state["end"]), since, side="right")
                for _, of_state in own.groupby("state")
            ]
        )
        states = np.sort(own["state"].unique())
        n_runs, most = in_state.sum(axis=0), in_state.max(axis=0, initial=0)
        state = np.where(n_runs > 0, states[in_state.argmax(axis=0)], -1)
        begins = np.flatnonzero(np.diff(state, prepend=-2) != 0)
        for first, last in zip(begins, np.append(begins[1:], len(state)) - 1, strict=True):
            here = slice(first, last + 1)
            if state[first] >= 0:
                yield {
                    "group": group,
                    "state": int(state[first]),
                    "start": times[first],
                    "end": times[last + 1],
                    "share": float(np.average(most[here] / n_runs[here], weights=length[here])),
                }
