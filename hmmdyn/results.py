"""What the stages hand to each other: frozen dataclasses and documented DataFrames, no behaviour.

Everyone may import this module; it imports nothing of hmmdyn. Shapes use these letters: R runs,
n checkpoints pooled over runs, K states, D features (metrics that enter the model).

A *run key* is the pair of columns ``group, run``; ``seed`` is an integer or missing (``<NA>``).
States are the integers 0 … K-1, in order of time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.integer[Any]]

# Observations (n, D), checkpoints per run (R,), and steps (n,) where they matter.
RunData = tuple[FloatArray, IntArray, IntArray | None]

# Reason of an attempt that a race went on without.
LEFT_BEHIND = "left behind"
# The words an option may take, wherever it is checked.
PROTOCOLS = ("bic", "paper")
COVARIANCE_TYPES = ("diag", "full")
STANDARDISATIONS = ("run", "pooled")
DIRECTIONS = ("above", "below")
CLOCKS = ("checkpoint", "step", "log-step")
FORMATS = ("html", "json", "csv", "png", "svg")
DEFAULT_FORMATS = ("html", "json", "csv")
THEMES = ("light", "dark")
# What is said of a state and convergence: see ``Findings.detours``.
CONFIRMED, FLAG_ONLY, SLOWS = "confirmed detour", "paper's flag only", "slows"
HELPS, NO_EVIDENCE, CANNOT_TELL = "helps", "no evidence", "cannot tell"
# What is said of two groups, or of all: see ``ConvergenceSpeed.tests``.
FASTER, SLOWER, DIFFERENT = "faster", "slower", "different"

RUN_KEY = ["group", "run"]
CHECKPOINT_KEY = ["group", "run", "step"]


class _Shown:
    """A result that shows itself a line per field: tables and the like by what is in them."""

    def __repr__(self) -> str:
        own = fields(self)  # type: ignore[arg-type]
        width = max(len(f.name) for f in own)
        lines = [f"  {f.name:<{width}}  {_in_short(getattr(self, f.name))}" for f in own]
        return "\n".join([type(self).__name__, *lines])


def _in_short(value: object) -> str:
    if isinstance(value, pd.DataFrame):
        columns = repr(list(value.columns))[1:-1].replace("'", "")
        return shorten(f"table, {len(value):,} × {value.shape[1]}: {columns}", 92, placeholder=" …")
    if isinstance(value, np.ndarray):
        return f"array, {' × '.join(map(str, value.shape))}"
    if isinstance(value, _Shown):
        return type(value).__name__
    if isinstance(value, Mapping) or (value and isinstance(value, tuple)):
        return f"{type(value).__name__} of {len(value)}"
    return repr(value)


@dataclass(frozen=True)
class Notice:
    """One thing a user must be told: something left out, odd, or a limit of what can be said.

    Attributes
    ----------
    stage : str
        Where it was noticed: ``discovery``, ``reading``, ``outcomes``, ``metrics``, ``model`` or
        ``statements``.
    kind : str
        ``left out`` (something found does not enter the analysis), ``odd`` (worth a look, nothing
        was left out) or ``limit`` (what these data cannot tell).
    subject : str
        What it is about: a run, file, metric, state.
    message : str
        One plain sentence with the reason, and the remedy where there is one.
    """

    stage: str
    kind: str
    subject: str
    message: str


@dataclass(frozen=True, order=True)
class CheckpointFile:
    """One checkpoint on disk. ``path`` is a file, or a folder for multi-file formats.

    ``step`` is in the index's ``step_unit``. ``size`` in bytes and ``mtime_ns`` (modification
    time, nanoseconds since the epoch) cover all the files of the checkpoint (sum and maximum).
    ``format`` is a short human name, guessed from the file's name: ``safetensors``, ``pytorch``,
    ``npz``, ``npy``, ``keras``, ``hdf5``, ``flax``, ``orbax``, or one of the first two with
    ``(sharded)`` or ``(distributed)`` behind it. The reader goes by content.
    """

    group: str
    run: str
    step: int
    seed: int | None
    path: Path
    format: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class CheckpointIndex:
    """What discovery found under ``root``.

    ``checkpoints`` is sorted by (group, run, step), runs in natural order (``seed2`` before
    ``seed10``). ``step_unit`` is ``step`` or ``epoch``.
    """

    root: Path
    checkpoints: tuple[CheckpointFile, ...]
    step_unit: str
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, repr=False)
class OutcomeTable(_Shown):
    """Outcomes (loss, accuracy, …) logged beside the checkpoints, before they are joined.

    ``table`` has ``group, run, step`` and one float64 column per outcome (NaN: not logged at that
    step), sorted by run and step. ``sources`` maps each file read to the number of its rows used.
    """

    table: pd.DataFrame
    sources: Mapping[str, int]
    notices: tuple[Notice, ...] = ()

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Names of the outcome columns."""
        return tuple(c for c in self.table.columns if c not in CHECKPOINT_KEY)


