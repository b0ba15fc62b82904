"""The training map as a figure: states as points along time, transitions as arrows."""

from __future__ import annotations

import html
import json
import math
import textwrap
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hmmdyn.errors import UsageError
from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.links import numbers_of
from hmmdyn.report.figures.map_layout import curve, lanes
from hmmdyn.report.lookup import (
    dwell,
    forks,
    movement,
    own_levels,
    rows,
    state_name,
    top_movements,
)
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.findings import Findings
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.verdicts import CONFIRMED, FLAG_ONLY, SLOWS

_LANE_PIXELS = 150  # between lanes, and between states where time runs downwards
_ROW_PIXELS = 98
_NEAR_STATE = 0.17  # in states and lanes
_N_OUTCOMES = 4  # outcomes named on a state

# A detour that only the paper's flag sees is not painted as a confirmed one.
_DETOURS = {CONFIRMED: "detour", FLAG_ONLY: "doubtful"}
_SYMBOLS = {
    "detour": "diamond",
    "doubtful": "diamond",
    "fork": "square",
    "dead end": "octagon",
    "plain": "circle",
}
_RIMS = {
    "detour": theme.DETOUR,
    "doubtful": theme.MARK,
    "fork": theme.MARK,
    "dead end": theme.DEAD_END,
    "plain": "#ffffff",
}
_VERDICTS = {
    CONFIRMED: f'<b><span style="color:{theme.DETOUR}">detour</span></b>',
    FLAG_ONLY: "flagged, doubtful",
    SLOWS: "slows",
}
# How far Plotly's symbols reach from their centre, as a share of their size.
_REACH = {"diamond": 0.65, "square": 0.5, "octagon": 0.5, "circle": 0.5}
_N_MEANS = 3  # features named on a state
_BAR = 12  # characters of the longest bar on a card


def training_map(findings: Findings, *, orientation: str = "horizontal") -> go.Figure:
    """Draw the training map (Hu 2023, section 2.2).

    States stand in order of time, those off the path most runs take beside it. An arrow's width is
    the share of runs that take the transition; a state's size is its share of the time of all
    runs. How long a stay in it lasts is written below it as its dwell, the median in steps. A
    confirmed detour is a diamond with a red rim, a fork a square with a heavy rim, a dead end an
    octagon with a black one, and all are named; the arrows out of a fork are dashed and carry their
    number of runs.

    Parameters
    ----------
    orientation : str
        ``horizontal`` (time runs to the right) or ``vertical`` (downwards, for narrow screens).

    Raises
    ------
    UsageError
        There is no such orientation.
    """
    canvas = _Canvas(findings, orientation)
    figure = go.Figure()
    exits = {(fork.state, k) for fork in canvas.forks.values() for k in fork.exits}
    for edge in rows(findings.transitions):
        is_exit = (edge.from_state, edge.to_state) in exits
        figure.add_traces([_edge(canvas, edge, dashed=is_exit), _edge_hover(canvas, edge)])
        if is_exit:
            figure.add_annotation(_edge_label(canvas, edge))
    figure.add_trace(_nodes(canvas))
    for state in range(canvas.n_states):
        figure.add_annotation(_node_label(canvas, state))
    figure.update_layout(template=theme.LIGHT, showlegend=False, **canvas.frame())
    return figure


