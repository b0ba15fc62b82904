"""What each state is like: when runs visit it, how long, and how well the model does there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hmmdyn.dynamics.convergence import automatic_threshold, choose_outcome
from hmmdyn.hmm.align import relative_times
from hmmdyn.hmm.training_map import Decoding
from hmmdyn.names import better_side, data_split
from hmmdyn.results import CHECKPOINT_KEY, RUN_KEY


def summarise_states(
    decoding: Decoding, table: pd.DataFrame, outcomes: Sequence[str], n_states: int
) -> pd.DataFrame:
    """Summarise every state: one row each, columns as in :class:`hmmdyn.results.Findings`."""
    states = decoding.states.assign(time=relative_times(decoding.observations.lengths))
    states = states.merge(table[[*CHECKPOINT_KEY, *outcomes]], on=CHECKPOINT_KEY, how="left")
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
                **{f"mean_{o}": inside[o].mean() for o in outcomes},
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
    """Label states ``memorisation`` and ``generalisation`` where training and held-out outcomes
    of the same kind tell them apart (METHOD, section 9b); elsewhere the label is empty.
    """  # noqa: D205
    train = [o for o in outcomes if data_split(o) == "train"]
    held_out = [o for o in outcomes if data_split(o) == "eval"]
    if not train or not held_out:
        return [""] * len(summary)
    fitted = _reached(summary, table, choose_outcome(train))
    generalised = _reached(summary, table, choose_outcome(held_out))
    label = np.where(generalised, "generalisation", np.where(fitted, "memorisation", ""))
    return label.tolist()


def _reached(summary: pd.DataFrame, table: pd.DataFrame, outcome: str) -> pd.Series:
    """Whether the mean outcome in each state is past the automatic threshold."""
    side = better_side(outcome)
    threshold = automatic_threshold(table, outcome, side)
    mean = summary[f"mean_{outcome}"]
    return mean >= threshold if side == "above" else mean <= threshold