@dataclass(frozen=True)
class Standardisation:
    """How raw metrics become dimensionless observations (Hu 2023, section 2.1).

    ``kind`` is ``run`` (each run's own mean and deviation, taken from its first ``first``
    checkpoints, all where None) or ``pooled`` (``mean`` and ``deviation``, shape (D,), over all
    runs; empty for ``run``). Deviations are population deviations (ddof 0).
    """

    kind: str
    first: int | None = None
    mean: FloatArray = field(default_factory=lambda: np.empty(0))
    deviation: FloatArray = field(default_factory=lambda: np.empty(0))


@dataclass(frozen=True, repr=False)
class Observations(_Shown):
    """Standardised metrics of all runs, pooled: runs contiguous, steps increasing within a run.

    ``values`` has shape (n, D), dimensionless. ``lengths`` has shape (R,): checkpoints per run,
    in the order of ``runs`` (columns ``group, run, seed``). ``steps`` has shape (n,).
    """

    values: FloatArray
    lengths: IntArray
    runs: pd.DataFrame
    steps: IntArray
    features: tuple[str, ...]
    standardisation: Standardisation
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class ModelOptions:
    """What a model of training may assume beyond the plain hidden Markov model; all off by default.

    Attributes
    ----------
    stickiness : float
        Pseudo-checkpoints that every state is taken to have stayed, added to what was seen. Use it
        (about 100) where noise hides single checkpoints and runs are few; it does not keep clear
        outliers from becoming visits, and from 1,000 on it costs likelihood.
    left_right : bool
        No state is ever left for one that comes earlier. Use it where no run can fall back, and
        not where losses spike: it makes a run that falls back look as if it had not.
    minimum_dwell : int
        Checkpoints for which a state is kept once it is entered. Use 2 or 3 where states of a
        single checkpoint are known to be glitches; a likelihood that falls much says they are not
        noise. Fits take longer with its square.
    clock : str
        What the chain counts: ``checkpoint`` (every gap between checkpoints alike), or the time
        between them, by ``step`` or by ``log-step`` (the logarithm of 1 + step). Use ``log-step``
        where checkpoints are saved at 1, 2, 4, … and evidence is weak; ``step`` where they are
        saved irregularly, but not so. Evenly saved checkpoints need neither.
    autoregressive : bool
        Within a state, metrics are drawn to its level from where they were a checkpoint before.
        Use it where phases are known to be relaxations to a level. Do not count phases with it: on
        drift with autocorrelated noise it predicts far better, and loses the phases.

    Notes
    -----
    Measured in ``benchmarks/hmm_options.md``.
    """

    stickiness: float = 0.0
    left_right: bool = False
    minimum_dwell: int = 1
    clock: str = "checkpoint"
    autoregressive: bool = False


PLAIN_MODEL = ModelOptions()


@dataclass(frozen=True)
class HMMParameters:
    """A Gaussian hidden Markov model.

    ``startprob`` (K,), ``transmat`` (K, K) with rows summing to one, ``means`` (K, D),
    ``covariances`` (K, D) for ``diag`` or (K, D, D) for ``full``; all in standardised units.

    A chain that knows the gaps between checkpoints has a ``generator`` (K, K) of transition rates
    (rows summing to zero) per ``unit``, which is measured in ``clock``; its ``transmat`` is that of
    a gap of one unit. States kept for a ``minimum_dwell`` of more than one checkpoint move by
    ``transmat`` once it is over; a run's first visit may have begun before. Emissions that remember
    have an ``autoregression`` ρ (K, D): in state k, z_t has mean μ_k + ρ_k (z_{t-1} - μ_k), and
    ``covariances`` are those around that mean.
    """

    startprob: FloatArray
    transmat: FloatArray
    means: FloatArray
    covariances: FloatArray
    covariance_type: str
    generator: FloatArray | None = None
    clock: str = "checkpoint"
    unit: float = 1.0
    minimum_dwell: int = 1
    autoregression: FloatArray | None = None

    @property
    def n_states(self) -> int:
        """Number of hidden states, K."""
        return len(self.startprob)


