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
from hmmdyn.report.figures.thinning import thin
from hmmdyn.report.figures.training_map import Canvas, draw
from hmmdyn.report.lookup import rows
from hmmdyn.report.map_facts import FactsOfLevel
from hmmdyn.results.findings import Findings
from hmmdyn.results.keys import RUN_KEY

_CURVES_PIXELS, _GAP_PIXELS = 150, 14
_CONTROLS_PIXELS = 70
SHOWN = 120  # milliseconds that a moment is shown
# How the frames of a player follow each other; in a transition plotly.js loses the bars.
PLAYED = {
    "mode": "immediate",
    "transition": {"duration": 0},
    "frame": {"duration": SHOWN, "redraw": True},
}
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
    canvas = _canvas(findings)
    layout = canvas.layout
    low, high = layout.axis.span
    for place in np.linspace(low, high, n_frames):
        step = layout.axis.step(place)
        figure = draw(canvas)
        figure.add_trace(_dots(canvas, step))
        _add_curves(canvas, figure, step, n_frames)
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


def player(findings: Findings, n_frames: int = 48) -> go.Figure:
    """Return the pictures of :func:`replay` as one figure, with a slider and a button that play it.

    What stays the same in them is there once.
    """
    pictures = list(replay(findings, n_frames))
    n_still = len(draw(_canvas(findings)).data)
    moving = list(range(n_still, len(pictures[0].data)))
    figure = pictures[-1]
    figure.frames = [
        go.Frame(
            name=picture.layout.annotations[-1].text,
            data=picture.data[n_still:],
            traces=moving,
            layout={
                "shapes": picture.layout.shapes,
                "annotations": picture.layout.annotations,
            },
        )
        for picture in pictures
    ]
    play = {**PLAYED, "fromcurrent": True}
    stop = {**PLAYED, "frame": {"duration": 0, "redraw": True}}
    return figure.update_layout(
        height=figure.layout.height + _CONTROLS_PIXELS,
        margin={"b": _CONTROLS_PIXELS + 50},
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "showactive": False,
                **{"x": 0, "xanchor": "left", "y": 0, "yanchor": "top", "pad": {"t": 56}},
                "buttons": [
                    {"label": "▶ Play", "method": "animate", "args": [None, play]},
                    {"label": "❚❚ Pause", "method": "animate", "args": [[None], stop]},
                ],
            }
        ],
        sliders=[
            {
                "active": len(figure.frames) - 1,
                **{"x": 0.24, "len": 0.76, "y": 0, "yanchor": "top", "pad": {"t": 56}},
                "currentvalue": {"visible": False},
                **{"ticklen": 0, "minorticklen": 0},
                "steps": [
                    {
                        "label": "",
                        "method": "animate",
                        "args": [[frame.name], stop],
                    }
                    for frame in figure.frames
                ],
            }
        ],
    )


def _canvas(findings: Findings) -> Canvas:
    facts = FactsOfLevel(findings, findings.parameters.n_states)
    return Canvas(facts, theme.state_colours(facts.level))


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


def _add_curves(canvas: Canvas, figure: go.Figure, step: float, n_frames: int) -> None:
    """Put the curves of the outcome up to a step below the map, on its axis.

    Long ones are thinned, so that all pictures together are not too much for a page.
    """
    findings = canvas.findings
    measure = findings.convergence
    if measure is None:
        return
    known = findings.table[np.isfinite(findings.table[measure.outcome])]
    keys = list(known.groupby(RUN_KEY, sort=False).groups)
    runs = known.groupby(RUN_KEY, sort=False)
    lengths = runs["step"].transform("size").to_numpy()
    values = known[measure.outcome].to_numpy()
    kept = thin(values, runs.ngroup().to_numpy(), lengths, n_frames)
    some = {keys[i] for i in np.linspace(0, len(keys) - 1, _MOST_CURVES).astype(int)}
    stays = dict(list(canvas.stays.groupby(RUN_KEY, sort=False)))
    for key, own in known[kept].groupby(RUN_KEY, sort=False):
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
        yaxis={"domain": [(_CURVES_PIXELS + _GAP_PIXELS) / (height - 68), 1]},
        yaxis2={
            "domain": [0, _CURVES_PIXELS / (height - 68)],
            "range": [float(values.min()) - room, float(values.max()) + room],
            "anchor": "x",
            "title": {"text": words.label(measure.outcome, 20)},
        },
        xaxis={"anchor": "y2"},
        margin={"l": 64},
    )
