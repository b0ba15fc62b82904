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
_FEW = "with fewer than eight runs"

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
    title="Checkpoints in each state before convergence",
    rows="run of which it is known whether it converged, in the order of the runs",
    note="Of a run that had not converged when it ended, all of them.",
    columns=(
        *RUN_COLUMNS,
        Column("state_<state>", INTEGER, "before convergence in state <state>", "checkpoints"),
    ),
)

EXTREMES = Table(
    name="extremes",
    title="The fastest and the slowest run, state by state",
    rows="group in which a run converged and another took longer, and state",
    note="Checkpoints before convergence of the two, and means over the fastest and the slowest "
    "quarter of the runs, where there are eight or more. Decisive: the state holds at least a "
    "quarter of all that the slowest stayed longer.",
    columns=(
        Column("group", TEXT, "recipe, as the folder or table names it"),
        Column("state", INTEGER, "number of the state, in order of time"),
        Column("fastest_run", TEXT, "the run that converged first"),
        Column("slowest_run", TEXT, "the run known to have taken longest, converged or censored"),
        Column("fastest", INTEGER, "of the fastest run in the state", "checkpoints"),
        Column("slowest", INTEGER, "of the slowest run in the state", "checkpoints"),
        Column("fast_quarter", NUMBER, "mean of the fastest quarter", "checkpoints", missing=_FEW),
        Column("slow_quarter", NUMBER, "mean of the slowest quarter", "checkpoints", missing=_FEW),
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
    note="Mean checkpoints before convergence of the slowest quarter and of the other runs, and "
    "the difference.",
    columns=(
        Column("state", INTEGER, "number of the state, in order of time"),
        Column("slowest", NUMBER, "mean of the slowest quarter", "checkpoints"),
        Column("others", NUMBER, "mean of the other runs", "checkpoints"),
        Column("longer", NUMBER, "slowest less others", "checkpoints"),
    ),
)

SLOW_RUNS = Table(
    name="slow_runs",
    title="Where each slow run spent its time",
    rows="run of the slowest quarter, the slowest first",
    note="The slowest quarter, slowest first: the state in which it stayed longest compared with "
    "the others, its checkpoints there, and their mean there.",
    columns=(
        *RUN_COLUMNS,
        _CONVERGED,
        Column("step", INTEGER, "of convergence; the last one known where censored", STEPS),
        Column("state", INTEGER, "in which it stayed longest compared with the others"),
        Column("n_checkpoints", INTEGER, "in that state", "checkpoints"),
        Column("others", NUMBER, "mean of the other runs there", "checkpoints"),
    ),
)


@dataclass(frozen=True, repr=False)
class SlowestQuarter(Shown):
    """The slowest quarter of the runs held against the others.

    Censored runs are slower than all others, and runs as slow as the last of the quarter join it.

    Attributes
    ----------
    states, runs : DataFrame
        See :data:`SLOWEST_QUARTER`, :data:`SLOW_RUNS`.
    n_others : int
        How many runs are not of the quarter.
    longer : float
        Checkpoints by which the quarter took longer in all, on average.
    """

    states: pd.DataFrame = field(metadata=holds(SLOWEST_QUARTER))
    runs: pd.DataFrame = field(metadata=holds(SLOW_RUNS))
    n_others: int
    longer: float


@dataclass(frozen=True, repr=False)
class Slowness(Shown):
    """Which runs were slow to converge, and the states in which they spent the time.

    Checkpoints are counted before convergence only; those of a censored run, which had not
    converged when it ended, all count.

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