@dataclass(frozen=True)
class Recommendation:
    """The number of states that held-out runs recommend.

    ``n_states`` is None where these runs do not determine it; ``low`` … ``high`` is the range they
    allow. ``covariance_type`` predicts held-out runs best (``diag`` where ``full`` is not clearly
    better). ``reason`` says why, as plain sentences.
    """

    n_states: int | None
    covariance_type: str
    low: int
    high: int
    reason: str


@dataclass(frozen=True)
class Diagnostics:
    """How far the model's assumptions hold, and how far its states are more than drift.

    Attributes
    ----------
    autocorrelation : float
        Lag-1 autocorrelation of the standardised residuals within states, all metrics pooled: 0
        where the model holds; NaN where no two successive checkpoints share a state.
    autocorrelation_by_metric : ndarray, shape (D,)
        The same, metric by metric.
    surrogate_n_states : int or None
        K that the same criterion gives on trajectories without phases
        (:func:`hmmdyn.hmm.choose.diagnostics.phase_free`); None where it gives none or was not
        asked.
    single_run_states : tuple of int
        States that one run alone visits; empty where there is only one run.
    at_limit : bool
        Whether K is the largest number tried.
    notices : tuple of Notice
        The same in words, where there is something to say.
    """

    autocorrelation: float
    autocorrelation_by_metric: FloatArray
    surrogate_n_states: int | None
    single_run_states: tuple[int, ...]
    at_limit: bool
    notices: tuple[Notice, ...]


@dataclass(frozen=True, repr=False)
class Stability(_Shown):
    """Whether other seeds of the search give the same map.

    ``agreement``: mean adjusted Rand index between the map's decoded states and those of
    ``n_repeats`` searches of their own (1: the same map each time). ``states``: one row per state,
    ``state, n_found`` (repeats in which a state holds nearly the same checkpoints).
    """

    n_repeats: int
    agreement: float
    states: pd.DataFrame


@dataclass(frozen=True, repr=False)
class Selection(_Shown):
    """How the number of states was chosen.

    Attributes
    ----------
    protocol : str
        ``bic``: BIC on all runs. ``paper``: BIC on held-out runs (Hu 2023, section 2.1).
    n_states : int
        The K chosen: the least ``criterion`` among ``criteria``.
    covariance_type : str
        ``diag`` or ``full``.
    criterion : str
        The column of ``criteria`` that decided: ``bic``, ``held_out_bic`` or, for the recommended
        model, ``path``.
    criteria : DataFrame
        One row per covariance type and K: ``covariance_type, n_states, log_likelihood`` (nats, best
        valid model), ``n_parameters, bic, aic, icl, held_out_bic`` (NaN unless the protocol holds
        runs out). NaN where no fit was valid; ``icl`` also where the chain knows gaps or keeps
        states for a minimum dwell. Where the choice was weighed also ``held_out,
        held_out_se, path, path_se`` (how well the map predicts runs it was not fitted to, nats;
        higher is better) and ``n_scored``: see :class:`hmmdyn.hmm.choose.held_out.HeldOut`.
    attempts : DataFrame
        One row per start: ``covariance_type, n_states, start`` (its kind), ``seed, log_likelihood,
        n_iterations, valid, reason`` (empty where valid; ``left behind`` where the race went on
        without it), ``n_runs`` (fitted to: under ``paper`` all of them only in the last fit of the
        chosen K).
    held_out : tuple of str
        Names (``group/run``) of the runs held out; empty under ``bic``.
    models : Mapping
        The best valid fit per K, states in order of time; fitted to all runs under ``bic``, and
        under ``paper`` to the runs not held out (and the metrics known in these), except the chosen
        K, which is fitted to all.
    recommendation : Recommendation or None
        What runs held out recommend; None where this was not asked for.
    recommended : Selection or None
        The recommended model in place of the chosen one; None where they are the same, none is
        recommended or has a valid fit, or it is one state.
    stability : Stability or None
        Of the chosen model; None where this was not asked for.
    diagnostics : Diagnostics or None
        Of the chosen model; None where this was not asked for.
    """

    protocol: str
    n_states: int
    covariance_type: str
    criterion: str
    criteria: pd.DataFrame
    attempts: pd.DataFrame
    held_out: tuple[str, ...] = ()
    models: Mapping[int, HMMParameters] = field(default_factory=dict)
    recommendation: Recommendation | None = None
    recommended: Selection | None = None
    stability: Stability | None = None
    diagnostics: Diagnostics | None = None
    notices: tuple[Notice, ...] = ()

    @property
    def curve(self) -> pd.DataFrame:
        """The rows of ``criteria`` of the covariance type chosen, one per K."""
        return self.criteria[self.criteria["covariance_type"] == self.covariance_type]


