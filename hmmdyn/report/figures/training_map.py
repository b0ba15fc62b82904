"""The training map as a figure: states as bars along training time, transitions as arrows."""

from __future__ import annotations

import html
import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import plotly.graph_objects as go

from hmmdyn.errors import UsageError
from hmmdyn.report import words
from hmmdyn.report.figures import theme
from hmmdyn.report.figures.level_colours import level_colours
from hmmdyn.report.figures.links import group_numbers, run_numbers
from hmmdyn.report.figures.map_layout import (
    BAR,
    Box,
    Edge,
    MapLayout,
    TimeAxis,
    along_edges,
    first_free,
)
from hmmdyn.report.lookup import forks, movement, rows
from hmmdyn.report.map_facts import Facts, FactsOfLevel
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.findings import Findings
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.verdicts import CONFIRMED, FLAG_ONLY, SLOWS

# The nominal size along time, which labels are placed for: figures are hardly smaller than this.
_LENGTH = 560.0
_ROW_PIXELS, _SHORTEST_COLUMN = 56.0, 320.0  # of a state where time runs downwards, and of all
_NARROW = 320.0  # across a map where time runs downwards
_LETTER, _LINE, _SPACE = 6.9, 15.0, 5.0  # pixels of text
_RUG = 6.0  # pixels below a state, of the marks of runs that enter it
_ROWS = 7  # of labels beside the main lane
_ROW = _LINE + 1  # from one to the next: less, and labels in both would meet
_SHADES = 12  # in which one state's colour goes over into the next one's
_FAINT = 0.45

# A detour that only the paper's flag sees is not painted as a confirmed one.
_RIMS = {
    CONFIRMED: (theme.DETOUR, 3.5),
    FLAG_ONLY: (theme.MARK, 3.5),
    "dead end": (theme.DEAD_END, 3.5),
    "fork": (theme.MARK, 2.5),
}
_VERDICTS = {CONFIRMED: "detour", FLAG_ONLY: "slows?", SLOWS: "slows"}
# Boundaries fade in with their evidence: width, dash and opacity of the line across them.
_BOUNDARIES = {
    "sharp": (4.0, "solid", 1.0),
    "gradual": (3.0, "5px,3px", 0.9),
    "settling": (1.5, "2px,3px", 0.7),
    "slice": (1.0, "solid", _FAINT),
    "": (1.5, "solid", 0.7),
}
_BAR_LETTERS = 12  # of the longest bar on a card

Trace = dict[str, Any]  # as JSON has it


def training_map(
    findings: Findings, *, orientation: str = "horizontal", level: int | None = None
) -> go.Figure:
    """Draw the training map (Hu 2023, section 2.2) along training time.

    A state is a bar from where runs first enter it to where they leave it (medians over the runs
    that visit it), so its length is its duration; the small lines below it are where each run
    enters. States that most runs go through share a lane. A boundary with evidence is a heavy line
    where it is sharp and a dashed one where it is gradual, and colours go over into each other for
    as long as the change lasts; a slice is a hairline. Other changes are arrows, at the time at
    which runs make them, as wide as the share of runs that do. A confirmed detour has a red rim, a
    fork a heavy one, a dead end a blue one, and all are named; the arrows out of a fork are dashed
    and carry their number of runs.

    Time is linear, or logarithmic where checkpoints are.

    Parameters
    ----------
    orientation : str
        ``horizontal`` (time runs to the right) or ``vertical`` (downwards, for narrow screens).
    level : int, optional
        Another level of the zoom around the map, by its number of states.

    Raises
    ------
    UsageError
        There is no such orientation or level.
    """
    told = findings.parameters.n_states if level is None else level
    if told not in findings.map_in_time.stays:
        raise UsageError(
            f"There is no level with {told} states; there are levels with "
            f"{', '.join(map(str, findings.map_in_time.stays))}."
        )
    return draw(Canvas(FactsOfLevel(findings, told), level_colours(findings)[told], orientation))


