"""Which ways runs take through the training map, and where they fork."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.columns import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    PATH,
    RUN_COLUMNS,
    STEPS,
    Column,
    Table,
    holds,
)
from hmmdyn.results.shown import Shown

WAYS = Table(
    name="ways",
    title="Ways through the map",
    rows="way, the most common first",
    note="The order in which runs first enter the states, and how many runs take it; falling back "
    "to a state already seen makes no other way, nor does ending on the way.",
    columns=(
        Column("path", PATH, "states in the order in which a run first enters them"),
        Column("n_runs", INTEGER, "runs that take it to its end", "runs"),
        Column(
            "n_part",
            INTEGER,
            "runs that ended on the way: they entered its first states alone, which may be those "
            "of other ways, too",
            "runs",
        ),
    ),
)

FORKS = Table(
    name="forks",
    title="Where runs fork",
    rows="fork and way out of it; forks in order of time, the most common way first",
    note="Of all runs that go on from a state to one new to them (n total), how many go where; the "
    "share of all seeds with its 95 % interval (Wilson). Ways of less than a tenth of the runs "
    "are left out.",
    columns=(
        Column("state", INTEGER, "where runs fork"),
        Column("to_state", INTEGER, "where they go next, of the states new to them"),
        Column("n_runs", INTEGER, "runs that go there", "runs"),
        Column("n_total", INTEGER, "runs that go on from the fork to any state", "runs"),
        Column("share", NUMBER, "of all seeds that go on, as these runs give it"),
        Column("share_low", NUMBER, "95 % interval of share"),
        Column("share_high", NUMBER, "95 % interval of share"),
    ),
)

STAYS = Table(
    name="stays",
    title="Stays of every run in every state",
    rows="unbroken stay of a run in a state, in order of run and time",
    note="First and last step: of the checkpoints in it; start and end: halfway to those before "
    "and after. Probability: mean over its checkpoints. Left: no where the run ended first.",
    columns=(
        *RUN_COLUMNS,
        Column("state", INTEGER, "where the run stays"),
        Column("first_step", INTEGER, "of its first checkpoint", STEPS),
        Column("last_step", INTEGER, "of its last checkpoint", STEPS),
        Column("start", NUMBER, "halfway to the checkpoint before, where there is one", STEPS),
        Column("end", NUMBER, "halfway to the checkpoint after, where there is one", STEPS),
        Column("n_checkpoints", INTEGER, "how long it is", "checkpoints"),
        Column("probability", NUMBER, "of the state, mean over its checkpoints"),
        Column("left", BOOLEAN, "the run went on to another state"),
    ),
)


@dataclass(frozen=True, repr=False)
class Ways(Shown):
    """Which ways runs take through the training map, and where they fork.

    A way is the states of a run in the order it first enters them: falling back to a state already
    seen does not make another way.

    Attributes
    ----------
    stays, paths, forks : DataFrame
        See :data:`STAYS`, :data:`WAYS`, :data:`FORKS`. A state is a fork when at least a tenth of
        the runs that go on from it take another way than the others.
    dead_ends : tuple of int
        States that runs enter and never leave, though it is not where training leads.
    """

    stays: pd.DataFrame = field(metadata=holds(STAYS))
    paths: pd.DataFrame = field(metadata=holds(WAYS))
    forks: pd.DataFrame = field(metadata=holds(FORKS))
    dead_ends: tuple[int, ...]
