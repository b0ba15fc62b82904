"""Several recipes held against each other."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from hmmdyn.results.shown import Shown


@dataclass(frozen=True, repr=False)
class GroupComparison(Shown):
    """How groups (recipes) differ on one joint map: the paper's tables, group by group.

    Attributes
    ----------
    groups : DataFrame
        One row per group: ``group, n_runs, n_converged`` (``<NA>`` where no outcome is known),
        ``n_states_visited, forking`` (True unless the group's own transitions make a line),
        ``emission, total_variation`` (dissimilarity within the group, see
        :class:`Dissimilarity`; NaN with one run), ``path`` (the states in the order in which most
        runs first enter them, tuple of int; of equally common ones the first in order) and
        ``n_on_path`` (runs that take it).
    dissimilarities : DataFrame
        One row per pair of groups: ``group_a, group_b, between, within_a, within_b, excess,
        least_p, p, p_corrected``; see :func:`hmmdyn.dynamics.dissimilarity.compare_pairs`.
    forks : DataFrame
        One row per state after which runs go on to different states, state new to the run that
        they enter next, and group: ``from_state, to_state, group, n_runs``, then of the state
        ``p`` (whether groups go different ways; exact, or drawn tables) and ``p_corrected``
        (Benjamini–Hochberg over the forks). NaN where runs of one group only go on.
    detours : DataFrame
        The columns of ``Findings.detours`` for each group's own runs, ``group`` before them.
        ``p_corrected`` is over the states of all groups.
    regressions : DataFrame
        One row per group: ``group, n_runs, n_censored, r_squared, r_squared_loo, p, p_corrected``
        (Benjamini–Hochberg over groups), ``why_not`` (why there is no regression, else empty).
    """

    groups: pd.DataFrame
    dissimilarities: pd.DataFrame
    forks: pd.DataFrame
    detours: pd.DataFrame
    regressions: pd.DataFrame