def draw(canvas: Canvas) -> go.Figure:
    """Draw the map of a canvas."""
    return go.Figure(drawn(canvas)).update_layout(template=theme.LIGHT)


def drawn(canvas: Canvas) -> dict[str, Any]:
    """Return the map of a canvas as plain data, without a theme.

    That is what JSON has of the figure. A page with a map per level would spend most of its time
    on figures.
    """
    return {
        "data": [
            *(trace for edge in canvas.arrows for trace in _arrow(canvas, edge)),
            _bars(canvas),
            *(trace for edge in canvas.boundaries for trace in _boundary(canvas, edge)),
            *canvas.rug(),
        ],
        "layout": {
            "showlegend": False,
            "barmode": "overlay",
            "annotations": _labels(canvas),
            **canvas.frame(),
        },
    }


class Canvas:
    """Everything about the map's look that its parts share."""

    def __init__(
        self, facts: FactsOfLevel, colours: Sequence[str], orientation: str = "horizontal"
    ) -> None:
        if orientation not in ("horizontal", "vertical"):
            raise UsageError(
                f"'orientation' must be 'horizontal' or 'vertical', got {orientation!r}."
            )
        findings = facts.findings
        found = findings.map_in_time
        self.findings, self.facts, self.colours = findings, facts, colours
        self.level = facts.level
        self.vertical = orientation == "vertical"
        self.is_told = facts.is_told
        self.stays = found.stays[self.level]
        self.states = found.states[found.states["level"] == self.level].reset_index(drop=True)
        self.forks = {f.state: f for f in forks(findings)} if self.is_told else {}
        self.dead_ends = findings.ways.dead_ends if self.is_told else ()
        verdicts = findings.detours.set_index("state")["verdict"]
        self.verdicts = verdicts if self.is_told else verdicts.iloc[:0]
        first = self.stays.drop_duplicates(RUN_KEY)["state"].mode().iloc[0]
        self.layout = MapLayout(
            self.states,
            found.transitions[found.transitions["level"] == self.level],
            int(first),
            time_axis(findings),
            max(_SHORTEST_COLUMN, _ROW_PIXELS * self.level) if self.vertical else _LENGTH,
        )
        self.arrows = [e for e in self.layout.edges if not e.is_boundary]
        self.boundaries = [e for e in self.layout.edges if e.is_boundary]
        self._numbers = run_numbers(findings)

    def link(self, j: int, k: int) -> dict[str, list[int]]:
        """What the transition j→k shows (:mod:`.links`)."""
        runs = self.facts.changes[j, k].runs
        return {"states": [j, k], "runs": sorted(self._numbers[key] for key in runs)}

    def share(self, edge: Edge) -> float:
        """The share of runs that make a change."""
        n_runs, n_total = self.facts.n_runs(edge.from_state, edge.to_state)
        return n_runs / n_total

    def role(self, state: int) -> str:
        """Return which of ``_RIMS`` a state has; empty for a plain one."""
        verdict = self.verdicts.get(state, "")
        if verdict in _RIMS:
            return str(verdict)
        if state in self.dead_ends:
            return "dead end"
        return "fork" if state in self.forks else ""

    def name(self, state: int) -> str:
        """Return what stands beside the number of a state."""
        verdict = self.verdicts.get(state, "")
        parts = [_VERDICTS[verdict]] if verdict in _VERDICTS else []
        parts += [
            w
            for w, states in (("fork", self.forks), ("dead end", self.dead_ends))
            if state in states
        ]
        phase = self.findings.state_summary["phase"].iloc[state] if self.is_told else ""
        return ", ".join([*parts, *([words.name(phase, 16)] if phase else [])])

    def place(self, points: FloatArray) -> tuple[list[float], list[float]]:
        """Turn (along, across) in pixels into x and y."""
        time, across = self._short(points[:, 0]), np.round(-points[:, 1], 1).tolist()
        return (across, time) if self.vertical else (time, across)

    def _short(self, along: FloatArray) -> list[float]:
        """Return places on the axis, to a millionth of it: no eye sees more."""
        low, high = self.layout.axis.span
        digits = 6 - int(np.ceil(np.log10(high - low)))
        short: list[float] = np.round(self.layout.places(along), max(digits, 0)).tolist()
        return short

    def bar(self, begin: FloatArray, end: FloatArray, across: FloatArray) -> dict[str, Any]:
        """Return what of a bar trace says where bars are, in pixels along and across."""
        base, ends = self._short(begin), self._short(end)
        lengths = [b - a for a, b in zip(base, ends, strict=True)]
        along, beside = ("y", "x") if self.vertical else ("x", "y")
        places = {"base": base, along: lengths, beside: (-across).tolist()}
        return {**places, "orientation": "v" if self.vertical else "h", "width": 2 * BAR}

    def rug(self, group: int | None = None, below: float = 0.0) -> list[Trace]:
        """Return a mark below each state for every run that enters it, where it first does.

        Of all runs or those of a group by its number, ``below`` where the map itself would be.
        """
        name = None if group is None else list(group_numbers(self.findings))[group]
        traces = []
        for state in range(self.level):
            own = [e for e in self._entered[state] if name is None or e.group == name]
            if not own:
                continue
            across = self.layout.lanes[self.layout.bars[state].lane] + BAR + _RUG + below
            along = self.layout.along(np.array([e.start for e in own]))
            x, y = self.place(np.column_stack([along, np.full(len(own), across)]))
            traces.append(
                {
                    "type": "scatter",
                    "x": x,
                    "y": y,
                    "mode": "markers",
                    "name": f"runs that enter state {state}",
                    "customdata": [self._numbers[e.group, e.run] for e in own],
                    "meta": {"state": state, "each": "run"},
                    "marker": {
                        "symbol": "line-ew" if self.vertical else "line-ns",
                        "size": _RUG,
                        "line": {"width": 1.4, "color": self.colours[state]},
                    },
                    "hoverinfo": "skip",
                }
            )
        return traces

    @cached_property
    def _entered(self) -> Sequence[Sequence[Any]]:
        """Of each state, the stays in which runs that began elsewhere first enter it."""
        first = self.stays.drop_duplicates([*RUN_KEY, "state"])
        entered: list[list[Any]] = [[] for _ in range(self.level)]
        for stay in rows(first[first.duplicated(RUN_KEY)]):
            entered[stay.state].append(stay)
        return entered

    @cached_property
    def texts(self) -> list[Text]:
        """The labels of the map, each in a place that is free."""
        return list(_placed_texts(self))

    def frame(self) -> dict[str, Any]:
        """Axes and a size with room for the labels."""
        layout = self.layout
        boxes = [text.box for text in self.texts]
        top = min([-BAR - _SPACE, *(box.across - box.half_across for box in boxes)]) - _SPACE
        bottom = max([layout.depth, *(box.across + box.half_across for box in boxes)]) + _SPACE
        low, high = layout.axis.span
        spare = 0.015 * (high - low)
        along: dict[str, Any] = {
            "range": [low - spare, high + spare],
            "title": {
                "text": self.findings.step_unit
                + (" (log scale, with 0)" if layout.axis.log else "")
            },
            "exponentformat": "none",
        }
        if layout.axis.log:
            ticks = layout.axis.ticks
            along |= theme.named_ticks(
                layout.axis.place(np.array(ticks)), [words.count(t) for t in ticks]
            )
        across = {"visible": False, "fixedrange": True, "range": [-bottom, -top]}
        meta = {"x": "map", "log_unit": layout.axis.unit if layout.axis.log else None}
        if self.vertical:
            along["range"] = along["range"][::-1]
            across["range"] = [-bottom, max(-top, _NARROW - bottom)]
            return {
                "xaxis": across,
                "yaxis": along,
                "meta": {**meta, "upright": True},
                "height": int(layout.length) + 60,
            }
        return {
            "xaxis": along,
            "yaxis": across,
            "meta": meta,
            "margin": {"l": 20, "r": 20, "t": 10, "b": 58},
            "height": int(bottom - top) + 68,
        }


