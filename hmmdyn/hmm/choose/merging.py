"""How states without evidence are merged and dissolved, from the finest map on.

:mod:`hmmdyn.hmm.choose.boundaries` says what comes of it, and why.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.hmm.choose.passages import (
    BOUNDARY_COLUMNS,
    FEWEST_RUNS,
    SETTLING,
    SHORTEST_VISIT,
    SLICE,
    SUPPORTED,
    Resampling,
    find_visits,
    interpolated,
    judge_boundaries,
    needed_runs,
    sums_of,
)
from hmmdyn.hmm.fit.em import EM, Model
from hmmdyn.hmm.fit.starts import from_labels
from hmmdyn.hmm.model.labels import chain_order, time_order
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import ModelOptions
from hmmdyn.results.observations import Sequences

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


class MapMaker:
    """The map on its way from fine to coarse, with everything that was done to it.

    Parameters
    ----------
    data : Sequences
        As of :func:`hmmdyn.hmm.choose.boundaries.supported_map`.
    covariance_type : str
        ``diag`` or ``full``, of the models that repair paths after each change.
    options : ModelOptions
        Of these models.
    resampling : Resampling
        Draws the runs for the bounds.

    Attributes
    ----------
    labels : ndarray, shape (n,)
        States of the map as it is, 0 … K-1 in order of time.
    levels : list of Level
        Those left so far, finest first.
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
        self.levels: list[Level] = []
        self._log: list[dict[str, object]] = []

    @property
    def log(self) -> pd.DataFrame:
        """What was done so far; see :class:`hmmdyn.hmm.choose.boundaries.SupportedMap`."""
        return pd.DataFrame(self._log, columns=["n_states", "action", "state", "into", "delta"])

    def level(self, left_by: str) -> Level:
        """Return the map as it is, with what is about to be done to it."""
        return Level(self.labels, self._boundaries, left_by)

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
        entered = set(pairs(b[weak & (b["before"] > b["after"])]))
        left = set(pairs(b[weak & (b["before"] < b["after"])]))
        founded = {k for pair in pairs(b[~weak]) for k in pair}
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
        self.levels.append(self.level(action))
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
        supported = set(pairs(b[b["kind"].isin(SUPPORTED)]))
        founded = {k for pair in supported for k in pair}
        stray = (b["share"] < _STRAY) & b["from_state"].isin(founded) & b["to_state"].isin(founded)
        slices = b[(b["kind"] == SLICE) & ~stray]
        slices = slices.sort_values("delta_low", ascending=False, kind="stable")
        for (j, k), delta in zip(pairs(slices), slices["delta"], strict=True):
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
        joined = {k for pair in pairs(self._boundaries) for k in pair}
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
        joined = {frozenset(pair) for pair in pairs(b[b["kind"] != SLICE])}
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
                self.levels.append(self.level("split"))
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
        if chosen.sum() < FEWEST_RUNS:
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

    def go_on_to_one_state(self) -> None:
        """Merge on, always where the boundary is least clear."""
        while self._n_states > 1:
            b = self._boundaries.sort_values("delta", ascending=False, kind="stable")
            if b.empty:
                j, k, d = 0, self._n_states - 1, np.nan
            else:
                row = b.iloc[0]
                j, k, d = int(row["from_state"]), int(row["to_state"]), float(row["delta"])
            self._leave(self._merged(j, k), "coarser", k, j, d)
        self.levels.append(self.level(""))


def _means(values: FloatArray, labels: IntArray) -> FloatArray:
    """Mean of each state, shape (K, D)."""
    return np.array([values[labels == k].mean(axis=0) for k in range(int(labels.max()) + 1)])


def pairs(boundaries: pd.DataFrame) -> Iterator[tuple[int, int]]:
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
        if min(len(one), len(two)) < FEWEST_RUNS:
            return 0.0
        places = []
        for here, there, sign in ((one, two, 1.0), (two, one, -1.0)):
            others = (here.sum(axis=0) - here) / (len(here) - 1)
            way = sign * (there.mean(axis=0) - others)
            origin = others if sign > 0 else there.mean(axis=0)
            places.append(((here - origin) * way).sum(axis=1) / (way**2).sum(axis=1))
        spread = np.sqrt((places[0].var(ddof=1) + places[1].var(ddof=1)) / 2 + 1e-12)
        return float((places[1].mean() - places[0].mean()) / spread)
