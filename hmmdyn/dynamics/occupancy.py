"""Where runs spend their checkpoints: bags of states, and which states lie before convergence."""

from __future__ import annotations

import numpy as np
import pandas as pd

from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.convergence import Convergence
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY

# A state counts as lying before (after) convergence when this share of its checkpoints does.
ONE_SIDED = 0.9


def bag_of_states(states: pd.DataFrame, n_states: int) -> pd.DataFrame:
    """Return the fraction of each run's checkpoints spent in each state.

    Returns
    -------
    DataFrame
        ``group, run, seed, state_0 … state_{K-1}``; the fractions of a run sum to one.
    """
    runs = states[[*RUN_KEY, "seed"]].drop_duplicates(RUN_KEY)
    one_hot = pd.DataFrame(
        np.eye(n_states)[states["state"]],
        columns=[f"state_{k}" for k in range(n_states)],
        index=states.index,
    )
    fractions = one_hot.groupby([states["group"], states["run"]], sort=False).mean().reset_index()
    return runs.merge(fractions, on=RUN_KEY, how="left")


def bags(occupancy: pd.DataFrame) -> FloatArray:
    """Return the shares of each run's checkpoints in each state, shape (R, K)."""
    columns = [c for c in occupancy if str(c).startswith("state_")]
    return occupancy[columns].to_numpy(dtype=np.float64)


def share_before_convergence(states: pd.DataFrame, convergence: Convergence) -> pd.Series:
    """Share of each state's checkpoints, in converged runs, that lie before convergence."""
    converged = convergence.table.loc[convergence.table["converged"], [*RUN_KEY, "step"]]
    joined = states[[*CHECKPOINT_KEY, "state"]].merge(
        converged.rename(columns={"step": "convergence"}), on=RUN_KEY
    )
    return (joined["step"] < joined["convergence"]).groupby(joined["state"]).mean()
