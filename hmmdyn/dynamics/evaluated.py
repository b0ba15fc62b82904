"""Groups that are evaluated at different steps, made comparable.

Whoever is evaluated more often is seen to converge sooner. So before groups are compared, each is
seen only at times common to both: at a cut, a run of the group that may be faster counts by its
last evaluation up to the cut, a run of the other by its first one from the cut on. The first is
never seen later than the second, so if it still seems faster, evaluation is not the reason. Where
all runs are evaluated alike, nothing changes by it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.stats import permutation_test
from statsmodels.duration.survfunc import survdiff

from hmmdyn.dynamics.convergence import first_streak
from hmmdyn.dynamics.significance import N_PERMUTATIONS
from hmmdyn.dynamics.survival import BoolArray, Watched, log_rank_scores
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.keys import RUN_KEY

_ROUNDING = 1e-12


@dataclass(frozen=True)
class Evaluated:
    """The evaluations of a run: their ``steps`` (n,), and whether the threshold ``holds`` (n,)."""

    steps: FloatArray
    holds: BoolArray

    def stretched(self, factor: float) -> Evaluated:
        """Return the run as it would be if it took ``factor`` times as long."""
        return Evaluated(self.steps * factor, self.holds)


Group = Sequence[Evaluated]


def evaluated_runs(evaluations: pd.DataFrame) -> dict[tuple[str, str], Evaluated]:
    """Return the evaluations of every run, by (group, run)."""
    return {
        (str(group), str(run)): Evaluated(
            own["step"].to_numpy(dtype=np.float64), own["holds"].to_numpy(dtype=bool)
        )
        for (group, run), own in evaluations.groupby(RUN_KEY, sort=False)
    }


def common_cuts(groups: Sequence[Group], horizon: float) -> FloatArray:
    """Return the cuts at which groups are compared: the steps of the run evaluated most rarely.

    It is the one with the fewest evaluations up to the horizon of those that come that far, or,
    where none does, of the longest.
    """
    runs = [run for group in groups for run in group]
    far = min(horizon, max(run.steps[-1] for run in runs))
    rarest = min(
        (run for run in runs if run.steps[-1] >= far), key=lambda run: (run.steps <= far).sum()
    )
    return rarest.steps


def seen_at(
    group: Group, cuts: FloatArray, horizon: float, sustained: int, *, late: bool
) -> Watched:
    """Return by which cut (1, 2, …) each run has converged, seen ``late`` or early at each of them.

    A run is watched up to the last cut before it ends, or the horizon; 0 is before the first.

    Parameters
    ----------
    group : sequence of Evaluated
        The runs, R of them.
    cuts : ndarray, shape (C,)
        Steps at which all groups are looked at, rising.
    horizon : float
        Step beyond which no cut counts.
    sustained : int
        Evaluations on end that a run must hold the threshold for.
    late : bool
        Take a run's first evaluation from each cut on, else its last up to it.
    """
    n_cuts = int((cuts <= horizon).sum())
    ends, converged = zip(*(_cut_of(run, cuts, sustained, late) for run in group), strict=True)
    seen = Watched(np.array(ends), np.array(converged))
    return seen.until(n_cuts)


def _cut_of(run: Evaluated, cuts: FloatArray, sustained: int, late: bool) -> tuple[int, bool]:
    known = cuts[cuts <= run.steps[-1]]
    if late:
        at = np.searchsorted(run.steps, known, side="right") - 1
        began = int((at < 0).sum())  # cuts before its first evaluation: not seen to have converged
    else:
        at, began = np.searchsorted(run.steps, known, side="left"), 0
    used, first_cut = np.unique(at[began:], return_index=True)
    streak = first_streak(run.holds[used], sustained)
    if streak is not None:
        return 1 + began + int(first_cut[streak]), True
    if late and len(run.holds) >= sustained and run.holds[-sustained:].all():
        return 1 + len(known), True  # it ended as it converged, between two cuts
    # A streak could have begun no later than where `sustained` evaluations were left.
    last = len(used) - sustained
    if last < 0:
        return (began if late else 0), False
    until = len(known) if sustained == 1 else 1 + began + int(first_cut[last])
    return until, False


@dataclass(frozen=True)
class Tested:
    """What a test of speed says of groups; NaN where there is nothing to compare.

    ``p`` by permutation, and the ``least_p`` that any arrangement of the runs gives; the
    ``logrank`` statistic with its p in large samples, where all runs are evaluated alike; and
    whether the first of two groups is ``ahead`` (more than 0).
    """

    p: float = np.nan
    least_p: float = np.nan
    logrank: float = np.nan
    logrank_p: float = np.nan
    ahead: float = np.nan


@dataclass(frozen=True)
class SpeedTest:
    """The permutation test of whether groups converge at the same rate.

    ``sustained`` is how many evaluations in a row convergence takes, ``random_state`` seeds the
    permutations where they are too many to go through.
    """

    sustained: int
    random_state: int

    def of_two(self, a: Group, b: Group, horizon: float) -> Tested:
        """Test two groups, however each is evaluated, up to a horizon."""
        return self.of_alike([a, b], horizon) or self._in_turn(a, b, horizon)

    def of_alike(self, groups: Sequence[Group], horizon: float) -> Tested | None:
        """Test groups whose runs are all evaluated alike; None where they are not."""
        cuts = common_cuts(groups, horizon)
        late, early = (
            [seen_at(own, cuts, horizon, self.sustained, late=late) for own in groups]
            for late in (True, False)
        )
        if not all(map(_same, late, early)):
            return None
        runs = _together(late)
        found = self._permuted(late, _between_groups)
        if np.isnan(found.p):
            return found
        labels = np.repeat(np.arange(len(late)), [len(own) for own in late])
        statistic, p = survdiff(runs.end, runs.converged, labels)
        ahead = log_rank_scores(runs)[labels == 0].sum()
        return replace(found, logrank=float(statistic), logrank_p=float(p), ahead=float(ahead))

    def faster(self, group: Group, other: Group, horizon: float) -> Tested:
        """Test whether a group converges faster than another (one-sided).

        Valid however each is evaluated, as the group is seen no sooner than the other.
        """
        cuts = common_cuts([group, other], horizon)
        seen = [
            seen_at(group, cuts, horizon, self.sustained, late=True),
            seen_at(other, cuts, horizon, self.sustained, late=False),
        ]
        return self._permuted(seen, _of_the_first)

    def _in_turn(self, a: Group, b: Group, horizon: float) -> Tested:
        """Test whether either of two groups is faster; the log-rank statistic is of no use here."""
        forth, back = self.faster(a, b, horizon), self.faster(b, a, horizon)
        return Tested(
            p=float(np.minimum(1, 2 * np.fmin(forth.p, back.p))),
            least_p=float(np.minimum(1, 2 * np.fmin(forth.least_p, back.least_p))),
            ahead=float(np.nan_to_num(back.p, nan=1) - np.nan_to_num(forth.p, nan=1)),
        )

    def _permuted(self, groups: Sequence[Watched], statistic: Callable[..., FloatArray]) -> Tested:
        """Test a statistic of the runs' log-rank scores by handing the runs to groups anew."""
        scores = log_rank_scores(_together(groups))
        if min(map(len, groups)) < 2 or np.ptp(scores) < _ROUNDING:
            return Tested()
        ends = np.cumsum([len(own) for own in groups])[:-1]
        if _n_ways([len(own) for own in groups]) <= N_PERMUTATIONS:
            found = permutation_test(
                np.split(scores, ends), statistic, vectorized=True, alternative="greater"
            )
            p, null = float(found.pvalue), found.null_distribution
        else:
            drawn = scores[_arrangements(len(scores), self.random_state)]
            null = statistic(*np.split(drawn, ends, axis=1), axis=1)
            reached = null >= statistic(*np.split(scores, ends), axis=0)
            p = float((1 + reached.sum()) / (1 + len(null)))
        return Tested(p, float(np.mean(null == null.max())))


