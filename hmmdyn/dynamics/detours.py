"""Which states are detours: the paper's flag (Hu 2023, 2.3), held against a test of hazards.

The flag rests on a regression that whole-run occupancy can make significant by construction
(:mod:`hmmdyn.dynamics.regression`), so the verdict on a state rests on a test without that flaw
beside it (:mod:`hmmdyn.dynamics.hazard`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from hmmdyn.dynamics.hazard import entry_hazards
from hmmdyn.dynamics.occupancy import ONE_SIDED, bags, share_before_convergence
from hmmdyn.dynamics.significance import SIGNIFICANT
from hmmdyn.results.convergence import Convergence, Regression
from hmmdyn.results.detours import DETOURS, HAZARDS
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.verdicts import CANNOT_TELL, CONFIRMED, FLAG_ONLY, SLOWER, SLOWS


def detour_verdicts(
    occupancy: pd.DataFrame,
    convergence: Convergence | None,
    regression: Regression | None,
    states: pd.DataFrame,
    table: pd.DataFrame,
    confirmable: Collection[int] | None = None,
) -> pd.DataFrame:
    """Judge which states are detours: the paper's flag, held against a test of hazards.

    The paper flags a state where (1) some converged run never visits it, (2) its coefficient is
    positive, and the regression as a whole is significant, without which the paper asks not to
    read coefficients. A state that lies after convergence is never flagged: it cannot delay it;
    nor is one that only runs of a group without it converge without: that is the group's doing.
    The flag is biased, so it is confirmed only where having entered the state lowers the chance of
    converging next, too (:func:`hmmdyn.dynamics.hazard.entry_hazards`), and the state is founded.

    Parameters
    ----------
    occupancy : DataFrame
        As :func:`hmmdyn.dynamics.occupancy.bag_of_states` returns it.
    convergence : Convergence or None
        When each run converged; None where no outcome is known.
    regression : Regression or None
        Of the same runs; None where there is none.
    states, table : DataFrame
        Decoded states, and the outcomes, of the same checkpoints in the same order.
    confirmable : collection of int, optional
        States that may be confirmed, because they are founded: the evidence for boundaries supports
        them, and maps of other runs have them, too. All where None.

    Returns
    -------
    DataFrame
        See :data:`.results.detours.DETOURS`.
    """
    flags = _paper_flags(occupancy, convergence, regression, states)
    if convergence is None:
        account = "No outcome is known, so these runs cannot tell."
        hazards = HAZARDS.frame(
            flags[["state"]].assign(clock="", effect=CANNOT_TELL, account=account)
        )
    else:
        evaluated = np.isfinite(table[convergence.outcome].to_numpy(dtype=np.float64))
        hazards = entry_hazards(states, evaluated, convergence, len(flags))
    judged = flags.merge(hazards, on="state")
    judged["founded"] = judged["state"].isin(
        judged["state"] if confirmable is None else confirmable
    )
    judged["verdict"] = [
        _verdict(flag, effect, founded)
        for flag, effect, founded in zip(
            judged["flag"], judged["effect"], judged["founded"], strict=True
        )
    ]
    judged["reason"] = [_reason(row) for row in judged.itertuples(index=False)]
    return DETOURS.frame(judged)


def _verdict(flag: bool, effect: str, founded: bool) -> str:
    if effect == SLOWER:
        return CONFIRMED if founded else SLOWS
    return FLAG_ONLY if flag else effect


def _reason(state: Any) -> str:
    holds = "holds" if state.flag else "does not hold"
    unfounded = (
        " It is not confirmed, because no evidence supports the state's boundaries and finds it "
        "again in other runs."
        if state.verdict == SLOWS
        else ""
    )
    return f"{state.account}{unfounded} The paper's flag {holds}: {state.flag_reason}."


def _paper_flags(
    occupancy: pd.DataFrame,
    convergence: Convergence | None,
    regression: Regression | None,
    states: pd.DataFrame,
) -> pd.DataFrame:
    n_states = bags(occupancy).shape[1]
    visited = could = np.zeros((0, n_states), dtype=bool)
    before = pd.Series(dtype=float)
    if convergence is not None:
        converged = convergence.table[convergence.table["converged"]]
        joined = occupancy.merge(converged, on=RUN_KEY)
        visited = bags(joined) > 0
        # A group that never enters a state does not make it optional for the others.
        entering = pd.DataFrame(bags(occupancy) > 0).groupby(occupancy["group"].to_numpy()).any()
        could = entering.loc[joined["group"]].to_numpy()
        before = share_before_convergence(states, convergence)
    rows = []
    for k in range(n_states):
        coefficient = np.nan
        if regression is not None:
            coefficient = float(regression.coefficients["coefficient"].iloc[k])
        n_without = int((could[:, k] & ~visited[:, k]).sum())
        lies_after = bool(before.get(k, np.nan) <= 1 - ONE_SIDED)
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
            f"{optional}, but at least {ONE_SIDED:.0%} of its checkpoints lie after convergence, "
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
