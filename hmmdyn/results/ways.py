"""Which ways runs take through the training map, and where they fork."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from hmmdyn.results.shown import Shown


@dataclass(frozen=True, repr=False)
class Ways(Shown):
    """Which ways runs take through the training map, and where they fork.

    A way is the states of a run in the order it first enters them: falling back to a state already
    seen does not make another way.

    Attributes
    ----------
    stays : DataFrame
        One row per unbroken stay of a run in a state, in order of run and time: ``group, run,
        seed, state, first_step, last_step`` (of its checkpoints), ``start, end`` (steps, halfway
        to the neighbouring checkpoints, because that is all that checkpoints tell of when a state
        changed; the ends of a run stay as they are), ``n_checkpoints, probability`` (mean, of the
        state), ``left`` (False where the run ended first).
    paths : DataFrame
        One row per way, the most common first, of equally common ones the first in order:
        ``path`` (tuple of int), ``n_runs`` (that take it).
    forks : DataFrame
        One row per fork and way out of it, forks in order of time, its ways the most common first:
        ``state, to_state, n_runs`` (that go to ``to_state`` next, of the states new to them),
        ``n_total`` (that go on from the fork to any), ``share`` (of all seeds that go on, as these
        runs give it), ``share_low, share_high`` (its 95 % interval). A state is a fork when at
        least a tenth of the runs that go on from it take another way than the others; ways of
        fewer runs are not among its rows.
    dead_ends : tuple of int
        States that runs enter and never leave, though it is not where training leads.
    """

    stays: pd.DataFrame
    paths: pd.DataFrame
    forks: pd.DataFrame
    dead_ends: tuple[int, ...]
