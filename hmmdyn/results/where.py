"""The table of where in the network a change of state happens."""

from __future__ import annotations

from hmmdyn.results.columns import INTEGER, NUMBER, STEPS, TEXT, Column, Table, p_column

BEFORE, AFTER = "before the others", "after the others"

_FEW = "where too few runs make the change"

WHERE = Table(
    name="where_it_moves",
    title="Which part of the network moves first",
    rows="boundary, metric and part of the network",
    note="A part's date in a run is when its metric crosses the middle between its levels in the "
    "two states. Intervals are of the median over runs, hold for all parts of one metric together, "
    "and know that a date lies between two checkpoints. Parts are in the order of the network.",
    columns=(
        Column("from_state", INTEGER, "state before the boundary"),
        Column("to_state", INTEGER, "state after it"),
        Column("by", TEXT, "layer or role: what the parts are"),
        Column("metric", TEXT, "metric that is dated"),
        Column("part", TEXT, "name of the layer, or the role"),
        Column("n_runs", INTEGER, "runs that make the change and in which the part moves clearly"),
        Column(
            "lead",
            NUMBER,
            "how much earlier the part moves than the middle of the others, median over runs; "
            "negative where it is later",
            STEPS,
            missing="where no run tells",
        ),
        Column("lead_low", NUMBER, "lower end of the 95 % interval", STEPS, missing=_FEW),
        Column("lead_high", NUMBER, "upper end of the 95 % interval", STEPS, missing=_FEW),
        p_column("p", "sign test over runs, of a lead of 0", missing=_FEW),
        p_column("p_corrected", "corrected over all rows (Benjamini–Hochberg)", missing=_FEW),
        Column(
            "when",
            TEXT,
            f"{BEFORE} or {AFTER}, where the interval has no 0 in it and p_corrected is below "
            "0.05; or cannot tell",
        ),
    ),
)