def time_axis(findings: Findings) -> TimeAxis:
    """Return the axis of training time that the checkpoints of these runs ask for."""
    counts = findings.table.groupby(RUN_KEY, sort=False)["step"].size()
    longest = findings.table.set_index(RUN_KEY).loc[[counts.idxmax()], "step"].to_numpy()
    axis = TimeAxis.of(np.sort(longest))
    steps = findings.table["step"]
    return TimeAxis(float(min(steps.min(), 0)), float(steps.max()), axis.unit, axis.log)


# --- states ---


def _bars(canvas: Canvas) -> Trace:
    layout = canvas.layout
    roles = [canvas.role(bar.state) for bar in layout.bars]
    rims = [_RIMS.get(role, ("rgba(0,0,0,0)", 0.0)) for role in roles]
    begin, end = (np.array([getattr(b, side) for b in layout.bars]) for side in ("begin", "end"))
    visited = canvas.states["n_runs"] > 0
    return {
        "type": "bar",
        **canvas.bar(begin, end, np.array([layout.lanes[b.lane] for b in layout.bars])),
        "name": "states",
        "customdata": [bar.state for bar in layout.bars],
        "meta": {"each": "state"},
        "marker": {
            "color": list(canvas.colours),
            "opacity": [1.0 if v else _FAINT for v in visited],
            "line": {
                "color": [colour for colour, _ in rims],
                "width": [width for _, width in rims],
            },
            "cornerradius": 4,
        },
        "hovertext": [_card(canvas, canvas.facts.states[bar.state]) for bar in layout.bars],
        "hoverinfo": "text",
    }


