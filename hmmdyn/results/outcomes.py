"""Outcome transitions: those of losses and accuracies."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.columns import (
    BOOLEAN,
    EDGE_COLUMNS,
    INTEGER,
    NUMBER,
    RUN_COLUMNS,
    STEPS,
    TEXT,
    Column,
    Table,
    holds,
    p_column,
)
from hmmdyn.results.notice import Notice
from hmmdyn.results.shown import Shown

_OUTCOME = Column("outcome", TEXT, "name of the outcome")
_IN_ITS_UNIT = "of the outcome"

OUTCOME_TRANSITIONS = Table(
    name="outcome_transitions",
    title="Outcome transitions",
    rows="transition of an outcome in a run",
    note="Sustained inflections: start, steepest step (with its 95 % interval) and end.",
    columns=(
        *RUN_COLUMNS,
        _OUTCOME,
        Column(
            "role",
            TEXT,
            "memorisation: the largest improvement of a training outcome; generalisation: of a "
            "held-out one; else empty",
        ),
        Column(
            "from_start",
            BOOLEAN,
            "it has no calm before it: the training outcome improves from the first checkpoint on, "
            "and has levelled off before the held-out one follows",
        ),
        Column("start", NUMBER, "where 10 % of the change are done", STEPS),
        Column("step", NUMBER, "where it is steepest; half done where from_start", STEPS),
        Column("end", NUMBER, "where 90 % of the change are done", STEPS),
        Column("step_low", NUMBER, "95 % interval of step", STEPS),
        Column("step_high", NUMBER, "95 % interval of step", STEPS),
        Column("change", NUMBER, "to_value less from_value", _IN_ITS_UNIT),
        Column("from_value", NUMBER, "level before", _IN_ITS_UNIT),
        Column("to_value", NUMBER, "level after", _IN_ITS_UNIT),
    ),
)

IMPROVEMENTS = Table(
    name="improvements",
    title="When each outcome improves most",
    rows="outcome that has an improving transition in some run",
    note="First, median and last over runs of the steepest step of the largest improvement; "
    "duration: steps from 10 % to 90 % of it, median.",
    columns=(
        _OUTCOME,
        Column("n_runs", INTEGER, "runs in which it improves", "runs"),
        Column("first_step", NUMBER, "steepest step of its largest improvement, first", STEPS),
        Column("median_step", NUMBER, "… median over runs", STEPS),
        Column("last_step", NUMBER, "… last", STEPS),
        Column("duration", NUMBER, "from 10 % to 90 % of it, median over runs", STEPS),
    ),
)

DELAYS = Table(
    name="delays",
    title="From memorisation to generalisation",
    rows="run whose training outcome memorises and whose held-out outcome generalises, or has not "
    "done so when the run ends",
    note="Steps between the transitions of the training and the held-out outcome; censored where "
    "the run ended before it generalised.",
    columns=(
        *RUN_COLUMNS,
        Column("memorisation", NUMBER, "step of the training outcome's transition", STEPS),
        Column(
            "generalisation",
            NUMBER,
            "step of the held-out outcome's transition",
            STEPS,
            missing="where censored",
        ),
        Column(
            "delay",
            NUMBER,
            "from the one to the other; up to the run's last evaluation where censored",
            STEPS,
        ),
        Column("censored", BOOLEAN, "the run ended before it generalised"),
        Column("grokking", BOOLEAN, "memorisation was over before generalisation began"),
    ),
)

SPIKES = Table(
    name="spikes",
    title="Loss spikes and divergences",
    rows="time that a loss leaves its level upwards",
    note="Where a loss left its level upwards; a divergence is not back within a tenth of the run.",
    columns=(
        *RUN_COLUMNS,
        _OUTCOME,
        Column("kind", TEXT, "spike, or divergence: not back within a tenth of the run"),
        Column("step", INTEGER, "first evaluation off its level", STEPS),
        Column(
            "end_step",
            NUMBER,
            "first evaluation at which it is back",
            STEPS,
            missing="where it is not before the run ends",
        ),
        Column("n_checkpoints", INTEGER, "evaluations it lasts", "checkpoints"),
        Column("level", NUMBER, "where it left from", _IN_ITS_UNIT),
        Column("height", NUMBER, "above that level; infinite where the loss was", _IN_ITS_UNIT),
    ),
)

MATCHES = Table(
    name="matches",
    title="State transitions that go with outcome transitions",
    rows="change of state and outcome that go together in some run",
    note="Lead: steps by which the change of state comes first (median over runs, 95 % interval); "
    "p: whether runs with an early one have an early other, corrected over pairs.",
    columns=(
        *EDGE_COLUMNS,
        _OUTCOME,
        Column("role", TEXT, "memorisation, generalisation, or empty"),
        Column("n_runs", INTEGER, "runs in which the two go together", "runs"),
        Column("n_total", INTEGER, "runs with this transition of the outcome", "runs"),
        Column("lead", NUMBER, "by which the change of state comes first; median", STEPS),
        Column("lead_low", NUMBER, "95 % interval of lead", STEPS, missing="with under six runs"),
        Column("lead_high", NUMBER, "95 % interval of lead", STEPS, missing="with under six runs"),
        p_column(
            "p",
            "share of the pairings of runs in which the two lie as close",
            missing="where none could be significant",
        ),
        p_column("p_corrected", "corrected over changes and outcomes (Benjamini–Hochberg)"),
    ),
)


@dataclass(frozen=True, repr=False)
class OutcomeTransitions(Shown):
    """Sustained inflections of the outcomes, and the changes of state that go with them.

    Attributes
    ----------
    training, held_out : str
        The outcomes that ``delays`` are about; both empty where there are not both kinds.
    transitions, improvements, delays, spikes, matches : DataFrame
        See :data:`OUTCOME_TRANSITIONS`, :data:`IMPROVEMENTS`, :data:`DELAYS`, :data:`SPIKES`,
        :data:`MATCHES`.
    grokking_delay : float
        Median ``delay`` of the runs that grok; NaN where none does.
    how : str
        In words: clock, smoother, bandwidth and thresholds.
    notices : tuple of Notice
    """

    training: str
    held_out: str
    transitions: pd.DataFrame = field(metadata=holds(OUTCOME_TRANSITIONS))
    improvements: pd.DataFrame = field(metadata=holds(IMPROVEMENTS))
    delays: pd.DataFrame = field(metadata=holds(DELAYS))
    grokking_delay: float
    spikes: pd.DataFrame = field(metadata=holds(SPIKES))
    matches: pd.DataFrame = field(metadata=holds(MATCHES))
    how: str
    notices: tuple[Notice, ...] = ()
