"""The table runs × steps × metrics (+ outcomes): read, validate, select, standardise, write.

This is where metrics extracted from checkpoints and a table of one's own meet: from here on the
two are the same thing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hmmdyn import __version__
from hmmdyn.errors import (
    MetricNotFiniteError,
    NotEnoughDataError,
    TableError,
    UsageError,
)
from hmmdyn.files import replacing
from hmmdyn.outcome_names import is_outcome
from hmmdyn.results import (
    CHECKPOINT_KEY,
    RUN_KEY,
    FloatArray,
    IntArray,
    Notice,
    Observations,
    Standardisation,
)

KEY_COLUMNS = ["group", "run", "seed", "step"]
PROVENANCE_COLUMNS = ["path", "size", "mtime_ns"]
TABLE_SUFFIXES = (".parquet", ".csv", ".tsv")

_STEP_NAMES = ("step", "global_step", "iteration", "iter")
_METADATA_KEY = b"hmmdyn"
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
        self,
        *,
        metrics: Sequence[str] = (),
        drop_metrics: Sequence[str] = (),
        exclude_runs: Sequence[str] = (),
    ) -> Trajectories:
        """Keep only the named metrics (all where empty), without the dropped ones and runs.

        ``exclude_runs`` are run names, or ``group/run`` where a name occurs in several groups.

        Raises
        ------
        UsageError
            A name is not in the table, or a run name is ambiguous.
        NotEnoughDataError
            Nothing is left.
        """
        _require_known([*metrics, *drop_metrics], self.metrics, "metric")
        kept_metrics = tuple(m for m in (metrics or self.metrics) if m not in set(drop_metrics))
        excluded = self._rows_of_runs(exclude_runs)
        table = self.table[~excluded].reset_index(drop=True)
        if not kept_metrics:
            raise NotEnoughDataError("No metric is left: every one of them was dropped by request.")
        if table.empty:
            raise NotEnoughDataError("No run is left: every one of them was excluded by request.")
        dropped = [m for m in self.metrics if m not in kept_metrics]
        notices = [
            Notice("model", "left out", f"metric {m}", "Left out by request.") for m in dropped
        ] + [Notice("model", "left out", f"run {r}", "Left out by request.") for r in exclude_runs]
        return replace(
            self,
            table=table.drop(columns=dropped),
            metrics=kept_metrics,
            notices=self.notices + tuple(notices),
        )

    def _rows_of_runs(self, names: Sequence[str]) -> np.ndarray:
        """Mask of the rows that belong to the named runs."""
        run = self.table["run"].astype(str)
        full = self.table["group"].astype(str) + "/" + run
        mask = np.zeros(len(self.table), dtype=bool)
        for name in names:
            rows = (full == name) | (run == name)
            groups = self.table.loc[rows, "group"].unique()
            if len(groups) == 0:
                known = ", ".join(_shorten(full.unique().tolist()))
                raise UsageError(f"No run is called {name!r}. The runs are: {known}.")
            if len(groups) > 1:
                raise UsageError(
                    f"Run {name!r} occurs in {len(groups)} groups. Say which: "
                    + ", ".join(f"{g}/{name}" for g in groups)
                )
            mask |= rows.to_numpy()
        return mask

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
                f"({', '.join(_shorten(where, 4))})"
            )
        runs = self.table.loc[bad.any(axis=1), "run"].astype(str).unique()
        raise MetricNotFiniteError(
            "Metrics that are not finite numbers:\n"
            + "\n".join(_shorten(lines, 6))
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

    def write_parquet(self, path: Path) -> None:
        """Write the table atomically; the file's metadata tell metrics from outcomes.

        Raises
        ------
        OutputError
            The folder cannot be written.
        """
        meta = {
            "metrics": list(self.metrics),
            "outcomes": list(self.outcomes),
            "step_unit": self.step_unit,
            "hmmdyn_version": __version__,
        }
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), _METADATA_KEY: json.dumps(meta).encode()}
        )
        with replacing(path) as temporary:
            pq.write_table(table, temporary)


def read_table(path: Path, *, outcomes: Sequence[str] = ()) -> Trajectories:
    """Read a metric table: Parquet, CSV or TSV, hmmdyn's own or anybody's.

    A table needs a step (or epoch) column and, unless it holds a single run, a ``run`` or
    ``seed`` column; ``group`` is optional. Every other numeric column is a metric, or an outcome
    where its name says so (loss, accuracy, …) or ``outcomes`` names it.

    Raises
    ------
    TableError
        The file cannot be read, a needed column is missing, or its values are of the wrong kind.
    """
    frame, meta = _read_frame(path)
    if meta is not None:
        known = [*KEY_COLUMNS, *PROVENANCE_COLUMNS, *meta["metrics"], *meta["outcomes"]]
        frame = frame[[c for c in known if c in frame.columns]]
        outcomes = [*meta["outcomes"], *outcomes]
    return from_frame(frame, outcomes=outcomes, source=str(path))


def from_frame(
    frame: pd.DataFrame, *, outcomes: Sequence[str] = (), source: str = "the table"
) -> Trajectories:
    """Make trajectories of a DataFrame; columns as in :func:`read_table`.

    Raises
    ------
    TableError
        A needed column is missing or holds values of the wrong kind, or rows claim the same
        (group, run, step).
    """
    if frame.empty:
        raise TableError(f"{source} has no rows.")
    frame = frame.rename(columns=str)
    step_column, step_unit = _step_column(frame, source)
    keys = pd.DataFrame(index=frame.index)
    keys["group"] = frame["group"].astype(str) if "group" in frame else "all"
    keys["run"], keys["seed"] = _run_and_seed(frame, source)
    keys["step"] = _whole_numbers(frame[step_column], step_column, source)
    columns = [c for c in frame.columns if c not in {*KEY_COLUMNS, step_column}]
    _require_known(outcomes, columns, "column")
    values, left_out = _numeric_columns(frame, columns)
    named_outcomes = [c for c in values if c in set(outcomes) or is_outcome(c)]
    metrics = [
        c for c in values if c not in {*named_outcomes, *PROVENANCE_COLUMNS, *_STEP_NAMES, "epoch"}
    ]
    if not metrics:
        raise TableError(
            f"{source} has no metric column: beside {', '.join(KEY_COLUMNS)} and outcomes it "
            f"needs at least one numeric column. It has: {', '.join(_shorten(list(columns), 12))}."
        )
    provenance = frame[[c for c in PROVENANCE_COLUMNS if c in frame]]
    table = pd.concat(
        [keys, pd.DataFrame(values, index=frame.index)[[*metrics, *named_outcomes]], provenance],
        axis=1,
    )
    table = _sorted(table)
    _require_unique(table, source)
    notices = [Notice("metrics", "left out", f"column {c}", "It is not numeric.") for c in left_out]
    return Trajectories(table, tuple(metrics), tuple(named_outcomes), step_unit, tuple(notices))


def natural_key(text: str) -> list[tuple[int, int, str]]:
    """Sort key that puts ``seed2`` before ``seed10``."""
    parts = re.findall(r"\d+|\D+", text)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in parts]


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """Rows by group and run in natural order, then by step."""
    runs = sorted(
        table[RUN_KEY].drop_duplicates().itertuples(index=False, name=None),
        key=lambda r: (natural_key(r[0]), natural_key(r[1])),
    )
    rank = {run: i for i, run in enumerate(runs)}
    order = [rank[key] for key in zip(table["group"], table["run"], strict=True)]
    return (
        table.assign(_order=order)
        .sort_values(["_order", "step"], kind="stable")
        .drop(columns="_order")
        .reset_index(drop=True)
    )


def _read_frame(path: Path) -> tuple[pd.DataFrame, dict | None]:
    """Read a table file; hmmdyn's own Parquet carries metadata that tell its columns apart."""
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        raise TableError(
            f"{path} is not a table hmmdyn reads: it takes {', '.join(TABLE_SUFFIXES)}."
        )
    if not path.is_file():
        raise TableError(f"There is no file {path}.")
    try:
        if suffix == ".parquet":
            table = pq.read_table(path)
            meta = (table.schema.metadata or {}).get(_METADATA_KEY)
            return table.to_pandas(), None if meta is None else json.loads(meta)
        return pd.read_csv(path, sep="\t" if suffix == ".tsv" else ","), None
    except (ValueError, OSError, pa.ArrowException) as error:
        # pandas' parser errors are ValueErrors; so are bad UTF-8 and bad JSON.
        raise TableError(f"{path} cannot be read as a table: {error}") from error