# --- changes of state ---


def _arrow(canvas: Canvas, edge: Edge) -> list[Trace]:
    """Return an arrow, and unseen points along it that can be pointed at."""
    x, y = canvas.place(edge.points)
    width = 1.2 + 3.8 * canvas.share(edge)
    last = [0.0] * (len(x) - 1) + [1.0]
    fork = canvas.forks.get(edge.from_state)
    about = {
        "type": "scatter",
        "name": f"{edge.from_state} → {edge.to_state}",
        "meta": canvas.link(edge.from_state, edge.to_state),
        "cliponaxis": False,
    }
    arrow = {
        "x": x,
        "y": y,
        **about,
        "mode": "lines+markers",
        "line": {
            "width": width,
            "color": theme.MARK,
            "dash": "7px,3px" if fork is not None and edge.to_state in fork.exits else "solid",
            "backoff": 0,  # else Plotly draws every stretch by itself, and dashes break
        },
        # Only the last point shows its marker: an arrowhead that touches the state's rim.
        "marker": {
            "symbol": "arrow",
            "angleref": "previous",
            "size": [(8 + 2 * width) * point for point in last],
            "color": theme.MARK,
            "opacity": last,
            "line": {"width": 0},
        },
        "hoverinfo": "skip",
    }
    x, y = canvas.place(along_edges([edge])[::3])
    card = _card(canvas, canvas.facts.changes[edge.from_state, edge.to_state])
    return [arrow, {"x": x, "y": y, **about, **_pointed_at(card)}]


def _pointed_at(card: str) -> dict[str, Any]:
    return {
        "mode": "markers",
        "marker": {"size": 12, "opacity": 0, "color": theme.MARK},
        "hovertext": card,
        "hoverinfo": "text",
    }


