"""Where the states of the training map stand, and how its edges bend around them.

States stand along the axis of time in their own order. Those on the path that most runs take share
one line; a state off that path stands beside it, so that a fork is seen at a glance. The layout
uses no randomness: the same map always looks the same.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from hmmdyn.results.arrays import FloatArray, IntArray

# An edge whose opposite exists leaves the straight line by this much (in lanes), …
_BEND = 0.13
# … and one that must go round other states by this much and a little more per state passed over.
_ROUND = 0.34
_ROUND_PER_STATE = 0.07
_MAX_BEND = 0.8
# The last stretch (in states) is straight, so that an arrowhead short of its end lies on the line.
_STRAIGHT = 0.28
_CURVE_POINTS, _STRAIGHT_POINTS = 18, 6


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


def lanes(n_states: int, transitions: pd.DataFrame, start: int) -> IntArray:
    """Return the lane of each state, shape (K,): 0 on the main path.

    States off it that are joined by an edge share a lane: 1, −1, 2, −2 and so on, in order of time.
    """
    main = main_path(transitions, start)
    aside = [k for k in range(n_states) if k not in main]
    lane = np.zeros(n_states, dtype=np.int64)
    for number, joined in enumerate(_joined(aside, transitions)):
        lane[joined] = (1 if number % 2 == 0 else -1) * (number // 2 + 1)
    return lane


def _joined(states: list[int], transitions: pd.DataFrame) -> list[list[int]]:
    """Return the states in sets of those that edges join, in the order of their first state."""
    sets = [{k} for k in states]
    for j, k in transitions[["from_state", "to_state"]].itertuples(index=False, name=None):
        touched = [own for own in sets if own & {j, k}]
        if {j, k} <= set(states) and len(touched) > 1:
            sets = [own for own in sets if own not in touched] + [touched[0] | touched[1]]
    return sorted(map(sorted, sets))


def curve(j: int, k: int, lane: IntArray, *, opposed: bool) -> FloatArray:
    """Return points along the edge j→k, shape (m, 2): time, lane.

    Edges bend to their left, so the edges between two states part by themselves where there is
    one in each direction. An edge with other states of its lane in between goes round them.

    Parameters
    ----------
    j, k : int
        The states it leads from and to.
    lane : ndarray of int, shape (K,)
        The lane of each state, as :func:`lanes` gives it.
    opposed : bool
        Whether there is an edge k→j, too.
    """
    a, b = np.array([j, lane[j]], dtype=float), np.array([k, lane[k]], dtype=float)
    low, high = sorted((j, k))
    between = int((lane[low + 1 : high] == lane[j]).sum()) if lane[j] == lane[k] else 0
    bend = _BEND if opposed or lane[j] != lane[k] else 0.0
    if between:
        bend = min(_ROUND + _ROUND_PER_STATE * between, _MAX_BEND)
    direction = (b - a) / np.linalg.norm(b - a)
    left = np.array([-direction[1], direction[0]])
    # A quadratic Bézier curve reaches half as far as its control point.
    control = (a + b) / 2 + 2 * bend * left
    t = np.linspace(0, 1 - _STRAIGHT / (high - low), _CURVE_POINTS)[:, None]
    bent = (1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * b
    return np.concatenate([bent[:-1], np.linspace(bent[-1], b, _STRAIGHT_POINTS)])
