"""Which runs were slow to converge, and the states in which they spent the time."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from hmmdyn.results.shown import Shown


@dataclass(frozen=True, repr=False)
class SlowestQuarter(Shown):
    """The slowest quarter of the runs held against the others.

    Censored runs are slower than all others, and runs as slow as the last of the quarter join it.

    Attributes
    ----------
    states : DataFrame
        One row per state: ``state, slowest, others`` (mean checkpoints in it before convergence of
        the slowest quarter, and of the other runs), ``longer`(the difference).
    runs : DataFrame
        One row per run of the quarter, the slowest first: ``group, run, seed, converged, step,
        state`` (in which it stayed longest compared with the others), ``n_checkpoints`` (in that
        state), ``others`` (mean of the other runs there).
    n_others : int
        How many runs are not of the quarter.
    longer : float
        Checkpoints by which the quarter took longer in all, on average.
    """

    states: pd.DataFrame
    runs: pd.DataFrame
    n_others: int
    longer: float


@dataclass(frozen=True, repr=False)
class Slowness(Shown):
    """Which runs were slow to converge, and the states in which they spent the time.

    Checkpoints are counted before convergence only; those of a censored run, which had not
    converged when it ended, all count.

    Attributes
    ----------
    before_convergence : DataFrame
        One row per run of which it is known whether it converged, in the order of
        ``Findings.runs``: ``group, run, seed, state_0 …`` (checkpoints in each state before it
        converged). Unlike the occupancy of the whole run, this does not depend on how long it
        went on afterwards.
    extremes : DataFrame
        The fastest and the slowest run of every group in which a run converged and another took
        longer, one row per group and state: ``group, state, fastest_run, slowest_run`` (the
        latter is the run known to have taken longest, converged or censored), ``fastest, slowest``
        (checkpoints of the two in the state), ``fast_quarter, slow_quarter`` (means over the
        ``n_in_quarter`` fastest and slowest runs; NaN with fewer than eight runs), ``decisive``
        (the slowest stayed longer in it, and it holds at least a quarter of all that the slowest
        stayed longer anywhere).
    slowest_quarter : SlowestQuarter or None
        None where there are several groups, because slow recipes are not slow seeds, or fewer
        than two other runs.
    """

    before_convergence: pd.DataFrame
    extremes: pd.DataFrame
    slowest_quarter: SlowestQuarter | None
