"""Tables of states: which checkpoint is in which, and what each state is like."""

from __future__ import annotations

from hmmdyn.results.columns import (
    INTEGER,
    NUMBER,
    RUN_COLUMNS,
    STATE,
    STEP,
    STEPS,
    TEXT,
    Column,
    Table,
)

STATES = Table(
    name="states",
    title="State of every checkpoint",
    rows="checkpoint",
    columns=(
        *RUN_COLUMNS,
        STEP,
        Column("state", INTEGER, "hidden state on the most likely path of the run, 0 … K-1"),
        Column("probability", NUMBER, "smoothed, of that state", "probability"),
    ),
)

_EMPTY = "where no checkpoint is in it"

STATE_SUMMARY = Table(
    name="state_summary",
    title="States",
    rows="state",
    note="In order of time. Share of the time of all runs; first step: the median over the runs "
    "that visit it; median time as a fraction of the run; dwell: mean checkpoints per stay, as the "
    "model expects it, and the median in steps (visits cut off by the end of a run accounted for); "
    "mean outcomes over its checkpoints.",
    columns=(
        STATE,
        Column("n_checkpoints", INTEGER, "checkpoints in the state, of all runs", "checkpoints"),
        Column("share", NUMBER, "share of the time of all runs, in steps", "fraction"),
        Column("n_runs", INTEGER, "runs that visit it", "runs"),
        Column(
            "median_time",
            NUMBER,
            "median relative time of its checkpoints",
            "fraction of run",
            missing=_EMPTY,
        ),
        Column(
            "first_step",
            NUMBER,
            "median step at which runs first enter it",
            STEPS,
            missing=_EMPTY,
        ),
        Column(
            "dwell",
            NUMBER,
            "mean number of successive checkpoints per visit, as far as seen where a run ends in "
            "it",
            "checkpoints",
            missing=_EMPTY,
        ),
        Column(
            "dwell_expected",
            NUMBER,
            "checkpoints per visit that the model expects; infinite where that is more than there "
            "are in all runs",
            "checkpoints",
        ),
        Column(
            "dwell_steps",
            NUMBER,
            "median steps per visit (Kaplan–Meier: a visit that the end of its run cuts off is "
            "known to last at least so long)",
            STEPS,
            missing="where fewer than half of the visits are known to end",
        ),
        Column(
            "dwell_at_least",
            NUMBER,
            "what the median steps per visit are at least, where dwell_steps is not known",
            STEPS,
            missing="where it is known, and where no checkpoint is in it",
        ),
        Column(
            "mean_<outcome>",
            NUMBER,
            "mean of <outcome> at its checkpoints",
            "of the outcome",
            missing="where it is known at none of them",
        ),
        Column(
            "phase",
            TEXT,
            "a label such as memorisation where the outcomes say so, else empty",
        ),
    ),
)

STATE_MEANS = Table(
    name="state_means",
    title="Mean of every feature in every state",
    rows="state",
    note="In standard deviations from the average (standardised as in the model).",
    columns=(
        STATE,
        Column("<feature>", NUMBER, "mean of <feature> that the model has", "standard deviations"),
    ),
)

STATE_METRICS = Table(
    name="state_metrics",
    title="Level of every metric in every state, in its own unit",
    rows="state and metric of the model",
    note="The model's means again, beside what they are in the metric's own unit: a level, or, "
    "where runs were compared with their own start, how many times the start it is, or how far "
    "from it. Where each run is standardised by itself, no level belongs to a state: every run has "
    "its own.",
    columns=(
        STATE,
        Column("feature", TEXT, "metric of the model"),
        Column("mean", NUMBER, "mean that the model has", "standard deviations"),
        Column(
            "own",
            NUMBER,
            "the same in the metric's own unit, as own_is says",
            missing="where each run is standardised by itself",
        ),
        Column(
            "own_is",
            TEXT,
            "level, times the start (a ratio) or since the start (a difference); each run's own "
            "where own is missing",
        ),
    ),
)

OCCUPANCY = Table(
    name="occupancy",
    title="Bag of states",
    rows="run",
    note="Fraction of each run's time spent in each state: of its steps, a checkpoint standing for "
    "those nearest to it; by the paper's protocol, of its checkpoints.",
    columns=(
        *RUN_COLUMNS,
        Column("state_<state>", NUMBER, "share of the run's time in state <state>", "fraction"),
    ),
)
