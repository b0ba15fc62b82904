"""Standardisation without the future: pooled over runs, without what tells seeds apart.

Standardising each run by itself uses its future: after the share f of a run at a first level,
z = ±√((1 - f) / f) whatever the two levels are. Pooled over all checkpoints of all runs a value
means the same in finished, unfinished and new runs. What is left is that some metrics carry a
seed's number from the first checkpoint on; those would give seeds states of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from hmmdyn.errors import NotEnoughDataError
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import some
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.results.observations import Observations
from hmmdyn.tables.model_metrics import orders_of_magnitude
from hmmdyn.tables.trajectories import Trajectories

# A metric tells seeds apart from the start if they differ there by more than so many times what it
# moves within a run.
SEED_SPREAD = 0.5
# Orders of magnitude within a run from which on the logarithm of a metric is advised.
_WIDE = 3.0
# Deviation of a normal law, in medians of its absolute value.
_NORMAL_MAD = 1.4826


def _near_one(table: pd.DataFrame, metrics: list[str]) -> tuple[pd.DataFrame, FloatArray]:
    """Divide each metric by a power of two near its largest value: squares of 1e300 overflow."""
    values = table[metrics].to_numpy(dtype=np.float64)
    largest = np.abs(np.where(np.isfinite(values), values, 0.0)).max(axis=0, initial=0.0)
    size: FloatArray = np.ldexp(1.0, np.frexp(largest)[1] - 1)
    return table.assign(**dict(zip(metrics, (values / size).T, strict=True))), size


def spread_between_seeds(trajectories: Trajectories) -> pd.DataFrame:
    """Measure how far seeds differ before training has begun, metric by metric.

    Returns
    -------
    DataFrame
        One row per metric: ``metric``; ``between`` (standard deviation over the runs of a group at
        their first common step beyond a checkpoint's noise, ddof 1, pooled over groups; NaN where
        no step is common to two runs); ``within`` (root mean square over runs of the standard
        deviation within a run, ddof 0), both in units of the metric; ``ratio`` (between / within,
        inf where nothing moves); ``left_out`` (whether the ratio is above ½).
    """
    metrics = list(trajectories.metrics)
    table, size = _near_one(trajectories.table, metrics)
    within = np.sqrt((table.groupby(RUN_KEY, sort=False)[metrics].std(ddof=0) ** 2).mean())
    squares, freedom = np.zeros(len(metrics)), np.zeros(len(metrics))
    for _, runs in table.groupby("group", sort=False):
        first = _at_first_common_step(runs)[metrics]
        free = np.maximum(first.notna().sum().to_numpy() - 1, 0)
        squares += np.nan_to_num(first.var(ddof=1).to_numpy(dtype=np.float64)) * free
        freedom += free
    noise = _noise(table, metrics)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        between = np.sqrt(np.maximum(squares / freedom - noise**2, 0))
        ratio = between / within.to_numpy(dtype=np.float64)
    return pd.DataFrame(
        {
            "metric": metrics,
            "between": between * size,
            "within": within.to_numpy(dtype=np.float64) * size,
            "ratio": ratio,
            "left_out": ratio > SEED_SPREAD,
        }
    )


def spread_between_groups(trajectories: Trajectories) -> pd.Series:
    """Measure how far groups differ before training has begun, metric by metric.

    Returns
    -------
    Series
        By metric: standard deviation of the groups' means at the first common step of all runs
        (ddof 1, without what seeds add to it) over the root mean square of the standard deviation
        within a run; NaN with one group or no common step.
    """
    metrics = list(trajectories.metrics)
    table, _ = _near_one(trajectories.table, metrics)
    first = _at_first_common_step(table).groupby("group", sort=False)[metrics]
    of_seeds = (first.var(ddof=1) / first.count()).mean().fillna(0.0)
    between = np.sqrt(np.maximum(first.mean().var(ddof=1) - of_seeds, 0))
    within = table.groupby(RUN_KEY, sort=False)[metrics].std(ddof=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.Series(between / np.sqrt((within**2).mean()))


def _about_groups_apart(trajectories: Trajectories, metrics: Sequence[str]) -> tuple[Notice, ...]:
    """Say that groups begin at different levels, and how each run is compared with its own."""
    ratio = spread_between_groups(trajectories)[list(metrics)]
    apart = ratio[ratio > SEED_SPREAD].sort_values(ascending=False, kind="stable")
    begins = trajectories.table.groupby(RUN_KEY, sort=False)["step"].first()
    if apart.empty or begins.nunique() > 1:
        return ()
    return (
        Notice(
            "model",
            "odd",
            "levels of the groups",
            Message(
                "Before training has begun, groups differ by up to "
                f"{apart.iloc[0]:.2g} times what a metric moves within a run "
                f"({some(apart.index, 4)}), so states may tell groups apart, and not phases. To "
                "compare every run with its own start: ",
                Remedy("standardise", "log-start"),
                ".",
            ),
        ),
    )


def _noise(table: pd.DataFrame, metrics: list[str]) -> FloatArray:
    """Deviation of what changes from one checkpoint to the next and is no course, shape (D,).

    From second differences, which have six times the variance of white noise; their median, so
    that changes of phase do not count.
    """
    second = table.groupby(RUN_KEY, sort=False)[metrics].diff()
    second = second.groupby([table[key] for key in RUN_KEY], sort=False).diff()
    return np.asarray(
        np.nan_to_num(_NORMAL_MAD * second.abs().median().to_numpy(dtype=np.float64) / np.sqrt(6))
    )


def _at_first_common_step(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows of the first step that all runs have; of none if there is no such step."""
    n_runs = len(runs[RUN_KEY].drop_duplicates())
    shared = runs.groupby("step").size()
    common = shared.index[shared == n_runs]
    return runs[runs["step"] == common.min()] if len(common) else runs.iloc[:0]


