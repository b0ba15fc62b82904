"""How the number of states was chosen, and what speaks for and against it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.boundaries import Evidence
from hmmdyn.results.columns import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    STATE,
    TEXT,
    Column,
    Table,
    holds,
)
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.notice import Notice
from hmmdyn.results.shown import Shown
from hmmdyn.results.verdicts import LEFT_BEHIND

_COVARIANCE_TYPE = Column("covariance_type", TEXT, "diag or full")
_N_STATES = Column("n_states", INTEGER, "number of states, K", "states")
_INVALID = "where no fit was valid"
_WEIGHED = "only where the choice was weighed"

MODEL_SELECTION = Table(
    name="model_selection",
    title="Number of states",
    rows="covariance type and number of states",
    note="Log-likelihood of the best valid model; criteria (−2 log L and a penalty), lower is "
    "better; held_out and path: how well maps predict runs they were not fitted to, "
    "higher is better, with standard errors.",
    columns=(
        _COVARIANCE_TYPE,
        _N_STATES,
        Column("log_likelihood", NUMBER, "of the best valid model", "nats", missing=_INVALID),
        Column(
            "n_parameters",
            INTEGER,
            "free parameters of the model",
            "parameters",
            missing="where only runs held out were scored",
        ),
        Column("bic", NUMBER, "Bayesian information criterion", "nats", missing=_INVALID),
        Column("aic", NUMBER, "Akaike's information criterion", "nats", missing=_INVALID),
        Column(
            "icl",
            NUMBER,
            "integrated completed likelihood: BIC and twice the entropy of the states",
            "nats",
            missing=f"{_INVALID}, the chain knows gaps, or states are kept for a minimum dwell",
        ),
        Column(
            "held_out_bic",
            NUMBER,
            "BIC on the runs held out",
            "nats",
            missing="unless the protocol holds runs out",
        ),
        Column(
            "held_out",
            NUMBER,
            "log-likelihood of runs that the map was not fitted to; mean over runs, the highest "
            "and lowest fifth left out",
            "nats per checkpoint",
            only=_WEIGHED,
        ),
        Column(
            "held_out_se",
            NUMBER,
            "standard error of held_out",
            "nats per checkpoint",
            only=_WEIGHED,
        ),
        Column(
            "path",
            NUMBER,
            "the same for the path score, which allows for smooth drift within the states",
            "nats per look",
            only=_WEIGHED,
        ),
        Column("path_se", NUMBER, "standard error of path", "nats per look", only=_WEIGHED),
        Column("n_scored", INTEGER, "runs that were held out and scored", "runs", only=_WEIGHED),
    ),
)

ATTEMPTS = Table(
    name="attempts",
    title="Every fit tried",
    rows="start of a fit",
    note="Starts, splits and merges raced each other; all but the best were left behind. "
    "A fit is valid if it converged, visited every state and stayed finite.",
    columns=(
        _COVARIANCE_TYPE,
        _N_STATES,
        Column("start", TEXT, "kind of start"),
        Column("seed", INTEGER, "random seed of the start"),
        Column("log_likelihood", NUMBER, "that it reached", "nats"),
        Column("n_iterations", INTEGER, "iterations of EM", "iterations"),
        Column("valid", BOOLEAN, "it converged, visited every state and stayed finite"),
        Column(
            "reason",
            TEXT,
            f"why it is not valid, else empty; {LEFT_BEHIND} where the race went on without it",
        ),
        Column(
            "n_runs",
            INTEGER,
            "runs that it was fitted to: all of them, but for fits whose criterion is judged on "
            "runs held out",
            "runs",
        ),
    ),
)

STATES_FOUND = Table(
    name="states_found",
    title="States found again by searches with other seeds",
    rows="state",
    columns=(
        STATE,
        Column(
            "n_found",
            INTEGER,
            "repeats in which a state holds nearly the same checkpoints",
            "repeats",
        ),
    ),
)


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
    ``n_repeats`` searches of their own (1: the same map each time). ``states``: see
    :data:`STATES_FOUND`.
    """

    n_repeats: int
    agreement: float
    states: pd.DataFrame = field(metadata=holds(STATES_FOUND))


@dataclass(frozen=True, repr=False)
class Selection(Shown):
    """How the number of states was chosen.

    Attributes
    ----------
    protocol : str
        ``bic``: BIC on all runs. ``paper``: BIC on held-out runs (Hu 2023, section 2.1).
        ``supported``: the states whose boundaries have evidence.
    n_states : int
        The K chosen: the least ``criterion`` among ``criteria``.
    covariance_type : str
        ``diag`` or ``full``.
    criterion : str
        The column of ``criteria`` that decided: ``bic``, ``held_out_bic`` or, for the recommended
        model, ``path``; ``supported`` where the evidence for boundaries did, ``level`` for another
        level of the zoom around that map.
    criteria : DataFrame
        See :data:`MODEL_SELECTION`, and of its last columns
        :class:`hmmdyn.hmm.choose.held_out.HeldOut`.
    attempts : DataFrame
        See :data:`ATTEMPTS`.
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
    evidence : Evidence or None
        What supports the boundaries of the chosen model; None but under ``supported``.
    """

    protocol: str
    n_states: int
    covariance_type: str
    criterion: str
    criteria: pd.DataFrame = field(metadata=holds(MODEL_SELECTION))
    attempts: pd.DataFrame = field(metadata=holds(ATTEMPTS))
    held_out: tuple[str, ...] = ()
    models: Mapping[int, HMMParameters] = field(default_factory=dict)
    recommendation: Recommendation | None = None
    recommended: Selection | None = None
    stability: Stability | None = None
    diagnostics: Diagnostics | None = None
    evidence: Evidence | None = None
    notices: tuple[Notice, ...] = ()

    @property
    def curve(self) -> pd.DataFrame:
        """The rows of ``criteria`` of the covariance type chosen, one per K."""
        return self.criteria[self.criteria["covariance_type"] == self.covariance_type]
