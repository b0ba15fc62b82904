"""Everything hmmdyn found about a set of runs: what the report renders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from hmmdyn.results.checkpoints import METRICS
from hmmdyn.results.columns import Members, holds
from hmmdyn.results.convergence import Convergence, ConvergenceSpeed, Dissimilarity, Regression
from hmmdyn.results.detours import DETOURS
from hmmdyn.results.groups import GroupComparison
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.map_in_time import MapInTime
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.model_metrics import ModelMetrics
from hmmdyn.results.movement import MOVEMENT_LAWS
from hmmdyn.results.notice import Notice
from hmmdyn.results.outcomes import OutcomeTransitions
from hmmdyn.results.outliers import OUTCOME_OUTLIERS, OUTLIERS
from hmmdyn.results.parts import PartCourses
from hmmdyn.results.selection import Selection
from hmmdyn.results.slowness import RUNS, Slowness
from hmmdyn.results.states import OCCUPANCY, STATE_METRICS, STATE_SUMMARY, STATES
from hmmdyn.results.told_first import TOLD_FIRST
from hmmdyn.results.transitions import (
    CHANGE_POINTS,
    FORK_CHOICES,
    INFLUENCES,
    TRANSITION_TIMES,
    TRANSITIONS,
)
from hmmdyn.results.ways import Ways
from hmmdyn.results.where import WHERE


@dataclass(frozen=True)
class OtherMap:
    """Another report that belongs to this one: ``n_states``, ``what`` it is, and its page.

    ``what`` is ``recommended`` or ``chosen``: the same runs with another number of states; ``group
    NAME by itself``: one group's runs with a map of their own; or ``all groups together``.
    """

    n_states: int
    what: str
    page: str


@dataclass(frozen=True, kw_only=True)
class OutcomeFindings:
    """What the outcomes of runs tell, with or without metrics of their weights beside them.

    Which columns a table has is declared once, under the name given here:
    :mod:`hmmdyn.results.columns` says how.

    Attributes
    ----------
    table : DataFrame
        See :data:`.results.checkpoints.METRICS`; metrics and outcomes in their raw units, rows
        sorted by run (natural order) and step.
    metrics, outcomes : tuple of str
        Columns of ``table``.
    step_unit : str
        What training is counted in: one of :data:`hmmdyn.roles.STEP_UNITS`.
    runs : DataFrame
        Groups in their order, within a group the fastest run first; without an outcome runs keep
        their natural order. See :data:`.results.slowness.RUNS`.
    convergence : Convergence or None
        None where no outcome is known.
    speed : ConvergenceSpeed or None
        None where convergence is None.
    outcome_transitions : OutcomeTransitions or None
        None where no outcome is known.
    outcome_outliers : DataFrame
        Runs with an outcome unlike the others': see :data:`.results.outliers.OUTCOME_OUTLIERS`.
    notices : tuple of Notice
        Those of all stages, each once, in the order of the stages.
    source : str
        What was analysed, as the user named it.
    other_maps : tuple of OtherMap
        Reports that belong to this one.
    options : Mapping
        Every option that differs from its default, by its name in :class:`hmmdyn.Options`.
    command : tuple of str
        The words of the command line that gives these findings again; empty where the source was
        given from Python.
    versions : Mapping
        Package name -> version.
    """

    table: pd.DataFrame = field(metadata=holds(METRICS))
    metrics: tuple[str, ...]
    outcomes: tuple[str, ...]
    step_unit: str
    runs: pd.DataFrame = field(metadata=holds(RUNS))
    convergence: Convergence | None
    speed: ConvergenceSpeed | None
    outcome_transitions: OutcomeTransitions | None
    outcome_outliers: pd.DataFrame = field(metadata=holds(OUTCOME_OUTLIERS))
    notices: tuple[Notice, ...]
    source: str
    other_maps: tuple[OtherMap, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def runs_of_table(self) -> pd.DataFrame:
        """One row per run, ``group, run, seed``, in the order of ``table``."""
        return self.table[[*RUN_KEY, "seed"]].drop_duplicates(RUN_KEY, ignore_index=True)

    @property
    def members(self) -> Members:
        """What the open columns of tables stand for here: metrics and outcomes."""
        return {"metric": self.metrics, "outcome": self.outcomes}


@dataclass(frozen=True, kw_only=True)
class Findings(OutcomeFindings):
    """Everything hmmdyn found about a set of runs whose metrics went through a map of states.

    Attributes
    ----------
    features : tuple of str
        Metrics that entered the model, D of them.
    model_metrics : ModelMetrics
        What these have in common, and how many different things they say.
    standardisation : str
        ``pooled``, ``log-start`` or ``run``: what the model's units are.
    parameters : HMMParameters
        The model, states in order of time.
    states, state_summary, state_metrics, occupancy : DataFrame
        See :data:`.results.states.STATES`, :data:`.results.states.STATE_SUMMARY`,
        :data:`.results.states.STATE_METRICS`, :data:`.results.states.OCCUPANCY`.
    sure_share : float
        Share of the checkpoints whose state has a probability of at least 0.9, given the model.
    transitions, influences, change_points, fork_choices : DataFrame
        See :data:`.results.transitions.TRANSITIONS`, :data:`.results.transitions.INFLUENCES`,
        :data:`.results.transitions.CHANGE_POINTS`, :data:`.results.transitions.FORK_CHOICES`.
    transition_times : DataFrame
        One row per row of ``transitions``: see :data:`.results.transitions.TRANSITION_TIMES`.
    ways : Ways
        Stays, paths, forks and dead ends.
    map_in_time : MapInTime
        When runs are in the states, at every level of the zoom around the map.
    selection : Selection
    dissimilarity : Dissimilarity
    forking : bool
        True unless the map's pruned graph is a line.
    slowness : Slowness or None
        None where convergence is None.
    outliers : DataFrame
        Runs unlike the others: see :data:`.results.outliers.OUTLIERS`.
    group_comparison : GroupComparison or None
        None where there is one group.
    regression : Regression or None
        None where convergence is None or the runs are too few.
    detours : DataFrame
        Which states delay convergence: see :data:`.results.detours.DETOURS`.
    where_it_moves : DataFrame
        Which layers and roles move first in a change: see :data:`.results.where.WHERE`. Empty where
        parts of the networks were not measured.
    told_first : DataFrame
        Which metrics change before an outcome does: see :data:`.results.told_first.TOLD_FIRST`.
        Empty where no outcome has a transition.
    part_courses : PartCourses
        How the metrics of layers and roles go along training; empty where they were not measured.
    movement_laws : DataFrame
        By which law weights move from where they began: see
        :data:`.results.movement.MOVEMENT_LAWS`. Empty where the distance was not measured.
    """

    features: tuple[str, ...]
    model_metrics: ModelMetrics
    standardisation: str
    parameters: HMMParameters
    states: pd.DataFrame = field(metadata=holds(STATES))
    sure_share: float
    state_summary: pd.DataFrame = field(metadata=holds(STATE_SUMMARY))
    state_metrics: pd.DataFrame = field(metadata=holds(STATE_METRICS))
    transitions: pd.DataFrame = field(metadata=holds(TRANSITIONS))
    transition_times: pd.DataFrame = field(metadata=holds(TRANSITION_TIMES))
    influences: pd.DataFrame = field(metadata=holds(INFLUENCES))
    change_points: pd.DataFrame = field(metadata=holds(CHANGE_POINTS))
    fork_choices: pd.DataFrame = field(metadata=holds(FORK_CHOICES))
    ways: Ways
    map_in_time: MapInTime
    occupancy: pd.DataFrame = field(metadata=holds(OCCUPANCY))
    selection: Selection
    dissimilarity: Dissimilarity
    forking: bool
    slowness: Slowness | None
    outliers: pd.DataFrame = field(metadata=holds(OUTLIERS))
    group_comparison: GroupComparison | None
    regression: Regression | None
    detours: pd.DataFrame = field(metadata=holds(DETOURS))
    where_it_moves: pd.DataFrame = field(default_factory=WHERE.frame, metadata=holds(WHERE))
    told_first: pd.DataFrame = field(default_factory=TOLD_FIRST.frame, metadata=holds(TOLD_FIRST))
    part_courses: PartCourses = field(default_factory=PartCourses)
    movement_laws: pd.DataFrame = field(
        default_factory=MOVEMENT_LAWS.frame, metadata=holds(MOVEMENT_LAWS)
    )

    @property
    def time_in(self) -> str:
        """In what bags of states count time: the paper counts checkpoints."""
        return "checkpoints" if self.selection.protocol == "paper" else f"{self.step_unit}s"

    @property
    def members(self) -> Members:
        """What the open columns of tables stand for here: metrics, features, outcomes, states."""
        return {
            **super().members,
            "feature": self.features,
            "state": range(self.parameters.n_states),
        }