def _step_column(frame: pd.DataFrame, source: str) -> tuple[str, str]:
    by_name = {c.lower(): c for c in reversed(frame.columns)}
    for name in (*_STEP_NAMES, "epoch"):
        if name in by_name:
            return by_name[name], "epoch" if name == "epoch" else "step"
    raise TableError(
        f"{source} has no step column. Name the column of training steps 'step' (or 'epoch'). "
        f"Its columns are: {', '.join(_shorten(list(frame.columns), 12))}."
    )


def _run_and_seed(frame: pd.DataFrame, source: str) -> tuple[pd.Series, pd.Series]:
    if "seed" in frame:
        seed = _whole_numbers(frame["seed"], "seed", source, missing_allowed=True)
    else:
        seed = pd.Series(pd.NA, index=frame.index, dtype="Int64")
    if "run" in frame:
        if frame["run"].isna().any():
            raise TableError(f"{source} has rows without a run; every row needs one.")
        return frame["run"].astype(str), seed
    if seed.isna().any():
        raise TableError(
            f"{source} does not say which rows belong together: it needs a column 'run' or 'seed' "
            f"in every row. Its columns are: {', '.join(_shorten(list(frame.columns), 12))}."
        )
    return "seed" + seed.astype(str), seed


def _whole_numbers(
    column: pd.Series, name: str, source: str, *, missing_allowed: bool = False
) -> pd.Series:
    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    bad = ~(np.isfinite(numbers) & (numbers == np.floor(numbers)) & (numbers.abs() < 2**53))
    if missing_allowed:
        bad &= column.notna()
    if bad.any():
        shown = ", ".join(repr(v) for v in column[bad].iloc[:3].tolist())
        raise TableError(
            f"{source}: column {name!r} must hold whole numbers, but {int(bad.sum()):,} of "
            f"{len(column):,} rows do not ({shown})."
        )
    return numbers.astype("Int64") if missing_allowed else numbers.astype("int64")


