"""Where runs spend their time: bags of states, and which states lie before convergence.

A run is taken to be in the state of its nearest checkpoint, so a checkpoint stands for the time
from halfway to the one before it to halfway to the one after it. The first and the last reach
outward as far as inward, but no further than half the run's usual (median) gap. Where checkpoints
are evenly spaced, shares of time are so those of checkpoints; where they are not, only time is
comparable between runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.convergence import Convergence
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY
from hmmdyn.results.notice import Notice

# A state counts as lying before (after) convergence when this share of its checkpoints does.
ONE_SIDED = 0.9
# In what bags of states count time; the paper counts checkpoints.
STEPS, CHECKPOINTS = "step", "checkpoint"
# Runs whose last steps differ by more than this factor are said to be of different lengths.
_UNEVEN = 1.25


def spans(states: pd.DataFrame) -> pd.DataFrame:
    """Return from when to when each checkpoint stands for its run, in steps.

    Parameters
    ----------
    states : DataFrame
        ``group, run, step``, runs contiguous, steps increasing within a run.

    Returns
    -------
    DataFrame
        ``since, until``, rows as in ``states``: halfway to the neighbours, itself at the ends.
    """
    by_run = states.groupby(RUN_KEY, sort=False)["step"]
    step = states["step"].astype(float)
    return pd.DataFrame(
        {
            "since": ((by_run.shift(1) + step) / 2).fillna(step),
            "until": ((by_run.shift(-1) + step) / 2).fillna(step),
        }
    )


def time_of_checkpoints(states: pd.DataFrame, clock: str = STEPS) -> pd.Series:
    """Return how long each checkpoint stands for its run: so many steps, or one checkpoint.

    Parameters
    ----------
    states : DataFrame
        ``group, run, step``, runs contiguous, steps increasing within a run.
    clock : {"step", "checkpoint"}
        In what time is counted. A run's only checkpoint counts as one step.
    """
    if clock == CHECKPOINTS:
        return pd.Series(1.0, index=states.index)
    runs = [states[key] for key in RUN_KEY]
    before = states.groupby(RUN_KEY, sort=False)["step"].diff()
    after = before.groupby(runs, sort=False).shift(-1)
    usual = before.groupby(runs, sort=False).transform("median")
    inward = after.fillna(before), before.fillna(after)
    before, after = (
        gap.fillna(other.clip(upper=usual))
        for gap, other in zip((before, after), inward, strict=True)
    )
    return ((before + after) / 2).fillna(1.0)


def uneven_lengths(states: pd.DataFrame) -> tuple[Notice, ...]:
    """Say what it does to shares of time that runs end at different steps, where they do."""
    last = states.groupby(RUN_KEY)["step"].max()
    if last.max() <= _UNEVEN * last.min():
        return ()
    message = (
        f"Runs end at {last.min():,} to {last.max():,}. Shares of time are of each run's own "
        "length: one that goes on for longer spends less of it in early states, though it walks "
        "as the others do. Groups are compared over what their runs have in common."
    )
    return (Notice("statements", "limit", "lengths of runs", message),)


def bag_of_states(states: pd.DataFrame, n_states: int, clock: str = STEPS) -> pd.DataFrame:
    """Return the fraction of each run's time spent in each state.

    Parameters
    ----------
    states : DataFrame
        ``group, run, seed, step, state``, runs contiguous, steps increasing within a run.
    n_states : int
        K, the number of states of the map.
    clock : {"step", "checkpoint"}
        In what time is counted. The paper counts checkpoints.

    Returns
    -------
    DataFrame
        ``group, run, seed, state_0 … state_{K-1}``; the fractions of a run sum to one.
    """
    return _shares(states, time_of_checkpoints(states, clock), n_states)


def _shares(states: pd.DataFrame, time: pd.Series, n_states: int) -> pd.DataFrame:
    runs = states[[*RUN_KEY, "seed"]].drop_duplicates(RUN_KEY)
    spent = time_in_states(states, time, n_states)
    return runs.merge(spent.div(spent.sum(axis=1), axis=0).reset_index(), on=RUN_KEY, how="left")


def time_in_states(states: pd.DataFrame, time: pd.Series, n_states: int) -> pd.DataFrame:
    """Add up the time of checkpoints by run and state: index ``group, run``, columns ``state_0 …``.

    Runs stand in their order.
    """
    in_each = pd.DataFrame(
        np.eye(n_states)[states["state"]] * time.to_numpy()[:, None],
        columns=[f"state_{k}" for k in range(n_states)],
        index=states.index,
    )
    return in_each.groupby([states["group"], states["run"]], sort=False).sum()


def bags(occupancy: pd.DataFrame) -> FloatArray:
    """Return the shares of each run's time in each state, shape (R, K)."""
    columns = [c for c in occupancy if str(c).startswith("state_")]
    return occupancy[columns].to_numpy(dtype=np.float64)


