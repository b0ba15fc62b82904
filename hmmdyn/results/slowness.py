"""Which runs were slow to converge, and the states in which they spent the time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.columns import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    RUN_COLUMNS,
    STEPS,
    TEXT,
    Column,
    Table,
    holds,
)
from hmmdyn.results.shown import Shown

_CONVERGED = Column("converged", BOOLEAN, "the run converged before it ended")
_FEW = "with fewer than eight runs, or where it is not known which are fast and which slow"

RUNS = Table(
    name="runs",
    title="Runs in order of convergence",
    rows="run, the fastest of a group first",
    note="Fastest first within each group, then runs that had not converged when they ended "
    "(censored; step: the last one known), then those whose outcome is unknown.",
    columns=(
        *RUN_COLUMNS,
        _CONVERGED,
        Column(
            "step",
            INTEGER,
            "of convergence; the last one known where censored",
            STEPS,
            missing="where the outcome is unknown",
        ),
        Column("last_step", INTEGER, "of the run", STEPS),
        Column(
            "status",
            TEXT,
            "converged, censored (not converged when it ended) or unknown (its outcome was never "
            "seen)",
        ),
    ),
)

BEFORE_CONVERGENCE = Table(
    name="before_convergence",
    title="Time in each state before convergence",
    rows="run of which it is known whether it converged, in the order of the runs",
    note="Steps, each checkpoint standing for those nearest to it. Of a run that had not converged "
    "when it ended, all of them.",
    columns=(
        *RUN_COLUMNS,
        Column("state_<state>", NUMBER, "before convergence in state <state>", STEPS),
    ),
)

EXTREMES = Table(
    name="extremes",
    title="The fastest and the slowest run, state by state",
    rows="group in which a run converged and another took longer, and state",
    note="Steps before convergence of the two, and means over the fastest and the slowest quarter "
    "of the runs, where there are eight or more, and known to be apart. Decisive: the state holds "
    "at least a quarter of all that the slowest stayed longer.",
    columns=(
        Column("group", TEXT, "recipe, as the folder or table names it"),
        Column("state", INTEGER, "number of the state, in order of time"),
        Column("fastest_run", TEXT, "the run that converged first"),
        Column("slowest_run", TEXT, "the run known to have taken longest, converged or censored"),
        Column("fastest", NUMBER, "of the fastest run in the state", STEPS),
        Column("slowest", NUMBER, "of the slowest run in the state", STEPS),
        Column("fast_quarter", NUMBER, "mean of the fastest quarter", STEPS, missing=_FEW),
        Column("slow_quarter", NUMBER, "mean of the slowest quarter", STEPS, missing=_FEW),
        Column("n_in_quarter", INTEGER, "runs in a quarter", "runs"),
        Column(
            "decisive",
            BOOLEAN,
            "the slowest stayed longer in it, and it holds at least a quarter of all that the "
            "slowest stayed longer anywhere",
        ),
    ),
)

SLOWEST_QUARTER = Table(
    name="slowest_quarter",
    title="The slowest quarter of the runs, state by state",
    rows="state",
    note="Mean steps before convergence of the runs known to have taken longest and of the others "
    "that converged, and the difference. Runs that were stopped earlier are in neither.",
    columns=(
        Column("state", INTEGER, "number of the state, in order of time"),
        Column("slowest", NUMBER, "mean of the slowest quarter", STEPS),
        Column("others", NUMBER, "mean of the other runs that converged", STEPS),
        Column("longer", NUMBER, "slowest less others", STEPS),
    ),
)

SLOW_RUNS = Table(
    name="slow_runs",
    title="Where each slow run spent its time",
    rows="run of the slowest quarter, the slowest first",
    note="The slowest quarter, slowest first: the state in which it stayed longest compared with "
    "the others, its steps there, and their mean there.",
    columns=(
        *RUN_COLUMNS,
        _CONVERGED,
        Column("step", INTEGER, "of convergence; the last one known where censored", STEPS),
        Column("state", INTEGER, "in which it stayed longest compared with the others"),
        Column("time", NUMBER, "of the run in that state", STEPS),
        Column("others", NUMBER, "mean of the other runs there", STEPS),
    ),
)


@dataclass(frozen=True, repr=False)
class SlowestQuarter(Shown):
    """The slowest quarter of the runs held against the others.

    Of the quarter are the runs known to have taken longest, converged or not, and those as slow as
    the last of them; of the others, the runs that converged sooner. A run that was stopped before
    may be slow or not, and is in neither.

    Attributes
    ----------
    states, runs : DataFrame
        See :data:`SLOWEST_QUARTER`, :data:`SLOW_RUNS`.
    n_others : int
        How many runs the quarter is held against.
    n_stopped : int
        How many were stopped too early to tell.
    longer : float
        Steps by which the quarter took longer in all, on average.
    """

    states: pd.DataFrame = field(metadata=holds(SLOWEST_QUARTER))
    runs: pd.DataFrame = field(metadata=holds(SLOW_RUNS))
    n_others: int
    n_stopped: int
    longer: float


@dataclass(frozen=True, repr=False)
class Slowness(Shown):
    """Which runs were slow to converge, and the states in which they spent the time.

    Time is counted before convergence only, in steps (a checkpoint stands for those nearest to it);
    that of a censored run, which had not converged when it ended, counts as a whole.

    Attributes
    ----------
    before_convergence, extremes : DataFrame
        See :data:`BEFORE_CONVERGENCE`, :data:`EXTREMES`. Unlike the occupancy of the whole run,
        the former does not depend on how long a run went on after it converged.
    slowest_quarter : SlowestQuarter or None
        None where there are several groups, because slow recipes are not slow seeds, or fewer
        than two other runs.
    """

    before_convergence: pd.DataFrame = field(metadata=holds(BEFORE_CONVERGENCE))
    extremes: pd.DataFrame = field(metadata=holds(EXTREMES))
    slowest_quarter: SlowestQuarter | None
