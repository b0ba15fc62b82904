"""Training replayed over the map: a dot per run, and the outcome's curves in step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.map_layout import BAR
from hmmdyn.report.figures.training_map import Canvas, draw
from hmmdyn.report.lookup import rows
from hmmdyn.report.map_facts import FactsOfLevel
from hmmdyn.results.findings import Findings
from hmmdyn.results.keys import RUN_KEY

_CURVES_PIXELS, _GAP_PIXELS = 150, 14
_MOST_CURVES = 60  # of more runs only some are drawn, evenly spaced


def replay(findings: Findings, n_frames: int = 48) -> Iterator[go.Figure]:
    """Return pictures of training as it goes on, each at a later step.

    A dot goes through a state's bar as its run goes through its stay there, so one that is behind
    the line of the present is slower than the median run. Below are the outcome's curves so far,
    each in the colour of the state that its run is in.

    Parameters
    ----------
    n_frames : int
        How many, at even steps of the axis from the first step to the last.
    """
    facts = FactsOfLevel(findings, findings.parameters.n_states)
    canvas = Canvas(facts, theme.state_colours(facts.level))
    layout = canvas.layout
    low, high = layout.axis.span
    for place in np.linspace(low, high, n_frames):
        step = layout.axis.step(place)
        figure = draw(canvas)
        figure.add_trace(_dots(canvas, step))
        _add_curves(canvas, figure, step)
        present = {"color": theme.MARK, "width": 1.5}
        figure.add_shape(
            type="line", xref="x", yref="paper", x0=place, x1=place, y0=0, y1=1, line=present
        )
        figure.add_annotation(
            text=f"{findings.step_unit} {words.count(step)}",
            x=1,
            y=1,
            xref="paper",
            yref="paper",
            xanchor="right",
            yanchor="bottom",
            showarrow=False,
        )
        yield figure.update_layout(margin={"t": 28})


def _dots(canvas: Canvas, step: float) -> go.Scatter:
    """Return a dot per run, where it is on the map at a step."""
    places = dict(_places(canvas, step))
    n_runs = len(places)
    points = np.array(
        [
            (along, across + BAR * 0.8 * (2 * (i + 0.5) / n_runs - 1))
            for i, (along, across) in enumerate(places.values())
        ]
    )
    x, y = canvas.place(points)
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        name="runs",
        marker={
            "size": 6 if n_runs > 60 else 8,
            "color": "#ffffff",
            "line": {"width": 1.3, "color": "#1f2530"},
        },
    )


def _places(canvas: Canvas, step: float) -> Iterator[tuple[tuple[str, str], tuple[float, float]]]:
    """Return along and across of every run: as far through a bar as it is through its stay."""
    layout = canvas.layout
    for key, own in canvas.stays.groupby(RUN_KEY, sort=False):
        stay = _stay_at(own, step)
        bar = layout.bars[stay.state]
        share = (min(step, stay.end) - stay.start) / ((stay.end - stay.start) or 1.0)
        along = bar.begin + max(share, 0.0) * (bar.end - bar.begin)
        group, run = key
        yield (str(group), str(run)), (along, layout.lanes[bar.lane])


def _stay_at(stays: pd.DataFrame, step: float) -> Any:
    """Return the stay of a run at a step; its last one where it has ended."""
    own = list(rows(stays))
    return next((stay for stay in own if step <= stay.end), own[-1])


def _add_curves(canvas: Canvas, figure: go.Figure, step: float) -> None:
    """Put the curves of the outcome up to a step below the map, on its axis."""
    findings = canvas.findings
    measure = findings.convergence
    if measure is None:
        return
    known = findings.table[np.isfinite(findings.table[measure.outcome])]
    keys = list(known.groupby(RUN_KEY, sort=False).groups)
    some = {keys[i] for i in np.linspace(0, len(keys) - 1, _MOST_CURVES).astype(int)}
    stays = dict(list(canvas.stays.groupby(RUN_KEY, sort=False)))
    for key, own in known.groupby(RUN_KEY, sort=False):
        if key not in some:
            continue
        seen = own[own["step"] <= step]
        colour = canvas.colours[_stay_at(stays[key], step).state]
        figure.add_trace(
            go.Scatter(
                x=canvas.layout.axis.place(seen["step"].to_numpy(float)),
                y=seen[measure.outcome],
                yaxis="y2",
                mode="lines",
                line={"color": colour, "width": 1.3},
            )
        )
    values = known[measure.outcome]
    room = 0.05 * float(values.max() - values.min() or 1.0)
    height = figure.layout.height + _CURVES_PIXELS + _GAP_PIXELS
    figure.update_layout(
        height=height,
        yaxis={"domain": [(_CURVES_PIXELS + _GAP_PIXELS) / (height - 60), 1]},
        yaxis2={
            "domain": [0, _CURVES_PIXELS / (height - 60)],
            "range": [float(values.min()) - room, float(values.max()) + room],
            "anchor": "x",
            "title": {"text": words.label(measure.outcome, 20)},
        },
        xaxis={"anchor": "y2"},
        margin={"l": 64},
    )
