"""How the number of states was chosen, and what speaks for and against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.notice import Notice
from hmmdyn.results.shown import Shown


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
class Stability(Shown):
    """Whether other seeds of the search give the same map.

    ``agreement``: mean adjusted Rand index between the map's decoded states and those of
    ``n_repeats`` searches of their own (1: the same map each time). ``states``: one row per state,
    ``state, n_found`` (repeats in which a state holds nearly the same checkpoints).
    """

    n_repeats: int
    agreement: float
    states: pd.DataFrame


@dataclass(frozen=True, repr=False)
class Selection(Shown):
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
        n_iterations, valid, reason`` (empty where valid; ``left behind`` where halving went on
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
