"""Where the states of a map stand in training time, level by level of the zoom, and by group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.columns import EDGE_COLUMNS, GROUP, INTEGER, NUMBER, STEPS, Column, Table, holds
from hmmdyn.results.shown import Shown

_LEVEL = Column("level", INTEGER, "number of states of the level", "states")
_EMPTY = "where no run is ever in it"

_PLACE_COLUMNS = (
    Column("state", INTEGER, "number of the state, in order of time"),
    Column("n_runs", INTEGER, "runs that visit it", "runs"),
    Column("n_total", INTEGER, "runs there are", "runs"),
    Column("share", NUMBER, "of the time of all runs", "fraction"),
    Column("entered", NUMBER, "where its runs first enter it, median", STEPS, missing=_EMPTY),
    Column(
        "left",
        NUMBER,
        "where its runs leave it for the last time, or end in it, median",
        STEPS,
        missing=_EMPTY,
    ),
)
_CROSSING_COLUMNS = (
    *EDGE_COLUMNS,
    Column("n_runs", INTEGER, "runs that make the change", "runs"),
    Column("n_total", INTEGER, "runs there are", "runs"),
    Column("crossed", NUMBER, "where they first make it, median", STEPS),
)

LEVEL_STATES = Table(
    name="level_states",
    title="When runs are in the states of every level",
    rows="state of a level of the zoom",
    note="A state begins and ends halfway between two checkpoints; medians over the runs that "
    "visit it.",
    columns=(_LEVEL, *_PLACE_COLUMNS),
)

LEVEL_TRANSITIONS = Table(
    name="level_transitions",
    title="The changes of state of every level",
    rows="change of state of a level that some run makes",
    columns=(_LEVEL, *_CROSSING_COLUMNS),
)

GROUP_STATES = Table(
    name="group_states",
    title="When the runs of each group are in the states",
    rows="group and state",
    columns=(GROUP, *_PLACE_COLUMNS),
)

GROUP_TRANSITIONS = Table(
    name="group_transitions",
    title="The changes of state of each group",
    rows="group and change of state that some of its runs make",
    columns=(GROUP, *_CROSSING_COLUMNS),
)


@dataclass(frozen=True, repr=False)
class MapInTime(Shown):
    """When runs are in which state, at every level of the zoom.

    Where there is no zoom, the map itself is the only level.

    Attributes
    ----------
    states, transitions : DataFrame
        See :data:`LEVEL_STATES`, :data:`LEVEL_TRANSITIONS`; the finest level first.
    group_states, group_transitions : DataFrame
        The same of each group at the level that is told: see :data:`GROUP_STATES`,
        :data:`GROUP_TRANSITIONS`.
    stays : Mapping
        By level, the unbroken stays of runs in states: ``group, run, state, start, end``, in order
        of run and time.
    means : Mapping
        By level, the means of the features in the states, shape (K, D), standard deviations.
    """

    states: pd.DataFrame = field(metadata=holds(LEVEL_STATES))
    transitions: pd.DataFrame = field(metadata=holds(LEVEL_TRANSITIONS))
    group_states: pd.DataFrame = field(metadata=holds(GROUP_STATES))
    group_transitions: pd.DataFrame = field(metadata=holds(GROUP_TRANSITIONS))
    stays: Mapping[int, pd.DataFrame]
    means: Mapping[int, FloatArray]
