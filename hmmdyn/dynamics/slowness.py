"""Which runs were slow to converge, and the states in which they spent the time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.dynamics.occupancy import before_convergence, time_in_states, time_of_checkpoints
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.convergence import Convergence
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.slowness import EXTREMES, SLOW_RUNS, SlowestQuarter, Slowness

# Quarters of fewer runs than this say no more than their one run does.
_MIN_IN_QUARTER = 2
# A state makes the difference where it holds at least this share of all that took longer.
_NOTABLE = 0.25
# Fewer runs than this are not enough to hold the slowest against.
_MIN_OTHERS = 2
_RUN_COLUMNS = [*RUN_KEY, "seed", "converged", "step", "last_step", "status"]


def runs_by_convergence(table: pd.DataFrame, convergence: Convergence | None) -> pd.DataFrame:
    """Return one row per run of ``table``, in order of convergence: see ``Findings.runs``."""
    runs = table.groupby(RUN_KEY, sort=False).agg(
        seed=("seed", "first"), last_step=("step", "last")
    )
    runs = runs.reset_index()
    runs["order"] = np.arange(len(runs))
    runs["group_order"] = runs.groupby("group", sort=False).ngroup()
    if convergence is None:
        return runs.assign(converged=False, step=np.nan, status="unknown")[_RUN_COLUMNS]
    runs = runs.merge(convergence.table[[*RUN_KEY, "converged", "step"]], on=RUN_KEY, how="left")
    runs["status"] = runs["converged"].map({True: "converged", False: "censored"}).fillna("unknown")
    runs["converged"] = runs["status"] == "converged"
    runs["rank"] = runs["status"].map({"converged": 0, "censored": 1, "unknown": 2})
    runs = runs.sort_values(["group_order", "rank", "step", "order"], ignore_index=True)
    return runs[_RUN_COLUMNS]


def find_slowness(states: pd.DataFrame, runs: pd.DataFrame, n_states: int) -> Slowness:
    """Find which runs were slow to converge, and in which states they spent the time.

    Parameters
    ----------
    states : DataFrame
        ``group, run, step, state`` of every checkpoint.
    runs : DataFrame
        As :func:`runs_by_convergence` returns them.
    n_states : int
        K, the number of states of the map.

    Notes
    -----
    The slowest are chosen by the same numbers in which they are then seen to be slow: that a state
    holds their time is what happened, no test of it. For that see
    :func:`hmmdyn.dynamics.detours.detour_verdicts`.
    """
    known = runs[runs["status"] != "unknown"].reset_index(drop=True)
    before = time_before_convergence(states, known, n_states)
    time = before.filter(like="state_").to_numpy()  # (R, K), in the order of ``known``
    one_group = runs["group"].nunique() == 1
    return Slowness(
        before_convergence=before,
        extremes=_extremes(known, time),
        slowest_quarter=_slowest_quarter(known, time) if one_group else None,
    )


def time_before_convergence(
    states: pd.DataFrame, runs: pd.DataFrame, n_states: int
) -> pd.DataFrame:
    """Add up the steps of ``runs`` in each state: see ``Slowness.before_convergence``."""
    time = time_of_checkpoints(states).where(before_convergence(states, runs), 0.0)
    spent = time_in_states(states, time, n_states)
    index = pd.MultiIndex.from_frame(runs[RUN_KEY])
    keys = runs[[*RUN_KEY, "seed"]].reset_index(drop=True)
    return keys.join(spent.reindex(index).reset_index(drop=True))


def _extremes(runs: pd.DataFrame, time: FloatArray) -> pd.DataFrame:
    """Set the fastest run of every group against the slowest: see ``Slowness.extremes``."""
    parts = list(_extremes_by_group(runs, time))
    return EXTREMES.frame(pd.concat(parts, ignore_index=True) if parts else ())


def _extremes_by_group(runs: pd.DataFrame, time: FloatArray) -> Iterator[pd.DataFrame]:
    for group, own in runs.groupby("group", sort=False):
        # By how long each is known to have taken; of runs alike, the censored one took longer.
        known = own.sort_values(["step", "converged"], ascending=[True, False], kind="stable")
        fastest, slowest = own.index[0], known.index[-1]
        if not own["converged"].any() or own["step"][slowest] <= own["step"][fastest]:
            continue
        n = len(own) // 4
        fast, slow = own.index[:n], known.index[-n:]
        # Of a run that was stopped before these had converged it is not known which it is like.
        apart = own["converged"][fast].all() and own["step"][slow].min() > own["step"][fast].max()
        quarters = n >= _MIN_IN_QUARTER and apart
        yield pd.DataFrame(
            {
                "group": group,
                "state": range(time.shape[1]),
                "fastest_run": own["run"][fastest],
                "slowest_run": own["run"][slowest],
                "fastest": time[fastest],
                "slowest": time[slowest],
                "fast_quarter": time[fast].mean(axis=0) if quarters else np.nan,
                "slow_quarter": time[slow].mean(axis=0) if quarters else np.nan,
                "n_in_quarter": n if quarters else 0,
                "decisive": _decisive(time[slowest] - time[fastest]),
            }
        )


def _decisive(longer: FloatArray) -> NDArray[np.bool_]:
    """Return which states make the difference, of what the slowest stayed longer in each."""
    total = np.clip(longer, 0, None).sum()
    decisive: NDArray[np.bool_] = (longer > 0) & (longer >= _NOTABLE * total)
    return decisive


def _slowest_quarter(runs: pd.DataFrame, time: FloatArray) -> SlowestQuarter | None:
    """Hold the slowest quarter against the others, as far as it is known which they are.

    Slowest are the runs known to have taken longest, converged or not; runs as slow as the last of
    the quarter join it. A run that was stopped before is not known to be slow, nor to be fast: it
    is neither of the quarter nor of the others.
    """
    if len(runs) <= _MIN_OTHERS:
        return None
    taken = runs["step"].to_numpy(dtype=np.float64)
    converged = runs["converged"].to_numpy(dtype=bool)
    slow = taken >= np.sort(taken)[-max(1, len(runs) // 4)]
    others = converged & ~slow
    if others.sum() < _MIN_OTHERS:
        return None
    usual = time[others].mean(axis=0)
    in_slow = time[slow].mean(axis=0)
    slowest_first = np.flatnonzero(slow)[np.lexsort((converged[slow], -taken[slow]))]
    return SlowestQuarter(
        states=pd.DataFrame(
            {
                "state": range(len(usual)),
                "slowest": in_slow,
                "others": usual,
                "longer": in_slow - usual,
            }
        ),
        runs=_slow_runs(runs.iloc[slowest_first], time[slowest_first], usual),
        n_others=int(others.sum()),
        n_stopped=int((~slow & ~others).sum()),
        longer=float(time[slow].sum(axis=1).mean() - usual.sum()),
    )


def _slow_runs(slow: pd.DataFrame, time: FloatArray, usual: FloatArray) -> pd.DataFrame:
    """Return the state in which each slow run stayed longest compared with the others."""
    longest = (time - usual).argmax(axis=1)
    return SLOW_RUNS.frame(
        slow[[*RUN_KEY, "seed", "converged", "step"]]
        .assign(
            state=longest,
            time=time[np.arange(len(time)), longest],
            others=usual[longest],
        )
        .reset_index(drop=True)
    )
