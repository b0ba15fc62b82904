"""Several recipes on one joint map: the paper's tables group by group, and what differs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact, random_table

from hmmdyn.dynamics.detours import detour_verdicts
from hmmdyn.dynamics.dissimilarity import compare_pairs, dissimilarity
from hmmdyn.dynamics.occupancy import STEPS
from hmmdyn.dynamics.regression import regress_convergence
from hmmdyn.dynamics.significance import N_PERMUTATIONS, SIGNIFICANT_ONE_SIDED, corrected
from hmmdyn.dynamics.transitions import is_forking
from hmmdyn.dynamics.ways import find_paths
from hmmdyn.errors import NotEnoughDataError
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.convergence import Convergence, Regression
from hmmdyn.results.groups import GROUP_FORKS, GROUP_REGRESSIONS, GROUPS, GroupComparison
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.verdicts import FLAG_ONLY, NO_EVIDENCE

_REGRESSION = ["n_runs", "n_censored", "r_squared", "r_squared_loo", "p"]


@dataclass(frozen=True)
class _Group:
    """The runs of one group; ``convergence`` is None where none of them has a known outcome."""

    name: str
    states: pd.DataFrame
    table: pd.DataFrame
    occupancy: pd.DataFrame
    changes: pd.DataFrame
    convergence: Convergence | None


def compare_groups(
    states: pd.DataFrame,
    table: pd.DataFrame,
    occupancy: pd.DataFrame,
    changes: pd.DataFrame,
    choices: pd.DataFrame,
    convergence: Convergence | None,
    parameters: HMMParameters,
    *,
    confirmable: Collection[int] | None = None,
    clock: str = STEPS,
    random_state: int = 0,
) -> GroupComparison | None:
    """Compare the groups of runs that one map was fitted to; None where there is only one.

    Whether a state is a detour is asked of each group alone, so that a recipe that is slow as a
    whole does not make the states it visits look like delays; it is asked once per group and
    state, and corrected for all of them. Runs of a group are compared with each other only.

    Parameters
    ----------
    states, table : DataFrame
        Decoded states, and the outcomes, of the same checkpoints in the same order.
    occupancy : DataFrame
        As :func:`hmmdyn.dynamics.occupancy.bag_of_states` returns it.
    changes : DataFrame
        As :func:`hmmdyn.dynamics.transitions.change_points` returns them.
    choices : DataFrame
        As :func:`hmmdyn.dynamics.ways.fork_choices` returns them.
    convergence : Convergence or None
        When each run converged; None where no outcome is known.
    parameters : HMMParameters
        The joint map.
    confirmable : collection of int, optional
        As for :func:`hmmdyn.dynamics.detours.detour_verdicts`.
    clock : {"step", "checkpoint"}
        In what ``occupancy`` counts time. Groups are compared in steps.
    random_state : int
        Seeds the permutations.
    """
    groups = list(_by_group(states, table, occupancy, changes, convergence))
    if len(groups) < 2:
        return None
    names = [group.name for group in groups]
    regressions, detours = _explained(groups, confirmable, clock)
    return GroupComparison(
        groups=GROUPS.frame(_summary(group, parameters) for group in groups),
        dissimilarities=compare_pairs(states, parameters.means, random_state=random_state),
        forks=_forks(choices, names, random_state),
        detours=detours,
        regressions=regressions,
    )


def _by_group(
    states: pd.DataFrame,
    table: pd.DataFrame,
    occupancy: pd.DataFrame,
    changes: pd.DataFrame,
    convergence: Convergence | None,
) -> Iterator[_Group]:
    for name in occupancy["group"].unique():
        own = None
        if convergence is not None:
            of_group = convergence.table[convergence.table["group"] == name]
            if len(of_group):
                own = replace(convergence, table=of_group.reset_index(drop=True))
        mine = [
            frame[frame["group"] == name].reset_index(drop=True)
            for frame in (states, table, occupancy, changes)
        ]
        yield _Group(str(name), mine[0], mine[1], mine[2], mine[3], own)


def _summary(group: _Group, parameters: HMMParameters) -> dict[str, object]:
    """Return a row of ``GroupComparison.groups``."""
    within = dissimilarity(group.occupancy, parameters.means)
    n_visited = group.states["state"].nunique()
    edges = group.changes[["from_state", "to_state"]].drop_duplicates()
    common = find_paths(group.states).iloc[0]
    measure = group.convergence
    return {
        "group": group.name,
        "n_runs": len(group.occupancy),
        "n_converged": pd.NA if measure is None else int(measure.table["converged"].sum()),
        "n_censored": pd.NA if measure is None else int((~measure.table["converged"]).sum()),
        "n_states_visited": n_visited,
        "forking": is_forking(edges, n_visited),
        "emission": within.emission,
        "total_variation": within.total_variation,
        "path": common["path"],
        "n_on_path": common["n_runs"] + common["n_part"],
    }


def _explained(
    groups: list[_Group], confirmable: Collection[int] | None, clock: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return each group's regression and verdicts on states, corrected over all groups."""
    rows, reasons, verdicts = [], [], []
    for group in groups:
        regression, why_not = _regression(group, clock)
        row: dict[str, object] = {"group": group.name, "n_runs": len(group.occupancy)}
        if regression is not None:
            row |= {name: getattr(regression, name) for name in _REGRESSION}
        rows.append(row)
        reasons.append(why_not)
        judged = detour_verdicts(
            group.occupancy,
            group.convergence,
            regression,
            group.states,
            group.table,
            confirmable,
        )
        judged.insert(0, "group", group.name)
        verdicts.append(judged)
    regressions = GROUP_REGRESSIONS.frame(rows)
    regressions["why_not"] = pd.Series(reasons, dtype="object")  # texts that keep their remedies
    regressions["p_corrected"] = corrected(regressions["p"].to_numpy())
    return regressions, _over_groups(pd.concat(verdicts, ignore_index=True))


