"""Metrics of several runs over training: select what is wanted, standardise it for the model."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from hmmdyn.errors import (
    MetricNotFiniteError,
    NotEnoughDataError,
    UsageError,
)
from hmmdyn.names import runs_named, some
from hmmdyn.results import (
    RUN_KEY,
    STANDARDISATIONS,
    FloatArray,
    IntArray,
    Notice,
    Observations,
    Standardisation,
)

KEY_COLUMNS = ["group", "run", "seed", "step"]
# Deviations below this share of a metric's magnitude are rounding noise, not movement.
_CONSTANT_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Trajectories:
    """Metrics (and outcomes) of every checkpoint of every run.

    Attributes
    ----------
    table : DataFrame
        ``group, run, seed, step``, the metric columns, the outcome columns (float64, raw units),
        and provenance columns where known. Runs in natural order, steps increasing within a run.
    metrics, outcomes : tuple of str
        Which columns of ``table`` are which.
    step_unit : str
        ``step`` or ``epoch``.
    notices : tuple of Notice
        What was left out or looked odd on the way here.
    """

    table: pd.DataFrame
    metrics: tuple[str, ...]
    outcomes: tuple[str, ...]
    step_unit: str = "step"
    notices: tuple[Notice, ...] = ()

    @property
    def runs(self) -> pd.DataFrame:
        """One row per run: ``group, run, seed``, in the order of the table."""
        return self.table[[*RUN_KEY, "seed"]].drop_duplicates(RUN_KEY).reset_index(drop=True)

    @property
    def lengths(self) -> np.ndarray:
        """Checkpoints per run, shape (R,), in the order of :attr:`runs`."""
        return self.table.groupby(RUN_KEY, sort=False).size().to_numpy(dtype=np.int64)

    def select(
        self, *, metrics: Sequence[str] = (), drop_metrics: Sequence[str] = ()
    ) -> Trajectories:
        """Keep only the named metrics (all where empty), without the dropped ones.

        Raises
        ------
        UsageError
            A name is not a metric of the table.
        NotEnoughDataError
            No metric is left.
        """
        require_known([*metrics, *drop_metrics], self.metrics, "metric")
        kept = tuple(
            m for m in dict.fromkeys(metrics or self.metrics) if m not in set(drop_metrics)
        )
        if not kept:
            raise NotEnoughDataError("No metric is left: every one of them was dropped by request.")
        dropped = [m for m in self.metrics if m not in kept]
        notices = tuple(
            Notice("model", "left out", f"metric {m}", "Left out by request.") for m in dropped
        )
        return replace(
            self,
            table=self.table.drop(columns=dropped),
            metrics=kept,
            notices=self.notices + notices,
        )

    def without_runs(self, names: Sequence[str]) -> Trajectories:
        """Leave runs out, named ``run``, or ``group/run`` where several groups have such a run.

        Raises
        ------
        UsageError
            A name is not a run's, or is ambiguous.
        NotEnoughDataError
            No run is left.
        """
        keys = list(self.table[RUN_KEY].itertuples(index=False, name=None))
        excluded = runs_named(names, keys)
        table = self.table[[key not in excluded for key in keys]].reset_index(drop=True)
        if table.empty:
            raise NotEnoughDataError("No run is left: every one of them was excluded by request.")
        notices = tuple(
            Notice("model", "left out", f"run {name}", "Left out by request.") for name in names
        )
        return replace(self, table=table, notices=self.notices + notices)

    def observations(self, standardise: str = "run", first: int | None = None) -> Observations:
        """Standardise the metrics (METHOD: z = (x - mean) / deviation, ddof 0).

        Metrics that never vary, and with ``run`` standardisation runs of a single checkpoint,
        carry no information: they are left out, each with a notice.

        Parameters
        ----------
        standardise : {"run", "pooled"}
            Mean and deviation of each run, or of all runs together.
        first : int, optional
            Take mean and deviation from the first so many checkpoints of each run.

        Raises
        ------
        MetricNotFiniteError
            A metric is NaN or infinite somewhere.
        NotEnoughDataError
            Fewer than two checkpoints are left, or no metric varies.
        """
        if standardise not in STANDARDISATIONS:
            raise UsageError(
                f"'standardise' must be one of {STANDARDISATIONS}, got {standardise!r}."
            )
        self._require_finite()
        table, notices = self._runs_that_can_be_standardised(standardise)
        features, constant = _varying(table, self.metrics)
        if not features:
            raise NotEnoughDataError(
                f"Nothing changes: all {len(self.metrics)} metrics are the same at all "
                f"{len(table)} checkpoints, so there are no phases to find. "
                "Check that the checkpoints are really different files of a moving training."
            )
        notices += [
            Notice(
                "model",
                "left out",
                f"metric {m}",
                "It is the same at every checkpoint and carries no information.",
            )
            for m in constant
        ]
        kind = Standardisation(standardise, first)
        if standardise == "pooled":
            kind = _pooled_standardisation(table, features, first)
        return _observe(table, features, kind, notices)

    def observations_as(
        self, features: Sequence[str], standardisation: Standardisation
    ) -> Observations:
        """Standardise the given metrics as a fitted map does, leaving no metric out.

        Raises
        ------
        MetricNotFiniteError, NotEnoughDataError, UsageError
        """
        chosen = self.select(metrics=features)
        chosen._require_finite()
        table, notices = chosen._runs_that_can_be_standardised(standardisation.kind)
        return _observe(table, tuple(features), standardisation, notices)

    def _require_finite(self) -> None:
        values = self.table[list(self.metrics)].to_numpy(dtype=np.float64)
        bad = ~np.isfinite(values)
        if not bad.any():
            return
        names = self._run_names()
        lines = []
        for i in np.flatnonzero(bad.any(axis=0)):
            rows = np.flatnonzero(bad[:, i])
            where = [f"{names[r]} at {self.step_unit} {self.table['step'].iloc[r]:,}" for r in rows]
            lines.append(
                f"  {self.metrics[i]!r} at {len(rows):,} of {len(self.table):,} checkpoints "
                f"({some(where, 4)})"
            )
        metrics = [self.metrics[i] for i in np.flatnonzero(bad.any(axis=0))]
        runs = dict.fromkeys(names[r] for r in np.flatnonzero(bad.any(axis=1)))
        remedies = []
        if len(metrics) < len(self.metrics):
            drop = " ".join(f"--drop-metric {shlex.quote(m)}" for m in metrics)
            remedies.append(f"  leave the metrics out:  {drop}")
        if len(runs) < len(set(names)):
            exclude = " ".join(f"--exclude-run {shlex.quote(run)}" for run in runs)
            remedies.append(f"  leave the runs out:     {exclude}")
        raise MetricNotFiniteError(
            "Metrics that are not finite numbers:\n"
            + "\n".join(lines)
            + "\nThe weights (or the table) hold NaN or infinity there, or the metric is 0/0. "
            + "No run was dropped."
            + ("\nEither of these goes on:\n" + "\n".join(remedies) if remedies else "")
        )

    def _run_names(self) -> list[str]:
        """Name of each row's run, with its group where several groups have a run of that name."""
        groups_with = self.runs.groupby("run")["group"].size()
        return [
            run if groups_with[run] == 1 else f"{group}/{run}"
            for group, run in zip(self.table["group"], self.table["run"], strict=True)
        ]

    def _runs_that_can_be_standardised(self, kind: str) -> tuple[pd.DataFrame, list[Notice]]:
        """Rows of runs with at least two checkpoints (``run`` standardisation needs two)."""
        if len(self.table) < 2:
            raise NotEnoughDataError(
                f"There is only {len(self.table)} checkpoint. Phases are changes from checkpoint "
                "to checkpoint: save several checkpoints per run."
            )
        if kind == "pooled":
            return self.table, []
        size = self.table.groupby(RUN_KEY, sort=False)["step"].transform("size")
        single = self.table[size < 2]
        if len(single) == len(self.table):
            raise NotEnoughDataError(
                f"Each of the {len(single)} runs has a single checkpoint. Phases are changes from "
                "checkpoint to checkpoint: save several checkpoints per run."
            )
        notices = [
            Notice(
                "model",
                "left out",
                f"run {r.run}",
                f"It has a single checkpoint ({self.step_unit} {r.step}), which cannot be "
                "standardised within the run.",
            )
            for r in single.itertuples()
        ]
        return self.table[size >= 2].reset_index(drop=True), notices


