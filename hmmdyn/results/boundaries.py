"""What supports the boundaries between the states of a map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from hmmdyn.results.arrays import IntArray
from hmmdyn.results.columns import (
    BOOLEAN,
    EDGE_COLUMNS,
    INTEGER,
    NUMBER,
    STATE,
    STEPS,
    TEXT,
    Column,
    Table,
    holds,
)
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.shown import Shown

NOT_ASKED = "not asked"
# Whose time a map or boundary keeps.
OWN_TIME, SCHEDULE, CANNOT_TELL = "each seed in its own time", "shared by schedule", "cannot tell"
EITHER_TIME = "some by schedule, some in each seed's own time"
# A state or boundary found in so large a share is found (Tibshirani & Walther 2005: 0.8 to 0.9).
FOUND = 0.8

_UNDATED = "where the boundary is not supported"
_NOT_ASKED = "where it was not asked"

BOUNDARIES = Table(
    name="boundaries",
    title="Boundaries and their evidence",
    rows="change of state that enough runs make",
    note="δ: time around the middle of the way from one state to the other, over time around the "
    "emptier end: 0 for a jump, 1 for drift at constant speed. Sharp and gradual boundaries are "
    "supported; runs settle out of a start without one; a slice is none. Date: median over runs; "
    "duration: from 10 to 90 % of the change. Spread: between the runs' dates; each seed has its "
    "own time where they spread over longer than the change and two checkpoints last, all keep a "
    "schedule where they do not. Found: whether maps of half of the runs have it too.",
    columns=(
        *EDGE_COLUMNS,
        Column("kind", TEXT, "sharp, gradual, settling or slice"),
        Column("n_runs", INTEGER, "runs that cross it between long enough stays", "runs"),
        Column("share", NUMBER, "of the runs that stay in the rarer of the two states"),
        Column("delta", NUMBER, "time around the middle over time around the emptier end"),
        Column("delta_low", NUMBER, "5 % bound of delta, over runs"),
        Column("delta_high", NUMBER, "95 % bound of delta, over runs"),
        Column("before", NUMBER, "around the end that is left, per crossing", "checkpoints"),
        Column("middle", NUMBER, "around the middle, per crossing", "checkpoints"),
        Column("after", NUMBER, "around the end that is entered, per crossing", "checkpoints"),
        Column("thinning", NUMBER, "after over before"),
        Column("thinning_low", NUMBER, "5 % bound of thinning"),
        Column("thinning_high", NUMBER, "95 % bound of thinning"),
        Column("movement", NUMBER, "how far runs move during a stay, of the way between the two"),
        Column("date", NUMBER, "middle of the change, median over runs", STEPS, missing=_UNDATED),
        Column("date_low", NUMBER, "90 % interval of date", STEPS, missing=_UNDATED),
        Column("date_high", NUMBER, "90 % interval of date", STEPS, missing=_UNDATED),
        Column("duration", NUMBER, "from 10 to 90 % of the change", STEPS, missing=_UNDATED),
        Column("duration_low", NUMBER, "90 % interval of duration", STEPS, missing=_UNDATED),
        Column("duration_high", NUMBER, "90 % interval of duration", STEPS, missing=_UNDATED),
        Column(
            "spread", NUMBER, "between the runs' dates, from 10 to 90 %", STEPS, missing=_UNDATED
        ),
        Column("spread_low", NUMBER, "90 % interval of spread", STEPS, missing=_UNDATED),
        Column("spread_high", NUMBER, "90 % interval of spread", STEPS, missing=_UNDATED),
        Column(
            "timing",
            TEXT,
            "each seed in its own time, shared by schedule, cannot tell; empty where not supported",
        ),
        Column(
            "found_share",
            NUMBER,
            "of the runs that cross it, those that cross it by a map of other runs, too; at worst",
            missing=_NOT_ASKED,
        ),
        Column(
            "found_apart",
            NUMBER,
            "between the dates by the two maps, median",
            STEPS,
            missing=_NOT_ASKED,
        ),
        Column(
            "found",
            TEXT,
            "yes, no, cannot tell; empty where not supported, not asked but of the supported map",
        ),
    ),
)

STATES_FOUND_AGAIN = Table(
    name="states_found_again",
    title="States found again by maps of other runs",
    rows="state",
    note="Strength: of the pairs of checkpoints that share the state, the share that a map of "
    "other runs keeps together, at worst (Tibshirani and Walther 2005). Overlap: of the "
    "checkpoints in it by this map or by that of other runs, the share in it by both, median over "
    "maps of runs three of which stay in it.",
    columns=(
        STATE,
        Column("strength", NUMBER, "prediction strength", missing=_NOT_ASKED),
        Column("found", TEXT, "yes, no or cannot tell; not asked but of the supported map"),
        Column(
            "overlap",
            NUMBER,
            "of the checkpoints in it by either map, the share in it by both, median; asked for "
            "where it is to be a detour",
            missing="where no other map is of three runs that stay in it",
        ),
    ),
)

_LEVEL = Column("level", INTEGER, "number of states of the level", "states")

LEVELS = Table(
    name="levels",
    title="The zoom: the states of every level, from the finest map to one state",
    rows="state of a level",
    note="Boundaries are supported at one level alone; finer ones cut drift, coarser ones lose "
    "boundaries that have evidence. What goes into the same state of the next coarser level became "
    "one there.",
    columns=(
        _LEVEL,
        Column("supported", BOOLEAN, "whether this level is the supported map"),
        *STATES_FOUND_AGAIN.columns,
        Column("n_checkpoints", INTEGER, "checkpoints in the state, of all runs", "checkpoints"),
        Column(
            "into",
            INTEGER,
            "state of the next coarser level that most of its checkpoints are in",
            missing="at the coarsest level",
        ),
        Column(
            "into_share",
            NUMBER,
            "share of its checkpoints that are in that state",
            "fraction",
            missing="at the coarsest level",
        ),
    ),
)

LEVEL_BOUNDARIES = Table(
    name="level_boundaries",
    title="The boundaries of every level, and their evidence",
    rows="boundary of a level",
    note="As in the table of boundaries, which has those of the level that is told.",
    columns=(_LEVEL, *BOUNDARIES.columns),
)

MERGES = Table(
    name="merges",
    title="How the finest map was merged into this one, and on to one state",
    rows="merge, in order",
    columns=(
        Column("n_states", INTEGER, "states before it", "states"),
        Column("action", TEXT, "why: slice, rare, fleeting, passed through, same level, apart, …"),
        Column("state", INTEGER, "state that goes"),
        Column("into", INTEGER, "state it joins; -1 where its neighbours in time share it"),
        Column("delta", NUMBER, "δ of the boundary between the two", missing="where none counted"),
    ),
)


@dataclass(frozen=True)
class Level:
    """A level of the zoom as a model, and the state of every checkpoint by it, shape (n,)."""

    parameters: HMMParameters
    states: IntArray


@dataclass(frozen=True, repr=False)
class Evidence(Shown):
    """What supports the boundaries of a map, and whether seeds or the clock set their time.

    Attributes
    ----------
    boundaries, states, merges : DataFrame
        See :data:`BOUNDARIES`, :data:`STATES_FOUND_AGAIN`, :data:`MERGES`.
    levels, level_boundaries : DataFrame
        The zoom around the map: see :data:`LEVELS`, :data:`LEVEL_BOUNDARIES`.
    zoom : Mapping
        Each :class:`Level` by its number of states, the finest first.
    n_states : int
        The level that this is about.
    n_supported : int
        The level that is the supported map.
    timing : str
        ``each seed in its own time``, ``shared by schedule`` or ``cannot tell``: of the whole
        course, asked once for all levels. ``boundaries`` has whose time each of them keeps.
    timing_reason : str
        In words, with the numbers.
    """

    boundaries: pd.DataFrame = field(metadata=holds(BOUNDARIES))
    states: pd.DataFrame = field(metadata=holds(STATES_FOUND_AGAIN))
    merges: pd.DataFrame = field(metadata=holds(MERGES))
    levels: pd.DataFrame = field(metadata=holds(LEVELS))
    level_boundaries: pd.DataFrame = field(metadata=holds(LEVEL_BOUNDARIES))
    zoom: Mapping[int, Level]
    n_states: int
    n_supported: int
    timing: str
    timing_reason: str

    def at(self, n_states: int) -> Evidence:
        """Return what is known of another level of the zoom.

        Raises
        ------
        KeyError
            There is no such level.
        """
        if n_states not in self.zoom:
            raise KeyError(n_states)
        boundaries, states = (
            table[table["level"] == n_states].reset_index(drop=True)
            for table in (self.level_boundaries, self.levels)
        )
        return replace(
            self,
            boundaries=boundaries[BOUNDARIES.names],
            states=states[STATES_FOUND_AGAIN.names],
            n_states=n_states,
        )

    @property
    def is_supported(self) -> bool:
        """Whether this is about the supported map, and not about another level of the zoom."""
        return self.n_states == self.n_supported

    @property
    def settling(self) -> tuple[int, ...]:
        """States in which runs start and settle into the next one: no boundary lies there."""
        b = self.boundaries
        left = set(b.loc[b["kind"] == "settling", "from_state"])
        return tuple(sorted(int(k) for k in left - self.founded))

    @property
    def supported(self) -> pd.DataFrame:
        """The boundaries that are supported, in order of their dates."""
        dated = self.boundaries[self.boundaries["date"].notna()]
        return dated.sort_values("date", kind="stable")

    @property
    def whose_time(self) -> str:
        """Whose time supported boundaries keep; that of the whole course where none of them tells.

        As ``timing``, or ``some by schedule, some in each seed's own time``.
        """
        told = set(self.supported["timing"]) - {CANNOT_TELL}
        if not told:
            return self.timing
        return EITHER_TIME if len(told) > 1 else told.pop()

    @property
    def founded(self) -> frozenset[int]:
        """States with a supported boundary."""
        return frozenset(int(k) for end in ("from_state", "to_state") for k in self.supported[end])

    @property
    def confirmable(self) -> frozenset[int]:
        """States that may be confirmed detours: founded, and maps of other runs have them, too.

        A detour is visited by few, so it is asked of the maps of runs that could have it. A state
        without a supported boundary is a slice of drift, which comes again as well.
        """
        again = self.states.loc[self.states["overlap"] >= FOUND, "state"]
        return self.founded.intersection(again.tolist())
