"""Successive halving: many starts of EM, of which the better half goes on, again and again.

All contenders get a few iterations, the better half gets more, and so on until one is left [1]_,
[2]_. The budget goes to the promising ones, and a start that begins badly costs little. An
iteration budget that halving is given is called a *rung*.

References
----------
.. [1] Karnin, Koren & Somekh (2013), Almost optimal exploration in multi-armed bandits, ICML.
.. [2] Jamieson & Talwalkar (2016), Non-stochastic best arm identification and hyperparameter
   optimization, AISTATS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from hmmdyn.hmm.fit.em import EM, Fit, Model
from hmmdyn.results.model import ModelOptions
from hmmdyn.results.observations import Sequences
from hmmdyn.results.verdicts import LEFT_BEHIND

# Iterations of each rung, after which the better half of the contenders goes on.
RUNGS = (6, 12, 12, 12)
# The first rungs see at most so many of the runs.
_RUNS_AT_FIRST = 10
_FIRST_RUNGS = 2
# Halving leaves one contender of so many states or more, and more of smaller models, for as much
# work.
_LARGE = 8
# From so many checkpoints on, contenders are compared in single precision, and challengers not
# expected to win are out. With fewer neither gains anything, and a plateau of EM can deceive
# expectations.
_MANY = 10_000
# What becomes of a start that halving goes on without.
_LEFT_BEHIND = Fit(None, None, np.nan, (), LEFT_BEHIND)


@dataclass(eq=False)
class Contender:
    """A start on its way.

    ``start`` is its kind. ``reached`` is its objective on all runs, if known, and ``fit`` what has
    become of it.
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

    def may_pass(self, leader: Contender) -> bool:
        """Whether it is expected to end above what the leader has reached, as far as is known."""
        unknown = self.reached == -np.inf
        return unknown or self.reached + self.model.left_to_rise > leader.reached


# Makes the contenders of one number of states.
Maker = Callable[[], list[Contender]]


def leader_of(contenders: Sequence[Contender]) -> Contender:
    """Return the one that has reached most."""
    return max(contenders, key=lambda contender: contender.reached)


def standings(contenders: Sequence[Contender]) -> list[Contender]:
    """Return all by what they have reached, the best first."""
    return sorted(contenders, key=lambda contender: -contender.reached)


class SuccessiveHalving:
    """Runs contenders against each other on given runs.

    Attributes
    ----------
    em : EM
        On all runs, in double precision.
    quick : EM
        On all runs, in single precision where there are many checkpoints.
    is_long : bool
        Whether there are so many.

    Parameters
    ----------
    data : Sequences
        The runs.
    covariance_type : str
        ``diag`` or ``full``, of every contender.
    options : ModelOptions
        Of every contender.
    unit : float
        Of the options' clock.
    random_state : int
        Draws the runs that the first rungs see.
    """

    def __init__(
        self,
        data: Sequences,
        covariance_type: str,
        *,
        options: ModelOptions,
        unit: float,
        random_state: int,
    ) -> None:
        make = partial(EM, covariance_type=covariance_type, options=options, unit=unit)
        self.is_long = many = len(data.values) >= _MANY
        self.em = make(data)
        self.quick = make(data, single=True) if many else self.em
        self._rungs = [(n, self.quick) for n in RUNGS]
        n_runs = len(data.lengths)
        if n_runs > _RUNS_AT_FIRST:
            seen = np.zeros(n_runs, dtype=bool)
            rng = np.random.default_rng(random_state)
            seen[rng.choice(n_runs, _RUNS_AT_FIRST, replace=False)] = True
            some = make(data.of(seen), single=many)
            self._rungs[:_FIRST_RUNGS] = [(n, some) for n in RUNGS[:_FIRST_RUNGS]]

    def run(
        self, makers: Sequence[Maker], leaders: Sequence[Contender | None]
    ) -> list[list[Contender]]:
        """Halve every group of contenders rung by rung; return them as they were made.

        One that is not expected to pass the leader of its number of states, if given, is out.
        """
        groups = [make() for make in makers]
        going = groups
        for rung, (n_iterations, em) in enumerate(self._rungs):
            self.advance(em, [c for group in going for c in group], n_iterations)
            if rung + 1 < len(self._rungs):
                going = [
                    [c for c in _better_half(group) if leader is None or c.may_pass(leader)]
                    for group, leader in zip(going, leaders, strict=True)
                ]
        return groups

    def advance(self, em: EM, contenders: Sequence[Contender], n_iterations: int) -> None:
        """Let contenders go on for so many iterations."""
        for contender in contenders:
            contender.enter(em)
        em.advance([contender.model for contender in contenders], n_iterations)
        if em in (self.em, self.quick):
            for contender in contenders:
                contender.reached = contender.model.reached


def finalists(contenders: Sequence[Contender]) -> list[Contender]:
    """Return the best: as many as halving leaves."""
    return standings(contenders)[: _n_finalists(contenders[0].n_states)]


def _better_half(contenders: Sequence[Contender]) -> list[Contender]:
    if not contenders:
        return []
    standing = sorted(contenders, key=lambda contender: -contender.model.reached)
    return standing[: max((len(standing) + 1) // 2, _n_finalists(standing[0].n_states))]


def _n_finalists(n_states: int) -> int:
    """So many models of this size are as much work as one large one."""
    return max(1, _LARGE // n_states)
