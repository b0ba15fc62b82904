"""Convergence time regressed on bags of states (Hu 2023, 2.3).

These are the paper's statistics, kept with the warning they need: whole-run occupancy knows when
a run converged, so a high R² can be true by construction.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from statsmodels.regression.linear_model import OLS

from hmmdyn.dynamics.occupancy import (
    ONE_SIDED,
    STEPS,
    bags,
    before_convergence,
    share_before_convergence,
    time_of_checkpoints,
)
from hmmdyn.dynamics.significance import SIGNIFICANT, corrected
from hmmdyn.errors import NotEnoughDataError
from hmmdyn.messages import Remedy
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.convergence import Convergence, Regression
from hmmdyn.results.keys import RUN_KEY


def regress_convergence(
    occupancy: pd.DataFrame,
    convergence: Convergence,
    states: pd.DataFrame,
    clock: str = STEPS,
) -> Regression:
    """Regress convergence time on bags of states by least squares without an intercept.

    Time is the share of the run's time before convergence. A censored run enters with its whole
    length, as in the paper; ``n_censored`` counts them. A state in which all runs spend the
    same share explains no difference between them: it gets no coefficient (NaN).

    Parameters
    ----------
    occupancy : DataFrame
        As :func:`hmmdyn.dynamics.occupancy.bag_of_states` returns it.
    convergence : Convergence
        When each run converged.
    states : DataFrame
        Decoded states of every checkpoint, to see which states lie before or after convergence.
    clock : {"step", "checkpoint"}
        In what the bags count time, and so convergence; the paper counts checkpoints.

    Raises
    ------
    NotEnoughDataError
        The coefficients are not determined: too few runs, states that only occur in fixed
        proportions, all runs converging at the same time, or a fit without any residual.
    """
    data = occupancy.merge(convergence.table[[*RUN_KEY, "converged"]], on=RUN_KEY)
    data = data.merge(_time_to_convergence(states, convergence, clock), on=RUN_KEY)
    X = bags(data)
    y = data["time"].to_numpy(dtype=np.float64)
    varies = np.ptp(X, axis=0) > 1e-12
    _require_determined(X[:, varies], y)
    # No constant is added; statsmodels sees that the columns sum to one and centres R².
    result = OLS(y, X[:, varies]).fit()
    if result.ssr <= 1e-20 * result.centered_tss:
        raise NotEnoughDataError(
            "The shares of time in states determine when runs converge exactly: R² is 1 by "
            "construction, and its p-value and intervals mean nothing."
        )
    interval = result.conf_int(alpha=SIGNIFICANT)
    estimates = pd.DataFrame(
        {
            "state": np.flatnonzero(varies),
            "coefficient": result.params,
            "std_error": result.bse,
            "ci_low": interval[:, 0],
            "ci_high": interval[:, 1],
            "p": result.pvalues,
            "p_corrected": corrected(result.pvalues),
        }
    )
    coefficients = pd.DataFrame({"state": np.arange(X.shape[1])}).merge(estimates, how="left")
    n_censored = int((~data["converged"]).sum())
    return Regression(
        coefficients=coefficients,
        r_squared=float(result.rsquared),
        r_squared_loo=_r_squared_loo(result),
        f_statistic=float(result.fvalue),
        p=float(result.f_pvalue),
        n_runs=len(data),
        n_censored=n_censored,
        warning=_warning(states, convergence, len(data), int(varies.sum()), n_censored),
    )


def _time_to_convergence(
    states: pd.DataFrame, convergence: Convergence, clock: str
) -> pd.DataFrame:
    """Return the share of each run's time before it converged: ``group, run, time``."""
    time = time_of_checkpoints(states, clock)
    before = time.where(before_convergence(states, convergence.table), 0.0)
    sums = states[RUN_KEY].assign(time=time, before=before).groupby(RUN_KEY, sort=False).sum()
    return (sums["before"] / sums["time"]).rename("time").reset_index()


def _r_squared_loo(result: Any) -> float:
    """R² of predictions of every run from the others, against predicting the others' mean.

    Uses that a residual of the fit without a run is e / (1 - h), h being the run's leverage.
    """
    influence = result.get_influence()
    if influence.hat_matrix_diag.max() > 1 - 1e-9:
        return float("nan")
    y = result.model.endog
    from_mean = (y - y.mean()) * len(y) / (len(y) - 1)
    return float(1 - (influence.resid_press**2).sum() / (from_mean**2).sum())


def _require_determined(X: FloatArray, y: FloatArray) -> None:
    n_runs, n_states = X.shape
    if n_states == 0:
        raise NotEnoughDataError(
            "All runs spend the same share of their time in each state: there is no "
            "difference to explain convergence with."
        )
    if n_runs <= n_states:
        raise NotEnoughDataError(
            f"{n_runs} runs cannot tell the effects of {n_states} states apart: the regression "
            f"needs at least {n_states + 1} runs with a known outcome."
        )
    if np.linalg.matrix_rank(X) < n_states:
        raise NotEnoughDataError(
            "Some states occur only in fixed proportions to each other, so their effects on "
            "convergence cannot be told apart. Try fewer states (",
            Remedy("max_states"),
            ").",
        )
    if np.ptp(y) == 0:
        raise NotEnoughDataError(
            "All runs converge after the same share of their time: there is no difference "
            "to explain."
        )


def _warning(
    states: pd.DataFrame, convergence: Convergence, n_runs: int, n_states: int, n_censored: int
) -> str:
    """Say in words why the regression must not be over-read, see docs/method/statements.md."""
    before = share_before_convergence(states, convergence)
    early = before.index[before >= ONE_SIDED].tolist()
    late = before.index[before <= 1 - ONE_SIDED].tolist()
    sentences = []
    if early and late:
        sentences.append(
            f"R² is high by construction here: {_names(early)} before convergence and "
            f"{_names(late)} after it (at least {ONE_SIDED:.0%} of their checkpoints), so the "
            "share of time in them tells when a run converged, whatever made it slow."
        )
    else:
        sentences.append(
            "Occupancy of the whole run can encode when it converged, so a high R² need not mean "
            "that states explain convergence."
        )
    sentences.append(
        "Slow runs also have longer to enter any state, and a positive time makes almost every "
        "coefficient of a state before convergence positive, so a harmless state can look like a "
        "detour."
    )
    if n_runs < 5 * n_states:
        sentences.append(
            f"{n_runs} runs are few for {n_states} states whose share differs between runs: from "
            f"noise alone R² is about {(n_states - 1) / (n_runs - 1):.2f}."
        )
    if n_censored:
        runs = (
            "1 run never converged and enters"
            if n_censored == 1
            else (f"{n_censored} runs never converged and enter")
        )
        sentences.append(f"{runs} with the whole length.")
    return " ".join(sentences)


def _names(labels: list[int]) -> str:
    if len(labels) == 1:
        return f"state {labels[0]} lies"
    return f"states {', '.join(map(str, labels[:-1]))} and {labels[-1]} lie"
