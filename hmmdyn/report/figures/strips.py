"""State timelines: a strip per run, in the colours of the states it goes through."""

from __future__ import annotations

import html
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.lookup import rows, state_name
from hmmdyn.results.findings import Findings
from hmmdyn.results.keys import RUN_KEY


def strips(findings: Findings, runs: pd.DataFrame, thick: float = theme.STRIP) -> list[go.Bar]:
    """Return a trace per state that some of the ``runs`` of :class:`.run_rows.RunRows` visits.

    A state begins halfway between two checkpoints. A strip is ``thick`` rows high.
    """
    visits = findings.ways.stays.merge(runs[[*RUN_KEY, "y", "label", "number"]], on=RUN_KEY)
    changes = findings.change_points.rename(columns={"step": "first_step"})
    visits = visits.merge(
        changes[[*RUN_KEY, "first_step", "step_low", "step_high"]],
        on=[*RUN_KEY, "first_step"],
        how="left",
    )
    colours = theme.state_colours(findings.parameters.n_states)
    return [
        go.Bar(
            x=own["end"] - own["start"],
            base=own["start"],
            y=own["y"],
            orientation="h",
            width=thick,
            name=f"state {state}",
            customdata=own["number"],
            meta={"state": state, "each": "run"},
            marker={"color": colour, "line": {"width": 0}},
            hovertext=[_card(findings, stay) for stay in rows(own)],
            hoverinfo="text",
        )
        for state, colour in enumerate(colours)
        if len(own := visits[visits["state"] == state])
    ]


def strips_of_outcomes(runs: pd.DataFrame, thick: float = theme.STRIP) -> list[go.Bar]:
    """Return strips of runs without states: a trace until they converge, and one from there on."""
    known = runs[runs["status"] != "unknown"]
    converged = known[known["converged"]]
    pieces = (
        ("not yet converged", known, known["step"], 0, theme.BEFORE),
        ("converged", converged, converged["last_step"], converged["step"], theme.AFTER),
    )
    return [
        go.Bar(
            x=end - start,
            base=start if len(own) and isinstance(start, pd.Series) else [start] * len(own),
            y=own["y"],
            orientation="h",
            width=thick,
            name=name,
            showlegend=False,
            customdata=own["number"],
            meta={"each": "run"},
            marker={"color": colour, "line": {"width": 0}},
            hovertext=[f"<b>{run.label}</b><br>{name}" for run in rows(own)],
            hoverinfo="text",
        )
        for name, own, end, start, colour in pieces
        if len(own)
    ]


def _card(findings: Findings, stay: Any) -> str:
    unit = findings.step_unit
    span = f"{unit} {words.count(stay.first_step)}"
    if stay.last_step > stay.first_step:
        span += f" to {words.count(stay.last_step)}"
    entered = (
        f"<br>entered after {unit} {words.count(stay.step_low)}, not after "
        f"{words.count(stay.step_high)} (90\u00a0% interval)"
        if pd.notna(stay.step_low)
        else ""
    )
    return (
        f"<b>{stay.label}</b><br>{html.escape(state_name(findings, stay.state))}<br>{span}<br>"
        f"{words.plural(stay.n_checkpoints, 'checkpoint')}, "
        f"mean probability {stay.probability:.2f}{entered}"
    )