def _numeric_columns(
    frame: pd.DataFrame, columns: Iterable[str]
) -> tuple[dict[str, pd.Series], list[str]]:
    numeric, left_out = {}, []
    for name in columns:
        if name in PROVENANCE_COLUMNS:
            continue
        if pd.api.types.is_numeric_dtype(frame[name]):
            numeric[name] = frame[name].astype("float64")
        else:
            left_out.append(name)
    return numeric, left_out


def _require_unique(table: pd.DataFrame, source: str) -> None:
    twice = table[table.duplicated(CHECKPOINT_KEY, keep=False)]
    if twice.empty:
        return
    first = twice.iloc[0]
    raise TableError(
        f"{source} has {len(twice):,} rows that claim a (group, run, step) another row claims, "
        f"the first at group {first.group!r}, run {first.run!r}, step {first.step:,}. "
        "Keep one row per checkpoint, or tell the runs apart with a 'run' or 'group' column."
    )


def _require_known(names: Iterable[str], known: Iterable[str], what: str) -> None:
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
            f"({', '.join(_shorten(where, 4))}) and enters as 0 there.",
        )
        for feature, where in flat.items()
    ]


def _shorten(items: Sequence[str], most: int = 8) -> list[str]:
    """At most ``most`` items, then how many more there are."""
    items = list(items)
    if len(items) <= most:
        return items
    return [*items[:most], f"… and {len(items) - most:,} more"]
