"""When runs converged, how fast, and what states have to do with it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from hmmdyn.results.notice import Notice
from hmmdyn.results.shown import Shown


@dataclass(frozen=True, repr=False)
class Convergence(Shown):
    """When each run converged (METHOD: first step at which an outcome crosses a threshold).

    Attributes
    ----------
    outcome, threshold, direction : str, float, str
        Converged when ``outcome`` is ``above`` (>=) or ``below`` (<=) the threshold …
    sustained : int
        … at this many successive checkpoints (1: the first crossing).
    how : str
        In words, how outcome and threshold were chosen.
    table : DataFrame
        One row per run: ``group, run, seed, converged`` (bool), ``previous_step`` (Int64, the last
        evaluated step at which it is known not to have converged: convergence lies after it, and
        at or before ``step``; ``<NA>`` where the first evaluation did not tell), ``step``
        (convergence step, or the last evaluated step where the run is right-censored: then equal
        to ``previous_step``, but for the evaluations after which a streak could no longer become
        ``sustained``), ``last_step`` (of the run), ``time``
        (share of the run's checkpoints before ``step``; of a censored run, up to it; 0 … 1). Runs
        in which the outcome is never known are not in the table but in the notices.
    """

    outcome: str
    threshold: float
    direction: str
    sustained: int
    how: str
    table: pd.DataFrame
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, repr=False)
class Regression(Shown):
    """Convergence time on bag-of-states occupancy, least squares without intercept.

    Hu 2023, section 2.3. ``coefficients`` has one row per state: ``state, coefficient,
    std_error, ci_low, ci_high`` (95 %), ``p``, ``p_corrected`` (Benjamini–Hochberg over states).
    ``r_squared`` is centred (occupancies sum to one, so the model holds an implicit constant);
    ``f_statistic`` and ``p`` belong to it. ``r_squared_loo`` predicts every run from the others
    (against their mean; below 0: worse than that mean); NaN where a state occurs in one run only,
    without which its coefficient is unknown. ``warning`` says, in words, why the numbers must not
    be over-read; ``n_censored`` runs enter with their last step.
    """

    coefficients: pd.DataFrame
    r_squared: float
    r_squared_loo: float
    f_statistic: float
    p: float
    n_runs: int
    n_censored: int
    warning: str


@dataclass(frozen=True)
class Dissimilarity:
    """Expected Wasserstein-1 distance between two runs' bags of states (Hu 2023, eq. 1).

    ``emission``: ground cost is the Euclidean distance between emission means (standardised
    units). ``total_variation``: ground cost 0/1 (dimensionless, 0 … 1). ``labels``: the paper's
    own number, state labels as positions on a line; it changes when states are relabelled. All
    NaN with fewer than two runs.
    """

    emission: float
    total_variation: float
    labels: float
    n_runs: int


@dataclass(frozen=True, repr=False)
class ConvergenceSpeed(Shown):
    """How fast runs converge, group by group; steps count from the start of training, step 0.

    A run that never converges is right-censored: it counts as long as it was watched. The
    *horizon* of a comparison is the last step up to which the curves of all its groups are known:
    the end of the last run of a group, unless that run converged, which ends the curve at 0; where
    all curves end so, the last step of any run.

    Attributes
    ----------
    curves : DataFrame
        Kaplan–Meier curves, one row per group and step at which something is seen, step 0 first:
        ``group, step, n_at_risk`` (runs watched, not converged before), ``n_converged,
        n_censored`` (at this step), ``waiting`` (share of runs still to converge after it),
        ``low, high`` (95 % interval of that share until the next step).
    groups : DataFrame
        One row per group: ``group, n_runs, n_converged, median`` (first step by which half of the
        runs have converged; inf where never seen), ``median_low, median_high`` (its 95 % interval;
        0 and inf where the runs are too few to bound it), ``restricted_mean`` (mean step of
        convergence, a run that takes longer than the horizon counting as the horizon),
        ``restricted_mean_se, restricted_mean_low, restricted_mean_high`` (95 % interval; NaN where
        the runs do not differ), ``horizon`` (of all groups).
    tests : DataFrame
        One row per pair of groups, before them one for all groups where there are more than two
        (``group_a, group_b`` are missing). ``logrank`` (chi-squared statistic), ``logrank_p`` (of
        large samples), ``p`` (permutation test of the log-rank statistic), ``least_p`` (the least
        that any arrangement of these runs would give), ``p_corrected`` (Benjamini–Hochberg over the
        pairs that could be significant), ``difference`` (restricted mean of group_a minus that of
        group_b, steps) with ``difference_low, difference_high`` (95 %; NaN where a group shows no
        spread), ``horizon`` (of these groups), ``verdict``: group_a is ``faster`` or ``slower``
        (corrected p < 0.05), ``no evidence``, or ``cannot tell`` (nothing to compare, or
        ``least_p`` is 0.05 or more); for all groups ``different``, ``no evidence`` or ``cannot
        tell``. NaN where nothing can be compared.
    profile : DataFrame
        Performance profile: ``group, ratio`` (of time, to the fastest run of all), ``share`` (of
        the group's runs that converge within ``ratio`` times the fastest run's steps; a censored
        run never counts). Each group's share changes at its rows only.
    ranking : DataFrame
        All runs, fastest first, censored ones last: ``group, run, seed, converged, rank`` (by
        step, ties share the better one; ``<NA>`` where censored), ``rank_low, rank_high`` (ranks
        that evaluations between which convergence lies, and censoring, leave open),
        ``previous_step, step`` (as in :class:`Convergence`).
    """

    curves: pd.DataFrame
    groups: pd.DataFrame
    tests: pd.DataFrame
    profile: pd.DataFrame
    ranking: pd.DataFrame
    notices: tuple[Notice, ...] = ()