def _regression(group: _Group, clock: str) -> tuple[Regression | None, str]:
    """Return the group's own regression, or why there is none."""
    if group.convergence is None:
        return None, "no outcome is known"
    try:
        return regress_convergence(group.occupancy, group.convergence, group.states, clock), ""
    except NotEnoughDataError as error:
        return None, error.message


def _over_groups(detours: pd.DataFrame) -> pd.DataFrame:
    """Correct the hazard tests for all groups, and take back verdicts that do not survive it."""
    within = detours["p_corrected"]
    # No less than within the group: other groups' clear findings do not make a doubtful one clear.
    p_corrected = np.fmax(corrected(detours["p"].to_numpy(dtype=np.float64)), within)
    lost = (within < SIGNIFICANT_ONE_SIDED) & (p_corrected >= SIGNIFICANT_ONE_SIDED)
    back = np.where(detours["flag"], FLAG_ONLY, NO_EVIDENCE)
    taken_back = " Corrected over the states of all groups, p is {:.2g}: no longer significant."
    return detours.assign(
        p_corrected=p_corrected,
        verdict=np.where(lost, back, detours["verdict"]),
        reason=[
            reason + taken_back.format(p) if gone else reason
            for reason, p, gone in zip(detours["reason"], p_corrected, lost, strict=True)
        ],
    )


def _forks(choices: pd.DataFrame, names: list[str], random_state: int) -> pd.DataFrame:
    """Return which ways the runs of each group take where ways part, and whether groups differ."""
    parts = []
    for here, leaving in choices.groupby("state"):
        ways = np.unique(leaving["to_state"])
        taken = pd.crosstab(leaving["to_state"], leaving["group"])
        counts = taken.reindex(index=ways, columns=names, fill_value=0).to_numpy()
        parts.append(
            pd.DataFrame(
                {
                    "from_state": here,
                    "to_state": np.repeat(ways, len(names)),
                    "group": names * len(ways),
                    "n_runs": counts.ravel(),
                    "p": _independence_p(counts, random_state),
                }
            )
        )
    if not parts:
        return GROUP_FORKS.frame()
    p_corrected = corrected(np.array([part["p"].iloc[0] for part in parts]))
    return pd.concat(
        [part.assign(p_corrected=p) for part, p in zip(parts, p_corrected, strict=True)],
        ignore_index=True,
    )


def _independence_p(counts: IntArray, random_state: int) -> float:
    """Test by Fisher's exact test whether rows and columns are independent; NaN with one column.

    Beyond 2 × 2 the tables with these margins are drawn, not counted (Freeman & Halton 1951): p is
    the share of tables that are no more probable than this one, this one among them.
    """
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    if min(counts.shape) < 2:
        return float("nan")
    if counts.shape == (2, 2):
        return float(fisher_exact(counts).pvalue)
    tables = random_table(counts.sum(axis=1), counts.sum(axis=0))
    drawn: FloatArray = tables.logpmf(
        tables.rvs(N_PERMUTATIONS, random_state=np.random.default_rng(random_state))
    )
    no_more_probable = drawn <= tables.logpmf(counts) + 1e-9  # equal ones differ by rounding
    return float((1 + no_more_probable.sum()) / (1 + N_PERMUTATIONS))
