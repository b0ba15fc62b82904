"""The fastest and the slowest run side by side, and the states that make the difference."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.run_rows import RunRows
from hmmdyn.report.figures.strips import strips
from hmmdyn.report.lookup import extreme_runs, rows, state_name
from hmmdyn.results.findings import Findings

_RUN_PIXELS = 36  # two lines of text
_STATE_PIXELS = 26
_GAP_PIXELS = 100  # between strips and states: an axis with its title, and the key to the marks
_FRAME_PIXELS = 150
_GHOST_OFFSET = 0.3  # rows
_FAST, _SLOW = "circle", "square"
_MARK: dict[str, Any] = {"size": 11, "color": "#3d4552", "line": {"width": 1.5, "color": "#ffffff"}}
_GHOST: dict[str, Any] = {"size": 9, "color": theme.MARK, "line": {"width": 1.5}}


def slowest_and_fastest(findings: Findings) -> go.Figure:
    """Set the fastest run of every group against the slowest.

    Above: the states of both over time. Below: the steps each spent in every state before it
    converged, or before it ended, and by how many more the slowest; bold are the states that make
    most of it. Open marks are the means of the fastest and the slowest quarter, where there are
    eight runs or more.

    Raises
    ------
    NotEnoughDataError
        In no group is a run known to have taken longer than the one that converged first.
    """
    if findings.slowness is None or findings.slowness.extremes.empty:
        raise NotEnoughDataError(
            "In no group is it known of a run that it took longer to converge than the first."
        )
    pairs = [own for _, own in findings.slowness.extremes.groupby("group", sort=False)]
    runs = pd.concat([extreme_runs(findings, own) for own in pairs])
    run_rows = RunRows(findings, runs, row_pixels=_RUN_PIXELS)
    states = _rows_of_states(findings, findings.slowness.extremes)
    figure = make_subplots(rows=2, cols=1)
    for trace in strips(findings, run_rows.runs):
        figure.add_trace(trace, row=1, col=1)
    for trace in run_rows.marks():
        figure.add_trace(trace.update(showlegend=False), row=1, col=1)
    for trace in (*_differences(states), *_spent(findings, states)):
        figure.add_trace(trace, row=2, col=1)
    above = run_rows.frame()
    upper, lower = run_rows.pixels, _STATE_PIXELS * (int(states["y"].max()) + 1)
    whole = upper + _GAP_PIXELS + lower
    names = zip(("fastest", "slowest") * len(pairs), above["yaxis"]["ticktext"], strict=True)
    figure.update_layout(
        barmode="overlay",
        height=_FRAME_PIXELS + round(whole),
        meta={"runs": above["meta"]["runs"]},
        xaxis=above["xaxis"],
        yaxis={
            **above["yaxis"],
            "ticktext": [f"{end}<br>{name}" for end, name in names],
            "domain": [1 - upper / whole, 1],
        },
        xaxis2={
            "title": {"text": f"{findings.step_unit}s before converging"},
            "range": [0, 1.15 * states[["fastest", "slowest"]].to_numpy().max()],
        },
        yaxis2={
            **theme.named_ticks(states["y"], _ticks(states)),
            "range": [states["y"].max() + 0.6, -0.6],
            "showgrid": False,
            "ticks": "",
            "ticklabelstandoff": 9,
            "domain": [0, lower / whole],
        },
        annotations=[*above["annotations"], _key(states), *_headings(states)],
    )
    return figure


def _rows_of_states(findings: Findings, extremes: pd.DataFrame) -> pd.DataFrame:
    """Return the states in which either of a group's two runs was before it converged.

    Columns of the table of extremes, ``number`` (of the group), ``name, colour, y``. Several groups
    have each a row as their heading.
    """
    colours = theme.state_colours(findings.parameters.n_states)
    states = extremes.assign(
        number=extremes.groupby("group", sort=False).ngroup(),
        colour=[colours[k] for k in extremes["state"]],
        name=[html.escape(state_name(findings, k)) for k in extremes["state"]],
    )
    states = states[(states["fastest"] > 0) | (states["slowest"] > 0)].reset_index(drop=True)
    several = extremes["group"].nunique() > 1
    return states.assign(y=states.index + (states["number"] + 1 if several else 0))


def _differences(states: pd.DataFrame) -> Iterator[go.Bar | go.Scatter]:
    """Return a bar from the one run to the other for each state, and the difference in numbers."""
    low, high = (states[["fastest", "slowest"]].agg(end, axis=1) for end in ("min", "max"))
    about = {"customdata": states["state"], "meta": {"each": "state"}, "showlegend": False}
    yield go.Bar(
        x=high - low,
        base=low,
        y=states["y"],
        orientation="h",
        width=0.3,
        marker={"color": states["colour"], "line": {"width": 0}},
        hoverinfo="skip",
        **about,
    )
    longer = states["slowest"] - states["fastest"]
    yield go.Scatter(
        x=high,
        y=states["y"],
        mode="text",
        text=[
            f"    {_weighed(_signed(difference), decisive)}"
            for difference, decisive in zip(longer, states["decisive"], strict=True)
        ],
        textposition="middle right",
        hoverinfo="skip",
        cliponaxis=False,
        **about,
    )


def _spent(findings: Findings, states: pd.DataFrame) -> Iterator[go.Scatter]:
    """Return the marks of both runs, and before them those of their quarters."""
    for column, which, symbol in (
        ("fast_quarter", "fastest", _FAST),
        ("slow_quarter", "slowest", _SLOW),
    ):
        own = states[states[column].notna()]
        if len(own):
            cards = [
                f"{row.name}<br>mean of the {which} {row.n_in_quarter} runs: "
                f"{words.in_steps(words.number(getattr(row, column), 3), findings.step_unit)}"
                for row in rows(own)
            ]
            yield _marks(own, column, {"symbol": f"{symbol}-open", **_GHOST}, cards, _GHOST_OFFSET)
    for column, symbol in (("fastest", _FAST), ("slowest", _SLOW)):
        cards = [
            f"{row.name}<br>{column} run: {words.number(getattr(row, column), 3)} "
            f"{findings.step_unit}s"
            for row in rows(states)
        ]
        yield _marks(states, column, {"symbol": symbol, **_MARK}, cards)


def _marks(
    states: pd.DataFrame, column: str, marker: dict[str, Any], cards: list[str], offset: float = 0.0
) -> go.Scatter:
    return go.Scatter(
        x=states[column],
        y=states["y"] + offset,
        mode="markers",
        name=column,
        showlegend=False,
        customdata=states["state"],
        meta={"each": "state"},
        marker=marker,
        hovertext=cards,
        hoverinfo="text",
        cliponaxis=False,
    )


def _key(states: pd.DataFrame) -> dict[str, Any]:
    quarters = states["fast_quarter"].notna().any()
    return {
        "text": "● fastest  ■ slowest" + ("  ○ □ quarter means" if quarters else ""),
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": 1,
        "yref": "y2 domain",
        "yanchor": "bottom",
        "showarrow": False,
    }


def _headings(states: pd.DataFrame) -> list[dict[str, Any]]:
    if states["number"].max() == 0:
        return []
    return [
        {
            "text": f"<b>{words.label(group)}</b>",
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
            "y": own["y"].min() - 1,
            "yref": "y2",
            "showarrow": False,
        }
        for group, own in states.groupby("group", sort=False)
    ]


def _ticks(states: pd.DataFrame) -> list[str]:
    return [_weighed(f"state {row.state}", row.decisive) for row in rows(states)]


def _weighed(text: str, decisive: bool) -> str:
    return f"<b>{text}</b>" if decisive else text


def _signed(difference: float) -> str:
    sign = "±" if difference == 0 else "+" if difference > 0 else "−"
    return sign + words.number(abs(difference), 3)
