"""When runs converged, how fast, and what states have to do with it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.columns import (
    BOOLEAN,
    GROUP,
    INTEGER,
    NUMBER,
    RUN_COLUMNS,
    STATE,
    STEPS,
    TEXT,
    Column,
    Table,
    holds,
    p_column,
)
from hmmdyn.results.notice import Notice
from hmmdyn.results.shown import Shown
from hmmdyn.results.verdicts import CANNOT_TELL, DIFFERENT, FASTER, NO_EVIDENCE, SLOWER

_CONVERGED = Column("converged", BOOLEAN, "the outcome crosses the threshold")
_PREVIOUS_STEP = Column(
    "previous_step",
    INTEGER,
    "last evaluated step at which the run is known not to have converged: convergence lies after "
    "it, and at or before step",
    STEPS,
    missing="where the first evaluation did not tell",
)
_CONVERGENCE_STEP = Column(
    "step",
    INTEGER,
    "convergence step, or the last evaluated one where the run is right-censored: then equal to "
    "previous_step, but for the evaluations after which a streak could no longer become sustained",
    STEPS,
)

CONVERGENCE = Table(
    name="convergence",
    title="Convergence of every run",
    rows="run in which the outcome is known somewhere",
    note="The first step past the threshold, or the last step of a run that never got there; "
    "it had not converged at the previous step. Time is the share of the run's checkpoints "
    "before convergence.",
    columns=(
        *RUN_COLUMNS,
        _CONVERGED,
        _PREVIOUS_STEP,
        _CONVERGENCE_STEP,
        Column("last_step", INTEGER, "of the run", STEPS),
        Column(
            "time",
            NUMBER,
            "share of the run's checkpoints before step; of a censored run, up to it",
            "fraction of run",
        ),
    ),
)

RANKING = Table(
    name="ranking",
    title="Seeds ranked by convergence",
    rows="run, fastest first, censored ones last",
    note="Fastest first. Rank low and high: what sparse evaluation and runs that ended before they "
    "converged leave open.",
    columns=(
        *RUN_COLUMNS,
        _CONVERGED,
        Column(
            "rank", INTEGER, "by step; ties share the better one", missing="where it is censored"
        ),
        Column(
            "rank_low",
            INTEGER,
            "lowest rank that evaluations between which convergence lies, and censoring, leave "
            "open",
        ),
        Column("rank_high", INTEGER, "highest rank that they leave open"),
        _PREVIOUS_STEP,
        _CONVERGENCE_STEP,
    ),
)

_UNBOUNDED = "where the runs do not differ"

CONVERGENCE_GROUPS = Table(
    name="convergence_groups",
    title="Speed of convergence",
    rows="group",
    note="Kaplan–Meier median and mean step of convergence, the mean restricted to the horizon, "
    "with 95 % intervals.",
    columns=(
        GROUP,
        Column("n_runs", INTEGER, "runs that can be compared", "runs"),
        Column("n_converged", INTEGER, "of these, runs that converged", "runs"),
        Column(
            "median",
            NUMBER,
            "first step by which half of the runs have converged; infinite where never seen",
            STEPS,
        ),
        Column(
            "median_low",
            NUMBER,
            "95 % interval of the median; 0 where the runs are too few to bound it",
            STEPS,
        ),
        Column(
            "median_high",
            NUMBER,
            "95 % interval of the median; infinite where the runs are too few to bound it",
            STEPS,
        ),
        Column(
            "restricted_mean",
            NUMBER,
            "mean step of convergence, a run that takes longer than the horizon counting as the "
            "horizon",
            STEPS,
        ),
        Column(
            "restricted_mean_se",
            NUMBER,
            "its standard error (jackknife)",
            STEPS,
            missing="with one run",
        ),
        Column("restricted_mean_low", NUMBER, "its 95 % interval", STEPS, missing=_UNBOUNDED),
        Column("restricted_mean_high", NUMBER, "its 95 % interval", STEPS, missing=_UNBOUNDED),
        Column(
            "horizon", NUMBER, "last step up to which the curves of all groups are known", STEPS
        ),
    ),
)

_NO_PAIR = "in the row of all groups"
_APART = "in the row of all groups, and where a group shows no spread"

CONVERGENCE_TESTS = Table(
    name="convergence_tests",
    title="Groups compared for speed",
    rows="pair of groups, before them one for all groups where there are more than two",
    note="Log-rank test by permutation of runs (p), corrected over pairs (Benjamini–Hochberg); "
    "least p: the smallest these runs could give; difference of the restricted means, in "
    "steps, with its 95 % interval.",
    columns=(
        Column("group_a", TEXT, "the first group", missing=_NO_PAIR),
        Column("group_b", TEXT, "the second group", missing=_NO_PAIR),
        Column(
            "logrank",
            NUMBER,
            "statistic of the log-rank test (chi-squared)",
            missing="where nothing can be compared",
        ),
        p_column("logrank_p", "of the statistic in large samples"),
        p_column("p", "by permutation of the log-rank statistic"),
        p_column("least_p", "the least p that any arrangement of these runs would give"),
        p_column(
            "p_corrected",
            "corrected over the pairs that could be significant (Benjamini–Hochberg)",
        ),
        Column(
            "difference",
            NUMBER,
            "restricted mean of group_a less that of group_b",
            STEPS,
            missing=_NO_PAIR,
        ),
        Column("difference_low", NUMBER, "95 % interval of difference", STEPS, missing=_APART),
        Column("difference_high", NUMBER, "95 % interval of difference", STEPS, missing=_APART),
        Column("horizon", NUMBER, "last step up to which these groups' curves are known", STEPS),
        Column(
            "verdict",
            TEXT,
            f"group_a is {FASTER} or {SLOWER} (corrected p < 0.05), {NO_EVIDENCE}, or "
            f"{CANNOT_TELL} (nothing to compare, or least_p is 0.05 or more); for all groups "
            f"{DIFFERENT}, {NO_EVIDENCE} or {CANNOT_TELL}",
        ),
    ),
)

SURVIVAL_CURVES = Table(
    name="survival_curves",
    title="Kaplan–Meier curves",
    rows="group and step at which something is seen, step 0 first",
    note="Share of runs still to converge after each step at which something is seen, with its "
    "95 % interval.",
    columns=(
        GROUP,
        Column("step", INTEGER, "step at which something is seen", STEPS),
        Column("n_at_risk", INTEGER, "runs watched, not converged before", "runs"),
        Column("n_converged", INTEGER, "runs that converge at this step", "runs"),
        Column("n_censored", INTEGER, "runs last seen at this step, not converged", "runs"),
        Column("waiting", NUMBER, "share of runs still to converge after it", "fraction"),
        Column("low", NUMBER, "95 % interval of waiting until the next step", "fraction"),
        Column("high", NUMBER, "95 % interval of waiting until the next step", "fraction"),
    ),
)

PERFORMANCE_PROFILE = Table(
    name="performance_profile",
    title="Performance profile",
    rows="group and time at which its share changes",
    note="Share of the group's runs that converge within so many times the fastest run's steps.",
    columns=(
        GROUP,
        Column("ratio", NUMBER, "of time, to the fastest run of all"),
        Column(
            "share",
            NUMBER,
            "of the group's runs that converge within ratio times the fastest run's steps; a "
            "censored run never counts",
            "fraction",
        ),
    ),
)

_FIXED_SHARE = "where all runs spend the same share in the state"
_OF_RUN = "fraction of run"

REGRESSION = Table(
    name="regression",
    title="Regression of convergence time on the bag of states",
    rows="state",
    note="Least squares without intercept; coefficients as a fraction of the run, with 95 % "
    "intervals; p corrected over states (Benjamini–Hochberg).",
    columns=(
        STATE,
        Column(
            "coefficient",
            NUMBER,
            "convergence time of a run that is in the state throughout",
            _OF_RUN,
            missing=_FIXED_SHARE,
        ),
        Column("std_error", NUMBER, "standard error of coefficient", _OF_RUN, missing=_FIXED_SHARE),
        Column("ci_low", NUMBER, "95 % interval of coefficient", _OF_RUN, missing=_FIXED_SHARE),
        Column("ci_high", NUMBER, "95 % interval of coefficient", _OF_RUN, missing=_FIXED_SHARE),
        p_column("p", "of a coefficient of zero", missing=_FIXED_SHARE),
        p_column("p_corrected", "corrected over states (Benjamini–Hochberg)"),
    ),
)


@dataclass(frozen=True, repr=False)
class Convergence(Shown):
    """When each run converged: the first step at which an outcome crosses a threshold.

    Attributes
    ----------
    outcome, threshold, direction : str, float, str
        Converged when ``outcome`` is ``above`` (>=) or ``below`` (<=) the threshold …
    sustained : int
        … at this many successive checkpoints (1: the first crossing).
    how : str
        In words, how outcome and threshold were chosen.
    table : DataFrame
        See :data:`CONVERGENCE`. Runs in which the outcome is never known are not in it but in the
        notices.
    """

    outcome: str
    threshold: float
    direction: str
    sustained: int
    how: str
    table: pd.DataFrame = field(metadata=holds(CONVERGENCE))
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, repr=False)
class Regression(Shown):
    """Convergence time on bag-of-states occupancy, least squares without intercept.

    Hu 2023, section 2.3. ``coefficients``: see :data:`REGRESSION`.
    ``r_squared`` is centred (occupancies sum to one, so the model holds an implicit constant);
    ``f_statistic`` and ``p`` belong to it. ``r_squared_loo`` predicts every run from the others
    (against their mean; below 0: worse than that mean); NaN where a state occurs in one run only,
    without which its coefficient is unknown. ``warning`` says, in words, why the numbers must not
    be over-read; ``n_censored`` runs enter with their last step.
    """

    coefficients: pd.DataFrame = field(metadata=holds(REGRESSION))
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
        Kaplan–Meier curves: see :data:`SURVIVAL_CURVES`.
    groups : DataFrame
        See :data:`CONVERGENCE_GROUPS`.
    tests : DataFrame
        See :data:`CONVERGENCE_TESTS`.
    profile : DataFrame
        See :data:`PERFORMANCE_PROFILE`. Each group's share changes at its rows only.
    ranking : DataFrame
        See :data:`RANKING`.
    """

    curves: pd.DataFrame = field(metadata=holds(SURVIVAL_CURVES))
    groups: pd.DataFrame = field(metadata=holds(CONVERGENCE_GROUPS))
    tests: pd.DataFrame = field(metadata=holds(CONVERGENCE_TESTS))
    profile: pd.DataFrame = field(metadata=holds(PERFORMANCE_PROFILE))
    ranking: pd.DataFrame = field(metadata=holds(RANKING))
    notices: tuple[Notice, ...] = ()
