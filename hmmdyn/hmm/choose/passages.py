"""How runs cross from one state to another: in a jump, gradually, or as part of one long drift.

A *visit* is a stay of a run in a state. A *passage* is a change of state between two visits that
are long enough to be judged. Along the way from one state to the other, a phase is where a run
spends its time, and a boundary is what it crosses quickly: time around the middle, over time
around the emptier of the two centres, is the statistic δ. A jump has 0, a half cosine 0.68, and
drift at constant speed 1, wherever a hidden Markov model has cut it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.hmm.choose.stretches import means_of_stretches, on_the_way
from hmmdyn.results.arrays import FloatArray, IntArray

# A visit of fewer checkpoints cannot be judged.
SHORTEST_VISIT = 3
# A state or boundary needs so large a share of the runs, and so many.
_NEEDED_SHARE = 0.1
FEWEST_RUNS = 3
# What counts as around a centre, and around the middle, on the way from 0 to 1.
_AROUND = 0.25
# Keeps δ of few checkpoints away from 0 and from infinity.
_PSEUDO_COUNT = 0.25
# How much of the mean variance the covariance within states is drawn to, for the second direction.
_SHRINKAGE = 0.3

# Kinds of boundaries, and the bounds that make them. They were chosen on simulations, of which none
# is among those that benchmarks/supported_map.md reports.
SHARP, GRADUAL, SETTLING, SLICE = "sharp", "gradual", "settling", "slice"
SUPPORTED = (SHARP, GRADUAL)
_SHARP_BELOW = 0.30
_GRADUAL_BELOW = 0.60
_GRADUAL_SURELY_BELOW = 0.80
_SETTLING_ABOVE = 3.0
# A smooth course that bends looks slow to both sides in any one direction: what is crossed slowly
# (δ) must be rest (movement) on both sides. Straight drift has 1 + ½.
_RESTLESS = 0.90
_LEVELS = (0.05, 0.95)


@dataclass(frozen=True)
class Visits:
    """Stays of runs in states, in order of runs and time; every array has shape (V,).

    ``run`` is the run's position, ``begin`` … ``end`` are rows of the pooled checkpoints, the
    latter exclusive.
    """

    run: IntArray
    state: IntArray
    begin: IntArray
    end: IntArray

    @property
    def length(self) -> IntArray:
        """Checkpoints of each visit."""
        return self.end - self.begin


@dataclass(frozen=True)
class Passages:
    """Changes of state between two visits; every array has shape (P,).

    The visit to ``from_state`` has the rows ``begin`` … ``change``, that to ``to_state`` the rows
    ``change`` … ``end``, each end exclusive.
    """

    run: IntArray
    from_state: IntArray
    to_state: IntArray
    begin: IntArray
    change: IntArray
    end: IntArray

    def __len__(self) -> int:
        return len(self.run)

    def between(self, from_state: int, to_state: int) -> Passages:
        """Return the passages from one state to another."""
        return self.only((self.from_state == from_state) & (self.to_state == to_state))

    def only(self, chosen: NDArray[np.bool_]) -> Passages:
        """Return chosen passages, by a mask."""
        return Passages(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


class Resampling:
    """Bootstrap over runs: the same draws for the same number of runs, whatever came before."""

    def __init__(self, n_draws: int, random_state: int) -> None:
        self._n_draws, self._random_state = n_draws, random_state
        self._weights: dict[int, FloatArray] = {}

    def weights(self, n_runs: int) -> FloatArray:
        """How often each draw has each run, shape (n_draws, n_runs)."""
        if n_runs not in self._weights:
            rng = np.random.default_rng([self._random_state, n_runs])
            drawn = rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=self._n_draws)
            self._weights[n_runs] = drawn.astype(np.float64)
        return self._weights[n_runs]


def needed_runs(n_runs: int) -> int:
    """Return how many of so many runs a state or boundary needs: a tenth, and at least three."""
    return max(FEWEST_RUNS, int(np.ceil(_NEEDED_SHARE * n_runs)))


def interpolated(values: FloatArray, lengths: IntArray) -> FloatArray:
    """Fill missing values in time within each run, and where a run knows none with the mean."""
    if not np.isnan(values).any():
        return values
    filled = values.copy()
    means = np.nan_to_num(np.nanmean(np.where(np.isnan(values), np.nan, values), axis=0))
    for end, n in zip(np.cumsum(lengths), lengths, strict=True):
        run = filled[end - n : end]
        for column, mean in zip(run.T, means, strict=True):
            known = np.flatnonzero(~np.isnan(column))
            if len(known):
                column[:] = np.interp(np.arange(n), known, column[known])
            else:
                column[:] = mean
    return filled


def find_visits(labels: IntArray, lengths: IntArray) -> Visits:
    """Cut every run's path, shape (n,), into its visits."""
    first = np.zeros(len(labels), dtype=bool)
    first[np.cumsum(lengths)[:-1]] = True
    first[0] = True
    first[1:] |= labels[1:] != labels[:-1]
    begin = np.flatnonzero(first)
    run = np.repeat(np.arange(len(lengths)), lengths)[begin]
    return Visits(run, labels[begin], begin, np.append(begin[1:], len(labels)))


