"""What each state is like: when runs visit it, how long, and how well the model does there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hmmdyn.dynamics.convergence import SHARE_OF_THE_WAY, choose_outcome, first_and_best
from hmmdyn.hmm.align import relative_times
from hmmdyn.hmm.training_map import Decoding
from hmmdyn.names import better_side, data_split
from hmmdyn.results import RUN_KEY


def summarise_states(
    decoding: Decoding, table: pd.DataFrame, outcomes: Sequence[str], n_states: int
) -> pd.DataFrame:
    """Summarise every state: one row each, columns as in :class:`hmmdyn.results.Findings`."""
    states = decoding.states.assign(time=relative_times(decoding.observations.lengths))
    # Rows of the table and of the decoding are the same checkpoints in the same order, so outcomes
    # are taken by position: their names may be any, "state" too.
    logged = table[list(outcomes)].reset_index(drop=True)
    visits = _visits(states)
    rows = []
    for k in range(n_states):
        inside = states[states["state"] == k]
        entered = inside.groupby(RUN_KEY, sort=False)["step"].first()
        rows.append(
            {
                "state": k,
                "n_checkpoints": len(inside),
                "share": len(inside) / len(states),
                "n_runs": len(entered),
                "median_time": inside["time"].median(),
                "first_step": entered.median(),
                "dwell": visits.loc[visits["state"] == k, "length"].mean(),
                **{f"mean_{o}": logged.loc[inside.index, o].mean() for o in outcomes},
            }
        )
    summary = pd.DataFrame(rows)
    return summary.assign(phase=_phases(summary, table, outcomes))


def _visits(states: pd.DataFrame) -> pd.DataFrame:
    """Unbroken stays in a state: ``state, length`` (checkpoints)."""
    key = states[[*RUN_KEY, "state"]]
    visit = (key != key.shift()).any(axis=1).cumsum()
    return states.groupby(visit).agg(state=("state", "first"), length=("state", "size"))


def _phases(summary: pd.DataFrame, table: pd.DataFrame, outcomes: Sequence[str]) -> list[str]:
    """Label states by how far training and held-out outcomes have come (METHOD, section 9b).

    ``memorisation``: training is done while held-out data are not half way; ``generalisation``:
    both are done; otherwise, and where one of the two is unknown, the label is empty.
    """
    held_out = [o for o in outcomes if data_split(o) == "eval"]
    # Beside an eval_loss, a plain loss is that of training.
    train = [o for o in outcomes if data_split(o) == "train"] or [
        o for o in outcomes if o not in held_out
    ]
    if not train or not held_out:
        return [""] * len(summary)
    fitted = _share_of_the_way(summary, table, choose_outcome(table, train))
    generalised = _share_of_the_way(summary, table, choose_outcome(table, held_out))
    memorised = (fitted >= SHARE_OF_THE_WAY) & (generalised < 0.5)
    done = generalised >= SHARE_OF_THE_WAY
    return np.where(done, "generalisation", np.where(memorised, "memorisation", "")).tolist()


def _share_of_the_way(summary: pd.DataFrame, table: pd.DataFrame, outcome: str) -> pd.Series:
    """How far each state's mean outcome is from its first value (0) to its best one (1)."""
    first, best = first_and_best(table, outcome, better_side(outcome))
    return (summary[f"mean_{outcome}"] - first) / (best - first if best != first else np.nan)