@dataclass(frozen=True, repr=False)
class Convergence(_Shown):
    """When each run converged (METHOD: first step at which an outcome crosses a threshold).

    Attributes
    ----------
    outcome, threshold, direction : str, float, str
        Converged when ``outcome`` is ``above`` (>=) or ``below`` (<=) the threshold …
    sustained : int
        … at this many successive checkpoints (1: the first crossing).
    how : str
        In words, how outcome and threshold were chosen.
    table : DataFrame
        One row per run: ``group, run, seed, converged`` (bool), ``previous_step`` (Int64, the last
        evaluated step at which it is known not to have converged: convergence lies after it, and
        at or before ``step``; ``<NA>`` where the first evaluation did not tell), ``step``
        (convergence step, or the last evaluated step where the run is right-censored: then equal
        to ``previous_step``, but for the evaluations after which a streak could no longer become
        ``sustained``), ``last_step`` (of the run), ``time``
        (share of the run's checkpoints before ``step``; of a censored run, up to it; 0 … 1). Runs
        in which the outcome is never known are not in the table but in the notices.
    """

    outcome: str
    threshold: float
    direction: str
    sustained: int
    how: str
    table: pd.DataFrame
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, repr=False)
class Regression(_Shown):
    """Convergence time on bag-of-states occupancy, least squares without intercept.

    Hu 2023, section 2.3. ``coefficients`` has one row per state: ``state, coefficient,
    std_error, ci_low, ci_high`` (95 %), ``p``, ``p_corrected`` (Benjamini–Hochberg over states).
    ``r_squared`` is centred (occupancies sum to one, so the model holds an implicit constant);
    ``f_statistic`` and ``p`` belong to it. ``r_squared_loo`` predicts every run from the others
    (against their mean; below 0: worse than that mean); NaN where a state occurs in one run only,
    without which its coefficient is unknown. ``warning`` says, in words, why the numbers must not
    be over-read; ``n_censored`` runs enter with their last step.
    """

    coefficients: pd.DataFrame
    r_squared: float
    r_squared_loo: float
    f_statistic: float
    p: float
    n_runs: int
    n_censored: int
    warning: str


@dataclass(frozen=True)
class Dissimilarity:
    """Expected Wasserstein-1 distance between two runs' bags of states (Hu 2023, eq. 1).

    ``emission``: ground cost is the Euclidean distance between emission means (standardised
    units). ``total_variation``: ground cost 0/1 (dimensionless, 0 … 1). ``labels``: the paper's
    own number, state labels as positions on a line; it changes when states are relabelled. All
    NaN with fewer than two runs.
    """

    emission: float
    total_variation: float
    labels: float
    n_runs: int