def find_passages(visits: Visits) -> Passages:
    """Changes of state between successive visits that are both long enough to be judged."""
    long = visits.length >= SHORTEST_VISIT
    here = np.flatnonzero((visits.run[1:] == visits.run[:-1]) & long[1:] & long[:-1])
    return Passages(
        visits.run[here],
        visits.state[here],
        visits.state[here + 1],
        visits.begin[here],
        visits.end[here],
        visits.end[here + 1],
    )


def sums_of(values: FloatArray, which: IntArray, n: int) -> FloatArray:
    """Sum the rows of each of ``n`` parts, shape (n, D); ``which`` (rows,) says which part."""
    return np.stack([np.bincount(which, column, n) for column in values.T], axis=1)


def within_states(values: FloatArray, labels: IntArray) -> FloatArray:
    """Pooled covariance within states, drawn to a multiple of the identity, shape (D, D)."""
    counts = np.bincount(labels)
    means = sums_of(values, labels, len(counts)) / np.maximum(counts, 1)[:, None]
    rest = values - means[labels]
    covariance = rest.T @ rest / len(values)
    mean_variance = max(np.trace(covariance) / len(covariance), np.finfo(np.float64).tiny)
    return np.asarray(
        (1 - _SHRINKAGE) * covariance + _SHRINKAGE * mean_variance * np.eye(len(covariance))
    )


def positions(
    values: FloatArray, passages: Passages, within: FloatArray | None = None
) -> tuple[FloatArray, IntArray]:
    """Where each checkpoint of each passage stands on the way: 0 at one centre, 1 at the other.

    The direction of a run's passages is the mean way of the *other* runs that go from the one
    state to the other, so that a run's noise does not choose the direction in which it is judged.
    Where no two others do, it is the mean of all.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Standardised observations without missing values.
    within : ndarray, shape (D, D), optional
        Covariance by whose inverse directions are multiplied.

    Returns
    -------
    position : ndarray, shape (m,)
        NaN in passages that go against the others' direction.
    which : ndarray, shape (m,)
        Which passage each belongs to.
    """
    directions: FloatArray = _directions(_mean_ways(values, passages), passages)
    if within is not None:
        directions = np.ascontiguousarray(np.linalg.solve(within, directions.T).T)
    lengths = passages.end - passages.begin
    position = on_the_way(values, directions, passages.begin, passages.change, passages.end)
    return position, np.repeat(np.arange(len(passages)), lengths)


