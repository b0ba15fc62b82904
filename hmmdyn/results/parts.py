"""The table of metrics of parts of a network: its layers, and the roles of its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.columns import (
    GROUP,
    INTEGER,
    NUMBER,
    RUN,
    STATE,
    STEP,
    STEPS,
    TEXT,
    Column,
    Table,
    holds,
)
from hmmdyn.results.shown import Shown

_BY = Column(
    "by",
    TEXT,
    "layer: the part is a layer or block; role: all weights of a role (q, k, v, o, …)",
)
_PART = Column("part", TEXT, "name of the layer, or the role")
_METRIC = Column("metric", TEXT, "name of the metric")

PARTS = Table(
    name="parts",
    title="Metrics of layers and roles",
    rows="checkpoint, part of the network and metric",
    columns=(
        GROUP,
        RUN,
        STEP,
        _BY,
        _PART,
        _METRIC,
        Column(
            "value",
            NUMBER,
            "its value of the weights of that part alone",
            "of the metric",
            missing="where it is not defined",
        ),
    ),
)

PART_COURSES = Table(
    name="part_courses",
    title="Courses of layers and roles",
    rows="group, metric, part of the network and step",
    note="Medians over the runs of a group, each with its last checkpoint up to the step. Standard "
    "deviations are those of the part itself over all checkpoints of all runs: they tell when it "
    "moves, and nothing of one part beside another. Parts are in the order of the network; of many "
    "parts and steps, some are told, evenly spaced.",
    columns=(
        GROUP,
        _BY,
        _METRIC,
        _PART,
        Column("step", INTEGER, "of a checkpoint of some run of the group", STEPS),
        Column("n_runs", INTEGER, "runs that have begun, and not ended before", "runs"),
        Column("value", NUMBER, "median over these runs", "of the metric"),
        Column(
            "deviations",
            NUMBER,
            "the same, from the part's own mean over all checkpoints of all runs",
            "standard deviations",
            missing="where the part does not change",
        ),
    ),
)

USUAL_STATES = Table(
    name="usual_states",
    title="The state that most runs are in",
    rows="group and unbroken time in which most of its runs are in one state",
    columns=(
        GROUP,
        STATE,
        Column("start", NUMBER, "from when on, halfway between two checkpoints", STEPS),
        Column("end", NUMBER, "until when, likewise", STEPS),
        Column("share", NUMBER, "of the runs there are, mean over this time", "fraction"),
    ),
)


@dataclass(frozen=True, repr=False)
class PartCourses(Shown):
    """How the metrics of layers and roles go along training.

    Attributes
    ----------
    courses, usual_states : DataFrame
        See :data:`PART_COURSES`, :data:`USUAL_STATES`; empty where no parts were measured.
    n_parts : Mapping
        How many parts were measured, by what they are (``layer``, ``role``).
    n_steps : Mapping
        Of how many steps there are checkpoints, by group.
    values : DataFrame
        Those of every run: rows ``group, run, step``, columns ``by, metric, part`` of the parts in
        ``courses``, in the order of the network; in units of the metrics.
    scales : DataFrame
        Of each of these columns its ``mean`` and ``deviation`` over all rows; NaN where a part does
        not change.
    """

    courses: pd.DataFrame = field(default_factory=PART_COURSES.frame, metadata=holds(PART_COURSES))
    usual_states: pd.DataFrame = field(
        default_factory=USUAL_STATES.frame, metadata=holds(USUAL_STATES)
    )
    n_parts: Mapping[str, int] = field(default_factory=dict)
    n_steps: Mapping[str, int] = field(default_factory=dict)
    values: pd.DataFrame = field(default_factory=pd.DataFrame)
    scales: pd.DataFrame = field(default_factory=pd.DataFrame)
