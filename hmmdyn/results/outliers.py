"""The tables of runs that are unlike the others of their group, in metrics or in outcomes."""

from __future__ import annotations

from hmmdyn.results.columns import (
    BOOLEAN,
    NUMBER,
    RUN_COLUMNS,
    TEXT,
    Column,
    Table,
    p_column,
)

_FEW = "in groups of fewer than four runs, which cannot tell"

OUTLIERS = Table(
    name="outliers",
    title="Runs unlike the others",
    rows="run",
    note="Score: log-likelihood per checkpoint under the map fitted without the run; misfit: mean "
    "squared distance from its states; apart: mean squared distance from the way of any other run, "
    "where it is farthest; returned: share of its time in states the others do not go back to. A "
    "run is judged by the last two, up to where half of its group have ended. p corrected for all "
    "runs.",
    columns=(
        *RUN_COLUMNS,
        Column(
            "score",
            NUMBER,
            "log-likelihood of the run under the map fitted without it, of more than 20 runs "
            "without a twentieth of them",
            "nats per checkpoint",
        ),
        Column(
            "typical",
            NUMBER,
            "median score of the other runs of its group",
            "nats per checkpoint",
        ),
        Column(
            "misfit",
            NUMBER,
            "mean squared distance of its metrics from the states of that map, in their standard "
            "deviations; about 1 where it describes the run",
        ),
        Column(
            "apart",
            NUMBER,
            "mean squared distance of its metrics from the way of any other run of its group (of "
            "large groups, of 50 runs), in their standard deviations within states, over the tenth "
            "of its checkpoints where that is largest; where it only comes further on the way than "
            "the others did, 0",
        ),
        Column(
            "returned",
            NUMBER,
            "share of its time in states that the others do not go back to",
            "fraction",
        ),
        p_column("p", "that one of as many usual runs lies out as far", missing=_FEW),
        p_column("p_corrected", "that any of all runs does", missing=_FEW),
        Column("outlier", BOOLEAN, "p_corrected is below 0.05"),
        Column("reason", TEXT, "what sets it apart, in words; empty for usual runs"),
    ),
)

OUTCOME_OUTLIERS = Table(
    name="outcome_outliers",
    title="Outcomes unlike the others",
    rows="run and outcome",
    note="Judged by medians within equal stretches of time, up to where half of a group have "
    "ended. To be slow is not to be unlike. Groups of fewer than four runs, and runs of fewer "
    "than six evaluations, are not judged. p corrected for all runs, outcomes and groups.",
    columns=(
        *RUN_COLUMNS,
        Column("outcome", TEXT, "which outcome"),
        Column(
            "lost",
            NUMBER,
            "how far it falls, at most, below the best it had reached, over the range of all "
            "levels of the other runs of its group",
            "fraction",
        ),
        p_column("p", "that one of as many usual runs lies out as far"),
        p_column("p_corrected", "that any of all runs does, in any outcome"),
        Column("outlier", BOOLEAN, "p_corrected is below 0.05"),
        Column("reason", TEXT, "what sets it apart, in words; empty for usual runs"),
    ),
)
