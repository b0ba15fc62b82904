"""The training map of each group, on the same positions, and how groups differ on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.links import group_numbers
from hmmdyn.report.figures.map_layout import BAR, Edge, along_edges, first_free
from hmmdyn.report.figures.training_map import Canvas, beside_edge, beside_main
from hmmdyn.report.lookup import drawn_groups, rows
from hmmdyn.report.map_facts import FactsOfLevel
from hmmdyn.results.findings import Findings

_HEADING = 26.0  # pixels above a map
_ROOM = 15.0  # above its main lane, for the numbers at boundaries
_WIDEST = 5.0
_UNSEEN = 0.12  # opacity of a state that no run of a group visits
_FULL = 0.5  # a difference in shares that has its whole colour


@dataclass(frozen=True)
class _Row:
    """A map of the figure: what stands above it, on its states and at its changes of state.

    ``colours`` and ``opacity`` are of the states; ``widths`` and ``numbers`` are of the changes
    that are drawn, ``tones`` their colours. ``link`` is what the row is of (:mod:`.links`).
    """

    heading: str
    colours: list[str]
    opacity: list[float]
    texts: list[str]
    cards: list[str]
    widths: dict[tuple[int, int], float]
    numbers: dict[tuple[int, int], str]
    tones: dict[tuple[int, int], str]
    link: dict[str, int]


def group_maps(findings: Findings) -> go.Figure:
    """Draw the map of each group below that of the first, and what each differs in from it.

    States stand where they stand on the map of all groups. On the map of a group a change of state
    is as wide as the share of its runs that make it, a state that none of them visits is pale, and
    the lines below a state are where the group's own runs enter it. On the map of a difference,
    colours and widths are shares of time, and of runs, that one group has more or less. Of very
    many groups the first alone are drawn: ``n_groups`` of ``layout.meta``.

    Raises
    ------
    NotEnoughDataError
        There is one group.
    """
    groups = drawn_groups(findings)
    if len(groups) < 2:
        raise NotEnoughDataError("There is one group, so there is none to compare it with.")
    facts = FactsOfLevel(findings, findings.parameters.n_states)
    canvas = Canvas(facts, theme.state_colours(facts.level))
    # One by one, each annotation would be checked together with all before it.
    traces: list[Any] = []
    annotations: list[dict[str, Any]] = []
    height = 0.0
    in_all = [_of_group(canvas, group) for group in groups]
    for row in [*in_all, *(_difference(canvas, groups[0], group) for group in groups[1:])]:
        height += _HEADING + _ROOM + BAR
        traces += _drawn(canvas, row, height)
        annotations += _labels(canvas, row, height)
        height += canvas.layout.depth
    frame = canvas.frame()
    figure = go.Figure(traces)
    figure.update_layout(
        annotations=annotations,
        meta={"n_groups": len(groups)},
        template=theme.LIGHT,
        barmode="overlay",
        showlegend=False,
        xaxis=frame["xaxis"],
        yaxis={**frame["yaxis"], "range": [-height, 0]},
        margin=frame["margin"],
        height=int(height) + 60,
    )
    return figure


def _of_group(canvas: Canvas, group: str) -> _Row:
    findings = canvas.findings
    states, changes = _found(findings, group)
    return _Row(
        heading=f"<b>{words.label(group, 40)}</b> · {words.plural(_n_runs(states), 'run')}",
        colours=list(canvas.colours),
        opacity=[1.0 if state.n_runs else _UNSEEN for state in rows(states)],
        texts=[f"{state.n_runs:,} of {state.n_total:,}" for state in rows(states)],
        cards=[
            f"<b>{words.label(group)}</b>, state {state.state}<br>{state.n_runs} of "
            f"{words.plural(state.n_total, 'run')}, {words.percent(state.share)} of their time"
            + (
                f"<br>{findings.step_unit} {words.count(state.entered)} to "
                f"{words.count(state.left)} (medians)"
                if state.n_runs
                else ""
            )
            for state in rows(states)
        ],
        widths={edge: _WIDEST * n / total for edge, (n, total) in changes.items()},
        numbers={edge: f"{n:,} of {total:,}" for edge, (n, total) in changes.items()},
        tones=dict.fromkeys(changes, theme.MARK),
        link={"group": group_numbers(findings)[group]},
    )


def _difference(canvas: Canvas, first: str, group: str) -> _Row:
    (states, changes), (own_states, own_changes) = (
        _found(canvas.findings, name) for name in (first, group)
    )
    more = (own_states["share"] - states["share"]).to_numpy()
    differ = {
        edge: _share(own_changes, edge) - _share(changes, edge)
        for edge in dict.fromkeys([*changes, *own_changes])
    }
    names = f"{words.label(group, 30)} less {words.label(first, 30)}"
    return _Row(
        heading=f"<b>{names}</b>",
        colours=[theme.UP if value >= 0 else theme.DOWN for value in more],
        opacity=[_UNSEEN + (1 - _UNSEEN) * min(abs(value) / _FULL, 1) for value in more],
        texts=[_points(value) for value in more],
        cards=[f"<b>{names}</b>, state {k}<br>{_points(v)} of time" for k, v in enumerate(more)],
        widths={edge: _WIDEST * abs(value) for edge, value in differ.items()},
        numbers={edge: _points(value) for edge, value in differ.items() if value},
        tones={edge: theme.UP if value >= 0 else theme.DOWN for edge, value in differ.items()},
        link={},
    )


def _found(
    findings: Findings, group: str
) -> tuple[pd.DataFrame, dict[tuple[int, int], tuple[int, int]]]:
    """Return a group's states, and by change of state how many of its runs make it."""
    found = findings.map_in_time
    states = found.group_states[found.group_states["group"] == group].reset_index(drop=True)
    changes = found.group_transitions[found.group_transitions["group"] == group]
    return states, {(c.from_state, c.to_state): (c.n_runs, c.n_total) for c in rows(changes)}


