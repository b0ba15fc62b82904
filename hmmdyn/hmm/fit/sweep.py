"""The sweep: the best model of every number of states, found by racing many starts.

Starts of several kinds run side by side for a few iterations of EM, the better half goes on, and
the last one left goes on. Then states of the winner with one state fewer are split, and those of
the winner with one more are merged, until no winner gets better. At last the winners are polished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations, cycle

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from hmmdyn.hmm.fit.em import COVARIANCE_PRIOR, EM, MAX_ITERATIONS, Fit, Model
from hmmdyn.hmm.fit.starts import KINDS, filled, from_labels, pooled_covariance, start
from hmmdyn.hmm.model.chain import check_options, median_gap
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.verdicts import LEFT_BEHIND

Progress = Callable[[int, int], None]

# Iterations after which the better half of the contenders goes on.
LAPS = (6, 12, 12, 12)
# The first laps are run on at most so many of the runs.
_RACED_RUNS = 10
_RACED_LAPS = 2
# So many splits, and as many merges, of a neighbour's winner challenge each winner.
_CHALLENGERS = 3
_ROUNDS = 2
_LARGE = 8
# From so many checkpoints on, models race in single precision, and challengers not expected to win
# are out. With fewer neither gains anything, and a plateau of EM can deceive expectations.
_MANY = 10_000
# Challengers then cost little, and more of them find better optima.
_CHALLENGERS_OF_MANY = 6
# At the end the best model is tried once more, from itself with variances so many times larger.
_WIDER = 3.0
# A challenger makes a difference to its neighbours where it is better by so much, in nats per
# checkpoint; less can be the same optimum, reached a little further.
MARGIN = 1e-4
# What becomes of a start that the race goes on without.
_LEFT_BEHIND = Fit(None, None, np.nan, (), LEFT_BEHIND)


@dataclass(frozen=True)
class Attempt:
    """One start and what became of it.

    ``start`` is one of ``starts.KINDS`` or, for a challenger, ``split of K states`` or ``merge of
    K states``. The reason of ``fit`` is ``left behind`` where the race went on without it.
    """

    n_states: int
    start: str
    seed: int
    n_iterations: int
    fit: Fit


@dataclass(frozen=True)
class Sweep:
    """The best valid fit per number of states, and every attempt in the order it was made."""

    winners: Mapping[int, Fit]
    attempts: tuple[Attempt, ...]


def sweep(
    values: FloatArray,
    lengths: IntArray,
    candidates: Sequence[int],
    *,
    covariance_type: str,
    n_restarts: int,
    random_state: int,
    n_jobs: int = 1,
    progress: Progress | None = None,
    options: ModelOptions = PLAIN_MODEL,
    steps: IntArray | None = None,
) -> Sweep:
    """Find the best model of each number of states.

    Parameters
    ----------
    values : ndarray, shape (n, D)
        Standardised observations, runs contiguous; NaN where a metric is missing.
    lengths : ndarray, shape (R,)
        Checkpoints per run.
    candidates : sequence of int
        Numbers of states.
    n_restarts : int
        Starts per number of states; one state has a closed form and needs a single one.
    random_state : int
        Seeds every start: same input, same result, whatever ``n_jobs`` is.
    progress : callable, optional
        Called with (rounds done, rounds in all).
    options : ModelOptions
        What the models assume beyond the plain hidden Markov model.
    steps : ndarray, shape (n,), optional
        Of the checkpoints; needed for a clock other than ``checkpoint``.

    Raises
    ------
    UsageError
        An option is out of range, or the clock needs other steps.
    """
    check_options(options)
    race = _Race(values, lengths, covariance_type, random_state, options, steps)
    plan = {k: n_restarts if k > 1 else 1 for k in _with_neighbours(candidates)}
    # One thread per block: blocks run side by side (the compiled parts release Python's lock), and
    # sums come out alike whatever n_jobs is.
    with threadpool_limits(1), Parallel(n_jobs=n_jobs, backend="threading") as parallel:

        def contest(
            makers: Mapping[int, _Maker], leaders: Mapping[int, _Contender]
        ) -> dict[int, list[_Contender]]:
            blocks = _blocks(makers)
            raced = parallel(
                delayed(race.run)([makers[k] for k in block], [leaders.get(k) for k in block])
                for block in blocks
            )
            return {
                k: contenders
                for block, groups in zip(blocks, raced, strict=True)
                for k, contenders in zip(block, groups, strict=True)
            }

        contenders = contest({k: partial(race.starts, k, plan[k]) for k in plan}, {})
        changed = set(plan)
        for done in range(1, _ROUNDS + 1):
            leaders = {k: _leader(contenders[k]) for k in plan}
            makers = {
                k: partial(
                    race.challengers, k, [leaders[n] for n in (k - 1, k + 1) if n in changed]
                )
                for k in plan
                if k > 1 and {k - 1, k + 1} & changed
            }
            for k, challengers in contest(makers, leaders if race.is_long else {}).items():
                contenders[k] += challengers
            better = MARGIN * len(values)
            changed = {
                k for k in plan if _leader(contenders[k]).reached > leaders[k].reached + better
            }
            if progress:
                progress(done, _ROUNDS + 1)
        polished = parallel(
            delayed(race.polish)([contenders[k] for k in block]) for block in _blocks(plan)
        )
    if progress:
        progress(_ROUNDS + 1, _ROUNDS + 1)
    attempts = sorted((a for block in polished for a in block), key=lambda a: a.n_states)
    valid = {k: [a.fit for a in attempts if a.n_states == k and a.fit.valid] for k in plan}
    return Sweep(
        {k: fits[0] for k, fits in valid.items() if fits and k in candidates},
        tuple(a for a in attempts if a.n_states in candidates),
    )


def attempts_table(swept: Sweep, covariance_type: str) -> pd.DataFrame:
    """Every attempt of a sweep, a row each: see :class:`hmmdyn.results.selection.Selection`."""
    return pd.DataFrame(
        {
            "covariance_type": covariance_type,
            "n_states": a.n_states,
            "start": a.start,
            "seed": a.seed,
            "log_likelihood": a.fit.log_likelihood,
            "n_iterations": a.n_iterations,
            "valid": a.fit.valid,
            "reason": a.fit.reason,
        }
        for a in swept.attempts
    )


def _with_neighbours(candidates: Iterable[int]) -> list[int]:
    """Add K - 1 and K + 1 to a lone K, to have something to split and to merge."""
    asked = set(candidates)
    lone = {k for k in asked if not {k - 1, k + 1} & asked}
    return sorted(asked | {n for k in lone for n in (k - 1, k + 1) if n > 0})


def _blocks(numbers: Iterable[int]) -> list[list[int]]:
    """Deal numbers of states to two blocks that take about equally long.

    Models of one block share their matrix products, so fewer blocks are less work in all.
    """
    ordered = sorted(numbers, reverse=True)
    blocks = [[k for i, k in enumerate(ordered) if i % 4 in which] for which in ((0, 3), (1, 2))]
    return [block for block in blocks if block]


def _leader(contenders: Sequence[_Contender]) -> _Contender:
    return max(contenders, key=lambda contender: contender.reached)


@dataclass(eq=False)
class _Contender:
    """A start on its way through the race.

    ``reached`` is its objective on all runs, if known, and ``fit`` what has become of it.
    """

    n_states: int
    start: str
    seed: int
    model: Model
    n_iterations: int = 0
    em: EM | None = None
    reached: float = -np.inf
    fit: Fit = _LEFT_BEHIND

    def enter(self, em: EM) -> None:
        """Go on, on the runs that ``em`` has: objectives on other runs do not compare."""
        if em is not self.em:
            self.n_iterations += len(self.model.objective)
            self.model, self.em = Model(self.model.parameters), em

    def may_pass(self, leader: _Contender) -> bool:
        """Whether it is expected to end above what the leader has reached, as far as is known."""
        unknown = self.reached == -np.inf
        return unknown or self.reached + self.model.left_to_rise > leader.reached


_Maker = Callable[[], list[_Contender]]


class _Race:
    """Makes starts and runs them against each other."""

    def __init__(
        self,
        values: FloatArray,
        lengths: IntArray,
        covariance_type: str,
        random_state: int,
        options: ModelOptions,
        steps: IntArray | None,
    ) -> None:
        self._values, self._lengths = filled(values), lengths
        self._covariance_type = covariance_type
        self._random_state = random_state
        unit = median_gap(options.clock, steps, lengths)
        self._start = partial(start, options=options, unit=unit)
        pooled = pooled_covariance(self._values)
        self._from_labels = partial(from_labels, options=options, unit=unit, pooled=pooled)
        make = partial(EM, covariance_type=covariance_type, options=options, unit=unit)
        self.is_long = many = len(values) >= _MANY
        self._n_challengers = _CHALLENGERS_OF_MANY if many else _CHALLENGERS
        self._em = make(values, lengths, steps=steps)
        self._quick = make(values, lengths, steps=steps, single=True) if many else self._em
        self._laps = [(n, self._quick) for n in LAPS]
        if len(lengths) > _RACED_RUNS:
            raced = np.zeros(len(lengths), dtype=bool)
            rng = np.random.default_rng(random_state)
            raced[rng.choice(len(lengths), _RACED_RUNS, replace=False)] = True
            rows = np.repeat(raced, lengths)
            some = make(
                values[rows],
                lengths[raced],
                steps=None if steps is None else steps[rows],
                single=many,
            )
            self._laps[:_RACED_LAPS] = [(n, some) for n in LAPS[:_RACED_LAPS]]

    def starts(self, n_states: int, n_restarts: int) -> list[_Contender]:
        """Make the starts of one number of states, of all kinds in turn."""
        seeds = [self._seed(n_states, restart) for restart in range(n_restarts)]
        return [
            _Contender(n_states, kind, seed, Model(self._first(n_states, seed, kind)))
            for seed, kind in zip(seeds, cycle(KINDS))
        ]

    def _first(self, n_states: int, seed: int, kind: str) -> HMMParameters:
        return self._start(self._values, self._lengths, n_states, self._covariance_type, seed, kind)

    def _seed(self, n_states: int, restart: int) -> int:
        entropy = [self._random_state, n_states, restart]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def challengers(self, n_states: int, neighbours: Sequence[_Contender]) -> list[_Contender]:
        """Make the best splits of a smaller model and merges of a larger one."""
        contenders = []
        for neighbour in neighbours:
            states = self._quick.decode(neighbour.model)
            smaller = neighbour.n_states < n_states
            relabelled = (self._splits if smaller else self._merges)(states, neighbour.n_states)
            kind = f"{'split' if smaller else 'merge'} of {neighbour.n_states} states"
            for labels in relabelled:
                first = self._from_labels(
                    self._values, self._lengths, labels, n_states, self._covariance_type
                )
                contenders.append(_Contender(n_states, kind, neighbour.seed, Model(first)))
        return contenders

    def run(
        self, makers: Sequence[_Maker], leaders: Sequence[_Contender | None]
    ) -> list[list[_Contender]]:
        """Let groups of contenders race, halving each lap by lap until one is left.

        One that is not expected to pass the leader of its number of states, if given, is out.
        """
        groups = [make() for make in makers]
        going = groups
        for lap, (n_iterations, em) in enumerate(self._laps):
            self._advance(em, [c for group in going for c in group], n_iterations)
            if lap + 1 < len(self._laps):
                going = [
                    [c for c in _better_half(group) if leader is None or c.may_pass(leader)]
                    for group, leader in zip(going, leaders, strict=True)
                ]
        return groups

    def _advance(self, em: EM, contenders: Sequence[_Contender], n_iterations: int) -> None:
        for contender in contenders:
            contender.enter(em)
        em.advance([contender.model for contender in contenders], n_iterations)
        if em in (self._em, self._quick):
            for contender in contenders:
                contender.reached = contender.model.reached

    def polish(self, groups: Sequence[list[_Contender]]) -> list[Attempt]:
        """Bring the leader of each group to its end; while none is valid, also the next one.

        A leader that gets further from itself with wider states goes on from there, if that end is
        valid.
        """
        self._advance(self._quick, [c for g in groups for c in _finalists(g)], MAX_ITERATIONS)
        leaders = [_leader(group) for group in groups]
        widened = [_widened(leader) for leader in leaders]
        self._advance(self._quick, widened, MAX_ITERATIONS)
        ahead = [_leader(pair) for pair in zip(leaders, widened, strict=True)]
        self._advance(self._em, ahead, MAX_ITERATIONS)
        for group, leader, best in zip(groups, leaders, ahead, strict=True):
            if best is not leader and self._finish(best):
                group[group.index(leader)] = best
                continue
            for contender in _standings(group):
                if self._finish(contender):
                    break
        return [
            Attempt(c.n_states, c.start, c.seed, c.n_iterations + len(c.model.objective), c.fit)
            for group in groups
            for c in group
        ]

    def _finish(self, contender: _Contender) -> bool:
        """Bring a contender to its end; return whether it is valid."""
        self._advance(self._em, [contender], MAX_ITERATIONS)
        contender.fit = self._em.judge(contender.model)
        return contender.fit.valid

    def _splits(self, states: IntArray, n_states: int) -> list[IntArray]:
        """Label the checkpoints anew with one state in two halves: the most telling splits."""
        splits = []
        for k in range(n_states):
            members = np.flatnonzero(states == k)
            if len(members) < 4:  # no two halves of two
                continue
            for later in (self._later_half(members), self._upper_half(members)):
                halves = members[~later], members[later]
                if min(map(len, halves)) > 1:
                    one, two = (_Members.of(self._values[half]) for half in halves)
                    gain = self._cost(one.with_others(two)) - self._cost(one) - self._cost(two)
                    splits.append((gain, halves[1]))
        best = sorted(splits, key=lambda split: -split[0])[: self._n_challengers]
        return [_with_label(states, rows, n_states) for _, rows in best]

    def _merges(self, states: IntArray, n_states: int) -> list[IntArray]:
        """Label the checkpoints anew with two states as one: the least costly merges."""
        members = [_Members.of(self._values[states == k]) for k in range(n_states)]
        alone = [self._cost(state) for state in members]
        merges = [
            (self._cost(members[j].with_others(members[k])) - alone[j] - alone[k], j, k)
            for j, k in combinations(range(n_states), 2)
        ]
        merged = []
        for _, j, k in sorted(merges)[: self._n_challengers]:
            labels = np.where(states == k, j, states)
            merged.append(labels - (labels > k))
        return merged

    def _later_half(self, members: IntArray) -> NDArray[np.bool_]:
        """Which members lie in the later half of what their run has of them."""
        run = np.repeat(np.arange(len(self._lengths)), self._lengths)[members]
        rank = np.arange(len(members)) - np.searchsorted(run, run)
        return 2 * rank >= np.bincount(run)[run]

    def _upper_half(self, members: IntArray) -> NDArray[np.bool_]:
        """Which members lie above the mean along their first principal axis."""
        centred = self._values[members] - self._values[members].mean(axis=0)
        axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
        above: NDArray[np.bool_] = centred @ axis > 0
        return above

    def _cost(self, members: _Members) -> float:
        """Twice the negative log-likelihood of one Gaussian, up to what all splits share."""
        n = members.n
        if not n:  # a state that no checkpoint is decoded to costs nothing
            return 0.0
        covariance = (members.scatter + COVARIANCE_PRIOR * np.eye(len(members.mean))) / n
        if self._covariance_type == "diag":
            return float(n * np.log(np.diag(covariance)).sum())
        return float(n * np.linalg.slogdet(covariance)[1])


@dataclass(frozen=True)
class _Members:
    """Checkpoints of a state: their number, mean (D,) and scatter around it (D, D)."""

    n: int
    mean: FloatArray
    scatter: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> _Members:
        n = len(values)
        mean = values.sum(axis=0) / max(n, 1)
        centred = values - mean
        return cls(n, mean, centred.T @ centred)

    def with_others(self, others: _Members) -> _Members:
        """Both together, without a second look at the checkpoints (Chan et al. 1983)."""
        n = self.n + others.n
        share = others.n / max(n, 1)
        apart = others.mean - self.mean
        between = self.n * share * np.outer(apart, apart)
        return _Members(n, self.mean + share * apart, self.scatter + others.scatter + between)


def _standings(contenders: Sequence[_Contender]) -> list[_Contender]:
    return sorted(contenders, key=lambda contender: -contender.reached)


def _finalists(contenders: Sequence[_Contender]) -> list[_Contender]:
    return _standings(contenders)[: _n_finalists(contenders[0].n_states)]


def _widened(contender: _Contender) -> _Contender:
    """Let a contender go on with all its states wider.

    Where each checkpoint belongs is open again, a little, and EM often settles it better: a step
    back in annealing (Ueda & Nakano 1998).
    """
    parameters = contender.model.parameters
    wider = replace(parameters, covariances=_WIDER * parameters.covariances)
    done = contender.n_iterations + len(contender.model.objective)
    return replace(contender, model=Model(wider), n_iterations=done)


def _better_half(contenders: Sequence[_Contender]) -> list[_Contender]:
    if not contenders:
        return []
    standing = sorted(contenders, key=lambda contender: -contender.model.reached)
    return standing[: max((len(standing) + 1) // 2, _n_finalists(standing[0].n_states))]


def _n_finalists(n_states: int) -> int:
    """As many small models as are one large one's work."""
    return max(1, _LARGE // n_states)


def _with_label(states: IntArray, rows: IntArray, label: int) -> IntArray:
    labels = states.copy()
    labels[rows] = label
    return labels
