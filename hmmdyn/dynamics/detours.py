"""What states mean for convergence: the paper's regression and detour flag (Hu 2023, 2.3).

These are the paper's statistics, kept with the warning they need: whole-run occupancy knows when
a run converged, so a high R² can be true by construction. The verdict on a state rests on a test
without that flaw beside them (:mod:`hmmdyn.dynamics.hazard`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm

from hmmdyn.dynamics.dissimilarity import bags
from hmmdyn.dynamics.hazard import HAZARD_COLUMNS, entry_hazards
from hmmdyn.dynamics.significance import SIGNIFICANT, corrected
from hmmdyn.errors import NotEnoughDataError
from hmmdyn.messages import Remedy
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.convergence import Convergence, Regression
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY
from hmmdyn.results.verdicts import CANNOT_TELL, CONFIRMED, FLAG_ONLY, HELPS, NO_EVIDENCE, SLOWS

# A state counts as lying before (after) convergence when this share of its checkpoints does.
_ONE_SIDED = 0.9


def bag_of_states(states: pd.DataFrame, n_states: int) -> pd.DataFrame:
    """Return the fraction of each run's checkpoints spent in each state.

    Returns
    -------
    DataFrame
        ``group, run, seed, state_0 … state_{K-1}``; the fractions of a run sum to one.
    """
    runs = states[[*RUN_KEY, "seed"]].drop_duplicates(RUN_KEY)
    one_hot = pd.DataFrame(
        np.eye(n_states)[states["state"]],
        columns=[f"state_{k}" for k in range(n_states)],
        index=states.index,
    )
    fractions = one_hot.groupby([states["group"], states["run"]], sort=False).mean().reset_index()
    return runs.merge(fractions, on=RUN_KEY, how="left")


def regress_convergence(
    occupancy: pd.DataFrame, convergence: Convergence, states: pd.DataFrame
) -> Regression:
    """Regress convergence time on bags of states by least squares without an intercept.

    Time is the share of the run's checkpoints before convergence. A censored run enters with its
    whole length, as in the paper; ``n_censored`` counts them. A state in which all runs spend the
    same share explains no difference between them: it gets no coefficient (NaN).

    Parameters
    ----------
    occupancy : DataFrame
        As :func:`bag_of_states` returns it.
    convergence : Convergence
    states : DataFrame
        Decoded states of every checkpoint, to see which states lie before or after convergence.

    Raises
    ------
    NotEnoughDataError
        The coefficients are not determined: too few runs, states that only occur in fixed
        proportions, all runs converging at the same time, or a fit without any residual.
    """
    data = occupancy.merge(convergence.table, on=RUN_KEY)
    X = bags(data)
    y = data["time"].to_numpy(dtype=np.float64)
    varies = np.ptp(X, axis=0) > 1e-12
    _require_determined(X[:, varies], y)
    # No constant is added; statsmodels sees that the columns sum to one and centres R².
    result = sm.OLS(y, X[:, varies]).fit()
    if result.ssr <= 1e-20 * result.centered_tss:
        raise NotEnoughDataError(
            "The shares of checkpoints determine the time of convergence exactly: R² is 1 by "
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


def detour_verdicts(
    occupancy: pd.DataFrame,
    convergence: Convergence | None,
    regression: Regression | None,
    states: pd.DataFrame,
    table: pd.DataFrame,
) -> pd.DataFrame:
    """Judge which states are detours: the paper's flag, held against a test of hazards.

    The paper flags a state where (1) some converged run never visits it, (2) its coefficient is
    positive, and the regression as a whole is significant, without which the paper asks not to
    read coefficients. A state that lies after convergence is never flagged: it cannot delay it.
    The flag is biased, so it is confirmed only where having entered the state lowers the chance of
    converging next, too (:func:`hmmdyn.dynamics.hazard.entry_hazards`).

    Parameters
    ----------
    occupancy : DataFrame
        As :func:`bag_of_states` returns it.
    convergence : Convergence or None
    regression : Regression or None
    states, table : DataFrame
        Decoded states, and the outcomes, of the same checkpoints in the same order.

    Returns
    -------
    DataFrame
        One row per state, columns as ``detours`` in :class:`hmmdyn.results.findings.Findings`.
    """
    flags = _paper_flags(occupancy, convergence, regression, states)
    if convergence is None:
        hazards = pd.DataFrame({"state": flags["state"]}).reindex(columns=HAZARD_COLUMNS)
        account = "No outcome is known, so these runs cannot tell."
        hazards = hazards.assign(effect="cannot tell", account=account)
    else:
        evaluated = np.isfinite(table[convergence.outcome].to_numpy(dtype=np.float64))
        hazards = entry_hazards(states, evaluated, convergence, len(flags))
    judged = flags.merge(hazards, on="state")
    verdicts = [_verdict(f, e) for f, e in zip(judged["flag"], judged["effect"], strict=True)]
    judged = judged.assign(verdict=verdicts)
    judged["reason"] = [_reason(row) for row in judged.itertuples(index=False)]
    return judged.drop(columns=["flag_reason", "effect", "account"])


def _verdict(flag: bool, effect: str) -> str:
    if effect == "slower":
        return CONFIRMED if flag else SLOWS
    if effect == "faster":
        return HELPS
    if flag:
        return FLAG_ONLY
    return NO_EVIDENCE if effect == "none" else CANNOT_TELL


def _reason(state: Any) -> str:
    on_the_way = " That may only say that it lies on the way." if state.verdict == HELPS else ""
    holds = "holds" if state.flag else "does not hold"
    return f"{state.account}{on_the_way} The paper's flag {holds}: {state.flag_reason}."


def _paper_flags(
    occupancy: pd.DataFrame,
    convergence: Convergence | None,
    regression: Regression | None,
    states: pd.DataFrame,
) -> pd.DataFrame:
    n_states = bags(occupancy).shape[1]
    visited = np.zeros((0, n_states), dtype=bool)
    before = pd.Series(dtype=float)
    if convergence is not None:
        converged = convergence.table[convergence.table["converged"]]
        visited = bags(occupancy.merge(converged, on=RUN_KEY)) > 0
        before = _share_before_convergence(states, convergence)
    rows = []
    for k in range(n_states):
        coefficient = np.nan
        if regression is not None:
            coefficient = float(regression.coefficients["coefficient"].iloc[k])
        n_without = int((~visited[:, k]).sum())
        lies_after = bool(before.get(k, np.nan) <= 1 - _ONE_SIDED)
        flag, reason = _paper_flag(n_without, coefficient, lies_after, regression)
        rows.append(
            {
                "state": k,
                "optional": n_without > 0,
                "n_converged_without": n_without,
                "coefficient": coefficient,
                "flag": flag,
                "flag_reason": reason,
            }
        )
    return pd.DataFrame(rows)


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
            "All runs spend the same share of their checkpoints in each state: there is no "
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
            "All runs converge after the same share of their checkpoints: there is no difference "
            "to explain."
        )


def _paper_flag(
    n_without: int, coefficient: float, lies_after: bool, regression: Regression | None
) -> tuple[bool, str]:
    if regression is None:
        return False, "no regression could be computed"
    if n_without == 0:
        return False, "every converged run visits it, so it is not optional"
    without = (
        "1 converged run never visits"
        if n_without == 1
        else f"{n_without} converged runs never visit"
    )
    optional = f"optional ({without} it)"
    if lies_after:
        return False, (
            f"{optional}, but at least {_ONE_SIDED:.0%} of its checkpoints lie after convergence, "
            "which those cannot delay"
        )
    if np.isnan(coefficient):
        return False, f"{optional}, but all runs spend the same share of their time in it"
    if not regression.p < SIGNIFICANT:
        return False, (
            f"{optional}, but the regression is not significant (p = {regression.p:.2g}), so "
            "coefficients are not read"
        )
    if coefficient <= 0:
        return False, f"{optional}, but its coefficient is not positive ({coefficient:.2f})"
    return True, f"{optional}, with a positive coefficient ({coefficient:.2f})"


def _warning(
    states: pd.DataFrame, convergence: Convergence, n_runs: int, n_states: int, n_censored: int
) -> str:
    """Say in words why the regression must not be over-read (METHOD, section 7)."""
    before = _share_before_convergence(states, convergence)
    early = before.index[before >= _ONE_SIDED].tolist()
    late = before.index[before <= 1 - _ONE_SIDED].tolist()
    sentences = []
    if early and late:
        sentences.append(
            f"R² is high by construction here: {_names(early)} before convergence and "
            f"{_names(late)} after it (at least {_ONE_SIDED:.0%} of their checkpoints), so the "
            "share of checkpoints in them tells when a run converged, whatever made it slow."
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


def _share_before_convergence(states: pd.DataFrame, convergence: Convergence) -> pd.Series:
    """Share of each state's checkpoints, in converged runs, that lie before convergence."""
    converged = convergence.table.loc[convergence.table["converged"], [*RUN_KEY, "step"]]
    joined = states[[*CHECKPOINT_KEY, "state"]].merge(
        converged.rename(columns={"step": "convergence"}), on=RUN_KEY
    )
    return (joined["step"] < joined["convergence"]).groupby(joined["state"]).mean()


def _names(labels: list[int]) -> str:
    if len(labels) == 1:
        return f"state {labels[0]} lies"
    return f"states {', '.join(map(str, labels[:-1]))} and {labels[-1]} lie"
