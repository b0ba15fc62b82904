"""When runs converged, how fast, and what states have to do with it."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.columns import (
    BOOLEAN,
    GROUP,
    INTEGER,
    NUMBER,
    RUN,
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
from hmmdyn.results.verdicts import (
    A_NOT_SLOWER,
    ALIKE,
    B_NOT_SLOWER,
    CANNOT_TELL,
    DIFFERENT,
    FASTER,
    NO_EVIDENCE,
    SLOWER,
)

CROSSINGS = "crossings that did not last"  # the subject of the notice about them

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
        Column(
            "later_back",
            NUMBER,
            "share of the evaluations after step at which the outcome is on the wrong side of the "
            "threshold again; missing where there are none",
            "fraction",
        ),
    ),
)

# Not of the report: what groups evaluated at different steps are compared by.
EVALUATIONS = Table(
    name="evaluations",
    title="Evaluations",
    rows="evaluation of a run",
    columns=(
        GROUP,
        RUN,
        Column("step", INTEGER, "step of the evaluation", STEPS),
        Column("holds", BOOLEAN, "the outcome is on the side of the threshold that converges"),
    ),
)

RANKING = Table(
    name="ranking",
    title="Seeds ranked by convergence",
    rows="run, fastest first, censored ones last",
    note="First seen to converge first. Rank low and high: what sparse evaluation and runs that "
    "ended before they converged leave open; runs whose ranks overlap cannot be told apart.",
    columns=(
        *RUN_COLUMNS,
        _CONVERGED,
        Column(
            "rank",
            INTEGER,
            "by step; runs seen at the same share the better one",
            missing="where it is censored",
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

CONVERGENCE_GROUPS = Table(
    name="convergence_groups",
    title="Speed of convergence",
    rows="group",
    note="Median and mean step of convergence, the mean restricted to the horizon, with 95 % "
    "intervals that hold however runs converged between evaluations.",
    columns=(
        GROUP,
        Column("n_runs", INTEGER, "runs that can be compared", "runs"),
        Column("n_converged", INTEGER, "of these, runs that converged", "runs"),
        Column("n_censored", INTEGER, "of these, runs that ended before they converged", "runs"),
        Column(
            "median_earliest",
            NUMBER,
            "first step at which the median can lie, given between which evaluations runs "
            "converged; of an even number of runs it is the mean of the middle two",
            STEPS,
        ),
        Column(
            "median_latest",
            NUMBER,
            "last step at which it can lie; infinite where half of the runs are never seen to "
            "converge",
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
            "horizon, and every other half way between the earliest and the latest step possible",
            STEPS,
        ),
        Column(
            "restricted_mean_se",
            NUMBER,
            "its standard error (jackknife)",
            STEPS,
            missing="with one run",
        ),
        Column("restricted_mean_low", NUMBER, "its 95 % interval", STEPS),
        Column("restricted_mean_high", NUMBER, "its 95 % interval", STEPS),
        Column(
            "horizon", NUMBER, "last step up to which the curves of all groups are known", STEPS
        ),
    ),
)

_NOTHING = "where too few runs could be told from others"
_NO_PAIR = "in the row of all groups"
_NO_SPREAD = (
    "in the row of all groups, and where fewer than three runs differ in when they converge"
)
_NOT_ALIKE = "where nothing can be compared, or groups have no schedule of evaluations in common"
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
            missing=_NOT_ALIKE,
        ),
        p_column("logrank_p", "of the statistic in large samples", missing=_NOT_ALIKE),
        p_column(
            "p",
            "by permutation of the log-rank statistic; of groups evaluated at different steps, "
            "each as it would be had it been evaluated no sooner than the other",
        ),
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
        Column(
            "difference_low",
            NUMBER,
            "95 % interval of difference, however runs converged between evaluations",
            STEPS,
            missing=_APART,
        ),
        Column("difference_high", NUMBER, "95 % interval of difference", STEPS, missing=_APART),
        Column("horizon", NUMBER, "last step up to which these groups' curves are known", STEPS),
        Column(
            "smallest",
            NUMBER,
            "by which share slower one of two groups of so many runs must be to be told, with "
            "power 0.8 (0.5: by half); infinite where they are too few to tell anything",
            "fraction",
            missing=_NO_SPREAD,
        ),
        Column(
            "verdict",
            TEXT,
            f"group_a is {FASTER} or {SLOWER} (corrected p < 0.05), {NO_EVIDENCE}, or "
            f"{CANNOT_TELL} (nothing to compare, or least_p is 0.05 or more); for all groups "
            f"{DIFFERENT}, {NO_EVIDENCE} or {CANNOT_TELL}",
        ),
    ),
)

_UNKNOWN_SPREAD = "where fewer than three runs converge, or all between the same evaluations"

PLANNING = Table(
    name="planning",
    title="What so many seeds can show",
    rows="group",
    note="Smallest difference that two groups of as many runs, differing as much among themselves, "
    "tell with power 0.8; the intervals, from how well so few runs tell their spread, hold 95 %.",
    columns=(
        GROUP,
        Column("n_runs", INTEGER, "runs that can be compared", "runs"),
        Column("n_converged", INTEGER, "of these, runs that converged", "runs"),
        Column(
            "spread",
            NUMBER,
            "standard deviation between runs of the natural logarithm of the convergence step, "
            "that of the gaps between evaluations with it",
            missing=_UNKNOWN_SPREAD,
        ),
        Column("spread_low", NUMBER, "its 95 % interval", missing=_UNKNOWN_SPREAD),
        Column("spread_high", NUMBER, "its 95 % interval", missing=_UNKNOWN_SPREAD),
        Column(
            "smallest",
            NUMBER,
            "by which share slower one of two such groups must be to be told (0.5: by half); "
            "infinite where they are too few to tell anything",
            "fraction",
            missing=_UNKNOWN_SPREAD,
        ),
        Column("smallest_low", NUMBER, "its 95 % interval", "fraction", missing=_UNKNOWN_SPREAD),
        Column("smallest_high", NUMBER, "its 95 % interval", "fraction", missing=_UNKNOWN_SPREAD),
    ),
)

SEEDS_NEEDED = Table(
    name="seeds_needed",
    title="Seeds that a difference needs",
    rows="group and difference",
    note="How many runs each of two groups needs to tell, with power 0.8, that one is slower by "
    "this share, where runs differ as much as those of the group and converge as often.",
    columns=(
        GROUP,
        Column("difference", NUMBER, "by which share one is slower (0.1: by 10 %)", "fraction"),
        Column("n_runs", NUMBER, "runs of each group", "runs", missing=_UNKNOWN_SPREAD),
        Column("n_runs_low", NUMBER, "its 95 % interval", "runs", missing=_UNKNOWN_SPREAD),
        Column("n_runs_high", NUMBER, "its 95 % interval", "runs", missing=_UNKNOWN_SPREAD),
    ),
)

EQUIVALENCE = Table(
    name="equivalence",
    title="Groups that are alike within a margin",
    rows="pair of groups, where a margin is asked for",
    note="Each tested for being slower than the other stretched by the margin (one-sided "
    "permutation test, p corrected over groups and pairs by Benjamini–Hochberg).",
    columns=(
        Column("group_a", TEXT, "the first group"),
        Column("group_b", TEXT, "the second group"),
        Column("margin", NUMBER, "share by which a group may be slower (0.1: 10 %)", "fraction"),
        p_column(
            "p_a_not_slower",
            "if group_a took longer than group_b by the margin or more; corrected",
            missing=_NOTHING,
        ),
        p_column(
            "p_b_not_slower",
            "if group_b took longer than group_a by the margin or more; corrected",
            missing=_NOTHING,
        ),
        Column(
            "verdict",
            TEXT,
            f"{ALIKE} (both below 0.05), {A_NOT_SLOWER} or {B_NOT_SLOWER} (one of them), "
            f"{NO_EVIDENCE}, or {CANNOT_TELL} (too few runs for any outcome to be significant)",
        ),
    ),
)

SURVIVAL_CURVES = Table(
    name="survival_curves",
    title="Runs still to converge",
    rows="group and evaluation next to which a run converges or ends, step 0 first",
    note="Share of runs still to converge (Kaplan–Meier, in Turnbull's form for steps that lie "
    "somewhere between evaluations), with its 95 % interval.",
    columns=(
        GROUP,
        Column("step", INTEGER, "step of the evaluation", STEPS),
        Column("n_at_risk", INTEGER, "runs watched, not seen to have converged before", "runs"),
        Column("n_converged", INTEGER, "runs first seen to have converged", "runs"),
        Column("n_censored", INTEGER, "runs last seen at this step, not converged", "runs"),
        Column("waiting", NUMBER, "share of runs still to converge after it", "fraction"),
        Column("low", NUMBER, "95 % interval of waiting, since the row before", "fraction"),
        Column("high", NUMBER, "95 % interval of waiting, until the next row", "fraction"),
    ),
)

PERFORMANCE_PROFILE = Table(
    name="performance_profile",
    title="Performance profile",
    rows="group and time at which its share changes",
    note="Share of the group's runs seen to converge within so many times the steps at which the "
    "first was.",
    columns=(
        GROUP,
        Column("ratio", NUMBER, "of step, to that of the first run seen to converge"),
        Column(
            "share",
            NUMBER,
            "of the group's runs that are seen to converge within ratio times its steps; a "
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
    evaluations : DataFrame
        See :data:`EVALUATIONS`; sorted by step within a run.
    """

    outcome: str
    threshold: float
    direction: str
    sustained: int
    how: str
    table: pd.DataFrame = field(metadata=holds(CONVERGENCE))
    notices: tuple[Notice, ...] = ()
    evaluations: pd.DataFrame = field(default_factory=EVALUATIONS.frame)


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
        Shares of runs still to converge: see :data:`SURVIVAL_CURVES`.
    groups : DataFrame
        See :data:`CONVERGENCE_GROUPS`.
    tests : DataFrame
        See :data:`CONVERGENCE_TESTS`.
    profile : DataFrame
        See :data:`PERFORMANCE_PROFILE`. Each group's share changes at its rows only.
    ranking : DataFrame
        See :data:`RANKING`.
    planning, seeds_needed : DataFrame
        See :data:`PLANNING`, :data:`SEEDS_NEEDED`.
    equivalence : DataFrame
        See :data:`EQUIVALENCE`; empty where no margin was asked for.
    """

    curves: pd.DataFrame = field(metadata=holds(SURVIVAL_CURVES))
    groups: pd.DataFrame = field(metadata=holds(CONVERGENCE_GROUPS))
    tests: pd.DataFrame = field(metadata=holds(CONVERGENCE_TESTS))
    profile: pd.DataFrame = field(metadata=holds(PERFORMANCE_PROFILE))
    ranking: pd.DataFrame = field(metadata=holds(RANKING))
    planning: pd.DataFrame = field(metadata=holds(PLANNING))
    seeds_needed: pd.DataFrame = field(metadata=holds(SEEDS_NEEDED))
    equivalence: pd.DataFrame = field(metadata=holds(EQUIVALENCE))
    notices: tuple[Notice, ...] = ()
