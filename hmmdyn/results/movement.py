"""The table of the law by which weights move away from where they began."""

from __future__ import annotations

from hmmdyn.results.columns import INTEGER, NUMBER, TEXT, Column, Table

LOGARITHM, POWER, SATURATING = "logarithm", "power", "saturating"
NO_LAW = "none of these"

_FEW = "where fewer than three runs tell"

MOVEMENT_LAWS = Table(
    name="movement_laws",
    title="How far weights move from where they began, by the law of time",
    rows="group",
    note="Of every run, a + b (tᵞ − 1)/γ is fitted to the distance of its weights from the first "
    "checkpoint, with time t since then; at γ = 0 it is a + b log t, ultra-slow diffusion (Hoffer "
    "2017), and at ½ that of a random walk. The interval is Student's, over runs.",
    columns=(
        Column("group", TEXT, "group of runs"),
        Column("n_runs", INTEGER, "runs that have an exponent"),
        Column("exponent", NUMBER, "γ, mean over runs", missing="where no run tells"),
        Column("exponent_low", NUMBER, "lower end of its 95 % interval", missing=_FEW),
        Column("exponent_high", NUMBER, "upper end of its 95 % interval", missing=_FEW),
        Column(
            "misfit",
            NUMBER,
            "root mean square of what the fit leaves, over the deviation of the distances; median "
            "over runs",
            missing="where no run tells",
        ),
        Column(
            "law",
            TEXT,
            f"{POWER} (γ above 0), {LOGARITHM} (0 in the interval, which is shorter than ½), "
            f"{SATURATING} (γ below 0), {NO_LAW} (misfit above a tenth), or cannot tell",
        ),
    ),
)