def standardised(
    trajectories: Trajectories,
    standardise: str = "pooled",
    first: int | None = None,
    *,
    keep_metrics: Sequence[str] = (),
    log_metrics: Sequence[str] = (),
) -> Observations:
    """Standardise the metrics for a map: without what tells seeds apart, or run by run.

    Parameters
    ----------
    trajectories : Trajectories
        Raw metrics.
    standardise : str
        ``pooled``, ``log-start`` (each run compared with its own start, which tells no seeds and
        no groups apart) or ``run``.
    first : int, optional
        Take mean and deviation from the first so many checkpoints of each run.
    keep_metrics : sequence of str
        As in :func:`pooled_observations`.
    log_metrics : sequence of str
        Positive metrics whose logarithms are standardised in their place; none with ``log-start``,
        which takes logarithms by itself.

    Raises
    ------
    MetricNotFiniteError, NotEnoughDataError, UsageError
        As :meth:`Trajectories.observations` and :meth:`Trajectories.logged`.
    """
    logged = trajectories.logged(log_metrics)
    if standardise == "pooled":
        observed = pooled_observations(logged, first, keep_metrics=keep_metrics)
    else:
        observed = logged.observations(standardise, first)
    if standardise == "log-start":
        return observed
    scale = observed.standardisation
    if log_metrics:
        scale = replace(scale, logarithmic=tuple(f in log_metrics for f in observed.features))
    plain = [feature for feature in observed.features if feature not in log_metrics]
    wide = _about_wide_metrics(trajectories, plain)
    return replace(observed, standardisation=scale, notices=(*wide, *observed.notices))


def _about_wide_metrics(trajectories: Trajectories, metrics: Sequence[str]) -> tuple[Notice, ...]:
    """Advise the logarithm of metrics that span orders of magnitude within a run."""
    orders = orders_of_magnitude(trajectories)
    wide = tuple(metric for metric in metrics if orders[metric] > _WIDE)
    if not wide:
        return ()
    most = max(orders[metric] for metric in wide)
    return (
        Notice(
            "model",
            "odd",
            f"metric{'s' if len(wide) > 1 else ''} {some(wide)}",
            Message(
                f"Within a run, up to {most:.2g} orders of magnitude: on one scale all small "
                "values are alike. To have factors count: ",
                Remedy("log_metrics", wide),
                ".",
            ),
        ),
    )


def pooled_observations(
    trajectories: Trajectories, first: int | None = None, *, keep_metrics: Sequence[str] = ()
) -> Observations:
    """Standardise by one mean and deviation over all runs, without what tells seeds apart.

    Parameters
    ----------
    trajectories : Trajectories
        Raw metrics.
    first : int, optional
        Take mean and deviation from the first so many checkpoints of each run.
    keep_metrics : sequence of str
        Metrics that stay in although they tell seeds apart.

    Returns
    -------
    Observations
        Dimensionless, shape (n, D); its notices name each metric left out, and why.

    Raises
    ------
    MetricNotFiniteError
        A metric is infinite somewhere.
    NotEnoughDataError
        Every metric tells seeds apart, or as :meth:`Trajectories.observations`.
    """
    spread = spread_between_seeds(trajectories)
    out = spread[spread["left_out"] & ~spread["metric"].isin(keep_metrics)]
    # One that never moves is named as such by the standardisation itself.
    out = out[out["within"] > 0]
    if len(out) == len(spread):
        raise NotEnoughDataError(
            f"Every metric tells seeds apart before training has begun: {some(out['metric'])}. "
            "Name those that the model shall use all the same: ",
            Remedy("keep_metrics", tuple(out["metric"])),
            ".",
        )
    notices = tuple(
        Notice(
            "model",
            "left out",
            f"metric {row.metric}",
            Message(
                "It tells seeds apart before training has begun: at the first common step they "
                f"differ by {row.ratio:.2g} times what it moves within a run (limit "
                f"{SEED_SPREAD}). To use it all the same: ",
                Remedy("keep_metrics", (row.metric,)),
                ".",
            ),
        )
        for row in out.itertuples()
    )
    kept = [m for m in trajectories.metrics if m not in set(out["metric"])]
    notices += _about_groups_apart(trajectories, kept)
    chosen = replace(
        trajectories,
        table=trajectories.table.drop(columns=list(out["metric"])),
        metrics=tuple(kept),
    )
    observed = chosen.observations("pooled", first)
    return replace(observed, notices=(*notices, *observed.notices))
