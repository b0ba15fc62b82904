"""Which ways runs take through the training map: stays, paths, forks and dead ends."""

from __future__ import annotations

from collections import Counter

import pandas as pd
from scipy.stats import binomtest

from hmmdyn.dynamics.occupancy import spans
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.ways import FORKS, WAYS, Ways

# A state is a fork when at least this share of the runs that leave it goes another way. Less is
# a stray run; in the paper's modular addition the smaller path holds 4 runs of 40.
FORK_SHARE = 0.1


def find_ways(
    states: pd.DataFrame, choices: pd.DataFrame, edges: pd.DataFrame, runs: pd.DataFrame
) -> Ways:
    """Find which ways runs take through the training map, and where they fork or end.

    Parameters
    ----------
    states : DataFrame
        ``group, run, seed, step, state, probability``, runs contiguous, steps increasing within a
        run.
    choices : DataFrame
        As :func:`fork_choices` returns them.
    edges : DataFrame
        As :func:`hmmdyn.dynamics.transitions.training_map_edges` returns them.
    runs : DataFrame
        As :func:`hmmdyn.dynamics.slowness.runs_by_convergence` returns them.
    """
    return Ways(
        stays=find_stays(states),
        paths=find_paths(states),
        forks=find_forks(choices),
        dead_ends=find_dead_ends(states, edges, runs),
    )


def find_stays(states: pd.DataFrame) -> pd.DataFrame:
    """Return the unbroken stays of runs in states: see :class:`.results.ways.Ways`."""
    bounds = states.join(spans(states)).assign(left=states.duplicated(RUN_KEY, keep="last"))
    key = states[[*RUN_KEY, "state"]]
    stay = (key != key.shift()).any(axis=1).cumsum()
    return (
        bounds.groupby(stay.to_numpy())
        .agg(
            group=("group", "first"),
            run=("run", "first"),
            seed=("seed", "first"),
            state=("state", "first"),
            first_step=("step", "first"),
            last_step=("step", "last"),
            start=("since", "first"),
            end=("until", "last"),
            n_checkpoints=("step", "size"),
            probability=("probability", "mean"),
            left=("left", "last"),
        )
        .reset_index(drop=True)
    )


def find_paths(states: pd.DataFrame) -> pd.DataFrame:
    """Return the ways through the map and how many runs take each: see :class:`.Ways`.

    A run that ended on the way takes no way of its own: its states are the beginning of one that
    another run takes, or of several.
    """
    firsts = states.drop_duplicates([*RUN_KEY, "state"])
    counts = Counter(
        tuple(int(k) for k in of_run) for _, of_run in firsts.groupby(RUN_KEY, sort=False)["state"]
    )
    n_part = {
        way: sum(n for path, n in counts.items() if path != way and path == way[: len(path)])
        for way in counts
    }
    begun = {longer[:n] for longer in counts for n in range(len(longer))}
    ways = [
        {"path": way, "n_runs": n, "n_part": n_part[way]}
        for way, n in counts.items()
        if way not in begun
    ]
    return WAYS.frame(
        sorted(ways, key=lambda row: (-row["n_runs"] - row["n_part"], -row["n_runs"], row["path"]))
    )


def fork_choices(states: pd.DataFrame) -> pd.DataFrame:
    """List which run takes which way where runs part.

    A fork is a state after which runs enter at least two different states, taking the states of a
    run in the order it first enters them: falling back to one already seen is no other way.

    Parameters
    ----------
    states : DataFrame
        ``group, run, seed, step, state``, runs contiguous, steps increasing within a run.

    Returns
    -------
    DataFrame
        One row per run and fork that it goes on from: ``group, run, seed, state, to_state, step``
        (first checkpoint in ``to_state``), by state and then in the order of the runs.
    """
    entered = states.drop_duplicates([*RUN_KEY, "state"])
    before = entered.groupby(RUN_KEY, sort=False)["state"].shift()
    ways = entered.rename(columns={"state": "to_state"}).assign(state=before)
    ways = ways[before.notna()].astype({"state": "int64"})
    n_ways = ways.groupby("state")["to_state"].transform("nunique")
    chosen = ways[n_ways > 1].sort_values("state", kind="stable", ignore_index=True)
    return chosen[[*RUN_KEY, "seed", "state", "to_state", "step"]]


def find_forks(choices: pd.DataFrame) -> pd.DataFrame:
    """Return the forks of the map and the ways out of each: see :class:`.Ways`.

    The interval of a share is Wilson's [1]_, which is right for few runs and for shares near 0 or
    1, too. It takes every run for a draw of its own; runs that start from one checkpoint are not.

    References
    ----------
    .. [1] Wilson (1927), Probable inference, the law of succession, and statistical inference.
       Journal of the American Statistical Association 22, 209-212.
    """
    rows = []
    for state, leaving in choices.groupby("state"):
        n_total = len(leaving)
        counts = Counter(leaving["to_state"].tolist())
        ways = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kept = [(to_state, n) for to_state, n in ways if n >= FORK_SHARE * n_total]
        if len(kept) > 1:
            rows += [(state, to_state, n, n_total) for to_state, n in kept]
    forks = pd.DataFrame(rows, columns=["state", "to_state", "n_runs", "n_total"])
    intervals = [share_interval(n, n_total) for _, _, n, n_total in rows]
    forks["share"] = forks["n_runs"] / forks["n_total"]
    forks[["share_low", "share_high"]] = pd.DataFrame(intervals, columns=["low", "high"])
    return FORKS.frame(forks)


def share_interval(n: int, n_total: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of the share that ``n`` of ``n_total`` runs show."""
    low, high = binomtest(n, n_total).proportion_ci(method="wilson")
    return float(low), float(high)


def find_dead_ends(
    states: pd.DataFrame, edges: pd.DataFrame, runs: pd.DataFrame
) -> tuple[int, ...]:
    """Return the states that runs enter and never leave, though it is not where training leads.

    Where most runs end is no dead end, nor is a state in which some run has converged.
    """
    last = states.drop_duplicates(RUN_KEY, keep="last")
    goals = set(last["state"].mode())
    goals |= set(last.merge(runs.loc[runs["converged"], RUN_KEY], on=RUN_KEY)["state"])
    never_left = set(last["state"]) - set(edges["from_state"])
    return tuple(sorted(int(state) for state in never_left - goals))
