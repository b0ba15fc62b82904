"""Several recipes held against each other."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.columns import (
    BOOLEAN,
    GROUP,
    INTEGER,
    NUMBER,
    PATH,
    STEPS,
    TEXT,
    Column,
    Table,
    holds,
    p_column,
)
from hmmdyn.results.detours import GROUP_DETOURS
from hmmdyn.results.shown import Shown

_SD = "standard deviations"
_APART = "where the groups have no stretch of steps in common"
_N_RUNS = Column("n_runs", INTEGER, "runs of the group", "runs")

GROUPS = Table(
    name="groups",
    title="Groups on one map",
    rows="group",
    note="Dissimilarity within the group (mean distance between two runs' bags of states); path: "
    "the order in which most of its runs enter states.",
    columns=(
        GROUP,
        _N_RUNS,
        Column(
            "n_converged",
            INTEGER,
            "of these, runs that converged",
            "runs",
            missing="where no outcome is known",
        ),
        Column(
            "n_censored",
            INTEGER,
            "of these, runs that ended before they converged",
            "runs",
            missing="where no outcome is known",
        ),
        Column("n_states_visited", INTEGER, "states that they visit", "states"),
        Column("forking", BOOLEAN, "yes unless the group's own transitions make a line"),
        Column(
            "emission",
            NUMBER,
            "dissimilarity within the group, by distances between states' means",
            _SD,
            missing="with one run",
        ),
        Column(
            "total_variation",
            NUMBER,
            "dissimilarity within the group, by shares of time alone",
            "fraction",
            missing="with one run",
        ),
        Column(
            "path",
            PATH,
            "states in the order in which most runs first enter them; of equally common ones the "
            "first in order",
        ),
        Column("n_on_path", INTEGER, "runs that take it, as far as they get", "runs"),
    ),
)

GROUP_DISSIMILARITIES = Table(
    name="group_dissimilarities",
    title="How differently groups walk the map",
    rows="pair of groups",
    note="Mean distance between two runs of different groups, and of the same one, over the steps "
    "that they have in common; p by permutation of runs, corrected over pairs. Runs that ended "
    "before half of the runs of the group that ends first are left out.",
    columns=(
        Column("group_a", TEXT, "the first group"),
        Column("group_b", TEXT, "the second group"),
        Column("n_a", INTEGER, "runs of group_a compared", "runs"),
        Column("n_b", INTEGER, "runs of group_b compared", "runs"),
        Column("n_left_out", INTEGER, "runs of both that end too early to be compared", "runs"),
        Column("cut", BOOLEAN, "some run goes on after last_step"),
        Column("first_step", NUMBER, "where the comparison begins", STEPS, missing=_APART),
        Column("last_step", NUMBER, "where the comparison ends", STEPS, missing=_APART),
        Column(
            "between",
            NUMBER,
            "mean distance between a run of the one and of the other",
            _SD,
            missing=_APART,
        ),
        Column(
            "within_a",
            NUMBER,
            "mean distance between runs of group_a",
            _SD,
            missing="with one run, and " + _APART,
        ),
        Column(
            "within_b",
            NUMBER,
            "mean distance between runs of group_b",
            _SD,
            missing="with one run, and " + _APART,
        ),
        Column(
            "excess",
            NUMBER,
            "energy statistic: twice the mean between the groups, less the mean within each, a "
            "run's distance 0 to itself included",
            _SD,
            missing=_APART,
        ),
        p_column("least_p", "the least p that any outcome could have given", missing=_APART),
        p_column(
            "p",
            "by permutation of runs",
            missing="where least_p is not below 0.05, a group has a single run, or the groups have "
            "no stretch of steps in common",
        ),
        p_column("p_corrected", "corrected over the pairs tested (Benjamini–Hochberg)"),
    ),
)

GROUP_FORKS = Table(
    name="group_forks",
    title="Which group forks where",
    rows="state after which runs go on to different states, state new to the run that they enter "
    "next, and group",
    note="Runs of each group by the way they take; p: whether groups take different ways.",
    columns=(
        Column("from_state", INTEGER, "state after which ways part"),
        Column("to_state", INTEGER, "next state that is new to the run"),
        GROUP,
        Column("n_runs", INTEGER, "runs of the group that take this way", "runs"),
        p_column(
            "p",
            "of the state: whether groups take different ways (exact, or drawn tables)",
            missing="where runs of one group only go on",
        ),
        p_column("p_corrected", "corrected over the forks (Benjamini–Hochberg)"),
    ),
)

_UNEXPLAINED = "where there is no regression"

GROUP_REGRESSIONS = Table(
    name="group_regressions",
    title="The paper's regression, group by group",
    rows="group",
    note="Convergence time on the bag of states.",
    columns=(
        GROUP,
        _N_RUNS,
        Column(
            "n_censored",
            INTEGER,
            "runs that never converged and enter with their whole length",
            "runs",
            missing=_UNEXPLAINED,
        ),
        Column("r_squared", NUMBER, "centred R²", missing=_UNEXPLAINED),
        Column(
            "r_squared_loo",
            NUMBER,
            "R² of every run predicted from the others; below 0: worse than their mean",
            missing=_UNEXPLAINED,
        ),
        p_column("p", "of the F test of the regression", missing=_UNEXPLAINED),
        p_column("p_corrected", "corrected over groups (Benjamini–Hochberg)"),
        Column("why_not", TEXT, "why there is no regression, else empty"),
    ),
)


@dataclass(frozen=True, repr=False)
class GroupComparison(Shown):
    """How groups (recipes) differ on one joint map: the paper's tables, group by group.

    Attributes
    ----------
    groups, dissimilarities, forks, detours, regressions : DataFrame
        See :data:`GROUPS`, :data:`GROUP_DISSIMILARITIES`, :data:`GROUP_FORKS`,
        :data:`.results.detours.GROUP_DETOURS`, :data:`GROUP_REGRESSIONS`.
    """

    groups: pd.DataFrame = field(metadata=holds(GROUPS))
    dissimilarities: pd.DataFrame = field(metadata=holds(GROUP_DISSIMILARITIES))
    forks: pd.DataFrame = field(metadata=holds(GROUP_FORKS))
    detours: pd.DataFrame = field(metadata=holds(GROUP_DETOURS))
    regressions: pd.DataFrame = field(metadata=holds(GROUP_REGRESSIONS))
