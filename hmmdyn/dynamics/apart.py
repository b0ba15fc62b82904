"""How far a run is from anywhere that the other runs of its group go, whenever they go there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.observations import Sequences

# Between two checkpoints a run is taken to go straight; it is looked for at points so far apart,
# in deviations within states, and no more of them than this.
_SPACING = 0.25
_POINTS = 8
# From so far on, a run is at its end; and so many more checkpoints of a stretch are nearest to ends
# of other runs than are not, where a run is ahead of them.
_END = 0.9
_AT_ENDS = 4


def distances_from_others(data: Sequences, states: IntArray) -> list[FloatArray]:
    """Return how far each checkpoint is from the nearest place on the way of any other run.

    A run that takes the way of the others more slowly is nowhere far from it, nor is one that was
    saved at other steps. One that takes it faster gets at last to where the others would have come
    after their ends: from a stretch on of which most checkpoints are nearest to the last tenth of
    another run, it is ahead, and not known to be apart.

    Parameters
    ----------
    data : Sequences
        The runs of one group, at least two.
    states : ndarray, shape (n,)
        Their decoded states. The unit is the deviation of a metric within states; a missing value
        is taken to be that of its state.

    Returns
    -------
    list of ndarray, shape (length of the run,)
        Mean squared distances over metrics, 0 where the run is ahead.
    """
    places = _in_deviations_within_states(data.values, states) / np.sqrt(data.n_features)
    of_run = data.split(places)
    ways = [_Way.of(own) for own in of_run]
    nearest = [np.full(len(own), np.inf) for own in of_run]
    at_end = [np.zeros(len(own), dtype=bool) for own in of_run]
    # Any two runs differ in some digit of their number, so that the trees on the other side of
    # each digit hold all others: few trees, and none for every run.
    number = np.arange(len(of_run))
    for digit in range(int(len(of_run) - 1).bit_length()):
        side = (number >> digit) & 1
        for one in (0, 1):
            others = [ways[r] for r in number[side != one]]
            tree = KDTree(np.concatenate([way.points for way in others]))
            ends = np.concatenate([way.at_end for way in others])
            for r in number[side == one]:
                distance, which = tree.query(of_run[r])
                nearer = distance < nearest[r]
                nearest[r] = np.where(nearer, distance, nearest[r])
                at_end[r] = np.where(nearer, ends[which], at_end[r])
    return [
        np.where(_ahead(ends), 0.0, distance**2)
        for distance, ends in zip(nearest, at_end, strict=True)
    ]


def _ahead(at_end: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which checkpoints come after a stretch that is, most of it, at the ends of others."""
    more = np.where(at_end, 1.0, -1.0)
    first, last = worst_stretch(more)
    is_ahead = more[first : last + 1].sum() >= _AT_ENDS
    return np.arange(len(at_end)) >= (first if is_ahead else len(at_end))


def worst_stretch(excess: FloatArray) -> tuple[int, int]:
    """First and last position of the stretch with the largest sum."""
    total = np.concatenate([[0.0], np.cumsum(excess)])
    gained = total[1:] - np.minimum.accumulate(total[:-1])
    last = int(gained.argmax())
    return int(total[: last + 1].argmin()), last


@dataclass(frozen=True)
class _Way:
    """Where a run comes by: ``points`` (P, D), and which of them are in its last tenth."""

    points: FloatArray
    at_end: NDArray[np.bool_]

    @classmethod
    def of(cls, places: FloatArray) -> _Way:
        """Take the checkpoints of a run, (n, D), and points on the straight ways between them."""
        steps = np.diff(places, axis=0)
        pieces = np.sqrt((steps**2).sum(axis=1)) / _SPACING
        pieces = np.clip(np.ceil(pieces), 1, _POINTS).astype(int)
        after = np.repeat(np.arange(len(steps)), pieces)
        part = np.concatenate([np.arange(1, n + 1) / n for n in pieces] or [np.zeros(0)])
        between = places[after] + steps[after] * part[:, None]
        at = np.concatenate([[0.0], after + part])
        return cls(np.concatenate([places[:1], between]), at >= _END * (len(places) - 1))


def _in_deviations_within_states(values: FloatArray, states: IntArray) -> FloatArray:
    known = ~np.isnan(values)
    centred = np.zeros_like(values)
    means = np.zeros_like(values)
    for k in np.unique(states):
        inside = states == k
        n = known[inside].sum(axis=0)
        mean = np.nansum(values[inside], axis=0) / np.maximum(n, 1)
        means[inside] = mean
        centred[inside] = np.where(known[inside], values[inside] - mean, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
    # A metric that does not move within states has no unit there: it is that of all checkpoints.
    spread = np.where(spread > 1e-9, spread, 1.0)
    return np.asarray((means + centred) / spread)
