"""Tables of what states mean for convergence: the hazards of entering them, and the verdicts."""

from __future__ import annotations

from hmmdyn.results.columns import (
    BOOLEAN,
    GROUP,
    INTEGER,
    NUMBER,
    STATE,
    TEXT,
    Column,
    Table,
    p_column,
)
from hmmdyn.results.verdicts import (
    AFTER,
    CANNOT_TELL,
    CONFIRMED,
    FLAG_ONLY,
    NO_EVIDENCE,
    ON_THE_WAY,
    SLOWER,
    SLOWS,
)

# By which clock runs are compared about a state.
SINCE_BEFORE, STEP = "since the state before", "step"

_UNKNOWN = "where these runs cannot tell"
_UNTESTED = "where the state is not tested"
_COMPARED = (
    Column(
        "state_before",
        INTEGER,
        "out of which most runs enter it, and from which on they are compared",
        missing=f"{_UNTESTED}, or most runs begin in it",
    ),
    Column(
        "clock",
        TEXT,
        f"by which they are compared: {SINCE_BEFORE}, or {STEP}; empty {_UNTESTED}",
    ),
    Column(
        "hazard_ratio",
        NUMBER,
        "odds of converging next of runs that have entered the state, over those of runs that have "
        "not, at equal time; below 1: slower",
        missing=_UNKNOWN,
    ),
    Column("ratio_low", NUMBER, "95 % interval of hazard_ratio", missing=_UNKNOWN),
    Column("ratio_high", NUMBER, "95 % interval of hazard_ratio", missing=_UNKNOWN),
    p_column("p", "one-sided: of no delay", missing=_UNKNOWN),
    p_column("least_p", "p that the slowest course after entering it would have given"),
    p_column("p_corrected", "corrected over the states tested (Benjamini–Hochberg)"),
    Column("ratio_inside", NUMBER, "the same ratio while in the state", missing=_UNKNOWN),
    Column("ratio_left", NUMBER, "the same ratio after leaving it", missing=_UNKNOWN),
)

HAZARDS = Table(
    name="hazards",
    title="Hazard of converging, by states entered",
    rows="state",
    columns=(
        STATE,
        *_COMPARED,
        Column("effect", TEXT, f"{SLOWER}, {NO_EVIDENCE}, {ON_THE_WAY}, {AFTER}, or {CANNOT_TELL}"),
        Column("account", TEXT, "the same in words, with the numbers"),
    ),
)

_JUDGED = (
    STATE,
    Column("optional", BOOLEAN, "some converged run of a group that visits it never does"),
    Column(
        "n_converged_without",
        INTEGER,
        "converged runs that never visit it, of the groups that do",
        "runs",
    ),
    Column(
        "coefficient",
        NUMBER,
        "of the regression of convergence time on the bag of states",
        "fraction of run",
        missing="without a regression",
    ),
    Column("flag", BOOLEAN, "the paper's definition of a detour holds; no without a regression"),
    *_COMPARED,
    Column(
        "verdict",
        TEXT,
        f"{CONFIRMED} (flagged, founded, and slower with corrected p < 0.025), {FLAG_ONLY}, "
        f"{SLOWS} (slower, but not flagged), {ON_THE_WAY} (every run that converged visits it, so "
        f"it is not tested), {AFTER}, {NO_EVIDENCE}, or {CANNOT_TELL} (not even the slowest "
        "course after it would be significant)",
    ),
    Column("reason", TEXT, "the verdict's, in words"),
)

DETOURS = Table(
    name="detours",
    title="Detour states",
    rows="state",
    note="Optional: some converged run never visits it. Flag (the paper's): optional, with a "
    "positive coefficient in a significant regression. Hazard ratio: how readily runs that "
    "had entered the state converged next, against those that had been in the state before it, but "
    "not in it, at the same point in training, with its 95 % interval, one-sided p (and the least "
    "that the slowest course would have given), and p corrected over the states tested; then the "
    "same while in the state, and after leaving it.",
    columns=_JUDGED,
)

_OVER_GROUPS = p_column("p_corrected", "corrected over the states of all groups")

GROUP_DETOURS = Table(
    name="group_detours",
    title="Detour states, group by group",
    rows="group and state",
    note="As the table of detour states, for each group's own runs; p corrected over all of them.",
    columns=(
        GROUP,
        *(_OVER_GROUPS if column.name == _OVER_GROUPS.name else column for column in _JUDGED),
    ),
)