def require_known(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raise UsageError for a name that is not among the known ones, naming those."""
    known = list(known)
    for name in names:
        if name not in known:
            raise UsageError(f"There is no {what} {name!r}. There are: {', '.join(known)}.")


def _varying(
    table: pd.DataFrame, metrics: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split metrics into those that vary within some run and those that never do."""
    columns = list(metrics)
    varies = np.zeros(len(columns), dtype=bool)
    for _, run in table.groupby(RUN_KEY, sort=False)[columns]:
        varies |= ~_is_flat(run.to_numpy(dtype=np.float64))
    return (
        tuple(m for m, v in zip(metrics, varies, strict=True) if v),
        tuple(m for m, v in zip(metrics, varies, strict=True) if not v),
    )


def _is_flat(values: FloatArray) -> np.ndarray:
    """Which columns, shape (D,), do not move beyond rounding noise."""
    return np.ptp(values / _peak(values), axis=0) <= _CONSTANT_TOLERANCE


def _peak(values: FloatArray) -> FloatArray:
    """Largest magnitude of each column, 1 for zeros: divided by it, squares stay in range."""
    peak = np.abs(values).max(axis=0)
    return np.where(peak > 0, peak, 1.0)


def _observe(
    table: pd.DataFrame,
    features: tuple[str, ...],
    standardisation: Standardisation,
    notices: list[Notice],
) -> Observations:
    values = table[list(features)].to_numpy(dtype=np.float64)
    lengths = table.groupby(RUN_KEY, sort=False).size().to_numpy(dtype=np.int64)
    runs = table[[*RUN_KEY, "seed"]].drop_duplicates(RUN_KEY).reset_index(drop=True)
    if standardisation.kind == "run":
        each = np.split(values, np.cumsum(lengths)[:-1])
        _require_scale(each, standardisation.first, features)
        values = np.concatenate([_standardised(run, standardisation.first) for run in each])
        notices = notices + _flat_in_some_runs(values, lengths, runs, features)
    else:
        values = (values - standardisation.mean) / standardisation.deviation
    steps = table["step"].to_numpy(dtype=np.int64)
    return Observations(values, lengths, runs, steps, features, standardisation, tuple(notices))


def _standardised(run: FloatArray, first: int | None) -> FloatArray:
    """One run by its own mean and deviation; a metric flat in it is 0."""
    scaled = run / _peak(run)
    deviation = np.where(_is_flat(run), np.inf, scaled[:first].std(axis=0))
    return (scaled - scaled[:first].mean(axis=0)) / deviation


def _require_scale(runs: Sequence[FloatArray], first: int | None, features: Sequence[str]) -> None:
    """Refuse a window at the start of the runs in which metrics that move later do not move."""
    still = np.zeros(len(features), dtype=bool)
    for run in runs:
        still |= _is_flat(run[:first]) & ~_is_flat(run)
    if still.any():
        names = some(f for f, s in zip(features, still, strict=True) if s)
        raise NotEnoughDataError(
            f"Within the first {first} checkpoints of some run these metrics do not change, so "
            f"they have no scale: {names}. Raise --standardise-first."
        )


def _pooled_standardisation(
    table: pd.DataFrame, features: Sequence[str], first: int | None
) -> Standardisation:
    runs = table.groupby(RUN_KEY, sort=False)
    reference = (runs.head(first) if first else table)[list(features)].to_numpy(dtype=np.float64)
    if _is_flat(reference).any():
        raise NotEnoughDataError(
            f"{int(_is_flat(reference).sum())} metrics do not change within the first {first} "
            "checkpoints of any run, so they have no scale. Raise --standardise-first."
        )
    peak = _peak(reference)
    mean, deviation = peak * (reference / peak).mean(axis=0), peak * (reference / peak).std(axis=0)
    return Standardisation("pooled", first, mean, deviation)


def _flat_in_some_runs(
    standardised: FloatArray, lengths: IntArray, runs: pd.DataFrame, features: Sequence[str]
) -> list[Notice]:
    """Name runs in which a metric that varies elsewhere stays flat (it enters as 0 there)."""
    names = runs["run"].astype(str).tolist()
    flat: dict[str, list[str]] = {}
    for name, run in zip(names, np.split(standardised, np.cumsum(lengths)[:-1]), strict=True):
        for i in np.flatnonzero((run == 0).all(axis=0)):
            flat.setdefault(features[int(i)], []).append(name)
    return [
        Notice(
            "model",
            "odd",
            f"metric {feature}",
            f"It does not change in {len(where)} of {len(names)} runs "
            f"({some(where, 4)}) and enters as 0 there.",
        )
        for feature, where in flat.items()
    ]
