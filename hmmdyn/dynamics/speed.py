"""How fast the runs of each group converge, and whether groups differ by more than chance.

A run that never converges is right-censored throughout (docs/method/statements.md, Convergence).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from hmmdyn.dynamics.convergence import run_name
from hmmdyn.dynamics.evaluated import Group, SpeedTest, Tested, evaluated_runs
from hmmdyn.dynamics.planning import Spread, runs_needed, smallest_difference, spread_of
from hmmdyn.dynamics.significance import SIGNIFICANT, corrected
from hmmdyn.dynamics.survival import (
    Bracketed,
    difference_of_means,
    mean_step,
    median_step,
    waiting_curve,
)
from hmmdyn.errors import NotEnoughDataError
from hmmdyn.messages import Remedy
from hmmdyn.results.convergence import (
    CONVERGENCE_GROUPS,
    CONVERGENCE_TESTS,
    EQUIVALENCE,
    PERFORMANCE_PROFILE,
    PLANNING,
    RANKING,
    SEEDS_NEEDED,
    Convergence,
    ConvergenceSpeed,
)
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.results.verdicts import (
    A_NOT_SLOWER,
    ALIKE,
    B_NOT_SLOWER,
    CANNOT_TELL,
    DIFFERENT,
    FASTER,
    NO_EVIDENCE,
    SLOWER,
)

_DIFFERENCES = (0.1, 0.2, 0.5, 1.0)  # of which it is said how many seeds they need


def compare_speed(
    convergence: Convergence, *, margin: float | None = None, random_state: int = 0
) -> ConvergenceSpeed:
    """Compare how fast runs converge, within groups and between them.

    Parameters
    ----------
    convergence : Convergence
        When each run converged.
    margin : float, optional
        By which share slower a group may be and still count as no slower: 0.1 is 10 %. Then groups
        are tested for that, too: is one faster than the other would be if it took that much longer?
    random_state : int
        Seed of the permutation test, where permutations are too many to go through all.

    Raises
    ------
    NotEnoughDataError
        No run is evaluated often enough to be seen to converge.

    Notes
    -----
    A run converges between the evaluation at which it is first seen to have and the one before, and
    nobody knows where: estimates and intervals hold wherever it is. The curve is Turnbull's [5]_;
    its upper limits are those it would have if every run converged when seen to, its lower ones if
    it did right after the evaluation before.

    Seeds are few, so nothing but ``logrank_p`` rests on large samples. A curve's intervals are
    beta product intervals [1]_, without censoring those of Clopper and Pearson: the usual log-log
    band holds its level badly where few runs have converged or few are left. The interval of the
    median is the steps at which they contain one half [2]_; five runs or fewer do not bound it.
    Restricted means take the jackknife's standard error [3]_ and Student's t, one mean on the
    logit scale of its share of the horizon, a difference by Welch's formula. Runs that all count
    alike, such as those of a group that never converges, give a mean the limits of the curve, and a
    difference none.

    The permutation test hands the runs, each with its log-rank score, to the groups in all ways
    (or in 9,999 drawn at random), and asks how often the log-rank numerator is as far from zero.
    Runs are followed to the horizon of the groups compared and no further, since runs are not
    alike where those of one group are watched for longer. Of groups evaluated at different steps,
    each is asked in turn whether it is faster, seen no sooner than the other
    (:mod:`hmmdyn.dynamics.evaluated`), and p is twice the lesser of the two. A group of one run is
    compared with none: it does not show how much seeds differ.

    ``benchmarks/speed.md`` has the coverage of the intervals and the error rates of the tests. The
    profile is that of AlgoPerf [4]_, with seeds in place of workloads.

    References
    ----------
    .. [1] Fay, Brittain and Proschan (2013), Pointwise confidence intervals for a survival
       distribution with small samples or heavy censoring. Biostatistics 14, 723-736.
    .. [2] Brookmeyer and Crowley (1982), A confidence interval for the median survival time.
       Biometrics 38, 29-41.
    .. [3] Andersen, Hansen and Klein (2004), Regression analysis of restricted mean survival time
       based on pseudo-observations. Lifetime Data Analysis 10, 335-350.
    .. [4] Dahl et al. (2023), Benchmarking neural network training algorithms. arXiv:2306.07179.
    .. [5] Turnbull (1976), The empirical distribution function with arbitrarily grouped, censored
       and truncated data. Journal of the Royal Statistical Society B 38, 290-295.
    """
    table, left_out = _comparable(convergence)
    groups = {str(group): _Runs.of(own) for group, own in table.groupby("group", sort=False)}
    curves = {group: waiting_curve(own.bracketed) for group, own in groups.items()}
    evaluated = evaluated_runs(convergence.evaluations)
    seen = {
        group: [evaluated[group, run] for run in own.table["run"].astype(str)]
        for group, own in groups.items()
    }
    rule = SpeedTest(convergence.sustained, random_state)
    return ConvergenceSpeed(
        curves=pd.concat(curves, names=["group"]).reset_index("group").reset_index(drop=True),
        groups=_summaries(groups),
        tests=_tests(groups, seen, rule),
        profile=_profile(table),
        ranking=_ranking(table),
        planning=PLANNING.frame(_plan(group, own) for group, own in groups.items()),
        seeds_needed=_seeds_needed(groups, margin),
        equivalence=_equivalence(groups, seen, margin, rule),
        notices=(*left_out, *_no_profile(table)),
    )


def _comparable(convergence: Convergence) -> tuple[pd.DataFrame, tuple[Notice, ...]]:
    """Return the runs that can be compared, with the ``end`` of what is known of each."""
    table = convergence.table
    end = table["step"].astype("Int64").where(table["converged"], table["previous_step"])
    if end.isna().all():
        raise NotEnoughDataError(
            f"No run has {convergence.outcome} at {convergence.sustained} checkpoints or more, so "
            "none could be seen to converge: speed cannot be compared. Ask for fewer with ",
            Remedy("sustained"),
            ".",
        )
    several_groups = table["group"].nunique() > 1
    notices = tuple(
        Notice(
            "statements",
            "left out",
            f"run {run_name(group, run, several_groups=several_groups)}",
            f"{convergence.outcome} is known at fewer than {convergence.sustained} of its "
            "checkpoints, too few to see it converge: it is in no comparison of speed.",
        )
        for group, run in table.loc[end.isna(), RUN_KEY].itertuples(index=False, name=None)
    )
    return table.assign(end=end)[end.notna()].astype({"end": np.int64}), notices


@dataclass(frozen=True)
class _Runs:
    """The runs of a group: what every comparison with another group needs, worked out once.

    ``known_to`` is up to which step their curve is known, ``spread`` by how much they differ.
    """

    table: pd.DataFrame
    bracketed: Bracketed
    known_to: float
    spread: Spread

    @classmethod
    def of(cls, table: pd.DataFrame) -> _Runs:
        bracketed = _bracketed(table)
        return cls(table, bracketed, _known_to(table), spread_of(bracketed))

    @property
    def n_converged(self) -> int:
        return int(self.bracketed.converged.sum())


def _bracketed(runs: pd.DataFrame) -> Bracketed:
    end = runs["end"].to_numpy()
    # Before its first evaluation a run has not converged, unless that was at step 0.
    before = runs["previous_step"].fillna(-1).to_numpy(dtype=np.int64)
    after = np.where((before < 0) & (end > 0), 0, before)
    converged = runs["converged"].to_numpy(dtype=bool)
    return Bracketed(np.where(converged, after, end), end, converged)


def _horizon(groups: Iterable[_Runs]) -> float:
    """Return the last step up to which the curve of every group is known."""
    groups = list(groups)
    known = min(own.known_to for own in groups)
    last = [own.table["last_step"].max() for own in groups]
    return known if np.isfinite(known) else float(max(last))


def _known_to(runs: pd.DataFrame) -> float:
    """Return up to which step a group's curve is known: to the end of its last run.

    For ever where that run converged.
    """
    last = runs[runs["end"] == runs["end"].max()]
    return np.inf if last["converged"].all() else float(last["end"].iloc[0])


def _summaries(groups: Mapping[str, _Runs]) -> pd.DataFrame:
    horizon = _horizon(groups.values())
    rows = []
    for group, own in groups.items():
        runs = own.bracketed
        median = median_step(runs)
        mean = mean_step(runs, horizon)
        rows.append(
            {
                "group": group,
                "n_runs": len(runs),
                "n_converged": int(runs.converged.sum()),
                "n_censored": int((~runs.converged).sum()),
                "median_earliest": median.earliest,
                "median_latest": median.latest,
                "median_low": median.low,
                "median_high": median.high,
                "restricted_mean": mean.value,
                "restricted_mean_se": mean.error,
                "restricted_mean_low": mean.low,
                "restricted_mean_high": mean.high,
                "horizon": horizon,
            }
        )
    return CONVERGENCE_GROUPS.frame(rows)


def _tests(groups: Mapping[str, _Runs], seen: Mapping[str, Group], rule: SpeedTest) -> pd.DataFrame:
    pairs = pd.DataFrame(
        [
            {"group_a": a, "group_b": b, **_pair(groups, seen, (a, b), rule)}
            for a, b in combinations(groups, 2)
        ]
    ).reindex(columns=[*CONVERGENCE_TESTS.names, "ahead"])
    able = pairs["least_p"] < SIGNIFICANT
    pairs["p_corrected"] = corrected(pairs["p"].where(able).to_numpy())
    pairs["verdict"] = [
        _verdict(p, least_p, FASTER if ahead > 0 else SLOWER)
        for p, least_p, ahead in zip(
            pairs["p_corrected"], pairs["least_p"], pairs["ahead"], strict=True
        )
    ]
    if len(groups) > 2:
        horizon = _horizon(groups.values())
        found = rule.of_alike(list(seen.values()), horizon) or _from_pairs(pairs)
        verdict = _verdict(found.p, found.least_p, DIFFERENT)
        together = pd.DataFrame([{**vars(found), "horizon": horizon, "verdict": verdict}])
        together = together.reindex(columns=pairs.columns)
        together[["group_a", "group_b"]] = None
        pairs = pd.concat([together, pairs], ignore_index=True)
    return CONVERGENCE_TESTS.frame(pairs)


def _pair(
    groups: Mapping[str, _Runs],
    seen: Mapping[str, Group],
    names: tuple[str, str],
    rule: SpeedTest,
) -> dict[str, float]:
    a, b = (groups[name] for name in names)
    horizon = _horizon([a, b])
    difference = difference_of_means(a.bracketed, b.bracketed, horizon)
    return {
        **vars(rule.of_two(seen[names[0]], seen[names[1]], horizon)),
        "difference": difference.value,
        "difference_low": difference.low,
        "difference_high": difference.high,
        "horizon": horizon,
        "smallest": _smallest_between(a, b),
    }


def _smallest_between(a: _Runs, b: _Runs) -> float:
    """Return the least difference that these groups would tell: see :mod:`.dynamics.planning`."""
    n_runs = np.array([a.n_converged, b.n_converged])
    spreads = np.array([a.spread.value, b.spread.value])
    pooled = np.sqrt(np.average(spreads**2, weights=np.maximum(n_runs - 1, 1)))
    return smallest_difference(float(pooled), *n_runs.tolist())


def _plan(group: str, own: _Runs) -> dict[str, object]:
    """Return a row of ``ConvergenceSpeed.planning``."""
    spread, n_converged = own.spread, own.n_converged
    smallest = [
        smallest_difference(each, n_converged, n_converged)
        for each in (spread.value, spread.low, spread.high)
    ]
    return {
        "group": group,
        "n_runs": len(own.table),
        "n_converged": n_converged,
        "spread": spread.value,
        "spread_low": spread.low,
        "spread_high": spread.high,
        "smallest": smallest[0],
        "smallest_low": smallest[1],
        "smallest_high": smallest[2],
    }


def _seeds_needed(groups: Mapping[str, _Runs], margin: float | None) -> pd.DataFrame:
    rows = []
    for group, own in groups.items():
        spread, share = own.spread, own.table["converged"].mean()
        for difference in sorted({*_DIFFERENCES, *([margin] if margin else [])}):
            needed = [
                np.ceil(runs_needed(each, difference) / share) if share > 0 else np.nan
                for each in (spread.value, spread.low, spread.high)
            ]
            row = {"group": group, "difference": difference}
            row |= dict(zip(("n_runs", "n_runs_low", "n_runs_high"), needed, strict=True))
            rows.append(row)
    return SEEDS_NEEDED.frame(rows)


def _equivalence(
    groups: Mapping[str, _Runs],
    seen: Mapping[str, Group],
    margin: float | None,
    rule: SpeedTest,
) -> pd.DataFrame:
    """Ask of every two groups whether each is slower by no more than the margin."""
    if margin is None or len(groups) < 2:
        return EQUIVALENCE.frame()
    factor = 1 + margin
    pairs = list(combinations(groups, 2))
    tested = []
    for a, b in [*pairs, *((b, a) for a, b in pairs)]:
        stretched = [run.stretched(factor) for run in seen[b]]
        horizon = min(groups[a].known_to, factor * groups[b].known_to)
        tested.append(rule.faster(seen[a], stretched, horizon))
    able = [found.p if found.least_p < SIGNIFICANT else np.nan for found in tested]
    a_not_slower, b_not_slower = np.split(corrected(np.array(able)), 2)
    return EQUIVALENCE.frame(
        {
            "group_a": a,
            "group_b": b,
            "margin": margin,
            "p_a_not_slower": p_a,
            "p_b_not_slower": p_b,
            "verdict": _verdict_of_margin(p_a, p_b),
        }
        for (a, b), p_a, p_b in zip(pairs, a_not_slower, b_not_slower, strict=True)
    )


def _verdict_of_margin(p_a: float, p_b: float) -> str:
    shown = (p_a < SIGNIFICANT, p_b < SIGNIFICANT)
    if shown == (False, False):
        return CANNOT_TELL if np.isnan([p_a, p_b]).all() else NO_EVIDENCE
    return {(True, True): ALIKE, (True, False): A_NOT_SLOWER, (False, True): B_NOT_SLOWER}[shown]


def _from_pairs(pairs: pd.DataFrame) -> Tested:
    """Test all groups by their pairs: they differ where any pair does, corrected over the pairs.

    The least p of a family that is corrected by Benjamini–Hochberg is Simes's for all of it.
    """
    return Tested(
        p=float(pairs["p_corrected"].min()),
        least_p=float(np.fmin.reduce(corrected(pairs["least_p"].to_numpy()))),
    )


def _verdict(p: float, least_p: float, finding: str) -> str:
    if not least_p < SIGNIFICANT:
        return CANNOT_TELL
    return finding if p < SIGNIFICANT else NO_EVIDENCE


def _profile(table: pd.DataFrame) -> pd.DataFrame:
    converged = table[table["converged"]]
    fastest = converged["step"].min()
    if not fastest > 0:
        return PERFORMANCE_PROFILE.frame()
    parts = []
    for group, own in table.groupby("group", sort=False):
        steps = own.loc[own["converged"], "step"].to_numpy()
        at = np.union1d([fastest], steps)
        share = (steps <= at[:, None]).sum(axis=1) / len(own)
        parts.append(pd.DataFrame({"group": group, "ratio": at / fastest, "share": share}))
    return pd.concat(parts, ignore_index=True)


def _no_profile(table: pd.DataFrame) -> tuple[Notice, ...]:
    if not (table["converged"] & (table["step"] <= 0)).any():
        return ()
    message = "A run has converged at step 0: no other run takes a multiple of its time."
    return (Notice("statements", "limit", "convergence", message),)


def _ranking(table: pd.DataFrame) -> pd.DataFrame:
    converged = table["converged"].to_numpy(dtype=bool)
    step = np.where(converged, table["step"], np.inf)
    # Convergence lies after ``after`` and at or before ``step``.
    after = table["previous_step"].astype("Float64").to_numpy(dtype=float, na_value=-np.inf)
    surely_before = (step <= after[:, None]).sum(axis=1)
    surely_after = (step[:, None] <= after).sum(axis=1)
    ranked = table.assign(
        rank=pd.Series(step, table.index).rank(method="min").where(converged).astype("Int64"),
        rank_low=1 + surely_before,
        rank_high=len(table) - surely_after,
        slow=~converged,
    )
    ranked = ranked.sort_values(["slow", "step"], kind="stable", ignore_index=True)
    return RANKING.frame(ranked)
