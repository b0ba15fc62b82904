"""Everything hmmdyn found about a set of runs: what the report renders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.convergence import Convergence, ConvergenceSpeed, Dissimilarity, Regression
from hmmdyn.results.groups import GroupComparison
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.notice import Notice
from hmmdyn.results.outcomes import OutcomeTransitions
from hmmdyn.results.selection import Selection
from hmmdyn.results.slowness import Slowness
from hmmdyn.results.ways import Ways


@dataclass(frozen=True)
class OtherMap:
    """Another report that belongs to this one: ``n_states``, ``what`` it is, and its page.

    ``what`` is ``recommended`` or ``chosen``: the same runs with another number of states; ``group
    NAME by itself``: one group's runs with a map of their own; or ``all groups together``.
    """

    n_states: int
    what: str
    page: str


@dataclass(frozen=True)
class Findings:
    """Everything hmmdyn found about a set of runs: what the report renders.

    Attributes
    ----------
    table : DataFrame
        ``group, run, seed, step``, then ``metrics`` and ``outcomes`` in their raw units; sorted
        by run (natural order) and step.
    metrics, outcomes : tuple of str
        Columns of ``table``.
    features : tuple of str
        Metrics that entered the model, D of them.
    step_unit : str
        ``step`` or ``epoch``.
    standardisation : str
        ``run`` or ``pooled``: what the model's units are.
    parameters : HMMParameters
        The model, states in order of time.
    states : DataFrame
        One row per checkpoint: ``group, run, seed, step, state`` (most likely path),
        ``probability`` (smoothed, of that state).
    sure_share : float
        Share of the checkpoints whose state has a probability of at least 0.9, given the model.
    runs : DataFrame
        One row per run, groups in their order, within a group the fastest run first: ``group, run,
        seed, converged, step, last_step, status``. ``status`` is ``converged``, ``censored`` (not
        converged when it ended; these come after) or ``unknown`` (its outcome was never seen, so
        that ``step`` is NaN; these come last). Without an outcome the runs keep their natural
        order.
    state_summary : DataFrame
        One row per state: ``state, n_checkpoints, share`` (of all checkpoints), ``n_runs``
        (that visit it), ``median_time`` (median relative time 0 … 1 of its checkpoints),
        ``first_step`` (median step at which runs first enter it), ``dwell`` (mean number of
        successive checkpoints per visit, as far as seen where a run ends in it),
        ``dwell_expected`` (checkpoints per visit that the model expects; inf where that is more
        than there are in all runs), ``dwell_steps`` (all steps spent in it over the number of
        times it is left, which is right for visits cut off by the end of a run, too; NaN where
        never left), then ``mean_<outcome>`` per outcome, ``phase`` (a label such as
        ``memorisation`` where the outcomes say so, else empty).
    transitions : DataFrame
        Edges of the training map, one row per pair of states that some decoded run takes:
        ``from_state, to_state, probability`` (of the model), ``n_taken`` (times), ``n_runs``,
        ``n_total`` (runs), ``n_converged`` (of n_runs), ``convergence_mean, convergence_se``
        (convergence step of the converged runs that take it; NaN where none, se NaN with one).
    transition_times : DataFrame
        When runs first take each transition, one row per row of ``transitions``: ``from_state,
        to_state, n_runs, first_step, median_step, last_step`` (of the first checkpoints in
        to_state, over runs), ``step_low, step_high`` (90 % intervals of ``change_points``: the
        lowest and the highest end of any run), ``width`` (of that interval, median over runs).
    influences : DataFrame
        One row per edge and feature: ``from_state, to_state, rank`` (1 = most influential),
        ``feature, influence`` (mean absolute derivative of the log posterior), ``influence_sd``
        (over runs, of each run's own mean; NaN with one), ``n_runs`` (that take the edge with the
        feature known), ``n_top`` (of these, with the feature among their three most influential),
        ``movement`` (mean of to_state − mean of from_state, standard deviations).
    change_points : DataFrame
        One row per decoded change of state: ``group, run, seed, previous_step, step`` (first
        checkpoint in the new state), ``step_low, step_high`` (90 % interval: it happened after
        step_low and not after step_high; see :mod:`hmmdyn.dynamics.change_points`),
        ``from_state, to_state, probability`` (smoothed, of being in from_state at previous_step
        and in to_state at step).
    fork_choices : DataFrame
        Which runs fork where: one row per run and state after which runs go on to different states
        that are new to them: ``group, run, seed, state, to_state, step``.
    ways : Ways
        Stays, paths, forks and dead ends.
    occupancy : DataFrame
        One row per run: ``group, run, seed, state_0 …`` fractions of the run's checkpoints.
    selection : Selection
    dissimilarity : Dissimilarity
    forking : bool
        True unless the map's pruned graph is a line.
    convergence : Convergence or None
        None where no outcome is known.
    speed : ConvergenceSpeed or None
        None where convergence is None.
    slowness : Slowness or None
        None where convergence is None.
    outcome_transitions : OutcomeTransitions or None
        None where no outcome is known.
    outliers : DataFrame
        Runs unlike the others, one row per run: see :func:`hmmdyn.dynamics.outliers.find_outliers`.
    group_comparison : GroupComparison or None
        None where there is one group.
    regression : Regression or None
        None where convergence is None or the runs are too few.
    detours : DataFrame
        One row per state: ``state, optional`` (some converged run never visits it),
        ``n_converged_without, coefficient`` (of the regression), ``flag`` (the paper's detour
        definition holds; False without a regression); then, of runs that have entered the state
        against those that have not, at equal time: ``hazard_ratio`` (of the odds of converging
        next; below 1: slower) with its 95 % interval ``ratio_low, ratio_high``, ``p``,
        ``least_p_slower`` (what the slowest course after entering it would have given),
        ``p_corrected`` (over states), and ``ratio_inside, ratio_left`` (while in the state, and
        after leaving it); NaN where these runs cannot tell. ``verdict``: ``confirmed detour``
        (flagged, and slower with corrected p < 0.05), ``paper's flag only``, ``slows`` (slower,
        but not flagged), ``helps`` (faster), ``no evidence``, ``cannot tell`` (not even the
        slowest course after it would be significant); ``reason`` (in words).
    notices : tuple of Notice
        Those of all stages, each once, in the order of the stages.
    source : str
        What was analysed, as the user named it.
    other_maps : tuple of OtherMap
        Reports that belong to this one.
    options : Mapping
        Every option that differs from its default, by its name in :class:`hmmdyn.Options`.
    command : tuple of str
        The words of the command line that gives these findings again; empty where the source was
        given from Python.
    versions : Mapping
        Package name -> version.
    """

    table: pd.DataFrame
    metrics: tuple[str, ...]
    outcomes: tuple[str, ...]
    features: tuple[str, ...]
    step_unit: str
    standardisation: str
    parameters: HMMParameters
    states: pd.DataFrame
    sure_share: float
    runs: pd.DataFrame
    state_summary: pd.DataFrame
    transitions: pd.DataFrame
    transition_times: pd.DataFrame
    influences: pd.DataFrame
    change_points: pd.DataFrame
    fork_choices: pd.DataFrame
    ways: Ways
    occupancy: pd.DataFrame
    selection: Selection
    dissimilarity: Dissimilarity
    forking: bool
    convergence: Convergence | None
    speed: ConvergenceSpeed | None
    slowness: Slowness | None
    outcome_transitions: OutcomeTransitions | None
    outliers: pd.DataFrame
    group_comparison: GroupComparison | None
    regression: Regression | None
    detours: pd.DataFrame
    notices: tuple[Notice, ...]
    source: str
    other_maps: tuple[OtherMap, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