def _mean_ways(values: FloatArray, passages: Passages) -> FloatArray:
    """Mean of the second visit minus mean of the first, shape (P, D)."""
    before = means_of_stretches(values, passages.begin, passages.change)
    return means_of_stretches(values, passages.change, passages.end) - before


def _directions(ways: FloatArray, passages: Passages) -> FloatArray:
    """Mean way of the other runs between the same two states, shape (P, D)."""
    edge, of_edge = _numbered(passages.from_state, passages.to_state)
    both, of_both = _numbered(of_edge, passages.run)
    sums = np.zeros((len(edge), ways.shape[1]))
    np.add.at(sums, of_edge, ways)
    own = np.zeros((len(both), ways.shape[1]))
    np.add.at(own, of_both, ways)
    n_others = np.bincount(of_edge)[of_edge] - np.bincount(of_both)[of_both]
    others = sums[of_edge] - np.where(n_others >= 2, 1.0, 0.0)[:, None] * own[of_both]
    return others / np.where(n_others >= 2, n_others, np.bincount(of_edge)[of_edge])[:, None]


def _numbered(one: IntArray, two: IntArray) -> tuple[IntArray, IntArray]:
    """Distinct pairs, shape (E, 2), and which of them each is."""
    pairs, which = np.unique(np.column_stack([one, two]), axis=0, return_inverse=True)
    return pairs, which.ravel()


def crossing_times(
    values: FloatArray, passages: Passages, within: FloatArray | None = None
) -> FloatArray:
    """Count the checkpoints around the first centre, the middle and the second centre, (P, 3).

    A passage against the others' direction counts as all middle: it supports no boundary.
    """
    position, which = positions(values, passages, within)
    n = len(passages)
    against = np.isnan(position)
    zones = (
        np.abs(position) < _AROUND,
        (np.abs(position - 0.5) <= 0.5 - _AROUND) | against,
        np.abs(position - 1) < _AROUND,
    )
    return np.column_stack([np.bincount(which, zone, n) for zone in zones])


def delta(times: FloatArray) -> FloatArray:
    """δ from summed crossing times, shape (…, 3): (middle + ¼) / (emptier centre + ¼)."""
    emptier = np.minimum(times[..., 0], times[..., 2])
    return (times[..., 1] + _PSEUDO_COUNT) / (emptier + _PSEUDO_COUNT)


def judge_boundaries(
    values: FloatArray, labels: IntArray, lengths: IntArray, need: int, resampling: Resampling
) -> pd.DataFrame:
    """Judge every change of state that at least ``need`` runs make between long enough visits.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Standardised observations without missing values.
    labels : ndarray, shape (n,)
        States 0 … K-1.
    lengths : ndarray, shape (R,)
        Checkpoints of each run.
    need : int
        Fewest runs that a change of state is judged of.
    resampling : Resampling
        Draws the runs for the bounds.

    Returns
    -------
    DataFrame
        One row per pair of states: ``from_state, to_state, kind`` (``sharp``, ``gradual``,
        ``settling`` or ``slice``), ``n_runs``, ``delta`` with its 5 and 95 % bounds ``delta_low,
        delta_high`` over runs (in the direction of the metrics or, where only that one is sharp,
        in the direction relative to the spread within states), ``before, middle, after``
        (checkpoints per passage around the one centre, the middle and the other), ``thinning``
        (after / before) with ``thinning_low, thinning_high``, ``movement`` (how far runs move
        during a visit, of the distance between the two states; the larger of the two visits).
    """
    visits = find_visits(labels, lengths)
    passages = find_passages(visits)
    n_staying = _runs_staying(visits)
    edges, which = _numbered(passages.from_state, passages.to_state)
    movement = _movement(values, passages, which)
    plain = crossing_times(values, passages)
    relative = crossing_times(values, passages, within_states(values, labels))
    rows = []
    for edge, (j, k) in enumerate(edges):
        mine = which == edge
        runs, of_run = np.unique(passages.run[mine], return_inverse=True)
        if len(runs) < need:
            continue
        draws = resampling.weights(len(runs))
        judged = [_judged(_by_run(t[mine], of_run, len(runs)), draws) for t in (plain, relative)]
        chosen = judged[judged[0]["kind"] != SHARP and judged[1]["kind"] == SHARP]
        if chosen["kind"] in SUPPORTED and chosen["delta"] + movement[edge] >= _RESTLESS:
            chosen["kind"] = SLICE
        chosen |= {
            "from_state": int(j),
            "to_state": int(k),
            "n_runs": len(runs),
            "share": len(runs) / min(n_staying[j], n_staying[k]),
            "movement": movement[edge],
        }
        rows.append(chosen)
    return pd.DataFrame(rows, columns=BOUNDARY_COLUMNS)


