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
    note="Steps between the transitions of the training and the held-out outcome, and what "
    "evaluations leave open of them; censored where the run ended before it generalised.",
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
        Column("delay_low", NUMBER, "the least delay that the intervals of both leave open", STEPS),
        Column(
            "delay_high",
            NUMBER,
            "the greatest delay that they leave open; infinite where censored",
            STEPS,
        ),
        Column("censored", BOOLEAN, "the run ended before it generalised"),
        Column(
            "dated",
            BOOLEAN,
            "generalisation is a transition; where not, nor censored, it is so slow or late that "
            "generalisation is where half of the way is done",
        ),
        Column(
            "progress",
            NUMBER,
            "share of its way, from the group's median first value on, that the held-out outcome "
            "had done when memorisation was over",
            "fraction",
            missing="where memorisation was not over before generalisation began",
        ),
        Column(
            "grokking",
            BOOLEAN,
            "memorisation was over before generalisation began, and progress at most 0.2",
        ),
    ),
)

SPIKES = Table(
    name="spikes",
    title="Loss spikes, rises and divergences",
    rows="time that a loss leaves its level upwards",
    note="Where a loss left its level upwards, and whether it came back; together: in how many "
    "runs of the group it does so at the same time, which speaks for the schedule.",
    columns=(
        *RUN_COLUMNS,
        _OUTCOME,
        Column(
            "kind",
            TEXT,
            "spike (back within a tenth of the run), divergence (not back when the run ends, a "
            "tenth of its way down lost again or more), overfitting (a held-out loss that is not "
            "back so soon, while training outcomes are not worse), or rise (any other)",
        ),
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
        Column(
            "n_together",
            INTEGER,
            "runs of the group, this one among them, whose loss leaves its level within an "
            "evaluation of it",
            "runs",
        ),
        Column("n_total", INTEGER, "runs of the group in which this loss is known", "runs"),
    ),
)

MATCHES = Table(
    name="matches",
    title="State transitions that go with outcome transitions",
    rows="change of state and outcome that go together in some run",
    note="Lead: steps by which the change of state comes first (median over runs, with its 95 % "
    "interval or, with under six runs, what evaluations leave open); p: whether runs with an early "
    "one have an early other, corrected over pairs.",
    columns=(
        *EDGE_COLUMNS,
        _OUTCOME,
        Column("role", TEXT, "memorisation, generalisation, or empty"),
        Column("n_runs", INTEGER, "runs in which the two go together", "runs"),
        Column("n_total", INTEGER, "runs with this transition of the outcome", "runs"),
        Column("lead", NUMBER, "by which the change of state comes first; median", STEPS),
        Column(
            "lead_low",
            NUMBER,
            "95 % interval of lead, which knows that each run's is seen at evaluations only; with "
            "under six runs, the least that these leave open",
            STEPS,
        ),
        Column("lead_high", NUMBER, "likewise; the greatest", STEPS),
        p_column(
            "p",
            "share of the pairings of runs in which the two lie as close, in steps or, if that is "
            "more, in shares of the run",
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
    grokking_delay, grokking_delay_low, grokking_delay_high : float
        Median ``delay`` of the runs that grok, with its 95 % interval, or with fewer than six such
        runs from the least to the greatest that their evaluations leave open; NaN where none does.
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
    grokking_delay_low: float
    grokking_delay_high: float
    spikes: pd.DataFrame = field(metadata=holds(SPIKES))
    matches: pd.DataFrame = field(metadata=holds(MATCHES))
    how: str
    notices: tuple[Notice, ...] = ()
