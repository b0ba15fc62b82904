"""Which runs walk the map unlike the others of their group.

Three things can set a run apart: the map fitted without it does not describe its checkpoints; it
spends its time in other states; it goes back to states that the others leave for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from hmmdyn.hmm import refit_without
from hmmdyn.hmm.model.inference import beliefs
from hmmdyn.hmm.model.residuals import squared_distances
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.observations import Observations, Sequences
from hmmdyn.results.outliers import OUTLIERS

# Fewer runs of a group cannot show what is usual in it.
MIN_RUNS = 4
FALSE_ALARMS = 0.05
# So many of the runs, and at most a quarter of them, may be outliers without hiding each other.
# Where more are alike, they are no outliers but another way to walk the map.
_HIDDEN = 2
_DRAWS = 9_999


@dataclass(frozen=True)
class _Way:
    """A way to lie out, and the law that has its tail."""

    column: str
    law: Callable[[np.random.Generator, tuple[int, int]], FloatArray]


def _logistic(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    return rng.logistic(size=shape)


def _exponential(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    return rng.exponential(size=shape)


# Differences smaller than this (of a share of the run, or of a logarithm) do not count. Otherwise,
# where runs hardly differ, the least difference would be many standard deviations.
_RESOLUTION = 1 / 20
# Misfits are compared by their logarithm, shares of a run as they are. A run either goes back or
# does not, and one that does may stay for long: returns have the heavier tail.
_WAYS = (
    _Way("misfit", _logistic),
    _Way("path_distance", _logistic),
    _Way("returned", _exponential),
)


def find_outliers(
    observations: Observations,
    parameters: HMMParameters,
    states: pd.DataFrame,
    *,
    options: ModelOptions = PLAIN_MODEL,
    step_unit: str = "step",
    random_state: int = 0,
) -> pd.DataFrame:
    """Find the runs that walk the map unlike the other runs of their group.

    Where all runs of an analysis are drawn from one recipe, the chance that *any* of them is
    called an outlier is meant to be at most 0.05, and so is at most that for each.

    Parameters
    ----------
    observations : Observations
        What the map was fitted to.
    parameters : HMMParameters
        The map.
    states : DataFrame
        Decoded states of the same checkpoints in the same order.
    options : ModelOptions
        With which the map was fitted.
    step_unit : str
        How steps are called in the reasons.
    random_state : int
        Seeds the draws behind p.

    Returns
    -------
    DataFrame
        See :data:`.results.outliers.OUTLIERS`.

    Notes
    -----
    How far a run lies out is measured in standard deviations of the others, for ln(misfit),
    ``path_distance`` and ``returned`` each, towards the large side only; the two most extreme of
    eight or more runs (one of four to seven) do not enter mean and deviation, so that outliers do
    not hide each other. p is the chance that one of as many runs lies out as far that scatter by a
    logistic law (for ``returned``, an exponential one), ``p_corrected`` that any does; both are
    multiplied by three, for the three ways to lie out, and ``p_corrected`` by the number of groups
    tested (Bonferroni). Ranks alone could not go below 1/N; these laws have tails as heavy as were
    seen in simulated runs of one recipe, and ``benchmarks/outliers.md`` has the error rates.

    ``returned`` adds up, over a run's checkpoints, the share of the other runs that are in this
    state and in one the run has been in before, too, but never in this order; the largest over the
    states it has been in before.
    """
    runs = observations.runs.reset_index(drop=True)
    path = states["state"].to_numpy()
    with threadpool_limits(1):
        held_out = list(_held_out(observations, path, parameters, options))
    table = runs.assign(
        score=[one.score for one in held_out], misfit=[one.misfit for one in held_out]
    )
    parts = []
    for group in runs["group"].unique():
        mine = (runs["group"] == group).to_numpy(dtype=bool)
        members = np.flatnonzero(mine)
        walks = _Walks.of(
            path[np.repeat(mine, observations.lengths)],
            observations.lengths[mine],
            parameters.n_states,
        )
        parts.append(_Group(table.loc[members], walks, [held_out[r] for r in members], members))
    n_tested = sum(len(part.walks.paths) >= MIN_RUNS for part in parts)
    steps = observations.split(observations.steps)
    judged = [part.judged(steps, n_tested, step_unit, random_state) for part in parts]
    return OUTLIERS.frame(pd.concat(judged).sort_index())


@dataclass(frozen=True)
class _HeldOut:
    """How well the map fitted without a run describes it.

    ``score`` in nats per checkpoint; ``misfit``, the mean of ``squared`` over known values;
    ``squared`` (n,): mean squared standardised distance of each checkpoint, 0 where none is known.
    """

    score: float
    misfit: float
    squared: FloatArray


def _held_out(
    data: Sequences, path: IntArray, parameters: HMMParameters, options: ModelOptions
) -> Iterator[_HeldOut]:
    """Score every run under the map fitted to the others."""
    for r, length in enumerate(data.lengths):
        fitted = refit_without(parameters, data, path, r, options=options)
        if fitted is None:
            yield _HeldOut(np.nan, np.nan, np.zeros(length))
            continue
        mine = data.of(np.arange(len(data.lengths)) == r)
        seen = beliefs(fitted, mine)
        known = (~np.isnan(mine.values)).sum(axis=1)
        squares = squared_distances(fitted, mine, seen)
        yield _HeldOut(
            float(seen.log_likelihood[0] / length),
            float(squares.sum() / known.sum()),
            squares / np.maximum(known, 1),
        )


@dataclass(frozen=True)
class _Walks:
    """How the runs of a group walk the map.

    ``paths``: each run's states. ``bags`` (R, K): shares of its checkpoints. ``unlike`` (R,):
    total variation between a run's bag and the mean of the others'. ``back``: of each checkpoint
    of each run, the share of the others that it goes back unlike.
    """

    paths: list[IntArray]
    bags: FloatArray
    unlike: FloatArray
    back: list[FloatArray]

    @classmethod
    def of(cls, states: IntArray, lengths: IntArray, n_states: int) -> _Walks:
        paths = np.split(states, np.cumsum(lengths)[:-1])
        bags = np.stack([np.bincount(path, minlength=n_states) / len(path) for path in paths])
        others = (bags.sum(axis=0) - bags) / max(len(paths) - 1, 1)
        follows = np.stack([_follows(path, n_states) for path in paths])
        visits = bags > 0
        other = ~np.eye(n_states, dtype=bool)
        never = visits[:, :, None] & visits[:, None, :] & other & ~follows
        back = [
            _unlike_others(path, (never.sum(axis=0) - own) / max(len(paths) - 1, 1))
            for path, own in zip(paths, never, strict=True)
        ]
        return cls(paths, bags, 0.5 * np.abs(bags - others).sum(axis=1), back)


def _follows(path: IntArray, n_states: int) -> np.ndarray:
    """Whether state k is ever visited after state j, shape (K, K), bool."""
    times = np.arange(len(path))
    first = np.array([times[path == k].min(initial=len(path)) for k in range(n_states)])
    last = np.array([times[path == k].max(initial=-1) for k in range(n_states)])
    return first[:, None] < last[None, :]


def _unlike_others(path: IntArray, never: FloatArray) -> FloatArray:
    """Of each checkpoint, the largest ``never`` [j, k], j a state before and k the present one."""
    before = np.maximum.accumulate(np.eye(len(never), dtype=bool)[path], axis=0)
    return np.asarray(np.where(before, never[:, path].T, 0.0).max(axis=1))


@dataclass(frozen=True)
class _Group:
    """The runs of a group: rows of the table, walks, fits, and their positions among all runs."""

    table: pd.DataFrame
    walks: _Walks
    held_out: list[_HeldOut]
    members: IntArray

    def judged(
        self, steps: list[IntArray], n_tested: int, step_unit: str, random_state: int
    ) -> pd.DataFrame:
        """Return the rows of :func:`find_outliers` for this group.

        Parameters
        ----------
        steps : list of ndarray
            Steps of the checkpoints of every run of the analysis, not of this group's alone.
        n_tested : int
            Groups that are large enough to be tested.
        step_unit, random_state
            As in :func:`find_outliers`.
        """
        score = self.table["score"].to_numpy()
        table = self.table.assign(
            typical=[_median(np.delete(score, i)) for i in range(len(score))],
            path_distance=self.walks.unlike,
            returned=[float(back.mean()) for back in self.walks.back],
        )
        if len(table) < MIN_RUNS:
            runs = "1 run" if len(table) == 1 else f"{len(table)} runs"
            why = f"A group of {runs} cannot tell: it takes {MIN_RUNS} to see what is usual."
            return table.assign(p=np.nan, p_corrected=np.nan, outlier=False, reason=why)
        each, any_run = _tail_probabilities(table, random_state)
        corrected = np.minimum(np.fmin.reduce(any_run, axis=1) * len(_WAYS) * n_tested, 1.0)
        telling = any_run * len(_WAYS) * n_tested < FALSE_ALARMS
        reasons = [
            " ".join(self._reasons(i, telling[i], steps[r], step_unit))
            for i, r in enumerate(self.members)
        ]
        return table.assign(
            p=np.minimum(np.fmin.reduce(each, axis=1) * len(_WAYS), 1.0),
            p_corrected=corrected,
            outlier=corrected < FALSE_ALARMS,
            reason=reasons,
        )

    def _reasons(
        self, i: int, telling: np.ndarray, steps: IntArray, step_unit: str
    ) -> Iterator[str]:
        """Say in words what sets a run apart."""
        misfit, unlike, returned = telling
        if misfit:
            yield self._where_it_misfits(i, steps, step_unit)
        if returned:
            yield self._where_it_goes_back(i, steps, step_unit)
        if unlike:
            yield self._where_it_stays(i)

    def _where_it_misfits(self, i: int, steps: IntArray, step_unit: str) -> str:
        misfits = [one.misfit for one in self.held_out]
        usual = _median(np.delete(misfits, i))
        squared = self.held_out[i].squared
        first, last = _worst_stretch(squared - squared.mean())
        state = np.bincount(self.walks.paths[i][first : last + 1]).argmax()
        return (
            f"The map fitted without it describes it {misfits[i] / max(usual, 1e-300):.2g} times "
            f"as badly as the others, above all from {step_unit} {steps[first]:,} to "
            f"{steps[last]:,}, mostly in state {state}."
        )

    def _where_it_goes_back(self, i: int, steps: IntArray, step_unit: str) -> str:
        path, back = self.walks.paths[i], self.walks.back[i]
        stay = np.cumsum(np.diff(path, prepend=path[0]) != 0)
        longest = np.bincount(stay, weights=back).argmax()
        first = int(np.flatnonzero(stay == longest)[0])
        share = (path == path[first])[back > 0].sum() / len(path)
        n_others = len(self.walks.paths) - 1
        unlike = round(back[first] * n_others)
        whom = (
            "no other run does" if unlike == n_others else f"{unlike} of {n_others} others do not"
        )
        return (
            f"It goes back from state {path[first - 1]} to state {path[first]} at {step_unit} "
            f"{steps[first]:,}, which {whom}, and is there for {share:.0%} of its checkpoints."
        )

    def _where_it_stays(self, i: int) -> str:
        bags = self.walks.bags
        others = np.delete(bags, i, axis=0)
        state = int((bags[i] - others.mean(axis=0)).argmax())
        return (
            f"It spends {bags[i, state]:.0%} of its checkpoints in state {state}, the others "
            f"{others[:, state].min():.0%} to {others[:, state].max():.0%}."
        )


def _tail_probabilities(table: pd.DataFrame, random_state: int) -> tuple[FloatArray, FloatArray]:
    """Chance that one run, and that any run, lies out as far; for each way to, shape (R, 3).

    NaN where a run could not be scored.
    """
    each = np.full((len(table), len(_WAYS)), np.nan)
    any_run = each.copy()
    for w, way in enumerate(_WAYS):
        values = table[way.column].to_numpy(dtype=np.float64)
        known = np.isfinite(values)
        if known.sum() < MIN_RUNS:
            continue
        if way.column == "misfit":
            values = np.log(np.maximum(values, 1e-300))
        rng = np.random.default_rng(random_state)
        null = _deviations(way.law(rng, (_DRAWS, int(known.sum()))))
        seen = _deviations(values[known], _RESOLUTION)
        each[known, w] = _share_at_least(null.ravel(), seen)
        any_run[known, w] = _share_at_least(null.max(axis=1), seen)
    return each, any_run


def _deviations(values: FloatArray, resolution: float = 0.0) -> FloatArray:
    """How far each lies above the mean, in deviations, without the most extreme; (…, N)."""
    n = values.shape[-1]
    usual = np.sort(values, axis=-1)[..., : n - min(n // 4, _HIDDEN)]
    spread = np.hypot(usual.std(axis=-1, ddof=1, keepdims=True), resolution)
    return np.asarray((values - usual.mean(axis=-1, keepdims=True)) / spread)


def _share_at_least(null: FloatArray, seen: FloatArray) -> FloatArray:
    """Share of draws that reach each value, the value itself counted as one of them."""
    n_below = np.searchsorted(np.sort(null), seen, side="left")
    return np.asarray((1 + len(null) - n_below) / (1 + len(null)))


def _worst_stretch(excess: FloatArray) -> tuple[int, int]:
    """First and last position of the stretch with the largest sum."""
    total = np.concatenate([[0.0], np.cumsum(excess)])
    gained = total[1:] - np.minimum.accumulate(total[:-1])
    last = int(gained.argmax())
    return int(total[: last + 1].argmin()), last


def _median(values: FloatArray) -> float:
    known = np.asarray(values)[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")
