"""How fast the runs of each group converge, and whether groups differ by more than chance.

A run that never converges is right-censored throughout (docs/method/statements.md, Convergence).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import permutation_test, t
from statsmodels.duration.survfunc import survdiff

from hmmdyn.dynamics.convergence import run_name
from hmmdyn.dynamics.significance import N_PERMUTATIONS, SIGNIFICANT, corrected
from hmmdyn.dynamics.survival import (
    CONFIDENCE,
    Watched,
    kaplan_meier,
    log_rank_scores,
    median_step,
    restricted_mean,
    restricted_mean_error,
)
from hmmdyn.errors import NotEnoughDataError
from hmmdyn.messages import Remedy
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.convergence import (
    CONVERGENCE_GROUPS,
    CONVERGENCE_TESTS,
    PERFORMANCE_PROFILE,
    RANKING,
    Convergence,
    ConvergenceSpeed,
)
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.results.verdicts import CANNOT_TELL, DIFFERENT, FASTER, NO_EVIDENCE, SLOWER

_ROUNDING = 1e-12
# Groups evaluated more than this many times more rarely than others are named.
_UNEVEN = 2


def compare_speed(convergence: Convergence, *, random_state: int = 0) -> ConvergenceSpeed:
    """Compare how fast runs converge, within groups and between them.

    Parameters
    ----------
    convergence : Convergence
        When each run converged.
    random_state : int
        Seed of the permutation test, where permutations are too many to go through all.

    Raises
    ------
    NotEnoughDataError
        No run is evaluated often enough to be seen to converge.

    Notes
    -----
    A run enters with the step at which it is first seen to have converged: evaluated every 100
    steps, up to 100 steps late. ``ranking`` says what this leaves open, and a notice where groups
    are evaluated at different intervals.

    Seeds are few, so nothing but ``logrank_p`` rests on large samples. A curve's intervals are
    beta product intervals [1]_, without censoring those of Clopper and Pearson: the usual log-log
    band holds its level badly where few runs have converged or few are left. The interval of the
    median is the steps at which they contain one half [2]_; five runs or fewer do not bound it.
    Restricted means take the jackknife's standard error [3]_ and Student's t, one mean on the
    logit scale of its share of the horizon, a difference by Welch's formula. Runs that all count
    alike, such as those of a group that never converges, give neither an interval.

    The permutation test hands the runs, each with its log-rank score, to the groups in all ways
    (or in 9,999 drawn at random), and asks how often the log-rank numerator is as far from zero.
    Runs are followed to the horizon of the groups compared and no further, since runs are not
    alike where those of one group are watched for longer. A group of one run is compared with
    none: it does not show how much seeds differ.

    ``benchmarks/speed.md`` has the coverage of the intervals and the error rates of the tests; the
    interval of one restricted mean falls short of its level most, down to 0.91 with five runs. The
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
    """
    table, left_out = _comparable(convergence)
    groups = {str(group): own for group, own in table.groupby("group", sort=False)}
    curves = {group: kaplan_meier(_watched(own)) for group, own in groups.items()}
    return ConvergenceSpeed(
        curves=pd.concat(curves, names=["group"]).reset_index("group").reset_index(drop=True),
        groups=_summaries(groups, curves),
        tests=_tests(groups, random_state),
        profile=_profile(table),
        ranking=_ranking(table),
        notices=(*left_out, *_no_profile(table), *_uneven_evaluation(table)),
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


def _watched(runs: pd.DataFrame) -> Watched:
    return Watched(runs["end"].to_numpy(), runs["converged"].to_numpy(dtype=bool))


def _horizon(groups: Iterable[pd.DataFrame]) -> float:
    """Return the last step up to which the curve of every group is known.

    A curve is known to the end of the group's last run, and for ever where that run converged.
    """
    ends, last_steps = [], []
    for runs in groups:
        last = runs[runs["end"] == runs["end"].max()]
        if not last["converged"].all():
            ends.append(float(last["end"].iloc[0]))
        last_steps.append(float(runs["last_step"].max()))
    return min(ends, default=max(last_steps))


def _summaries(
    groups: Mapping[str, pd.DataFrame], curves: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    horizon = _horizon(groups.values())
    rows = []
    for group, own in groups.items():
        runs = _watched(own)
        median, median_low, median_high = median_step(curves[group])
        mean, error = restricted_mean(runs, horizon), restricted_mean_error(runs, horizon)
        low, high = _interval_of_mean(mean, error, len(runs), horizon)
        rows.append(
            {
                "group": group,
                "n_runs": len(runs),
                "n_converged": int(runs.converged.sum()),
                "median": median,
                "median_low": median_low,
                "median_high": median_high,
                "restricted_mean": mean,
                "restricted_mean_se": error,
                "restricted_mean_low": low,
                "restricted_mean_high": high,
                "horizon": horizon,
            }
        )
    return CONVERGENCE_GROUPS.frame(rows)


def _interval_of_mean(
    mean: float, error: float, n_runs: int, horizon: float
) -> tuple[float, float]:
    """Return the interval of a restricted mean, NaN where the runs show no spread.

    It is symmetric on the logit scale of the share of the horizon, so it stays within it.
    """
    share = mean / horizon if horizon > 0 else np.nan
    if not (error > 0 and 0 < share < 1):
        return np.nan, np.nan
    margin = _t_quantile(n_runs - 1) * error / (horizon * share * (1 - share))
    low, high = horizon * expit(logit(share) + np.array([-margin, margin]))
    return float(low), float(high)


def _interval_of_difference(
    difference: float, errors: FloatArray, n_runs: FloatArray
) -> tuple[float, float]:
    """Return Welch's interval, NaN where a group shows no spread, which is not to have none."""
    if not (errors > 0).all():
        return np.nan, np.nan
    total = (errors**2).sum()
    margin = _t_quantile(total**2 / (errors**4 / (n_runs - 1)).sum()) * np.sqrt(total)
    return float(difference - margin), float(difference + margin)


