"""Phase transitions of losses and accuracies."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from hmmdyn.results.notice import Notice
from hmmdyn.results.shown import Shown


@dataclass(frozen=True, repr=False)
class OutcomeTransitions(Shown):
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
    improvements : DataFrame
        When outcomes make their largest improvement, one row per outcome that has an improving
        transition in some run: ``outcome, n_runs`` (that have one), ``first_step, median_step,
        last_step`` (of the steepest steps, over runs), ``duration`` (steps from start to end,
        median).
    delays : DataFrame
        One row per run whose training outcome memorises and whose held-out outcome generalises, or
        has not done so when the run ends: ``group, run, seed, memorisation, generalisation``
        (steps; the latter NaN where ``censored``), ``delay`` (steps from the one to the other; up
        to the run's last evaluation where ``censored``), ``censored``, ``grokking`` (memorisation
        was over before generalisation began).
    grokking_delay : float
        Median ``delay`` of the runs that grok; NaN where none does.
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
    improvements: pd.DataFrame
    delays: pd.DataFrame
    grokking_delay: float
    spikes: pd.DataFrame
    matches: pd.DataFrame
    how: str
    notices: tuple[Notice, ...] = ()
