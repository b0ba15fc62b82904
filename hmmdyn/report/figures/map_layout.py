"""Where the states of the training map stand in time, how its edges run, and where labels fit.

A state is a bar along training time, from where runs enter it to where they leave it, so length
means duration. The states that most runs go through share a lane; others stand in lanes beside it,
the nearest one that is free at their time. Edges run at the time at which runs take them. A label
takes the first of its places that no bar, edge or other label is in.

Places are in pixels of a map of nominal size, ``along`` time and ``across`` it, the lane of most
runs at 0 and the others on the positive side. The layout uses no randomness: the same map always
looks the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pandas as pd

from hmmdyn.results.arrays import FloatArray, IntArray

BAR = 13.0  # half the width of a state, across time
_SHORTEST = 5.0  # so that the shortest stay can be seen
_APART = 10.0  # between two states of a lane beside the main one
_LANE = 62.0  # from lane to lane, without arcs
_ARC, _FIRST_ARC = 11.0, 18.0  # how far arcs lie below the states they pass, and each other
_SPACING = 4.0  # of points of an edge that labels keep clear of
_CORNER = 7.0  # how far within a state an arc comes down on it
# A schedule of checkpoints whose distances differ by more than this asks for a logarithmic axis.
_UNEVEN = 20


@dataclass(frozen=True)
class TimeAxis:
    """Training time in ``place``, linear or logarithmic, where ``unit`` is the first step after 0.

    On the logarithmic one, zero has a place, one unit below the first step.
    """

    start: float
    end: float
    unit: float
    log: bool

    @classmethod
    def of(cls, steps: IntArray) -> TimeAxis:
        """Return the axis that a run saved at these steps asks for."""
        gaps = np.diff(steps)
        log = bool(len(gaps)) and gaps.max() > _UNEVEN * gaps.min() and steps[0] >= 0
        positive = steps[steps > 0]
        unit = float(positive[0]) if len(positive) else 1.0
        return cls(float(steps[0]), float(max(steps[-1], steps[0] + 1)), unit, bool(log))

    def place(self, steps: FloatArray | float) -> FloatArray:
        """Return where steps stand on the axis of the figure."""
        at = np.asarray(steps, dtype=float)
        return np.log10(1 + np.maximum(at, 0) / self.unit) if self.log else at

    def step(self, place: float) -> float:
        """Return the step that stands at a place."""
        return float(self.unit * (10**place - 1)) if self.log else float(place)

    @property
    def span(self) -> tuple[float, float]:
        """The ends of the axis, as places."""
        return float(self.place(self.start)), float(self.place(self.end))

    @property
    def ticks(self) -> list[float]:
        """Steps to name on a logarithmic axis: 0, and in each power of ten as many as fit."""
        decades = np.log10(self.end / self.unit)
        marks = (1,) if decades > 3 else (1, 3) if decades > 1.5 else (1, 2, 5)
        powers = 10.0 ** np.arange(np.floor(np.log10(self.unit)), np.log10(self.end) + 1)
        named = [m * power for power in powers for m in marks]
        return [0.0, *(s for s in named if self.unit <= s <= self.end)]


@dataclass(frozen=True)
class Bar:
    """A state: its lane, and where it begins and ends along time."""

    state: int
    lane: int
    begin: float
    end: float

    def within(self, along: float) -> float:
        """Return the place in the bar that is nearest to one, short of its corners."""
        corner = min(_CORNER, (self.end - self.begin) / 2)
        return float(np.clip(along, self.begin + corner, self.end - corner))


@dataclass(frozen=True)
class Edge:
    """A change of state: its points, shape (m, 2): along, across.

    ``is_boundary``: the two states follow each other in one lane, and the points lead across the
    boundary between them.
    """

    from_state: int
    to_state: int
    points: FloatArray
    is_boundary: bool


@dataclass(frozen=True)
class Box:
    """A rectangle: its middle, and half its extent along and across time."""

    along: float
    across: float
    half_along: float
    half_across: float

    def meets(self, other: Box, gap: float = 1.0) -> bool:
        """Whether two rectangles overlap, or come closer than a gap."""
        return (
            abs(self.along - other.along) < self.half_along + other.half_along + gap
            and abs(self.across - other.across) < self.half_across + other.half_across + gap
        )

    def holds(self, points: FloatArray, gap: float = 2.0) -> bool:
        """Whether a line through points runs through it."""
        inside = np.abs(points - [self.along, self.across]) < [
            self.half_along + gap,
            self.half_across + gap,
        ]
        return bool(inside.all(axis=1).any())


def main_path(transitions: pd.DataFrame, start: int) -> tuple[int, ...]:
    """Follow, from ``start``, the edge to a state not seen yet that most runs take."""
    path = [start]
    while True:
        exits = transitions[
            (transitions["from_state"] == path[-1]) & ~transitions["to_state"].isin(path)
        ]
        if exits.empty:
            return tuple(path)
        best = exits.sort_values(["n_runs", "to_state"], ascending=[False, True]).iloc[0]
        path.append(int(best["to_state"]))


class MapLayout:
    """The states and edges of a map on a nominal length of time.

    Parameters
    ----------
    states : DataFrame
        ``state, entered, left`` in steps, a row per state.
    transitions : DataFrame
        ``from_state, to_state, n_runs, crossed``.
    start : int
        The state in which most runs begin.
    axis : TimeAxis
        The axis of time.
    length : float
        Of the axis, in pixels.
    """

    def __init__(
        self,
        states: pd.DataFrame,
        transitions: pd.DataFrame,
        start: int,
        axis: TimeAxis,
        length: float,
    ) -> None:
        self.axis = axis
        self.length = length
        self._transitions = transitions
        main = main_path(transitions, start)
        # A state that no run is ever in stands at the beginning.
        begins, ends = (
            self.along(states[c].fillna(axis.start).to_numpy()) for c in ("entered", "left")
        )
        spans = {
            k: (b, max(e, b + _SHORTEST)) for k, (b, e) in enumerate(zip(begins, ends, strict=True))
        }
        self.bars = tuple(sorted(_placed(spans, main), key=lambda bar: bar.state))

    def along(self, steps: FloatArray | float) -> FloatArray:
        """Return where steps lie along the map, in pixels."""
        low, high = self.axis.span
        return (self.axis.place(steps) - low) / (high - low) * self.length

    def places(self, along: FloatArray) -> FloatArray:
        """Return the places on the axis of the figure of what lies along the map."""
        low, high = self.axis.span
        return low + np.asarray(along) / self.length * (high - low)

    @cached_property
    def lanes(self) -> tuple[float, ...]:
        """Where each lane lies across the map; below each there is room for its arcs."""
        n_arcs = [
            max((depth + 1 for (lane, depth) in self._depths.values() if lane == n), default=0)
            for n in range(max(bar.lane for bar in self.bars) + 1)
        ]
        rooms = [_LANE + _ARC * n for n in n_arcs]
        return tuple(np.cumsum([0.0, *rooms[:-1]]).tolist())

    @property
    def depth(self) -> float:
        """How far the map reaches on the side of the lanes beside the main one."""
        deepest = max(bar.lane for bar in self.bars)
        arcs = [depth + 1 for lane, depth in self._depths.values() if lane == deepest]
        return self.lanes[-1] + BAR + (_FIRST_ARC + _ARC * max(arcs) if arcs else 12.0)

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """The changes of state, in the order of the table."""
        return tuple(self._edge(j, k, crossed) for j, k, crossed in self._pairs())

    def _pairs(self) -> Iterator[tuple[int, int, float]]:
        columns = self._transitions[["from_state", "to_state", "crossed"]]
        for j, k, crossed in columns.itertuples(index=False, name=None):
            yield int(j), int(k), float(self.along(crossed))

    def _follows(self, j: int, k: int) -> bool:
        """Whether k is the next state after j in its lane."""
        own = sorted((b for b in self.bars if b.lane == self.bars[j].lane), key=lambda b: b.begin)
        return any(a.state == j and b.state == k for a, b in pairwise(own))

    def _ends(self, j: int, k: int, crossed: float) -> tuple[float, float]:
        """Where an edge that is no boundary leaves j and enters k, along time."""
        leaves = self.bars[j].within(crossed)
        return leaves, self.bars[k].within(max(crossed, leaves))

    @cached_property
    def _depths(self) -> dict[tuple[int, int], tuple[int, int]]:
        """The lane of each arc within a lane, and how many others it has to go round."""
        taken: list[tuple[int, int, float, float]] = []
        depths = {}
        arcs = {
            (j, k): tuple(sorted(self._ends(j, k, crossed)))
            for j, k, crossed in self._pairs()
            if self.bars[j].lane == self.bars[k].lane and not self._follows(j, k)
        }
        # The shortest lie nearest to the states.
        for (j, k), (low, high) in sorted(arcs.items(), key=lambda arc: arc[1][1] - arc[1][0]):
            depth, lane = 0, self.bars[j].lane
            while any(
                (of, d) == (lane, depth) and a < high + _ARC and b > low - _ARC
                for of, d, a, b in taken
            ):
                depth += 1
            taken.append((lane, depth, low, high))
            depths[j, k] = lane, depth
        return depths

    def _edge(self, j: int, k: int, crossed: float) -> Edge:
        one, other = self.bars[j], self.bars[k]
        y, to_y = (self.lanes[bar.lane] for bar in (one, other))
        if self._follows(j, k):
            points = np.array([[one.end, y], [other.begin, to_y]])
            return Edge(j, k, points, is_boundary=True)
        x, to_x = self._ends(j, k, crossed)
        if one.lane == other.lane:
            depth = y + BAR + _FIRST_ARC + _ARC * self._depths[j, k][1]
            corners = [(x, y + BAR), (x, depth), (to_x, depth), (to_x, y + BAR)]
            return Edge(j, k, _rounded(np.array(corners)), is_boundary=False)
        side = np.sign(to_y - y)
        y, to_y = y + side * BAR, to_y - side * BAR
        middle = (
            to_y - side * (_LANE - 2 * BAR) / 2 if side > 0 else y + side * (_LANE - 2 * BAR) / 2
        )
        corners = [(x, y), (x, middle), (to_x, middle), (to_x, to_y)]
        return Edge(j, k, _rounded(np.array(corners)), is_boundary=False)

    @property
    def bar_boxes(self) -> list[Box]:
        """The rectangles of the states."""
        return [
            Box((b.begin + b.end) / 2, self.lanes[b.lane], (b.end - b.begin) / 2, BAR)
            for b in self.bars
        ]


def _placed(spans: dict[int, tuple[float, float]], main: Sequence[int]) -> Iterator[Bar]:
    """Give every state its lane: the main path one by one, others the nearest that is free."""
    in_order = sorted(main, key=lambda k: spans[k])
    begin = 0.0
    begins = []
    for k in in_order:
        begin = max(begin, spans[k][0])
        begins.append(begin)
        begin += _SHORTEST
    for k, begin, following in zip(in_order, begins, [*begins[1:], np.inf], strict=True):
        # It lasts no longer than until the next one begins: medians of other runs may say so.
        yield Bar(k, 0, begin, min(max(spans[k][1], begin + _SHORTEST), following))
    taken: list[tuple[int, float, float]] = []
    for k in sorted(set(spans) - set(main), key=lambda k: spans[k]):
        begin, end = spans[k]
        lane = 1
        while any(of == lane and a < end + _APART and b > begin - _APART for of, a, b in taken):
            lane += 1
        taken.append((lane, begin, end))
        yield Bar(k, lane, begin, end)


def _rounded(corners: FloatArray) -> FloatArray:
    """Return points along a way through corners, which it rounds off."""
    ways = [corners[0][None]]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        reach = min(10.0, *(np.abs(end - corner).sum() / 2 for end in (before, after)))
        one, other = (
            corner + reach * (end - corner) / max(float(np.abs(end - corner).sum()), 1e-9)
            for end in (before, after)
        )
        t = np.linspace(0, 1, 5)[:, None]
        ways.append((1 - t) ** 2 * one + 2 * t * (1 - t) * corner + t**2 * other)
    return np.concatenate([*ways, corners[-1][None]])


def along_edges(edges: Iterable[Edge]) -> FloatArray:
    """Return points close to each other along all edges that are no boundaries, shape (m, 2)."""
    pieces = [
        a + np.linspace(0, 1, 2 + int(np.abs(b - a).max() / _SPACING))[:, None] * (b - a)
        for edge in edges
        if not edge.is_boundary
        for a, b in pairwise(edge.points)
    ]
    return np.concatenate([np.empty((0, 2)), *pieces])


def first_free(candidates: Sequence[Box], taken: Sequence[Box], lines: FloatArray) -> Box | None:
    """Return the first of the places that no other box or line is in; None where there is none."""
    for box in candidates:
        if not any(box.meets(other) for other in taken) and not box.holds(lines):
            return box
    return None