def _n_runs(states: pd.DataFrame) -> int:
    return int(states["n_total"].iloc[0])


def _share(changes: dict[tuple[int, int], tuple[int, int]], edge: tuple[int, int]) -> float:
    n, total = changes.get(edge, (0, 1))
    return n / total


def _points(value: float) -> str:
    """Return a difference of shares in per cent with its sign."""
    points = round(100 * value)
    return f"{'+' if points > 0 else '−' if points < 0 else '±'}{abs(points)}\u00a0%"


def _drawn(canvas: Canvas, row: _Row, height: float) -> Iterator[go.Bar | go.Scatter]:
    layout = canvas.layout
    for edge in layout.edges:
        key = (edge.from_state, edge.to_state)
        if key in row.widths and row.widths[key] > 0:
            yield _line(canvas, edge, row, height)
    begin, end = (np.array([getattr(b, side) for b in layout.bars]) for side in ("begin", "end"))
    across = np.array([layout.lanes[bar.lane] + height for bar in layout.bars])
    yield go.Bar(
        **canvas.bar(begin, end, across),
        name="states",
        customdata=[bar.state for bar in layout.bars],
        meta={"each": "state", **row.link},
        marker={
            "color": row.colours,
            "opacity": row.opacity,
            "line": {"width": 0},
            "cornerradius": 4,
        },
        hovertext=row.cards,
        hoverinfo="text",
    )
    if row.link:
        yield from canvas.rug(row.link["group"], height)


def _line(canvas: Canvas, edge: Edge, row: _Row, height: float) -> go.Scatter:
    key = (edge.from_state, edge.to_state)
    points = edge.points + np.array([0, height])
    if edge.is_boundary:  # a bridge above the boundary, so that its width is seen
        (end, y), (begin, _) = points
        lift = BAR + 4
        points = np.array([[end - 10, y - lift], [begin + 10, y - lift]])
    x, y = canvas.place(points)
    width = 1 + row.widths[key]
    last = np.zeros(len(x))
    last[-1] = 1
    return go.Scatter(
        x=x,
        y=y,
        name=f"{edge.from_state} → {edge.to_state}",
        meta={"states": [edge.from_state, edge.to_state], **row.link},
        mode="lines+markers",
        line={"width": width, "color": row.tones[key], "backoff": 0},
        marker={
            "symbol": "arrow",
            "angleref": "previous",
            "size": last * (6 + 1.4 * width),
            "color": row.tones[key],
            "opacity": last,
            "line": {"width": 0},
        },
        hoverinfo="skip",
        cliponaxis=False,
    )


def _labels(canvas: Canvas, row: _Row, height: float) -> Iterator[dict[str, Any]]:
    """Name the row, number its states, and say how many make each change where there is room."""
    layout = canvas.layout
    look = {"showarrow": False, "bgcolor": "rgba(0,0,0,0)"}
    yield {
        **look,
        "text": row.heading,
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": -(height - BAR - _ROOM - _HEADING / 2),
    }
    bars = layout.bar_boxes
    lines, taken = along_edges(layout.edges), list(bars)
    for bar, box, text in zip(layout.bars, bars, row.texts, strict=True):
        whole = f"<b>{bar.state}</b> · {text}"
        room = 2 * box.half_along
        shown = whole if room > 66 else f"<b>{bar.state}</b>" if room > 16 else ""
        clear = row.opacity[bar.state] > _FULL
        colour = {"color": theme.text_on(row.colours[bar.state])} if clear else {}
        x, y = canvas.place(np.array([[box.along, box.across + height]]))
        font = {"size": 11, **colour}
        link = json.dumps({"state": bar.state, **row.link})
        yield {**look, "text": shown, "name": link, "x": x[0], "y": y[0], "font": font}
    for edge in layout.edges:
        number = row.numbers.get((edge.from_state, edge.to_state))
        if number is None:
            continue
        if edge.is_boundary:
            spots = beside_main(canvas, (number,), float(edge.points[:, 0].mean()))[:3]
            spots = spots if edge.points[0, 1] == 0 else []
        else:
            spots = beside_edge(canvas, edge, (number,))
        free = first_free(spots, taken, lines)
        if free is not None:
            taken.append(free)
            x, y = canvas.place(np.array([[free.along, free.across + height]]))
            # A narrow page has no room for it.
            about = {"name": json.dumps({"spare": True}), "font": {"size": 10.5}}
            yield {**look, "text": number, "x": x[0], "y": y[0], **about}
