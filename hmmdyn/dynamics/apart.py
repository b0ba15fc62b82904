"""How far a run is from anywhere that the other runs of its group go, whenever they go there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

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
# As near to an end, in squared deviations within states, as checkpoints of one state are to each
# other.
_NEAR = 1.0
# A run is looked at so often at most, and compared with others of a block of so many runs.
_LOOKS = 200
_BLOCK = 50


def distances_from_others(
    data: Sequences, states: IntArray, *, random_state: int = 0
) -> list[FloatArray]:
    """Return how far each checkpoint is from the nearest place on the way of any other run.

    A run that takes the way of the others more slowly is nowhere far from it, nor is one that was
    saved at other steps. One that takes it faster gets at last to where the others would have come
    after their ends: from a stretch on that begins near the last tenth of another run, and of which
    most checkpoints are nearest to one, it is ahead, and not known to be apart.

    Long runs are looked at as if they had been saved less often, at up to 200 checkpoints; the
    others between two looks have the distance of the look before. Runs of large groups are dealt
    into blocks of up to 50, and the others are those of a run's block: that the ways of more runs
    come nearer to it than those of fifty do tells nothing of the run.

    Parameters
    ----------
    data : Sequences
        The runs of one group, at least two.
    states : ndarray, shape (n,)
        Their decoded states. The unit is the deviation of a metric within states; a missing value
        is taken to be that of its state.
    random_state : int
        Deals the runs of large groups into blocks.

    Returns
    -------
    list of ndarray, shape (length of the run,)
        Mean squared distances over metrics, 0 where the run is ahead.
    """
    places = _in_deviations_within_states(data.values, states) / np.sqrt(data.n_features)
    strides = [math.ceil(n / _LOOKS) for n in data.lengths]
    of_run = [own[::stride] for own, stride in zip(data.split(places), strides, strict=True)]
    ways = [_Way.of(own) for own in of_run]
    far: list[FloatArray] = [np.zeros(0)] * len(of_run)
    order = np.random.default_rng(random_state).permutation(len(of_run))
    for block in np.array_split(order, math.ceil(len(order) / _BLOCK)):
        for r in block:
            squared, at_end = _nearest(of_run[r], [ways[other] for other in block if other != r])
            looks = np.where(_ahead(squared, at_end), 0.0, squared)
            far[r] = np.repeat(looks, strides[r])[: data.lengths[r]]
    return far


def _nearest(places: FloatArray, others: Sequence[_Way]) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Squared distance of each place from the nearest way, and whether that is at its end."""
    nearest = np.full(len(places), np.inf)
    at_end = np.zeros(len(places), dtype=bool)
    for way in others:
        # All squared distances but for the square of the place, which is the same for all points.
        which = (way.squares - 2 * (places @ way.points.T)).argmin(axis=1)
        squared = ((places - way.points[which]) ** 2).sum(axis=1)
        nearer = squared < nearest
        nearest[nearer] = squared[nearer]
        at_end[nearer] = way.at_end[which[nearer]]
    return nearest, at_end


def _ahead(squared: FloatArray, at_end: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which checkpoints come after a stretch that is, most of it, at the ends of others.

    A run gets ahead by the way that the others go: the stretch begins near their ends. One that is
    far from everything is nearest to some run's end by chance, too.
    """
    more = np.where(at_end, 1.0, -1.0)
    first, last = worst_stretch(more)
    is_ahead = more[first : last + 1].sum() >= _AT_ENDS
    comes_by = squared[first : first + _AT_ENDS].min() <= _NEAR
    return np.arange(len(at_end)) >= (first if is_ahead and comes_by else len(at_end))


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

    @cached_property
    def squares(self) -> FloatArray:
        """Squared length of each point, shape (P,)."""
        return np.asarray((self.points**2).sum(axis=1))

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