def _boundary(canvas: Canvas, edge: Edge) -> list[Trace]:
    """Return the line between two states, and how one colour goes over into the other."""
    j, k = edge.from_state, edge.to_state
    (end, across), (begin, _) = edge.points
    at = (end + begin) / 2
    about = {"name": f"{j} → {k}", "meta": canvas.link(j, k)}
    scatter = {"type": "scatter", **about}
    traces: list[Trace] = []
    lasts = _lasts(canvas, edge)
    if lasts is not None:
        from_, to = lasts
        at = (from_ + to) / 2
        borders = np.linspace(from_, to, _SHADES + 1)
        traces.append(
            {
                "type": "bar",
                **canvas.bar(borders[:-1], borders[1:], np.full(_SHADES, across)),
                **about,
                "marker": {
                    "color": theme.between(canvas.colours[j], canvas.colours[k], _SHADES),
                    "line": {"width": 0},
                },
                "hoverinfo": "skip",
            }
        )
    elif begin - end > 1:  # nobody is where the two states are apart
        x, y = canvas.place(edge.points)
        line = {"width": 1.2 + 3.8 * canvas.share(edge), "color": theme.MARK}
        traces.append(
            {**scatter, "x": x, "y": y, "mode": "lines", "line": line, "hoverinfo": "skip"}
        )
    thickness, dash, opacity = _BOUNDARIES[canvas.facts.kind(j, k)]
    x, y = canvas.place(np.array([[at, across - BAR - 3], [at, across + BAR + 1]]))
    traces.append(
        {
            **scatter,
            "x": x,
            "y": y,
            "mode": "lines",
            "line": {"width": thickness, "dash": dash, "color": theme.BOUNDARY},
            "opacity": opacity,
            "hoverinfo": "skip",
        }
    )
    points = np.column_stack([np.full(5, at), np.linspace(across - BAR, across + BAR, 5)])
    x, y = canvas.place(points)
    card = _card(canvas, canvas.facts.changes[j, k])
    traces.append({**scatter, "x": x, "y": y, **_pointed_at(card)})
    return traces


def _lasts(canvas: Canvas, edge: Edge) -> tuple[float, float] | None:
    """Return from where to where a change lasts, if it is supported."""
    width = canvas.facts.width(edge.from_state, edge.to_state)
    if width is None:
        return None
    layout = canvas.layout
    from_, to = layout.along(np.clip(width, layout.axis.start, layout.axis.end))
    return max(from_, layout.bars[edge.from_state].begin), min(to, layout.bars[edge.to_state].end)


# --- labels ---


@dataclass(frozen=True)
class Text:
    """A label: lines of text that Plotly may read, where they stand, and what they are about."""

    lines: tuple[str, ...]
    box: Box
    link: str
    colour: str | None = None


def _size(lines: Sequence[str]) -> tuple[float, float]:
    """Return the width and height of lines of text in pixels, at most."""
    letters = max(len(html.unescape(_plain(line))) for line in lines)
    return _LETTER * letters + 4, _LINE * len(lines)


def _plain(text: str) -> str:
    return text.replace("<b>", "").replace("</b>", "")