def _t_quantile(degrees_of_freedom: float) -> float:
    return float(t.ppf((1 + CONFIDENCE) / 2, degrees_of_freedom))


def _tests(groups: Mapping[str, pd.DataFrame], random_state: int) -> pd.DataFrame:
    pairs = pd.DataFrame(
        [
            {"group_a": a, "group_b": b, **_pair(groups[a], groups[b], random_state)}
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
        together = pd.DataFrame([_all_together(list(groups.values()), random_state)])
        pairs = pd.concat([together.reindex(columns=pairs.columns), pairs], ignore_index=True)
    return CONVERGENCE_TESTS.frame(pairs)


def _pair(a: pd.DataFrame, b: pd.DataFrame, random_state: int) -> dict[str, float]:
    horizon = _horizon([a, b])
    runs = [_watched(own).until(horizon) for own in (a, b)]
    difference = restricted_mean(runs[0], horizon) - restricted_mean(runs[1], horizon)
    errors = np.array([restricted_mean_error(own, horizon) for own in runs])
    low, high = _interval_of_difference(difference, errors, np.array([len(own) for own in runs]))
    return {
        **_log_rank(runs, random_state),
        "difference": difference,
        "difference_low": low,
        "difference_high": high,
        "horizon": horizon,
    }


def _all_together(groups: list[pd.DataFrame], random_state: int) -> dict[str, object]:
    horizon = _horizon(groups)
    found = _log_rank([_watched(own).until(horizon) for own in groups], random_state)
    verdict = _verdict(found["p"], found["least_p"], DIFFERENT)
    return {"group_a": None, "group_b": None, **found, "horizon": horizon, "verdict": verdict}


def _verdict(p: float, least_p: float, finding: str) -> str:
    if not least_p < SIGNIFICANT:
        return CANNOT_TELL
    return finding if p < SIGNIFICANT else NO_EVIDENCE


def _log_rank(groups: list[Watched], random_state: int) -> dict[str, float]:
    """Test whether groups converge at the same rate; nothing where they cannot be compared.

    ``ahead`` is by how many convergences the first group is ahead of what was to be expected.
    """
    runs = Watched(
        np.concatenate([own.end for own in groups]),
        np.concatenate([own.converged for own in groups]),
    )
    scores = log_rank_scores(runs)
    if min(map(len, groups)) < 2 or np.ptp(scores) < _ROUNDING:
        return dict.fromkeys(("logrank", "logrank_p", "p", "least_p", "ahead"), np.nan)
    of_group = np.split(scores, np.cumsum([len(own) for own in groups])[:-1])
    labels = np.repeat(np.arange(len(groups)), [len(own) for own in groups])
    statistic, p_large_samples = survdiff(runs.end, runs.converged, labels)
    permuted = permutation_test(
        of_group,
        _between_groups,
        vectorized=True,
        n_resamples=N_PERMUTATIONS,
        alternative="greater",
        random_state=random_state,
    )
    return {
        "logrank": float(statistic),
        "logrank_p": float(p_large_samples),
        "p": float(permuted.pvalue),
        "least_p": float(np.mean(permuted.null_distribution == permuted.null_distribution.max())),
        "ahead": float(of_group[0].sum()),
    }


def _between_groups(*scores: FloatArray, axis: int) -> FloatArray:
    """Return how far the groups' mean scores are from zero, which is the mean of all."""
    spread = [own.sum(axis=axis) ** 2 / own.shape[axis] for own in scores]
    distance: FloatArray = np.sum(spread, axis=0)
    return np.round(distance, 9)  # the same runs added in another order are no more


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


def _uneven_evaluation(table: pd.DataFrame) -> tuple[Notice, ...]:
    """Say where one group is evaluated so much more rarely that it looks slower by that alone.

    With one schedule for all groups the gap between evaluations can differ too, as groups converge
    at other times: on an even schedule only relative to the step, on one of powers only absolutely.
    """
    seen = table[table["converged"]]
    gap = seen["step"] - seen["previous_step"]
    gaps, relative = (
        values.groupby(seen["group"], sort=False).median().dropna()
        for values in (gap, gap / seen["step"])
    )
    if len(gaps) < 2:
        return ()
    rare, often = str(gaps.idxmax()), str(gaps.idxmin())
    if gaps[rare] <= _UNEVEN * gaps[often] or relative[rare] <= _UNEVEN * relative[often]:
        return ()
    message = (
        f"Where runs converge, evaluations lie {gaps[rare]:,.0f} apart in group {rare} and "
        f"{gaps[often]:,.0f} in group {often} (medians), and convergence is seen up to as much too "
        "late: do not read differences as small as that."
    )
    return (Notice("statements", "limit", "convergence", message),)