def _n_ways(sizes: Sequence[int]) -> int:
    """Return in how many ways runs can be handed to groups of these sizes."""
    ways, n = 1, 0
    for size in sizes:
        n += size
        ways *= math.comb(n, size)
    return ways


@lru_cache(maxsize=4)
def _arrangements(n_runs: int, random_state: int) -> np.ndarray:
    """Return 9,999 random orders of the runs, the same for all groups of so many."""
    rng = np.random.default_rng(random_state)
    orders = np.tile(np.arange(n_runs, dtype=np.int32), (N_PERMUTATIONS, 1))
    return rng.permuted(orders, axis=1)


def _same(a: Watched, b: Watched) -> bool:
    return np.array_equal(a.end, b.end) and np.array_equal(a.converged, b.converged)


def _together(groups: Sequence[Watched]) -> Watched:
    return Watched(
        np.concatenate([own.end for own in groups]),
        np.concatenate([own.converged for own in groups]),
    )


# The same runs added in another order are no more, so sums are rounded.
def _between_groups(*scores: FloatArray, axis: int) -> FloatArray:
    """Return how far the groups' mean scores are from zero, which is the mean of all."""
    spread = [own.sum(axis=axis) ** 2 / own.shape[axis] for own in scores]
    distance: FloatArray = np.sum(spread, axis=0)
    return np.round(distance, 9)


def _of_the_first(*scores: FloatArray, axis: int) -> FloatArray:
    """Return by how many convergences the first group is ahead."""
    return np.asarray(np.round(scores[0].sum(axis=axis), 9))
