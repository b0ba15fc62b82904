"""Which ways runs take through the training map."""

from __future__ import annotations

import pandas as pd

from hmmdyn.results.keys import RUN_KEY


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
