"""The supported map: states of which every boundary has been earned.

A hidden Markov model cuts smooth drift into as many states as it is given. Here the finest map is
taken apart instead: states without evidence are dissolved, neighbours between which runs drift are
merged, until every boundary that is left is crossed quickly between two places where runs stay
(:mod:`hmmdyn.hmm.choose.passages`). What was merged, in this order, is the zoom from fine to
coarse. Merging the components of a mixture until modes are left is due to Hennig (2010).

What it cannot see: changes of velocity without plateaus; visits shorter than three checkpoints;
changes that take longer than the phases beside them. A smooth drift that is slow, fast and slow
again cannot be told from a gradual change.

References
----------
Hennig (2010), Methods for merging Gaussian mixture components, Advances in Data Analysis and
Classification 4:3-34. Ashman, Bird and Zepf (1994), Detecting bimodality in astronomical datasets,
The Astronomical Journal 108:2348-2361.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.hmm.choose.duration import measure_change
from hmmdyn.hmm.choose.passages import (
    BOUNDARY_COLUMNS,
    SETTLING,
    SHORTEST_VISIT,
    SLICE,
    SUPPORTED,
    Resampling,
    find_passages,
    find_visits,
    judge_boundaries,
    sums_of,
    within_states,
)
from hmmdyn.hmm.choose.whose_time import whose_time
from hmmdyn.hmm.fit.em import EM, Model
from hmmdyn.hmm.fit.starts import from_labels
from hmmdyn.hmm.model.labels import chain_order, time_order
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import PLAIN_MODEL, ModelOptions
from hmmdyn.results.observations import Sequences

# A state or boundary needs so large a share of the runs, and so many.
_NEEDED_SHARE = 0.1
_NEEDED = 3
# From so large a share of the runs on, a state is one that runs start in.
_STARTS = 0.3
# EM goes on so long from the labels after each change of them.
_REPAIRS = 5
# What a smaller share of the runs in two states does is a stray.
_STRAY = 1 / 3
# A fork's alternatives share at most so many of the runs of the rarer one
_SHARED_RUNS = 0.6
# (while slices are left at most so many) ...
_FEW_SHARED_RUNS = 0.2
# ... are this far apart in deviations (Ashman et al. 1994: 2 is where two modes can be seen), ...
_ASHMAN = 4.0
# ... and in median distances between the two sides of a boundary.
_FORK_DISTANCE = 0.5
# A state is cut in two at these shares of its visits, to look for one more boundary.
_CUTS = (0.08, 0.2, 0.5, 0.8)
_LOOK_ITERATIONS = 40
_LOOK_SHORTEST = 4


@dataclass(frozen=True)
class Level:
    """One level of the zoom.

    ``labels`` (n,) are states 0 … K-1 in order of time. ``boundaries``: see
    :func:`hmmdyn.hmm.choose.passages.judge_boundaries`. ``left_by`` says what made the next
    coarser level of it, empty at the last one.
    """

    labels: IntArray
    boundaries: pd.DataFrame
    left_by: str

    @property
    def n_states(self) -> int:
        """Number of states at this level."""
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class Dated:
    """The boundaries of a level with their dates, and the passages: see :class:`SupportedMap`."""

    boundaries: pd.DataFrame
    passages: pd.DataFrame


@dataclass(frozen=True)
class SupportedMap:
    """States with evidence, their boundaries, and the zoom around them.

    Attributes
    ----------
    labels : ndarray, shape (n,)
        State of each checkpoint, 0 … K-1 in order of time.
    boundaries : DataFrame
        One row per change of state that enough runs make: the columns of
        :func:`hmmdyn.hmm.choose.passages.judge_boundaries`, then ``date`` (median over runs, in
        steps) with its 90 % interval ``date_low, date_high``, and ``duration`` (from 10 to 90 %,
        steps) with ``duration_low, duration_high``; NaN where the boundary is not supported. Rows
        of kind ``slice`` are no boundaries: they stay where a way back is supported, or where few
        of the runs in two well founded states go.
    passages : DataFrame
        One row per passage of a supported boundary: ``run`` (position), ``from_state, to_state,
        step`` (of its middle).
    settling : tuple of int
        States in which runs start and from which they settle into the next one: no boundary lies
        there, and they do not count as phases.
    levels : tuple of Level
        The zoom, from the finest map to one state; the supported map is one of them.
    log : DataFrame
        What was done on the way, a row each: ``n_states`` (before it), ``action`` (``rare``,
        ``fleeting``, ``passed through``, ``slice``, ``same level``, ``apart``, ``split``, or
        ``coarser`` beyond the supported map), ``state``, ``into`` (-1 where it was dealt to its
        neighbours in time), ``delta`` (NaN where it did not matter).
    """

    labels: IntArray
    boundaries: pd.DataFrame
    passages: pd.DataFrame
    settling: tuple[int, ...]
    levels: tuple[Level, ...]
    log: pd.DataFrame

    @property
    def n_states(self) -> int:
        """Number of states, those in which runs only settle included."""
        return int(self.labels.max()) + 1

    @property
    def n_phases(self) -> int:
        """Number of states without those in which runs only settle."""
        return self.n_states - len(self.settling)

    @property
    def zoom(self) -> dict[int, Level]:
        """One level per number of states there is, finest first; the supported map among them."""
        # Of several, the last: a state that a look inside brought back had been merged before.
        last = {level.n_states: level for level in self.levels}
        return {n_states: last[n_states] for n_states in sorted(last, reverse=True)}

    def at(self, n_states: int) -> Level:
        """Return the level with so many states, or the next coarser one there is."""
        return next(level for k, level in self.zoom.items() if k <= n_states)


def supported_map(
    data: Sequences,
    labels: IntArray,
    *,
    covariance_type: str = "diag",
    options: ModelOptions = PLAIN_MODEL,
    n_draws: int = 400,
    random_state: int = 0,
) -> SupportedMap:
    """Merge the states of a fine map until every boundary that is left is supported.

    Parameters
    ----------
    data : Sequences
        Standardised observations, shape (n, D), pooled and not run by run; NaN where a metric is
        missing: paths are repaired without it, and passages see it interpolated in time. Without
        steps, these are counted from 0 in each run.
    labels : ndarray, shape (n,)
        Decoded states of a map that is finer than what is looked for, such as that of the largest
        number of states tried.
    covariance_type : str
        ``diag`` or ``full``, of the models that repair paths after each change.
    options : ModelOptions
        Of these models and of the fine map: the plain ones, or those of the order of time
        (``left_right``).
    n_draws : int
        Bootstrap draws of runs.
    random_state : int
        Same input and seed, same map.

    Returns
    -------
    SupportedMap
    """
    maker = _MapMaker(data, covariance_type, options, Resampling(n_draws, random_state))
    maker.make(labels)
    return maker.finished(clock_of(data).astype(np.float64))


def supported_states(
    data: Sequences,
    labels: IntArray,
    *,
    covariance_type: str = "diag",
    options: ModelOptions = PLAIN_MODEL,
    n_draws: int = 400,
    random_state: int = 0,
) -> IntArray:
    """Return the labels of :func:`supported_map` alone, which costs neither dates nor a zoom.

    Parameters
    ----------
    data, labels, covariance_type, options, n_draws, random_state
        As of :func:`supported_map`.
    """
    maker = _MapMaker(data, covariance_type, options, Resampling(n_draws, random_state))
    maker.make(labels)
    return maker.labels


def needed_runs(n_runs: int) -> int:
    """Return how many of so many runs a state or boundary needs: a tenth, and at least three."""
    return max(_NEEDED, int(np.ceil(_NEEDED_SHARE * n_runs)))


def dated(data: Sequences, level: Level, *, n_draws: int = 400, random_state: int = 0) -> Dated:
    """Date the supported boundaries of a level, as those of a supported map are.

    Parameters
    ----------
    data : Sequences
        What the map was made of.
    level : Level
        A level of its zoom.
    n_draws, random_state : int
        As the map was made with: bootstrap draws of runs, and their seed.
    """
    return _dated(
        interpolated(data.values, data.lengths),
        data.lengths,
        clock_of(data).astype(np.float64),
        level,
        Resampling(n_draws, random_state),
    )


def _dated(
    values: FloatArray,
    lengths: IntArray,
    steps: FloatArray,
    level: Level,
    resampling: Resampling,
) -> Dated:
    found = find_passages(find_visits(level.labels, lengths))
    within = within_states(values, level.labels)
    columns = {name: np.full(len(level.boundaries), np.nan) for name in _CHANGE_COLUMNS}
    timing = np.full(len(level.boundaries), "", dtype=object)
    rows = []
    supported = level.boundaries["kind"].isin(SUPPORTED)
    for i, (j, k) in enumerate(_pairs(level.boundaries)):
        if not supported.iloc[i]:
            continue
        change = measure_change(values, found.between(j, k), within, steps, lengths, resampling)
        own = whose_time(change, resampling)
        for name, column in columns.items():
            column[i] = getattr(own if name.startswith("spread") else change, name)
        timing[i] = own.verdict
        rows += [(int(r), j, k, float(d)) for r, d in zip(change.runs, change.dates, strict=True)]
    passages = pd.DataFrame(rows, columns=["run", "from_state", "to_state", "step"])
    return Dated(
        level.boundaries.assign(**columns, timing=timing),
        passages.sort_values(["run", "step"], ignore_index=True),
    )


def clock_of(data: Sequences) -> IntArray:
    """Steps of the checkpoints, shape (n,); counted from 0 in each run where they are not known."""
    if data.steps is None:
        return np.concatenate([np.arange(n) for n in data.lengths])
    return data.steps


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


class _MapMaker:
    """The map on its way from fine to coarse, with everything that was done to it.

    ``labels`` (n,) are its states as they are.
    """

    def __init__(
        self,
        data: Sequences,
        covariance_type: str,
        options: ModelOptions,
        resampling: Resampling,
    ) -> None:
        self._values = interpolated(data.values, data.lengths)
        self._lengths = lengths = data.lengths
        self._runs = np.repeat(np.arange(len(lengths)), lengths)
        self._first = np.cumsum(lengths) - lengths
        self._covariance_type = covariance_type
        self._options = options
        self._em = EM(Sequences(data.values, lengths), covariance_type, options=options)
        self._resampling = resampling
        self._need = needed_runs(len(lengths))
        self.labels: IntArray = np.zeros(len(data.values), dtype=np.int64)
        self._boundaries = pd.DataFrame(columns=BOUNDARY_COLUMNS)
        self._levels: list[Level] = []
        self._log: list[dict[str, object]] = []

    def make(self, labels: IntArray) -> None:
        """Go from fine labels to states that are supported."""
        self.take(labels)
        self.settle()
        self.look_inside()
        self.settle()

    def settle(self) -> None:
        """Merge and dissolve until every boundary is supported, and every fork."""
        while self._n_states > 1 and (self._coarsen() or self._merge_alternatives()):
            pass

    @property
    def _n_states(self) -> int:
        return int(self.labels.max()) + 1

    def take(self, labels: IntArray) -> None:
        """Make labels the map's, with states in order of time, and judge their boundaries."""
        _, labels = np.unique(labels, return_inverse=True)
        n_states = int(labels.max()) + 1
        in_order = chain_order if self._options.left_right else time_order
        self.labels = np.argsort(in_order(labels, self._lengths, n_states))[labels]
        self._boundaries = self._judge(self.labels)
        passed = self._visits_in_passing()
        if len(passed):
            # A state that has such visits only is gone, and leaves no gap in the numbers.
            _, self.labels = np.unique(self._halved(passed), return_inverse=True)
            self._boundaries = self._judge(self.labels)

    def _visits_in_passing(self) -> IntArray:
        """Visits to a state that has boundaries of its own, but is only crossed here.

        A state may lie on the straight way between two others: runs that change from one of these
        to the other touch it, and neither side of that visit is a boundary.
        """
        b = self._boundaries
        weak = ~b["kind"].isin(SUPPORTED)
        entered = set(_pairs(b[weak & (b["before"] > b["after"])]))
        left = set(_pairs(b[weak & (b["before"] < b["after"])]))
        founded = {k for pair in _pairs(b[~weak]) for k in pair}
        visits = find_visits(self.labels, self._lengths)
        state, run = visits.state.tolist(), visits.run.tolist()
        passed = [
            v
            for v in range(1, len(state) - 1)
            if run[v - 1] == run[v + 1]
            and state[v] in founded
            and (state[v - 1], state[v]) in entered
            and (state[v], state[v + 1]) in left
        ]
        return np.array(passed, dtype=np.int64)

    def _judge(self, labels: IntArray) -> pd.DataFrame:
        """Judge boundaries; nothing settles out of a state in which runs do not start."""
        judged = judge_boundaries(self._values, labels, self._lengths, self._need, self._resampling)
        starting = self._starting(labels)[judged["from_state"].to_numpy(dtype=np.int64)]
        judged.loc[(judged["kind"] == SETTLING).to_numpy(dtype=bool) & ~starting, "kind"] = SLICE
        return judged

    def _starting(self, labels: IntArray) -> NDArray[np.bool_]:
        """Whether runs start in each state, shape (K,)."""
        starts = np.bincount(labels[self._first], minlength=int(labels.max()) + 1)
        return starts >= _STARTS * len(self._lengths)

    def _repaired(self, labels: IntArray) -> IntArray:
        """Let a few iterations of EM settle where each checkpoint belongs."""
        _, labels = np.unique(labels, return_inverse=True)
        n_states = int(labels.max()) + 1
        if n_states == 1:
            return labels
        start = from_labels(
            Sequences(self._values, self._lengths),
            labels,
            n_states,
            self._covariance_type,
            options=self._options,
        )
        model = Model(start)
        self._em.advance([model], _REPAIRS)
        if not np.isfinite(model.reached):
            return labels
        return np.asarray(self._em.decode(model), dtype=np.int64)

    def _leave(
        self, labels: IntArray, action: str, state: int, into: int = -1, delta: float = np.nan
    ) -> None:
        """Go on with other labels, and say why."""
        n_states = self._n_states
        self._levels.append(Level(self.labels, self._boundaries, action))
        self._log.append(
            {"n_states": n_states, "action": action, "state": state, "into": into, "delta": delta}
        )
        repaired = self._repaired(labels)
        self.take(repaired if len(np.unique(repaired)) < n_states else labels)

    def _coarsen(self) -> bool:
        """Take the state or boundary with the least evidence away; False where all have some."""
        return (
            self._dissolve_unjudged()
            or self._dissolve_passed_through()
            or self._merge_slice()
            or self._merge_one_level()
            or self._merge_apart()
        )

    def _dissolve_unjudged(self) -> bool:
        """Dissolve the state that the fewest runs stay in, if too few do.

        Too few of all runs, or fewer than half of those that visit it: the checkpoints that an
        abrupt change was caught midway at are visited by many runs and stayed in by few.
        """
        visits = find_visits(self.labels, self._lengths)
        long = visits.length >= SHORTEST_VISIT
        n_visit, n_stay = (
            np.array([len(set(visits.run[(visits.state == k) & which])) for k in self._states()])
            for which in (np.ones_like(long), long)
        )
        too_few = (n_stay < self._need) | (n_stay < n_visit / 2)
        if not too_few.any():
            return False
        state = int(np.where(too_few, n_stay, np.inf).argmin())
        action = "rare" if n_visit[state] < self._need else "fleeting"
        self._leave(self._dealt(state), action, state)
        return True

    def _states(self) -> range:
        return range(self._n_states)

    def _dealt(self, state: int) -> IntArray:
        """Deal a state's checkpoints to the states before and after them, the nearer in mean."""
        labels, means = self.labels.copy(), _means(self._values, self.labels)
        visits = find_visits(self.labels, self._lengths)
        for v in np.flatnonzero(visits.state == state):
            rows = np.arange(visits.begin[v], visits.end[v])
            around = [
                int(visits.state[u])
                for u in (v - 1, v + 1)
                if 0 <= u < len(visits.run) and visits.run[u] == visits.run[v]
            ]
            others = around or [k for k in self._states() if k != state]
            away = ((self._values[rows][:, None] - means[others]) ** 2).sum(axis=2)
            labels[rows] = np.array(others)[away.argmin(axis=1)]
        return labels

    def _dissolve_passed_through(self) -> bool:
        """Dissolve the emptiest state that is emptier than what comes before and after it."""
        b = self._boundaries
        weak = ~b["kind"].isin(SUPPORTED)
        starting = self._starting(self.labels)
        emptiness = {}
        for k in self._states():
            into, out_of = b["to_state"] == k, b["from_state"] == k
            entered = into & (b["before"] > b["after"])
            left = out_of & (b["before"] < b["after"])
            if starting[k] or not entered.any() or not left.any() or not weak[into | out_of].all():
                continue
            denser = np.where(into, b["thinning"], 1 / b["thinning"])[into | out_of]
            emptiness[k] = float(np.mean(denser))
        if not emptiness:
            return False
        state = min(emptiness, key=lambda k: emptiness[k])
        visits = find_visits(self.labels, self._lengths)
        halved = self._halved(np.flatnonzero(visits.state == state))
        # A run that is nowhere else has no neighbours to give its checkpoints to.
        alone = halved == state
        self._leave(np.where(alone, self._dealt(state), halved), "passed through", state)
        return True

    def _halved(self, chosen: IntArray) -> IntArray:
        """Give the first half of each chosen visit to the state before it, the rest to the next."""
        labels = self.labels.copy()
        visits = find_visits(self.labels, self._lengths)
        for v in chosen:
            begin, end = int(visits.begin[v]), int(visits.end[v])
            before = v > 0 and visits.run[v - 1] == visits.run[v]
            after = v + 1 < len(visits.run) and visits.run[v + 1] == visits.run[v]
            half = (begin + end) // 2 if before and after else end if before else begin
            if before:
                labels[begin:half] = visits.state[v - 1]
            if after:
                labels[half:end] = visits.state[v + 1]
        return labels

    def _merge_slice(self) -> bool:
        """Merge the two states between which runs drift most surely.

        What few of the runs in the two states do is a stray, and tells nothing about the states,
        as long as both have boundaries that are supported.
        """
        b = self._boundaries
        supported = set(_pairs(b[b["kind"].isin(SUPPORTED)]))
        founded = {k for pair in supported for k in pair}
        stray = (b["share"] < _STRAY) & b["from_state"].isin(founded) & b["to_state"].isin(founded)
        slices = b[(b["kind"] == SLICE) & ~stray]
        slices = slices.sort_values("delta_low", ascending=False, kind="stable")
        for (j, k), delta in zip(_pairs(slices), slices["delta"], strict=True):
            if (k, j) not in supported:
                self._leave(self._merged(j, k), "slice", k, j, float(delta))
                return True
        return False

    def _merged(self, j: int, k: int) -> IntArray:
        return np.where(self.labels == k, j, self.labels)

    def _merge_one_level(self) -> bool:
        """Merge the two alternatives of different runs that are least apart, if too little."""
        seen = _RunMeans.of(self._values, self.labels, self._runs)
        alternatives = [
            (seen.separation(j, k), j, k)
            for j, k in combinations(self._states(), 2)
            if seen.share_of_runs(j, k) <= _FEW_SHARED_RUNS
        ]
        if not alternatives or min(alternatives)[0] >= _ASHMAN:
            return False
        _, j, k = min(alternatives)
        self._leave(self._merged(j, k), "same level", k, j)
        return True

    def _merge_apart(self) -> bool:
        """Merge a state that no judged boundary leads to or from with the nearest one."""
        joined = {k for pair in _pairs(self._boundaries) for k in pair}
        alone = [k for k in self._states() if k not in joined]
        if not alone:
            return False
        means = _means(self._values, self.labels)
        away = ((means - means[alone[0]]) ** 2).sum(axis=1)
        away[alone[0]] = np.inf
        nearest = int(away.argmin())
        self._leave(self._merged(nearest, alone[0]), "apart", alone[0], nearest)
        return True

    def _merge_alternatives(self) -> bool:
        """Make two states one that different runs go to, without evidence of a fork."""
        b = self._boundaries
        joined = {frozenset(pair) for pair in _pairs(b[b["kind"] != SLICE])}
        if self._n_states > 2 and joined:
            seen = _RunMeans.of(self._values, self.labels, self._runs)
            means = _means(self._values, self.labels)
            typical = np.median(
                [np.linalg.norm(means[j] - means[k]) for j, k in map(tuple, joined)]
            )
            unfounded = []
            for j, k in combinations(self._states(), 2):
                if frozenset((j, k)) in joined or seen.share_of_runs(j, k) > _SHARED_RUNS:
                    continue
                distance = float(np.linalg.norm(means[j] - means[k]) / typical)
                if distance < _FORK_DISTANCE or seen.separation(j, k) < _ASHMAN:
                    unfounded.append((distance, j, k))
            if unfounded:
                _, j, k = min(unfounded)
                self._leave(self._merged(j, k), "same level", k, j)
                return True
        return False

    def look_inside(self) -> None:
        """Look once inside each state for one more boundary, and keep it if it is supported."""
        state = 0
        while state < self._n_states:
            labels = self._split(state)
            if labels is not None and self._all_earned(labels, state):
                self._levels.append(Level(self.labels, self._boundaries, "split"))
                self._log.append(
                    {
                        "n_states": self._n_states,
                        "action": "split",
                        "state": state,
                        "into": self._n_states,
                        "delta": np.nan,
                    }
                )
                self.take(labels)
            else:
                state += 1

    def _split(self, state: int) -> IntArray | None:
        """Cut a state's visits by a model of two states: the best of several cuts, if any."""
        visits = find_visits(self.labels, self._lengths)
        chosen = (visits.state == state) & (visits.length >= _LOOK_SHORTEST)
        if chosen.sum() < _NEEDED:
            return None
        lengths = visits.length[chosen]
        rows = np.concatenate(
            [np.arange(a, b) for a, b in zip(visits.begin[chosen], visits.end[chosen], strict=True)]
        )
        values = self._values[rows]
        em = EM(Sequences(values, lengths), self._covariance_type, options=self._options)
        models = [
            Model(
                from_labels(
                    Sequences(values, lengths),
                    _cut(lengths, cut),
                    2,
                    self._covariance_type,
                    options=self._options,
                )
            )
            for cut in _CUTS
        ]
        em.advance(models, _LOOK_ITERATIONS)
        best = max(models, key=lambda model: model.reached)
        if not np.isfinite(best.reached):
            return None
        halves = em.decode(best)
        if len(np.unique(halves)) < 2:
            return None
        labels = self.labels.copy()
        labels[rows] = np.where(halves == 1, self._n_states, state)
        return labels

    def _all_earned(self, labels: IntArray, state: int) -> bool:
        """Whether a state's two halves, with all their boundaries, are supported."""
        judged = self._judge(labels)
        halves = (state, int(labels.max()))
        from_half, to_half = (judged[c].isin(halves) for c in ("from_state", "to_state"))
        between = judged[from_half & to_half]["kind"]
        around = judged[from_half ^ to_half]["kind"]
        earned = (*SUPPORTED, SETTLING)
        return bool(len(between) and between.isin(earned).all() and around.isin(earned).all())

    def finished(self, steps: FloatArray) -> SupportedMap:
        """Date the boundaries of the map as it is, and go on to one state for the zoom."""
        labels, boundaries = self.labels, self._boundaries
        level = Level(labels, boundaries, "")
        found = _dated(self._values, self._lengths, steps, level, self._resampling)
        self._to_one_state()
        self._levels.append(Level(self.labels, self._boundaries, ""))
        settling = set(boundaries.loc[boundaries["kind"] == SETTLING, "from_state"])
        settling -= {
            k for pair in _pairs(boundaries[boundaries["kind"].isin(SUPPORTED)]) for k in pair
        }
        return SupportedMap(
            labels,
            found.boundaries,
            found.passages,
            tuple(sorted(int(k) for k in settling)),
            tuple(self._levels),
            pd.DataFrame(self._log, columns=["n_states", "action", "state", "into", "delta"]),
        )

    def _to_one_state(self) -> None:
        """Merge on, always where the boundary is least clear."""
        while self._n_states > 1:
            b = self._boundaries.sort_values("delta", ascending=False, kind="stable")
            if b.empty:
                j, k, d = 0, self._n_states - 1, np.nan
            else:
                row = b.iloc[0]
                j, k, d = int(row["from_state"]), int(row["to_state"]), float(row["delta"])
            self._leave(self._merged(j, k), "coarser", k, j, d)


