"""Which change of state goes with which outcome transition, over runs.

The method is described in docs/method/statements.md, Outcome transitions.
"""

from __future__ import annotations

from itertools import permutations, product
from math import factorial, prod

import numpy as np
import pandas as pd
from scipy.stats import quantile_test

from hmmdyn.dynamics.outcomes.inflections import to_clock
from hmmdyn.dynamics.significance import SIGNIFICANT, corrected
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.outcomes import MATCHES

WINDOW = 0.1  # of a run's clock: what lies further apart does not go together
N_PAIRINGS = 1999  # drawn where there are more


def match_transitions(
    events: pd.DataFrame,
    change_points: pd.DataFrame,
    *,
    logarithmic: bool,
    random_state: int = 0,
) -> pd.DataFrame:
    """Match the changes of state of runs to their outcome transitions.

    In a run, a change j→k and an outcome transition go together where the change nearest to the
    transition lies within a tenth of the run from it. A change is dated halfway between its two
    checkpoints.

    That they do so in many runs may only mean that all runs keep the same schedule. So the null
    hypothesis is that it makes no difference which run's changes go with which run's outcome
    transition, within a group: p is the share of such pairings in which the two lie as close as in
    the runs themselves. Closeness is the distance from the median lead of all pairings, a tenth
    of the run at most, summed over runs.

    Parameters
    ----------
    events : DataFrame
        At most one per run and outcome: ``group, run, outcome, role, step, first_step, last_step``
        (the last two of the run).
    change_points : DataFrame
        See :data:`.results.transitions.CHANGE_POINTS`.
    logarithmic : bool
        Measure closeness in log(1 + step); leads are in steps in any case.
    random_state : int
        Seeds the pairings drawn, where there are too many to go through all.

    Returns
    -------
    DataFrame
        See :data:`.results.outcomes.MATCHES`. The interval of ``lead`` is by order statistics.
    """
    rng = np.random.default_rng(random_state)
    rows = []
    for (outcome, role), own in events.groupby(["outcome", "role"], sort=False):
        pairings = _pairings(own["group"].to_numpy(), rng)
        for (j, k), changes in change_points.groupby(["from_state", "to_state"]):
            found = _match(own, changes, pairings, logarithmic)
            names = {"from_state": j, "to_state": k, "outcome": outcome, "role": role}
            rows.append({**names, "n_total": len(own), **found})
    matches = MATCHES.frame(rows)
    matches["p_corrected"] = corrected(matches["p"].to_numpy())
    return matches[matches["n_runs"] > 0].reset_index(drop=True)


def _match(
    events: pd.DataFrame, changes: pd.DataFrame, pairings: IntArray, logarithmic: bool
) -> dict[str, object]:
    """Hold the events of all runs against the changes of all runs, their own among them."""

    def clock(column: str) -> FloatArray:
        return to_clock(events[column].to_numpy(dtype=np.float64), logarithmic)

    window = WINDOW * (clock("last_step") - clock("first_step"))
    dates = (changes["previous_step"] + changes["step"]).to_numpy(dtype=np.float64) / 2
    of_run = changes.groupby(RUN_KEY, sort=False).indices
    step = events["step"].to_numpy(dtype=np.float64)
    nearest = np.full((len(events), len(events)), np.nan)
    for i, key in enumerate(events[RUN_KEY].itertuples(index=False, name=None)):
        if key in of_run:
            nearest[:, i] = _nearest(dates[of_run[key]], step, logarithmic)
    leads = (to_clock(step, logarithmic)[:, None] - to_clock(nearest, logarithmic)) / window[
        :, None
    ]
    together = np.abs(np.diag(leads)) <= 1
    in_steps = (step - np.diag(nearest))[together]
    return {"n_runs": int(together.sum()), **_lead(in_steps), "p": _p_value(leads, pairings)}


def _nearest(dates: FloatArray, steps: FloatArray, logarithmic: bool) -> FloatArray:
    """Return for each step the nearest of the dates, on the clock."""
    distance = to_clock(steps, logarithmic)[:, None] - to_clock(dates, logarithmic)
    nearest: FloatArray = dates[np.abs(distance).argmin(axis=1)]
    return nearest


def _lead(leads: FloatArray) -> dict[str, float]:
    if len(leads) == 0:
        return {"lead": np.nan, "lead_low": np.nan, "lead_high": np.nan}
    median = float(np.median(leads))
    interval = quantile_test(leads, q=median, p=0.5).confidence_interval(confidence_level=0.95)
    low, high = float(interval.low), float(interval.high)
    bounded = np.isfinite([low, high]).all()
    return {
        "lead": median,
        "lead_low": low if bounded else np.nan,
        "lead_high": high if bounded else np.nan,
    }


def _p_value(leads: FloatArray, pairings: IntArray) -> float:
    """Return the share of pairings, the runs' own first, that bring the two as close together."""
    if 1 / len(pairings) >= SIGNIFICANT or np.isnan(leads).all():
        return float("nan")
    # The median over all pairings favours none of them.
    apart = np.abs(leads - np.nanmedian(leads))
    apart = np.where(np.isnan(apart), 1.0, np.minimum(apart, 1.0))
    total = apart[np.arange(len(leads)), pairings].sum(axis=1)
    return float((total <= total[0] + 1e-9).mean())


def _pairings(groups: np.ndarray, rng: np.random.Generator) -> IntArray:
    """Return which run's changes go to which run's event, the runs' own first, shape (n, R).

    All of them where they are no more than can be drawn.
    """
    members = [np.flatnonzero(groups == group) for group in pd.unique(groups)]
    own = np.arange(len(groups))
    n_all = prod(factorial(len(m)) for m in members)
    if n_all <= N_PAIRINGS + 1:
        ways = product(*(permutations(m) for m in members))
        orders = np.array([np.concatenate(way) for way in ways])
    else:
        drawn = [rng.permuted(np.tile(m, (N_PAIRINGS, 1)), axis=1) for m in members]
        orders = np.vstack([np.concatenate(members), np.hstack(drawn)])
    pairings = np.empty((len(orders), len(own)), dtype=np.intp)
    pairings[:, np.concatenate(members)] = orders
    return pairings
