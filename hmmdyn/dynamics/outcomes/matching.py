"""Which change of state goes with which outcome transition, over runs.

The method is described in docs/method/statements.md, Outcome transitions.
"""

from __future__ import annotations

from itertools import permutations, product
from math import factorial, prod

import numpy as np
import pandas as pd

from hmmdyn.dynamics.outcomes.inflections import to_clock
from hmmdyn.dynamics.outcomes.medians import median_interval
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
    of the run at most, summed over runs. Schedules may be in steps or in shares of the run, as
    where a learning rate decays half way: where runs differ in length, p is the larger of that in
    steps and that with all runs brought to one length.

    Parameters
    ----------
    events : DataFrame
        At most one per run and outcome: ``group, run, outcome, role, step, step_low, step_high,
        first_step, last_step`` (the last two of the run).
    change_points : DataFrame
        See :data:`.results.transitions.CHANGE_POINTS`.
    logarithmic : bool
        Measure closeness in log(1 + step); leads are in steps in any case.
    random_state : int
        Seeds the pairings drawn, where there are too many to go through all.

    Returns
    -------
    DataFrame
        See :data:`.results.outcomes.MATCHES`. The interval of ``lead`` is by order statistics of
        what the intervals of the transition and of the change leave open in each run.
    """
    rng = np.random.default_rng(random_state)
    rows = []
    for (outcome, role), own in events.groupby(["outcome", "role"], sort=False):
        pairings = pairings_of(own["group"].to_numpy(), rng)
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
    steps = events[["step", "first_step", "last_step"]].to_numpy(dtype=np.float64)
    dates = (changes["previous_step"] + changes["step"]).to_numpy(dtype=np.float64) / 2
    rows_of = changes.groupby(RUN_KEY, sort=False).indices
    none = np.empty(0, dtype=np.intp)
    of_run = [rows_of.get(key, none) for key in events[RUN_KEY].itertuples(index=False, name=None)]
    leads, nearest = _leads(steps, [dates[rows] for rows in of_run], logarithmic)
    p = p_of_pairings(leads, pairings)
    length = steps[:, 2] / np.median(steps[:, 2])
    if np.ptp(length) > 0:
        shares = [dates[rows] / own for rows, own in zip(of_run, length, strict=True)]
        of_one_length, _ = _leads(steps / length[:, None], shares, logarithmic)
        p = max(p, p_of_pairings(of_one_length, pairings))
    together = np.flatnonzero(np.abs(np.diag(leads)) <= 1)
    met = np.array([of_run[i][nearest[i]] for i in together], dtype=np.intp)
    low, high = median_interval(
        (events["step_low"].to_numpy()[together] - changes["step_high"].to_numpy()[met]),
        (events["step_high"].to_numpy()[together] - changes["step_low"].to_numpy()[met]),
    )
    return {
        "n_runs": len(together),
        "lead": float(np.median(steps[together, 0] - dates[met])) if len(together) else np.nan,
        "lead_low": low,
        "lead_high": high,
        "p": p,
    }


def _leads(
    steps: FloatArray, dates: list[FloatArray], logarithmic: bool
) -> tuple[FloatArray, IntArray]:
    """Return by how much the changes of each run lead the event of each, in windows, on the clock.

    Parameters
    ----------
    steps : ndarray, shape (R, 3)
        Steps of the event of each run, and the first and last of the run.
    dates : list of ndarray
        Steps of the changes of each run.

    Returns
    -------
    leads : ndarray, shape (R, R)
        Of the event of run i and the nearest of the changes of run j; NaN where it has none.
    nearest : ndarray, shape (R,)
        Which of a run's own changes is nearest to its event, 0 where there is none.
    """
    clock = to_clock(steps, logarithmic)
    window = WINDOW * (clock[:, 2] - clock[:, 1])
    leads = np.full((len(steps), len(steps)), np.nan)
    nearest = np.zeros(len(steps), dtype=np.intp)
    for j, own in enumerate(dates):
        if len(own):
            apart = clock[:, :1] - to_clock(own, logarithmic)
            closest = np.abs(apart).argmin(axis=1)
            leads[:, j] = apart[np.arange(len(steps)), closest] / window
            nearest[j] = closest[j]
    return leads, nearest


def p_of_pairings(leads: FloatArray, pairings: IntArray) -> float:
    """Return the share of pairings, the runs' own first, that bring the two as close together."""
    if 1 / len(pairings) >= SIGNIFICANT or np.isnan(leads).all():
        return float("nan")
    # The median over all pairings favours none of them.
    apart = np.abs(leads - np.nanmedian(leads))
    apart = np.where(np.isnan(apart), 1.0, np.minimum(apart, 1.0))
    total = apart[np.arange(len(leads)), pairings].sum(axis=1)
    return float((total <= total[0] + 1e-9).mean())


def pairings_of(groups: np.ndarray, rng: np.random.Generator) -> IntArray:
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