@dataclass(frozen=True, repr=False)
class ConvergenceSpeed(_Shown):
    """How fast runs converge, group by group; steps count from the start of training, step 0.

    A run that never converges is right-censored: it counts as long as it was watched. The
    *horizon* of a comparison is the last step up to which the curves of all its groups are known:
    the end of the last run of a group, unless that run converged, which ends the curve at 0; where
    all curves end so, the last step of any run.

    Attributes
    ----------
    curves : DataFrame
        Kaplan–Meier curves, one row per group and step at which something is seen, step 0 first:
        ``group, step, n_at_risk`` (runs watched, not converged before), ``n_converged,
        n_censored`` (at this step), ``waiting`` (share of runs still to converge after it),
        ``low, high`` (95 % interval of that share until the next step).
    groups : DataFrame
        One row per group: ``group, n_runs, n_converged, median`` (first step by which half of the
        runs have converged; inf where never seen), ``median_low, median_high`` (its 95 % interval;
        0 and inf where the runs are too few to bound it), ``restricted_mean`` (mean step of
        convergence, a run that takes longer than the horizon counting as the horizon),
        ``restricted_mean_se, restricted_mean_low, restricted_mean_high`` (95 % interval; NaN where
        the runs do not differ), ``horizon`` (of all groups).
    tests : DataFrame
        One row per pair of groups, before them one for all groups where there are more than two
        (``group_a, group_b`` are missing). ``logrank`` (chi-squared statistic), ``logrank_p`` (of
        large samples), ``p`` (permutation test of the log-rank statistic), ``least_p`` (the least
        that any arrangement of these runs would give), ``p_corrected`` (Benjamini–Hochberg over the
        pairs that could be significant), ``difference`` (restricted mean of group_a minus that of
        group_b, steps) with ``difference_low, difference_high`` (95 %; NaN where a group shows no
        spread), ``horizon`` (of these groups), ``verdict``: group_a is ``faster`` or ``slower``
        (corrected p < 0.05), ``no evidence``, or ``cannot tell`` (nothing to compare, or
        ``least_p`` is 0.05 or more); for all groups ``different``, ``no evidence`` or ``cannot
        tell``. NaN where nothing can be compared.
    profile : DataFrame
        Performance profile: ``group, ratio`` (of time, to the fastest run of all), ``share`` (of
        the group's runs that converge within ``ratio`` times the fastest run's steps; a censored
        run never counts). Each group's share changes at its rows only.
    ranking : DataFrame
        All runs, fastest first, censored ones last: ``group, run, seed, converged, rank`` (by
        step, ties share the better one; ``<NA>`` where censored), ``rank_low, rank_high`` (ranks
        that evaluations between which convergence lies, and censoring, leave open),
        ``previous_step, step`` (as in :class:`Convergence`).
    """

    curves: pd.DataFrame
    groups: pd.DataFrame
    tests: pd.DataFrame
    profile: pd.DataFrame
    ranking: pd.DataFrame
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, repr=False)
class GroupComparison(_Shown):
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


@dataclass(frozen=True, repr=False)
class OutcomeTransitions(_Shown):
    """Sustained inflections of the outcomes, and the changes of state that go with them.

    Attributes
    ----------
    training, held_out : str
        The outcomes that ``delays`` are about; both empty where there are not both kinds.
    transitions : DataFrame
        One row per transition of an outcome in a run: ``group, run, seed, outcome, role``
        (``memorisation``: the largest improvement of a training outcome; ``generalisation``: of a
        held-out one; else empty), ``from_start`` (it has no calm before it: the training outcome
        improves from the first checkpoint on, and has levelled off before the held-out one
        follows), ``start, step, end`` (10 %, steepest, 90 % of the change; half where
        ``from_start``), ``step_low, step_high`` (95 % interval of ``step``), ``change,
        from_value, to_value`` (in units of the outcome).
    delays : DataFrame
        One row per run whose training outcome memorises and whose held-out outcome generalises, or
        has not done so when the run ends: ``group, run, seed, memorisation, generalisation``
        (steps; the latter NaN where ``censored``), ``delay`` (steps from the one to the other; up
        to the run's last evaluation where ``censored``), ``censored``, ``grokking`` (memorisation
        was over before generalisation began).
    spikes : DataFrame
        One row per time a loss leaves its level upwards: ``group, run, seed, outcome, kind``
        (``spike``, ``divergence``: not back within a tenth of the run), ``step, end_step`` (first
        evaluation at which it is back; NaN where it is not before the run ends),
        ``n_checkpoints`` (evaluations it lasts), ``level`` (where it left from), ``height`` (above
        that level; infinite where the loss was).
    matches : DataFrame
        One row per change of state and outcome that go together in some run: ``from_state,
        to_state, outcome, role, n_runs, n_total, lead, lead_low, lead_high, p, p_corrected``: see
        :func:`hmmdyn.dynamics.outcomes.matching.match_transitions`. ``lead`` is in steps, positive
        where the change of state comes first.
    how : str
        In words: clock, smoother, bandwidth and thresholds.
    notices : tuple of Notice
    """

    training: str
    held_out: str
    transitions: pd.DataFrame
    delays: pd.DataFrame
    spikes: pd.DataFrame
    matches: pd.DataFrame
    how: str
    notices: tuple[Notice, ...] = ()


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
    state_summary: pd.DataFrame
    transitions: pd.DataFrame
    influences: pd.DataFrame
    change_points: pd.DataFrame
    fork_choices: pd.DataFrame
    occupancy: pd.DataFrame
    selection: Selection
    dissimilarity: Dissimilarity
    forking: bool
    convergence: Convergence | None
    speed: ConvergenceSpeed | None
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
