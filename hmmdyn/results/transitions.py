"""Tables of transitions: the edges of the training map, and what is seen at each of them."""

from __future__ import annotations

from hmmdyn.results.columns import (
    EDGE_COLUMNS,
    INTEGER,
    NUMBER,
    RUN_COLUMNS,
    STEPS,
    TEXT,
    Column,
    Table,
)

TRANSITIONS = Table(
    name="transitions",
    title="State transitions",
    rows="pair of states that some decoded run takes: an edge of the training map",
    note="Every change of state that some run makes: its probability per checkpoint in the "
    "model, how often and by how many of all runs it is taken, and the mean convergence "
    "step of those of them that converged, with its standard error.",
    columns=(
        *EDGE_COLUMNS,
        Column("probability", NUMBER, "of the transition in the model", "per checkpoint"),
        Column("n_taken", INTEGER, "times it is taken", "times"),
        Column("n_runs", INTEGER, "runs that take it", "runs"),
        Column("n_total", INTEGER, "runs there are", "runs"),
        Column("n_converged", INTEGER, "of the runs that take it, those that converged", "runs"),
        Column(
            "convergence_mean",
            NUMBER,
            "mean convergence step of the converged runs that take it",
            STEPS,
            missing="where none of them converged",
        ),
        Column(
            "convergence_se",
            NUMBER,
            "its standard error: the deviation (ddof 1) over the root of the number of these runs",
            STEPS,
            missing="where fewer than two converged",
        ),
    ),
)

_UNDATED = "where the boundary is not supported"

TRANSITION_TIMES = Table(
    name="transition_times",
    title="When runs first make each state transition",
    rows="transition",
    note="Date: of the boundary where it is supported, the middle of the change, with its 90 % "
    "interval; of a change without evidence, the median over runs of the first checkpoint in the "
    "new state. First and last: the runs' own, as decoded; step low and high: between these all of "
    "them change state, by their 90 % intervals; width: of such an interval, median over runs.",
    columns=(
        *EDGE_COLUMNS,
        Column("n_runs", INTEGER, "runs that make it", "runs"),
        Column("date", NUMBER, "of the boundary, or of the decoded change: see the note", STEPS),
        Column("date_low", NUMBER, "90 % interval of date", STEPS, missing=_UNDATED),
        Column("date_high", NUMBER, "90 % interval of date", STEPS, missing=_UNDATED),
        Column("first_step", INTEGER, "first checkpoint in to_state, the earliest run", STEPS),
        Column("last_step", INTEGER, "… the latest run", STEPS),
        Column("step_low", INTEGER, "lowest end of any run's 90 % interval", STEPS),
        Column("step_high", INTEGER, "highest end of any run's 90 % interval", STEPS),
        Column("width", NUMBER, "of the 90 % interval, median over runs", STEPS),
    ),
)

INFLUENCES = Table(
    name="influences",
    title="What moves in each state transition",
    rows="transition and feature",
    note="Features by influence: the mean absolute derivative of the log posterior of the new "
    "state with respect to the feature, where a run enters it, with its deviation over runs; "
    "of how many runs with the feature it is among the three most influential. Movement: "
    "difference of the two states' means in standard deviations.",
    columns=(
        *EDGE_COLUMNS,
        Column("rank", INTEGER, "among the features of this transition; 1 is most influential"),
        Column("feature", TEXT, "metric that entered the model"),
        Column(
            "influence",
            NUMBER,
            "mean absolute derivative of the log posterior of the state entered, by the feature",
            "nats per standard deviation",
        ),
        Column(
            "influence_sd",
            NUMBER,
            "standard deviation (ddof 1) over runs, of each run's own mean",
            "nats per standard deviation",
            missing="with one run",
        ),
        Column("n_runs", INTEGER, "runs that take the transition, feature known there", "runs"),
        Column(
            "n_top",
            INTEGER,
            "of these, with the feature among their three most influential",
            "runs",
        ),
        Column(
            "movement",
            NUMBER,
            "mean in to_state less mean in from_state",
            "standard deviations",
        ),
    ),
)

CHANGE_POINTS = Table(
    name="change_points",
    title="Change points",
    rows="decoded change of state of a run",
    note="Every change of state of every run, between the previous step and the step, with a 90 % "
    "interval (after step low, not after step high) that allows for autocorrelation; "
    "probability, given the model and the whole run, that it happened just there. Where on its way "
    "a run is taken to be in the new state need not be the middle of the change, which is the date "
    "of a boundary.",
    columns=(
        *RUN_COLUMNS,
        Column("previous_step", INTEGER, "last checkpoint in the old state", STEPS),
        Column("step", INTEGER, "first checkpoint in the new state", STEPS),
        Column("step_low", INTEGER, "90 % interval: it happened after this step", STEPS),
        Column("step_high", INTEGER, "90 % interval: it happened not after this step", STEPS),
        *EDGE_COLUMNS,
        Column(
            "probability",
            NUMBER,
            "smoothed, of being in from_state at previous_step and in to_state at step",
            "probability",
        ),
    ),
)

FORK_CHOICES = Table(
    name="fork_choices",
    title="Which run forks where",
    rows="run and state after which runs go on to different states that are new to them",
    note="The way each run takes after a state from which runs go on to different new states.",
    columns=(
        *RUN_COLUMNS,
        Column("state", INTEGER, "state after which ways part"),
        Column("to_state", INTEGER, "next state that is new to the run"),
        Column("step", INTEGER, "first checkpoint in to_state", STEPS),
    ),
)
