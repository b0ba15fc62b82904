"""Metrics of several runs over training: select what is wanted, standardise it for the model."""

from __future__ import annotations

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
        kept = tuple(m for m in (metrics or self.metrics) if m not in set(drop_metrics))
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
        if standardise not in ("run", "pooled"):
            raise UsageError(f"'standardise' must be 'run' or 'pooled', got {standardise!r}.")
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
        lines, worst = [], self.metrics[int(bad.sum(axis=0).argmax())]
        for i in np.flatnonzero(bad.any(axis=0)):
            rows = self.table[bad[:, i]]
            where = [f"{r.run} at {self.step_unit} {r.step:,}" for r in rows.itertuples()]
            lines.append(
                f"  {self.metrics[i]!r} at {len(rows):,} of {len(self.table):,} checkpoints "
                f"({some(where, 4)})"
            )
        runs = self.table.loc[bad.any(axis=1), "run"].astype(str).unique()
        raise MetricNotFiniteError(
            "Metrics that are not finite numbers:\n"
            + "\n".join(lines)
            + "\nThe weights (or the table) hold NaN or infinity there, or the metric is 0/0."
            + "\nNo run was dropped. Either\n"
            + f"  leave the metric out:  --drop-metric {worst}\n"
            + f"  or leave the run out:  --exclude-run {runs[0]}"
        )

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
    grouped = table.groupby(RUN_KEY, sort=False)[list(metrics)]
    spread = (grouped.max() - grouped.min()).max()
    constant = spread <= _CONSTANT_TOLERANCE * table[list(metrics)].abs().max()
    return (
        tuple(m for m in metrics if not constant[m]),
        tuple(m for m in metrics if constant[m]),
    )


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
        values = _standardise_runs(values, lengths, standardisation.first)
        notices = notices + _flat_in_some_runs(values, lengths, runs, features)
    else:
        values = (values - standardisation.mean) / standardisation.deviation
    steps = table["step"].to_numpy(dtype=np.int64)
    return Observations(values, lengths, runs, steps, features, standardisation, tuple(notices))


def _standardise_runs(values: FloatArray, lengths: IntArray, first: int | None) -> FloatArray:
    """Each run by its own mean and deviation; a metric flat in a run is 0 there."""
    return np.concatenate(
        [
            (run - run[:first].mean(axis=0)) / _deviation(run[:first])
            for run in np.split(values, np.cumsum(lengths)[:-1])
        ]
    )


def _pooled_standardisation(
    table: pd.DataFrame, features: Sequence[str], first: int | None
) -> Standardisation:
    runs = table.groupby(RUN_KEY, sort=False)
    reference = (runs.head(first) if first else table)[list(features)].to_numpy(dtype=np.float64)
    deviation = _deviation(reference)
    if np.isinf(deviation).any():
        raise NotEnoughDataError(
            f"{int(np.isinf(deviation).sum())} metrics do not change within the first {first} "
            "checkpoints of any run, so they have no scale. Raise --standardise-first."
        )
    return Standardisation("pooled", first, reference.mean(axis=0), deviation)


def _deviation(reference: FloatArray) -> FloatArray:
    """Return the population deviation, infinite where a column is flat (it standardises to 0)."""
    deviation = reference.std(axis=0)
    flat = deviation <= _CONSTANT_TOLERANCE * np.abs(reference).max(axis=0)
    return np.where(flat, np.inf, deviation)


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