BOUNDARY_COLUMNS = [
    "from_state",
    "to_state",
    "kind",
    "n_runs",
    "share",
    "delta",
    "delta_low",
    "delta_high",
    "before",
    "middle",
    "after",
    "thinning",
    "thinning_low",
    "thinning_high",
    "movement",
]


def _runs_staying(visits: Visits) -> IntArray:
    """Count the runs that stay long enough to be judged in each state, shape (K,)."""
    long = visits.length >= SHORTEST_VISIT
    pairs, _ = _numbered(visits.state[long], visits.run[long])
    return np.bincount(pairs[:, 0], minlength=int(visits.state.max()) + 1)


def _movement(values: FloatArray, passages: Passages, edge: IntArray) -> FloatArray:
    """How far runs move while they visit the restless one of two states, relative to their gap.

    From the mean of the first half to that of the second half of a visit, averaged over the runs;
    0 on plateaus, ½ in slices of a straight drift.
    """
    n_edges = int(edge.max(initial=-1)) + 1

    def averaged(vectors: FloatArray) -> FloatArray:
        sums = np.zeros((n_edges, values.shape[1]))
        np.add.at(sums, edge, vectors)
        return np.asarray(np.linalg.norm(sums, axis=1))

    moved = []
    for begin, end in ((passages.begin, passages.change), (passages.change, passages.end)):
        half = (begin + end) // 2
        first = means_of_stretches(values, begin, half)
        moved.append(averaged(means_of_stretches(values, half, end) - first))
    return np.maximum(*moved) / averaged(_mean_ways(values, passages))


def _by_run(times: FloatArray, of_run: IntArray, n_runs: int) -> FloatArray:
    """Sum the passages of each run and count them, shape (R, 4)."""
    summed = np.zeros((n_runs, 4))
    np.add.at(summed, of_run, np.column_stack([times, np.ones(len(times))]))
    return summed


def _judged(times: FloatArray, draws: FloatArray) -> dict[str, object]:
    """Judge one boundary by its crossing times, run by run."""
    total, drawn = times.sum(axis=0), draws @ times
    low, high = np.quantile(delta(drawn), _LEVELS)
    thinning_low, thinning_high = np.quantile(_thinning(drawn), _LEVELS)
    d = float(delta(total))
    kind = SLICE
    if high < _SHARP_BELOW:
        kind = SHARP
    elif d < _GRADUAL_BELOW and high < _GRADUAL_SURELY_BELOW:
        kind = GRADUAL
    elif thinning_low > _SETTLING_ABOVE:
        kind = SETTLING
    before, middle, after = total[:3] / total[3]
    return {
        "kind": kind,
        "delta": d,
        "delta_low": float(low),
        "delta_high": float(high),
        "before": float(before),
        "middle": float(middle),
        "after": float(after),
        "thinning": float(_thinning(total)),
        "thinning_low": float(thinning_low),
        "thinning_high": float(thinning_high),
    }


def _thinning(times: FloatArray) -> FloatArray:
    return (times[..., 2] + 2 * _PSEUDO_COUNT) / (times[..., 0] + 2 * _PSEUDO_COUNT)
