"""The sweep: the best model of every number of states, from many starts.

Starts of several kinds contend by successive halving. Then states of the winner with one state
fewer are split, and those of the winner with one more are merged, until no winner gets better. At
last the winners are polished. Of very many checkpoints the contest sees some runs alone
(:mod:`hmmdyn.hmm.fit.enough`); winners are polished on all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from hmmdyn.hmm.fit.chains import check_options
from hmmdyn.hmm.fit.em import EM, MAX_ITERATIONS, Fit, Model
from hmmdyn.hmm.fit.enough import enough_runs
from hmmdyn.hmm.fit.progress import Progress
from hmmdyn.hmm.fit.split_merge import SplitMerge
from hmmdyn.hmm.fit.starts import KINDS, filled, from_labels, pooled_covariance, start
from hmmdyn.hmm.fit.successive_halving import (
    Contender,
    Maker,
    SuccessiveHalving,
    finalists,
    leader_of,
    standings,
)
from hmmdyn.hmm.model.clock import median_gap
from hmmdyn.results.model import PLAIN_MODEL, ModelOptions
from hmmdyn.results.observations import Sequences

# So many splits, and as many merges, of a neighbour's winner challenge each winner.
_CHALLENGERS = 3
# Where there are many checkpoints challengers cost little, and more of them find better optima.
_CHALLENGERS_OF_MANY = 6
# So many rounds of splits and merges at most.
_ROUNDS = 2
# At the end the best model is tried once more, from itself with variances so many times larger.
_WIDER = 3.0
# A challenger makes a difference to its neighbours where it is better by so much, in nats per
# checkpoint; less can be the same optimum, reached a little further.
MARGIN = 1e-4


@dataclass(frozen=True)
class Attempt:
    """One start and what became of it.

    ``start`` is one of ``starts.KINDS`` or, for a challenger, ``split of K states`` or ``merge of
    K states``. The reason of ``fit`` is ``left behind`` where halving went on without it.
    """

    n_states: int
    start: str
    seed: int
    n_iterations: int
    fit: Fit


@dataclass(frozen=True)
class Sweep:
    """The best valid fit per number of states, and every attempt in the order it was made.

    ``n_runs_seen``: how many of the runs starts and challengers contended on. Fits are of all.
    """

    winners: Mapping[int, Fit]
    attempts: tuple[Attempt, ...]
    n_runs_seen: int


def sweep(
    data: Sequences,
    candidates: Sequence[int],
    *,
    covariance_type: str,
    n_restarts: int,
    random_state: int,
    n_jobs: int = 1,
    progress: Progress | None = None,
    options: ModelOptions = PLAIN_MODEL,
) -> Sweep:
    """Find the best model of each number of states.

    Parameters
    ----------
    data : Sequences
        The runs.
    candidates : sequence of int
        Numbers of states.
    covariance_type : str
        ``diag`` or ``full``.
    n_restarts : int
        Starts per number of states; one state has a closed form and needs a single one.
    random_state : int
        Seeds every start: same input, same result, whatever ``n_jobs`` is.
    n_jobs : int
        Threads to work with.
    progress : callable, optional
        Called with (rounds done, rounds in all).
    options : ModelOptions
        What the models assume beyond the plain hidden Markov model.

    Raises
    ------
    UsageError
        An option is out of range, or the clock needs other steps.
    """
    check_options(options)
    search = _Search(data, covariance_type, random_state, options)
    halving = search.halving
    plan = {k: n_restarts if k > 1 else 1 for k in _with_neighbours(candidates)}
    # One thread per block: blocks run side by side (the compiled parts release Python's lock), and
    # sums come out alike whatever n_jobs is.
    with threadpool_limits(1), Parallel(n_jobs=n_jobs, backend="threading") as parallel:

        def contest(
            makers: Mapping[int, Maker], leaders: Mapping[int, Contender]
        ) -> dict[int, list[Contender]]:
            blocks = _blocks(makers)
            halved = parallel(
                delayed(halving.run)([makers[k] for k in block], [leaders.get(k) for k in block])
                for block in blocks
            )
            return {
                k: contenders
                for block, groups in zip(blocks, halved, strict=True)
                for k, contenders in zip(block, groups, strict=True)
            }

        contenders = contest({k: partial(search.starts, k, plan[k]) for k in plan}, {})
        changed = set(plan)
        for done in range(1, _ROUNDS + 1):
            leaders = {k: leader_of(contenders[k]) for k in plan}
            makers = {
                k: partial(
                    search.challengers, k, [leaders[n] for n in (k - 1, k + 1) if n in changed]
                )
                for k in plan
                if k > 1 and {k - 1, k + 1} & changed
            }
            for k, challengers in contest(makers, leaders if halving.is_long else {}).items():
                contenders[k] += challengers
            better = MARGIN * len(data.values)
            changed = {
                k for k in plan if leader_of(contenders[k]).reached > leaders[k].reached + better
            }
            if progress:
                progress(done, _ROUNDS + 1)
        polished = parallel(
            delayed(search.polish)([contenders[k] for k in block]) for block in _blocks(plan)
        )
    if progress:
        progress(_ROUNDS + 1, _ROUNDS + 1)
    attempts = sorted((a for block in polished for a in block), key=lambda a: a.n_states)
    valid = {k: [a.fit for a in attempts if a.n_states == k and a.fit.valid] for k in plan}
    return Sweep(
        {k: fits[0] for k, fits in valid.items() if fits and k in candidates},
        tuple(a for a in attempts if a.n_states in candidates),
        search.n_runs_seen,
    )


def attempts_table(swept: Sweep, covariance_type: str, data: Sequences) -> pd.DataFrame:
    """Every attempt of a sweep over these runs: see :class:`hmmdyn.results.selection.Selection`."""
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
            "n_runs": len(data.lengths),
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


class _Search:
    """Makes the contenders of a sweep, and brings the best of them to their end."""

    def __init__(
        self, data: Sequences, covariance_type: str, random_state: int, options: ModelOptions
    ) -> None:
        unit = median_gap(options.clock, data.steps, data.lengths)
        drawn = enough_runs(data.lengths, random_state)
        seen = data if drawn.all() else data.of(drawn)
        complete = replace(seen, values=filled(seen.values))
        self.n_runs_seen = len(seen.lengths)
        self.halving = SuccessiveHalving(
            seen, covariance_type, options=options, unit=unit, random_state=random_state
        )
        self._on_all = [self.halving.em]
        if seen is not data:
            make = partial(EM, data, covariance_type, options=options, unit=unit)
            self._on_all = [make(single=True), make()]
        n_challengers = _CHALLENGERS_OF_MANY if self.halving.is_long else _CHALLENGERS
        self._split_merge = SplitMerge(complete, covariance_type, n_challengers)
        self._random_state = random_state
        self._start = partial(
            start, complete, covariance_type=covariance_type, options=options, unit=unit
        )
        self._from_labels = partial(
            from_labels,
            complete,
            covariance_type=covariance_type,
            options=options,
            unit=unit,
            pooled=pooled_covariance(complete.values),
        )

    def starts(self, n_states: int, n_restarts: int) -> list[Contender]:
        """Make the starts of one number of states, of all kinds in turn."""
        seeds = [self._seed(n_states, restart) for restart in range(n_restarts)]
        return [
            Contender(
                n_states, kind, seed, Model(self._start(n_states=n_states, seed=seed, kind=kind))
            )
            for seed, kind in zip(seeds, cycle(KINDS))
        ]

    def _seed(self, n_states: int, restart: int) -> int:
        entropy = [self._random_state, n_states, restart]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    def challengers(self, n_states: int, neighbours: Sequence[Contender]) -> list[Contender]:
        """Make the best splits of a smaller model and merges of a larger one."""
        contenders = []
        for neighbour in neighbours:
            states = self.halving.quick.decode(neighbour.model)
            smaller = neighbour.n_states < n_states
            relabel = self._split_merge.splits if smaller else self._split_merge.merges
            kind = f"{'split' if smaller else 'merge'} of {neighbour.n_states} states"
            for labels in relabel(states, neighbour.n_states):
                first = self._from_labels(labels=labels, n_states=n_states)
                contenders.append(Contender(n_states, kind, neighbour.seed, Model(first)))
        return contenders

    def polish(self, groups: Sequence[list[Contender]]) -> list[Attempt]:
        """Bring the leader of each group to its end; while none is valid, also the next one.

        Each leader is also tried from itself with wider states. Where that gets further, and ends
        in a valid fit, it takes the leader's place.
        """
        quick, advance = self.halving.quick, self.halving.advance
        advance(quick, [c for g in groups for c in finalists(g)], MAX_ITERATIONS)
        leaders = [leader_of(group) for group in groups]
        widened = [_widened(leader) for leader in leaders]
        advance(quick, widened, MAX_ITERATIONS)
        ahead = [leader_of(pair) for pair in zip(leaders, widened, strict=True)]
        for em in self._on_all:
            advance(em, ahead, MAX_ITERATIONS)
        for group, leader, best in zip(groups, leaders, ahead, strict=True):
            if best is not leader and self._finish(best):
                group[group.index(leader)] = best
                continue
            for contender in standings(group):
                if self._finish(contender):
                    break
        return [
            Attempt(c.n_states, c.start, c.seed, c.n_iterations + len(c.model.objective), c.fit)
            for group in groups
            for c in group
        ]

    def _finish(self, contender: Contender) -> bool:
        """Bring a contender to its end on all runs; return whether it is valid."""
        em = self._on_all[-1]
        self.halving.advance(em, [contender], MAX_ITERATIONS)
        contender.fit = em.judge(contender.model)
        return contender.fit.valid


def _widened(contender: Contender) -> Contender:
    """Let a contender go on with all its states wider.

    Where each checkpoint belongs is open again, a little, and EM often settles it better: a step
    back in annealing (Ueda & Nakano 1998).
    """
    parameters = contender.model.parameters
    wider = replace(parameters, covariances=_WIDER * parameters.covariances)
    done = contender.n_iterations + len(contender.model.objective)
    return replace(contender, model=Model(wider), n_iterations=done)