def _placed_texts(canvas: Canvas) -> Iterable[Text]:
    """Place all labels, those that can stand in fewer places first."""
    layout = canvas.layout
    lines = along_edges(layout.edges)
    bars = layout.bar_boxes
    taken: list[Box] = []
    outside = []
    for bar, box in zip(layout.bars, bars, strict=True):
        link = json.dumps({"state": bar.state})
        number, name = f"<b>{bar.state}</b>", html.escape(canvas.name(bar.state))
        whole = f"{number} {name}".strip()
        inside = _box_of([whole], _clear_of_changes(canvas, box), box.across, canvas)
        colour = theme.text_on(canvas.colours[bar.state])
        if _fits(inside, box):
            yield Text((whole,), inside, link, colour)
            continue
        small = _box_of([number], box.along, box.across, canvas)
        fits = _fits(small, box)
        if fits:
            yield Text((number,), small, link, colour)
        if name or not fits:
            # Beside the main lane stand labels of many states; elsewhere it is seen which is meant.
            beside = whole if bar.lane == 0 or not fits else name
            outside.append((bar, (beside,), link))
    for edge in canvas.boundaries:
        text = _boundary_lines(canvas, edge)
        if text:
            along = float(edge.points[:, 0].mean())
            spots = beside_main(canvas, text, along) if edge.points[0, 1] == 0 else []
            free = first_free(spots, [*taken, *bars], lines)
            if free is not None:
                taken.append(free)
                link = json.dumps(canvas.link(edge.from_state, edge.to_state))
                yield Text(text, free, link)
    for bar, text, link in outside:
        along = (bar.begin + bar.end) / 2
        spots = beside_main(canvas, text, along) if bar.lane == 0 else _around(canvas, bar, text)
        free = first_free(spots, [*taken, *bars], lines) or spots[-1]
        taken.append(free)
        yield Text(text, free, link)
    for edge in canvas.arrows:
        fork = canvas.forks.get(edge.from_state)
        if fork is None or edge.to_state not in fork.exits:
            continue
        text = (_count(canvas, edge),)
        free = first_free(beside_edge(canvas, edge, text), [*taken, *bars], lines)
        if free is not None:
            taken.append(free)
            yield Text(text, free, json.dumps(canvas.link(edge.from_state, edge.to_state)))


def _box_of(lines: Sequence[str], along: float, across: float, canvas: Canvas) -> Box:
    width, height = _size(lines)
    half_along, half_across = (height, width) if canvas.vertical else (width, height)
    return Box(along, across, half_along / 2, half_across / 2)


def _fits(text: Box, bar: Box) -> bool:
    return text.half_along + 1 < bar.half_along and text.half_across <= bar.half_across + 2


def beside_main(canvas: Canvas, lines: Sequence[str], along: float) -> list[Box]:
    """Return places beside the main lane, the nearest first: rows, and to both sides in each."""
    box = _box_of(lines, along, 0.0, canvas)
    length = canvas.layout.length
    if canvas.vertical:
        across = -BAR - 3 * _SPACE - box.half_across
        shifts = sorted(np.arange(-20, 21) * _LINE / 2, key=abs)
        places = [(along + shift, across) for shift in shifts]
    else:
        places = [
            (along + shift * box.half_along, -BAR - 2 * _SPACE - box.half_across - row * _ROW)
            for row in range(_ROWS)
            for shift in (0.0, 0.8, -0.8)
        ]
    # At the ends of time, a label stands within the figure.
    return [
        Box(
            float(
                np.clip(
                    a, min(box.half_along, length / 2), max(length - box.half_along, length / 2)
                )
            ),
            c,
            box.half_along,
            box.half_across,
        )
        for a, c in places
    ]


def _around(canvas: Canvas, bar: Any, lines: Sequence[str]) -> list[Box]:
    """Return places around a state beside the main lane: after it, before it, below it."""
    across = canvas.layout.lanes[bar.lane]
    box = _box_of(lines, 0.0, across, canvas)
    gap = _SPACE + box.half_along
    below = across + BAR + _RUG + _SPACE + box.half_across
    middle = (bar.begin + bar.end) / 2
    places = (
        [(middle, below)]
        if canvas.vertical
        else [(bar.end + gap, across), (bar.begin - gap, across), (middle, below)]
    )
    places += [(middle, below + n * _LINE) for n in (1, 2)]
    return [Box(a, c, box.half_along, box.half_across) for a, c in places]


def beside_edge(canvas: Canvas, edge: Edge, lines: Sequence[str]) -> list[Box]:
    """Return places beside an arrow, from its middle on and on both sides."""
    points = along_edges([edge])
    in_order = sorted(range(len(points)), key=lambda i: abs(i - len(points) / 2))
    box = _box_of(lines, 0.0, 0.0, canvas)
    return [
        Box(
            points[i, 0] + side * (box.half_along + _SPACE) * along,
            points[i, 1] + side * (box.half_across + _SPACE) * (1 - along),
            box.half_along,
            box.half_across,
        )
        for i in in_order
        for along in (1, 0)
        for side in (1, -1)
    ]