class _Canvas:
    """Everything about the map's look that its parts share."""

    def __init__(self, findings: Findings, orientation: str) -> None:
        if orientation not in ("horizontal", "vertical"):
            raise UsageError(
                f"'orientation' must be 'horizontal' or 'vertical', got {orientation!r}."
            )
        self.findings = findings
        self.vertical = orientation == "vertical"
        self.n_states = findings.parameters.n_states
        self.colours = theme.state_colours(self.n_states)
        self.forks = {fork.state: fork for fork in forks(findings)}
        self.dead_ends = findings.ways.dead_ends
        self.verdicts = findings.detours.set_index("state")["verdict"]
        first = findings.states.drop_duplicates(RUN_KEY)["state"].mode().iloc[0]
        self.lane = lanes(self.n_states, findings.transitions, int(first))
        share = findings.state_summary["share"].to_numpy()
        largest = np.clip(420 / self.n_states, 34, 44 if self.vertical else 56)
        # Area, not diameter, goes with the share; even a rare state can be seen and hit.
        self.sizes = np.maximum(largest * np.sqrt(share / share.max()), 0.65 * largest)
        # How far a state's symbol reaches from its centre, in pixels.
        self.reach = np.array(
            [s * _REACH[_SYMBOLS[self.kind(k)]] for k, s in enumerate(self.sizes)]
        )

    def kind(self, state: int) -> str:
        """Which of ``_SYMBOLS`` a state is: the first that holds."""
        if self.verdicts[state] in _DETOURS:
            return _DETOURS[self.verdicts[state]]
        if state in self.dead_ends:
            return "dead end"
        return "fork" if state in self.forks else "plain"

    def link(self, j: int, k: int) -> dict[str, list[int]]:
        """What the transition j→k shows (:mod:`.links`)."""
        changes = self.findings.change_points
        taken = changes[(changes["from_state"] == j) & (changes["to_state"] == k)]
        runs = taken[RUN_KEY].drop_duplicates()
        return {"states": [j, k], "runs": sorted(numbers_of(self.findings, runs))}

    def place(self, points: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Turn (time, lane) into x and y."""
        time, lane = points[:, 0], points[:, 1]
        # Downwards, lanes and long arrows lie left of the main path and its labels right of it.
        return (-lane, -time) if self.vertical else (time, lane)

    def edge(self, j: int, k: int) -> FloatArray:
        """Points along the edge j→k, shape (m, 2): time, lane."""
        pairs = self.findings.transitions
        opposed = ((pairs["from_state"] == k) & (pairs["to_state"] == j)).any()
        return curve(j, k, self.lane, opposed=bool(opposed))

    def frame(self) -> dict[str, object]:
        """Axes without marks, with room for labels, and a height that fits."""
        states = np.column_stack([np.arange(self.n_states), self.lane])
        pairs = self.findings.transitions[["from_state", "to_state"]]
        edges = [self.edge(j, k) for j, k in rows(pairs)]
        lane = np.concatenate([states, *edges])[:, 1]
        axis = {"visible": False, "fixedrange": True}
        if self.vertical:
            # A label stands left of a state that is left of the main path.
            left = -lane.max() - (1.1 if self.lane.max() > 0 else 0.7)
            across = {**axis, "range": [left, -lane.min() + 1.1]}
            along = {**axis, "range": [-self.n_states + 0.45, 0.55]}
            return {"xaxis": across, "yaxis": along, "height": _ROW_PIXELS * self.n_states}
        # Few states would stand needlessly far apart.
        spare = max(0, 4 - self.n_states) / 2
        along = {**axis, "range": [-0.6 - spare, self.n_states - 0.4 + spare]}
        low, high = lane.min() - 0.65, lane.max() + 0.4
        across = {**axis, "range": [low, high]}
        return {"xaxis": along, "yaxis": across, "height": int(_LANE_PIXELS * (high - low)) + 40}


def _edge(canvas: _Canvas, edge: Any, *, dashed: bool) -> go.Scatter:
    share = edge.n_runs / edge.n_total
    x, y = canvas.place(canvas.edge(edge.from_state, edge.to_state))
    width = 1.2 + 3.8 * share
    last = np.zeros(len(x))
    last[-1] = 1
    rim = last * canvas.reach[edge.to_state]
    return go.Scatter(
        x=x,
        y=y,
        name=f"{edge.from_state} → {edge.to_state}",
        meta=canvas.link(edge.from_state, edge.to_state),
        mode="lines+markers",
        line={
            "width": width,
            "color": theme.MARK,
            "dash": "7px,3px" if dashed else "solid",
            "backoff": 0,  # else Plotly draws every stretch by itself, and dashes break
        },
        # Only the last point shows its marker: an arrowhead that touches the state's rim.
        marker={
            "symbol": "arrow",
            "angleref": "previous",
            "size": last * (9 + 2.2 * width),
            "standoff": rim,
            "color": theme.MARK,
            "opacity": last,
            "line": {"width": 0},
        },
        hoverinfo="skip",
    )


def _edge_hover(canvas: _Canvas, edge: Any) -> go.Scatter:
    """Return unseen points along the edge; close to a state, the pointer means the state."""
    points = canvas.edge(edge.from_state, edge.to_state)
    to_ends = [np.linalg.norm(points - end, axis=1) for end in (points[0], points[-1])]
    x, y = canvas.place(points[np.min(to_ends, axis=0) > _NEAR_STATE])
    return go.Scatter(
        x=x,
        y=y,
        name=f"{edge.from_state} → {edge.to_state}",
        meta=canvas.link(edge.from_state, edge.to_state),
        mode="markers",
        marker={"size": 12, "opacity": 0, "color": theme.MARK},
        hovertext=_edge_card(canvas.findings, edge),
        hoverinfo="text",
    )


def _nodes(canvas: _Canvas) -> go.Scatter:
    states = range(canvas.n_states)
    x, y = canvas.place(np.column_stack([states, canvas.lane]))
    kinds = [canvas.kind(k) for k in states]
    return go.Scatter(
        x=x,
        y=y,
        name="states",
        customdata=list(states),
        meta={"each": "state"},
        mode="markers+text",
        text=[f"<b>{k}</b>" for k in states],
        textposition="middle center",
        textfont={
            "size": 14 if canvas.n_states <= 10 else 12,
            "color": [theme.text_on(c) for c in canvas.colours],
        },
        marker={
            "size": canvas.sizes,
            "symbol": [_SYMBOLS[kind] for kind in kinds],
            "color": canvas.colours,
            "opacity": 1,
            "line": {
                "color": [_RIMS[kind] for kind in kinds],
                "width": [1.5 if kind == "plain" else 3.5 for kind in kinds],
            },
        },
        hovertext=[_state_card(canvas, k) for k in states],
        hoverinfo="text",
        cliponaxis=False,
    )


def _node_label(canvas: _Canvas, state: int) -> go.layout.Annotation:
    summary = canvas.findings.state_summary.iloc[state]
    verdict = canvas.verdicts[state]
    lines = [_VERDICTS[verdict]] if verdict in _VERDICTS else []
    if state in canvas.forks:
        lines.append("<b>fork</b>")
    if state in canvas.dead_ends:
        lines.append("<b>dead end</b>")
    if summary["phase"]:
        lines.append(words.label(summary["phase"], 16))
    numbers = [words.percent(summary["share"]), f"dwell {dwell(summary)}"]
    roomy = canvas.lane[state] == 0 if canvas.vertical else canvas.n_states <= 4
    lines += [" · ".join(numbers)] if roomy else numbers
    x, y = canvas.place(np.array([[state, canvas.lane[state]]]))
    away = canvas.reach[state] + 6
    if not canvas.vertical:
        beside = {"yshift": -away, "yanchor": "top"}
    elif canvas.lane[state] > 0:
        beside = {"xshift": -away, "xanchor": "right", "align": "right"}
    else:
        beside = {"xshift": away, "xanchor": "left", "align": "left"}
    return go.layout.Annotation(
        x=x[0],
        y=y[0],
        text="<br>".join(lines),
        name=json.dumps({"state": state}),
        showarrow=False,
        font={"size": 11.5},
        **beside,
    )


def _edge_label(canvas: _Canvas, edge: Any) -> go.layout.Annotation:
    points = canvas.edge(edge.from_state, edge.to_state)
    x, y = canvas.place(points[len(points) // 2][None])
    return go.layout.Annotation(
        x=x[0],
        y=y[0],
        text=f"{edge.n_runs}/{edge.n_total}",
        name=json.dumps(canvas.link(edge.from_state, edge.to_state)),
        showarrow=False,
        font={"size": 11.5},
    )


def _state_card(canvas: _Canvas, state: int) -> str:
    """Everything known of a state, for its hover."""
    findings = canvas.findings
    summary = findings.state_summary.iloc[state]
    unit = findings.step_unit
    n_runs = len(findings.occupancy)
    lines = [f"<b>{html.escape(state_name(findings, state))}</b>"]
    if summary["n_checkpoints"] == 0:
        return "<br>".join([*lines, "no checkpoint was decoded into it"])
    lines += [
        f"first entered at {unit} {words.count(summary['first_step'])} (median over its runs)",
        f"visited by {summary['n_runs']} of {words.plural(n_runs, 'run')}",
        f"{words.percent(summary['share'])} of the time of all runs",
        f"dwell: {dwell(summary)} {unit}s per stay (median)",
    ]
    lines += [
        f"mean {words.label(o)}: {words.number(summary[f'mean_{o}'])}"
        for o in findings.outcomes[:_N_OUTCOMES]
    ]
    fork = canvas.forks.get(state)
    if fork is not None:
        ways = words.listing(f"{n} to state {k}" for k, n in fork.exits.items())
        lines.append(f"fork: of {fork.n_runs} runs that go on, {ways}")
    if state in canvas.dead_ends:
        lines.append("dead end: no run that enters it leaves it or converges in it")
    detour = findings.detours.iloc[state]
    lines += _wrapped(f"{detour['verdict']}: {detour['reason']}")
    means = findings.parameters.means
    strongest = np.argsort(-np.abs(means[state]), kind="stable")[:_N_MEANS]
    lines.append("<br>furthest from the average:")
    own = own_levels(findings)
    lines += [
        bar + (f" ({own[state, findings.features[i]]})" if own else "")
        for i, bar in zip(
            strongest,
            _bars([(findings.features[i], means[state, i]) for i in strongest], means),
            strict=True,
        )
    ]
    return "<br>".join(lines)


def _edge_card(findings: Findings, edge: Any) -> str:
    """Everything known of a transition, for its hover."""
    lines = [
        f"<b>state {edge.from_state} → state {edge.to_state}</b>",
        f"taken by {edge.n_runs} of {words.plural(edge.n_total, 'run')}"
        f" ({words.plural(edge.n_taken, 'time')})",
        f"transition probability {words.number(edge.probability, 2)} per checkpoint",
    ]
    if edge.n_converged:
        spread = f" ± {words.count(edge.convergence_se)}" if edge.n_converged > 1 else ""
        lines.append(
            f"these runs converge at {findings.step_unit} {words.count(edge.convergence_mean)}"
            f"{spread} (mean ± s.e., {edge.n_converged} converged)"
        )
    means = findings.parameters.means
    largest = np.ptp(means, axis=0)  # of any movement, so that cards can be compared
    lines.append("<br>what moves most:")
    lines += _bars(top_movements(findings, edge.from_state, edge.to_state), largest)
    return "<br>".join(lines)


def _bars(movements: list[tuple[str, float]], scale: FloatArray) -> list[str]:
    """Write features as bars of text, as long as each is against the largest of ``scale``."""
    largest = float(np.abs(scale).max()) or 1.0
    lines = []
    for feature, value in movements:
        colour = theme.UP if value >= 0 else theme.DOWN
        # Nothing has no bar, but what is not nothing has one.
        bar = "▇" * math.ceil(_BAR * abs(value) / largest - 1e-9)
        lines.append(
            f'<span style="color:{colour}">{bar}</span> {movement(value)} {words.label(feature)}'
        )
    return lines


def _wrapped(sentence: str) -> list[str]:
    return [html.escape(line) for line in textwrap.wrap(words.name(sentence, 800), 62)]
