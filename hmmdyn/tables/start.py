"""Metrics since each run's start: what makes groups of different widths or levels comparable.

A wider network has larger norms from its first checkpoint on, and moves them by more. Divided by
its own start, or with the start taken off where a metric changes sign, a run says how far it has
come. The start is the run's past: nothing of its future is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.errors import MetricNotFiniteError, UsageError
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import some
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice


def common_start(table: pd.DataFrame, step_unit: str, start: int | None = None) -> int:
    """Return the step at which every run begins; ``start`` is where they must, if that is given.

    Raises
    ------
    UsageError
        A run begins at another step.
    """
    begins = table.drop_duplicates(RUN_KEY)
    expected = int(begins["step"].mode().iloc[0]) if start is None else start
    other = begins[begins["step"] != expected]
    if other.empty:
        return expected
    where = [f"{run} at {step:,}" for run, step in zip(other["run"], other["step"], strict=True)]
    raise UsageError(
        "Compared with its own start, every run must begin at the same "
        f"{step_unit}, here {expected:,}; {len(other)} of {len(begins)} runs begin elsewhere "
        f"({some(where, 4)}): how far these had come before is not known. Use ",
        Remedy("standardise", "pooled"),
        ", or leave these runs out (",
        Remedy("exclude_runs", tuple(dict.fromkeys(other["run"].tolist()))),
        ").",
    )


def positive_throughout(table: pd.DataFrame, metrics: Sequence[str]) -> NDArray[np.bool_]:
    """Which metrics, shape (D,), are positive wherever they are known."""
    values = table[list(metrics)].to_numpy(dtype=np.float64)
    return np.asarray(((values > 0) | np.isnan(values)).all(axis=0))


def logarithms(table: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """Return the table with the logarithms of some metrics in their place.

    Raises
    ------
    MetricNotFiniteError
        One of them is not positive somewhere.
    """
    for metric in metrics:
        _require_positive(
            table, metric, Message("so it has no logarithm (", Remedy("log_metrics"), ")")
        )
    return table.assign(**{metric: np.log(table[metric]) for metric in metrics})


def since_start(
    table: pd.DataFrame, metrics: Sequence[str], logarithmic: Sequence[bool]
) -> pd.DataFrame:
    """Return the table with log(x/x₀) in place of logarithmic metrics, x − x₀ in that of others.

    x₀ is the value at the run's first checkpoint; where that is missing, so is all of the run.

    Raises
    ------
    MetricNotFiniteError
        A logarithmic metric is not positive somewhere.
    """
    changed = table.copy()
    for metric, is_log in zip(metrics, logarithmic, strict=True):
        values = table[metric]
        if is_log:
            _require_positive(
                table, metric, "and the map reads the logarithm of how far it is from its start"
            )
            values = values.transform(np.log)
        runs = values.groupby([table[key] for key in RUN_KEY], sort=False)
        changed[metric] = values - runs.transform(lambda run: run.iloc[0])
    return changed


def _require_positive(table: pd.DataFrame, metric: str, why: str) -> None:
    """Refuse a metric whose logarithm is asked for, and that is not positive throughout."""
    where = table.loc[table[metric] <= 0, "run"]
    if len(where):
        raise MetricNotFiniteError(
            f"metric {metric!r} is not positive at {len(where):,} checkpoints "
            f"({some(dict.fromkeys(where), 4)}), ",
            why,
            ". Leave these runs out (",
            Remedy("exclude_runs"),
            "), or fit a map with them.",
        )


def about_starts_not_known(table: pd.DataFrame, metrics: Sequence[str]) -> tuple[Notice, ...]:
    """Name the runs of which a metric is known, but not at their start."""
    runs = table.groupby(RUN_KEY, sort=False)[list(metrics)]
    lost = runs.nth(0).isna().to_numpy() & (runs.count() > 0).to_numpy()
    names = [str(run) for _, run in runs.count().index]
    return tuple(
        Notice(
            "model",
            "left out",
            f"metric {metric}",
            Message(
                "It is not known at the start of "
                f"{some((n for n, gone in zip(names, column, strict=True) if gone), 4)}, so it "
                "cannot be compared with it; it counts as missing there.",
            ),
        )
        for metric, column in zip(metrics, lost.T, strict=True)
        if column.any()
    )