def _clear_of_changes(canvas: Canvas, bar: Box) -> float:
    """Return the middle of the longest part of a bar over which no supported change goes."""
    lasting = (_lasts(canvas, e) for e in canvas.boundaries if e.points[0, 1] == bar.across)
    begin, longest = bar.along - bar.half_along, (0.0, bar.along)
    for from_, to in sorted([*filter(None, lasting), (bar.along + bar.half_along,) * 2]):
        end = min(from_, bar.along + bar.half_along)
        longest = max(longest, (end - begin, (begin + end) / 2))
        begin = max(begin, to)
    return longest[1]


def _boundary_lines(canvas: Canvas, edge: Edge) -> tuple[str, ...]:
    """Return what stands above a boundary: how sharp it is, how long it takes, who crosses it."""
    j, k = edge.from_state, edge.to_state
    kind, width = canvas.facts.kind(j, k), canvas.facts.width(j, k)
    count = _count(canvas, edge)
    if width is None:
        return (f"{count}",)
    lasts = words.count(words.rounded(width[1] - width[0]))
    first = f"<b>{kind}</b>, {words.in_steps(lasts, canvas.findings.step_unit)}"
    return (first, f"{count} runs")


def _count(canvas: Canvas, edge: Edge) -> str:
    n_runs, n_total = canvas.facts.n_runs(edge.from_state, edge.to_state)
    return f"{n_runs:,} of {n_total:,}"


def _labels(canvas: Canvas) -> list[dict[str, Any]]:
    annotations = []
    for text in canvas.texts:
        font = {"size": 11.5, **({"color": text.colour} if text.colour else {})}
        # Beside a main lane that runs downwards, labels begin on one line.
        beside = canvas.vertical and text.box.across < -BAR
        across = text.box.across + (text.box.half_across if beside else 0)
        x, y = canvas.place(np.array([[text.box.along, across]]))
        annotations.append(
            {
                "x": x[0],
                "y": y[0],
                "text": "<br>".join(text.lines),
                "name": text.link,
                "showarrow": False,
                "font": font,
                "bgcolor": "rgba(0,0,0,0)",
                "captureevents": text.colour is None,  # within a state, the state has them
                **({"xanchor": "left", "align": "left"} if beside else {}),
            }
        )
    return annotations


# --- cards ---


def _card(canvas: Canvas, facts: Facts) -> str:
    """Everything known of a state or change, for where there is no side panel."""
    lines = [f"<b>{html.escape(facts.title)}</b>"]
    for some in facts.lines.values():
        lines += [html.escape(part) for line in some for part in textwrap.wrap(line, 62)]
    if facts.moves:
        lines += ["", *_moves(canvas, facts)]
    return "<br>".join(lines)


def _moves(canvas: Canvas, facts: Facts) -> list[str]:
    """Write features as bars of text, as long as each is against the largest there is."""
    means = canvas.findings.map_in_time.means[canvas.level]
    is_change = "→" in facts.title
    largest = float(np.abs(np.ptp(means, axis=0) if is_change else means).max()) or 1.0
    lines = ["what moves most:" if is_change else "furthest from the average:"]
    for feature, value, own in facts.moves:
        colour = theme.UP if value >= 0 else theme.DOWN
        # Nothing has no bar, but what is not nothing has one.
        bar = "▇" * math.ceil(_BAR_LETTERS * abs(value) / largest - 1e-9)
        lines.append(
            f'<span style="color:{colour}">{bar}</span> {movement(value)} {words.label(feature)}'
            + (f" ({html.escape(own)})" if own else "")
        )
    return lines