@dataclass(frozen=True)
class CommonBags:
    """Bags of states over what several runs have in common.

    ``bags`` is as :func:`bag_of_states` returns it, of the runs that last so long, over the steps
    from ``start`` to ``end``.
    """

    bags: pd.DataFrame
    start: float
    end: float


def common_bags(states: pd.DataFrame, n_states: int) -> CommonBags | None:
    """Return bags of states over what the runs of several groups have in common.

    A run that goes on for longer is for another share of its time in each state, though it walks
    as the others do. So all are cut where half of the runs of the group that ends first have
    ended, and runs that had ended by then, of which the rest is not known, are left out. And runs
    that are saved more rarely are known to change their state more roughly: all are seen at the
    steps of a common schedule alone, each in the state of its nearest checkpoint.

    Parameters
    ----------
    states : DataFrame
        As in :func:`bag_of_states`.
    n_states : int
        K.

    Returns
    -------
    CommonBags or None
        None where the runs have no stretch in common.
    """
    by_run = states.groupby(RUN_KEY, sort=False)
    runs = by_run["step"].agg(["min", "max"])
    end = runs["max"].groupby("group").quantile(0.5, interpolation="lower").min()
    lasting = runs["max"] >= end
    start = runs.loc[lasting, "min"].max()
    inside = states[states["step"].between(start, end) & lasting.to_numpy()[by_run.ngroup()]]
    of_run = [own for _, own in inside.groupby(RUN_KEY, sort=False)]
    if len(of_run) < lasting.sum():
        return None
    grid = _common_schedule([own["step"].to_numpy() for own in of_run])
    if len(grid) < 2:
        return None
    # All runs are seen at the same steps, so a step stands for as long in every run.
    time = time_of_checkpoints(pd.DataFrame({"group": "", "run": "", "step": grid})).to_numpy()
    spent = [
        np.bincount(own["state"].to_numpy()[_nearest(own["step"].to_numpy(), grid)], time, n_states)
        for own in of_run
    ]
    named = inside[[*RUN_KEY, "seed"]].drop_duplicates(RUN_KEY).reset_index(drop=True)
    shares = pd.DataFrame(spent, columns=[f"state_{k}" for k in range(n_states)]) / time.sum()
    return CommonBags(pd.concat([named, shares], axis=1), float(grid[0]), float(grid[-1]))


def _common_schedule(schedules: list[IntArray]) -> IntArray:
    """Return steps that all schedules tell apart: those of the finest, moved to the others'."""
    distinct = {steps.tobytes(): steps for steps in schedules}
    grid, *others = sorted(distinct.values(), key=len, reverse=True)
    for steps in others:
        grid = np.unique(steps[_nearest(steps, grid)])
    return grid


def _nearest(steps: IntArray, wanted: IntArray) -> IntArray:
    """Return the positions of the increasing ``steps`` nearest to each of those wanted."""
    halfway = (steps[1:] + steps[:-1]) / 2
    return np.searchsorted(halfway, wanted)


def share_before_convergence(states: pd.DataFrame, convergence: Convergence) -> pd.Series:
    """Share of each state's checkpoints, in converged runs, that lie before convergence."""
    converged = convergence.table.loc[convergence.table["converged"], [*RUN_KEY, "step"]]
    joined = states[[*CHECKPOINT_KEY, "state"]].merge(
        converged.rename(columns={"step": "convergence"}), on=RUN_KEY
    )
    return (joined["step"] < joined["convergence"]).groupby(joined["state"]).mean()


def before_convergence(states: pd.DataFrame, runs: pd.DataFrame) -> pd.Series:
    """Whether each checkpoint lies before its run converged.

    Of a run that never did, those up to its last evaluation do.

    Parameters
    ----------
    states : DataFrame
        Checkpoints, ``group, run, step``.
    runs : DataFrame
        ``group, run, converged, step`` (of convergence, else of the last evaluation). Checkpoints
        of other runs do not count.
    """
    ends = runs[[*RUN_KEY, "converged", "step"]].rename(columns={"step": "end"})
    joined = states[CHECKPOINT_KEY].merge(ends, on=RUN_KEY, how="left")
    not_yet = joined["converged"].eq(False) & (joined["step"] <= joined["end"])
    before = not_yet | (joined["converged"].eq(True) & (joined["step"] < joined["end"]))
    return pd.Series(before.to_numpy(dtype=bool), index=states.index)