_CHANGE_COLUMNS = (
    "date",
    "date_low",
    "date_high",
    "duration",
    "duration_low",
    "duration_high",
    "spread",
    "spread_low",
    "spread_high",
)


def _means(values: FloatArray, labels: IntArray) -> FloatArray:
    """Mean of each state, shape (K, D)."""
    return np.array([values[labels == k].mean(axis=0) for k in range(int(labels.max()) + 1)])


def _pairs(boundaries: pd.DataFrame) -> Iterator[tuple[int, int]]:
    """Pairs of states of boundaries, from and to."""
    for j, k in zip(boundaries["from_state"], boundaries["to_state"], strict=True):
        yield int(j), int(k)


def _cut(lengths: IntArray, share: float) -> IntArray:
    """0 before a share of each visit, 1 after it."""
    return np.concatenate([np.arange(n) >= max(1, round(share * n)) for n in lengths]).astype(
        np.int64
    )


@dataclass(frozen=True)
class _RunMeans:
    """How many checkpoints each run has in each state (R, K), and their means (R, K, D)."""

    counts: IntArray
    means: FloatArray

    @classmethod
    def of(cls, values: FloatArray, labels: IntArray, runs: IntArray) -> _RunMeans:
        shape = int(runs.max()) + 1, int(labels.max()) + 1
        place = runs * shape[1] + labels
        counts = np.bincount(place, minlength=shape[0] * shape[1])
        means = sums_of(values, place, len(counts)) / np.maximum(counts, 1)[:, None]
        return cls(counts.reshape(shape), means.reshape(*shape, -1))

    def share_of_runs(self, j: int, k: int) -> float:
        """Of the runs that visit the rarer of two states, how many visit the other one too."""
        in_j, in_k = self.counts[:, j] > 0, self.counts[:, k] > 0
        return float((in_j & in_k).sum() / max(min(in_j.sum(), in_k.sum()), 1))

    def separation(self, j: int, k: int) -> float:
        """Ashman's D between the runs in j and those in k, each along the others' direction.

        0 where fewer than three runs stay in one of the states.
        """
        one, two = (self.means[self.counts[:, s] >= 2, s] for s in (j, k))
        if min(len(one), len(two)) < _NEEDED:
            return 0.0
        places = []
        for here, there, sign in ((one, two, 1.0), (two, one, -1.0)):
            others = (here.sum(axis=0) - here) / (len(here) - 1)
            way = sign * (there.mean(axis=0) - others)
            origin = others if sign > 0 else there.mean(axis=0)
            places.append(((here - origin) * way).sum(axis=1) / (way**2).sum(axis=1))
        spread = np.sqrt((places[0].var(ddof=1) + places[1].var(ddof=1)) / 2 + 1e-12)
        return float((places[1].mean() - places[0].mean()) / spread)
