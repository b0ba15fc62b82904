"""The table of which metrics change before an outcome does."""

from __future__ import annotations

from hmmdyn.results.columns import GROUP, INTEGER, NUMBER, STEPS, TEXT, Column, Table, p_column

BEFORE, AFTER = "before the outcome", "after the outcome"

_FEW = "where too few runs tell"
_NONE = "where no run tells"
_FRACTION = "fraction"

TOLD_FIRST = Table(
    name="told_first",
    title="Which metrics change before an outcome",
    rows="group, outcome that improves in a transition, and metric that entered the model",
    note="Both are dated by when they cross the middle between their levels before and after the "
    "outcome's transition, in one and the same window around it. Intervals are of the median over "
    "runs, hold for all metrics of a group and outcome together, and know that a date lies between "
    "two checkpoints.",
    columns=(
        GROUP,
        Column("outcome", TEXT, "name of the outcome"),
        Column("metric", TEXT, "name of the metric"),
        Column(
            "n_runs", INTEGER, "runs in which both pass clearly from one level to another", "runs"
        ),
        Column("n_total", INTEGER, "runs in which the outcome does", "runs"),
        Column(
            "lead",
            NUMBER,
            "how much earlier than the outcome the metric moves, median over runs; negative where "
            "it is later",
            STEPS,
            missing=_NONE,
        ),
        Column("lead_low", NUMBER, "lower end of the 95 % interval", STEPS, missing=_FEW),
        Column("lead_high", NUMBER, "upper end of the 95 % interval", STEPS, missing=_FEW),
        Column("earlier_runs", INTEGER, "runs in which it is earlier, as far as checkpoints tell"),
        Column("later_runs", INTEGER, "runs in which it is later"),
        p_column(
            "p",
            "share of the pairings of runs in which the metric, dated around another run's "
            "transition, is as close to it",
            missing=_FEW,
        ),
        p_column(
            "p_corrected",
            "corrected over all rows (Benjamini–Hochberg)",
            missing=_FEW,
        ),
        Column(
            "when",
            TEXT,
            f"{BEFORE} or {AFTER}, where the interval (its ends left out) has no 0 in it, n_runs "
            "is half of n_total or more, and the two go together run by run (p_corrected below "
            "0.05); or cannot tell",
        ),
        Column(
            "done",
            NUMBER,
            "share of the metric's way that is done when the outcome has done a fifth of its own, "
            "median over runs",
            _FRACTION,
            missing=_NONE,
        ),
        Column("done_low", NUMBER, "lower end of its 95 % interval", _FRACTION, missing=_FEW),
        Column("done_high", NUMBER, "upper end of its 95 % interval", _FRACTION, missing=_FEW),
    ),
)
