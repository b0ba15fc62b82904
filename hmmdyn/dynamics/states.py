"""What each state is like: when runs visit it, how long, and how well the model does there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import CensoredData, ecdf

from hmmdyn.dynamics.convergence import SHARE_OF_THE_WAY, choose_outcome, first_and_best
from hmmdyn.dynamics.occupancy import (
    ONE_SIDED,
    share_before_convergence,
    time_of_checkpoints,
)
from hmmdyn.hmm import Decoding
from hmmdyn.hmm.model.labels import relative_times
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.convergence import Convergence
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Standardisation
from hmmdyn.results.states import STATE_METRICS
from hmmdyn.roles import better_side, data_split

# A checkpoint belongs surely to its state from this probability on.
_SURE = 0.9


def sure_share(states: pd.DataFrame) -> float:
    """Return the share of checkpoints whose state is sure, given the model: see ``Findings``."""
    return float(1 - (states["probability"] < _SURE).mean())


def summarise_states(
    decoding: Decoding,
    stays: pd.DataFrame,
    table: pd.DataFrame,
    outcomes: Sequence[str],
    parameters: HMMParameters,
    convergence: Convergence | None = None,
) -> pd.DataFrame:
    """Summarise every state: one row each, columns as in :class:`.results.findings.Findings`.

    Parameters
    ----------
    decoding : Decoding
        The runs as the map decodes them.
    stays : DataFrame
        Those of the decoded states: see :class:`.results.ways.Ways`.
    table : DataFrame
        Outcomes of the same checkpoints in the same order.
    outcomes : sequence of str
        Columns of ``table``.
    parameters : HMMParameters
        The map that decoded them.
    convergence : Convergence, optional
        When each run converged, which names of states must not contradict.
    """
    states = decoding.states.assign(
        time=relative_times(decoding.observations.lengths),
        steps=time_of_checkpoints(decoding.states),
    )
    # Rows of the table and of the decoding are the same checkpoints in the same order, so outcomes
    # are taken by position: their names may be any, "state" too.
    logged = table[list(outcomes)].reset_index(drop=True)
    expected = expected_dwell(parameters)
    # So many checkpoints cannot tell a longer visit from one that never ends.
    expected[expected > len(states)] = np.inf
    rows = []
    for k in range(parameters.n_states):
        visits = stays[stays["state"] == k]
        median, at_least = _median_dwell(visits)
        inside = states[states["state"] == k]
        entered = inside.groupby(RUN_KEY, sort=False)["step"].first()
        rows.append(
            {
                "state": k,
                "n_checkpoints": len(inside),
                "share": inside["steps"].sum() / states["steps"].sum(),
                "n_runs": len(entered),
                "median_time": inside["time"].median(),
                "first_step": entered.median(),
                "dwell": visits["n_checkpoints"].mean(),
                "dwell_expected": expected[k],
                "dwell_steps": median,
                "dwell_at_least": at_least,
                **{f"mean_{o}": logged.loc[inside.index, o].mean() for o in outcomes},
            }
        )
    summary = pd.DataFrame(rows)
    phases = _phases(summary, table, outcomes)
    if convergence is not None and data_split(convergence.outcome) == "eval":
        phases = _not_against_convergence(phases, decoding.states, convergence)
    return summary.assign(phase=phases)


def metric_levels(
    parameters: HMMParameters, features: Sequence[str], standardisation: Standardisation
) -> pd.DataFrame:
    """Return the mean of every metric in every state, also in its own unit: `STATE_METRICS`.

    Pooled, it is m + s z, or the exponential of that for a metric that enters by its logarithm. Of
    runs compared with their start, that is the logarithm of a ratio to the start, which is told as
    the ratio, or a difference to it. Where every run has its own mean and deviation there is no
    such number.
    """
    means = parameters.means
    kind = standardisation.kind
    own = np.full_like(means, np.nan)
    own_is = ["each run's own"] * len(features)
    if kind != "run":
        own = standardisation.mean + standardisation.deviation * means
        own_is = ["level"] * len(features)
    if standardisation.logarithmic:
        is_log = np.array(standardisation.logarithmic)
        own[:, is_log] = np.exp(own[:, is_log])
    if kind == "log-start":
        own_is = ["times the start" if log else "since the start" for log in is_log]
    return STATE_METRICS.frame(
        {
            "state": k,
            "feature": feature,
            "mean": means[k, i],
            "own": own[k, i],
            "own_is": own_is[i],
        }
        for k in range(parameters.n_states)
        for i, feature in enumerate(features)
    )


def expected_dwell(parameters: HMMParameters) -> FloatArray:
    """Checkpoints that the model expects a visit to last, shape (K,); infinite if never left.

    m − 1 + 1/(1 − a_kk) with m the minimum dwell: a visit is kept for m − 1 checkpoints, and is
    left after each later one with probability 1 − a_kk (of a run's first visit, which may have
    begun before the run, m − 1 fewer are seen). A chain that knows the gaps between checkpoints is
    taken at gaps of one unit, the median gap of the runs it was fitted to.
    """
    others = ~np.eye(parameters.n_states, dtype=bool)
    leaving = parameters.transmat.sum(axis=1, where=others)  # 1 − a_kk, not lost to rounding
    with np.errstate(divide="ignore"):
        expected: FloatArray = parameters.minimum_dwell - 1 + 1 / leaving
    return expected


def _median_dwell(visits: pd.DataFrame) -> tuple[float, float]:
    """Return the median steps per visit, and what it is at least where that is all that is known.

    A visit that the end of its run cuts off is only known to last so long: the median is that of
    Kaplan and Meier, which exists where their curve comes down to a half. Where it does not, the
    median is no less than the longest visit. One of the two is NaN, both of a state never visited.
    """
    if visits.empty:
        return np.nan, np.nan
    lasted = (visits["end"] - visits["start"]).to_numpy()
    left = visits["left"].to_numpy(dtype=bool)
    staying = ecdf(CensoredData(uncensored=lasted[left], right=lasted[~left])).sf
    over = staying.quantiles[staying.probabilities <= 0.5 + 1e-9]
    return (float(over[0]), np.nan) if len(over) else (np.nan, float(lasted.max()))


def _phases(summary: pd.DataFrame, table: pd.DataFrame, outcomes: Sequence[str]) -> list[str]:
    """Label states by how far training and held-out outcomes have come.

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
    return [
        "generalisation" if over else "memorisation" if fits else ""
        for over, fits in zip(done, memorised, strict=True)
    ]


def _not_against_convergence(
    phases: list[str], states: pd.DataFrame, convergence: Convergence
) -> list[str]:
    """Take back names that contradict when runs converge on held-out data.

    Where more than a tenth of them converge within a state, it is no memorisation; where most of a
    state lies before they do, it is no generalisation.
    """
    reached = convergence.table.loc[convergence.table["converged"], CHECKPOINT_KEY]
    within = states.merge(reached, on=CHECKPOINT_KEY)["state"].value_counts(normalize=True)
    before = share_before_convergence(states, convergence)
    kept = []
    for k, name in enumerate(phases):
        contradicted = (name == "memorisation" and within.get(k, 0.0) > 1 - ONE_SIDED) or (
            name == "generalisation" and before.get(k, 0.0) > 0.5
        )
        kept.append("" if contradicted else name)
    return kept


def _share_of_the_way(summary: pd.DataFrame, table: pd.DataFrame, outcome: str) -> pd.Series:
    """How far each state's mean outcome is from its first value (0) to its best one (1)."""
    first, best = first_and_best(table, outcome, better_side(outcome))
    return (summary[f"mean_{outcome}"] - first) / (best - first if best != first else np.nan)
