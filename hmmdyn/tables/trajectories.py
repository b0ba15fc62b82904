"""Metrics of several runs over training: select what is wanted, standardise it for the model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hmmdyn.choices import STANDARDISATIONS
from hmmdyn.errors import (
    MetricNotFiniteError,
    NotEnoughDataError,
)
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import require_known, require_one_of, runs_named, some
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.results.observations import Observations, Standardisation
from hmmdyn.results.parts import PARTS
from hmmdyn.tables.start import (
    about_starts_not_known,
    common_start,
    logarithms,
    positive_throughout,
    since_start,
)

KEY_COLUMNS = ["group", "run", "seed", "step"]
# A metric that moves by less than this share of its magnitude does not move: that is rounding.
_CONSTANT_TOLERANCE = 1e-12
# Nor does one that moves by less than the smallest number of full precision.
_SMALLEST = float(np.finfo(np.float64).tiny)
# Values may lie so many deviations from the mean. Beyond the first limit, a covariance of near and
# far values is singular to the last digit: no model can be fitted. A map that only decodes can bear
# that, up to where squares overflow.
_FARTHEST_TO_FIT = 1e6
_FARTHEST_TO_DECODE = 1e50


@dataclass(frozen=True)
class Trajectories:
    """Metrics (and outcomes) of every checkpoint of every run.

    Attributes
    ----------
    table : DataFrame
        ``group, run, seed, step``, the metric columns, the outcome columns (float64, raw units),
        and provenance columns where known. Runs in natural order, steps increasing within a run.
    metrics, outcomes : tuple of str
        Which columns of ``table`` are which; there may be outcomes alone.
    step_unit : str
        ``step``, ``epoch``, ``sample`` or ``token``.
    notices : tuple of Notice
        What was left out or looked odd on the way here.
    parts : DataFrame
        The metrics of parts of the networks, where they were measured (``by``): `PARTS`.
    """

    table: pd.DataFrame
    metrics: tuple[str, ...]
    outcomes: tuple[str, ...]
    step_unit: str = "step"
    notices: tuple[Notice, ...] = ()
    parts: pd.DataFrame = field(default_factory=PARTS.frame)

    @cached_property
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
        if not self.metrics:
            raise NotEnoughDataError(
                "There are outcomes here and no metrics of the weights, so there is nothing to fit "
                "states to."
            )
        if not kept:
            raise NotEnoughDataError("No metric is left: every one of them was dropped by request.")
        left_out = [m for m in self.metrics if m not in kept]
        return replace(
            self,
            table=self.table.drop(columns=left_out),
            metrics=kept,
            notices=(*self.notices, *_about_metrics(left_out, set(drop_metrics))),
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
        keys = list(self.table[RUN_KEY].drop_duplicates().itertuples(index=False, name=None))
        excluded = runs_named(names, keys)
        table, parts = (_without(frame, excluded) for frame in (self.table, self.parts))
        if table.empty:
            raise NotEnoughDataError("No run is left: every one of them was excluded by request.")
        notices = tuple(
            Notice("model", "left out", f"run {name}", "Left out by request.") for name in names
        )
        return replace(
            self,
            table=table,
            notices=self.notices + notices,
            parts=parts,
        )

    def of_group(self, group: str) -> Trajectories:
        """Return the runs of one group alone."""
        table, parts = (
            frame[frame["group"] == group].reset_index(drop=True)
            for frame in (self.table, self.parts)
        )
        return replace(self, table=table, parts=parts)

    def observations(self, standardise: str = "run", first: int | None = None) -> Observations:
        """Standardise the metrics: z = (x - mean) / deviation, ddof 0 (docs/method/metrics.md).

        A metric is missing (NaN) where it was not measured: it stays missing, and means and
        deviations are those of its known values. Metrics that never vary carry no information;
        nor do runs in which no metric is known at all or, with ``run`` standardisation, at two
        checkpoints. They are left out. All of this is said in the notices.

        Parameters
        ----------
        standardise : {"run", "pooled", "log-start"}
            Mean and deviation of each run, or of all runs together; or the latter of log(x/x₀),
            for metrics positive throughout, and x − x₀ for others, x₀ the run's first value.
        first : int, optional
            Take mean and deviation from the first so many checkpoints of each run.

        Raises
        ------
        MetricNotFiniteError
            A metric is infinite somewhere.
        NotEnoughDataError
            Fewer than two checkpoints are left, or no metric varies or has a scale.
        UsageError
            With ``log-start``, runs do not begin at one common step.
        """
        require_one_of(standardise, STANDARDISATIONS, "standardise")
        self._require_no_infinity()
        if standardise == "log-start":
            return self._observations_since_start(first)
        self._require_successive_checkpoints(standardise)
        features = varying(self.table, self.metrics)
        if not features:
            raise NotEnoughDataError(
                f"Nothing changes: none of {len(self.metrics)} metrics takes two values in a run, "
                f"at {len(self.table)} checkpoints in all, so there are no phases to find. "
                "Check that the checkpoints are really different files of a moving training."
            )
        usable, notices = self._without_unusable_runs(features, standardise)
        kind = Standardisation(standardise, first)
        if standardise == "pooled":
            kind = _pooled_standardisation(usable.table, features, first)
        left_out = self._about_metrics_left_out(features)
        observed = usable._observe(features, kind, [*notices, *left_out])
        usable._require_within_reach(observed, _FARTHEST_TO_FIT)
        return observed

    def _observations_since_start(self, first: int | None) -> Observations:
        """Compare every run with its own start, then standardise over all runs."""
        start = common_start(self.table, self.step_unit)
        logarithmic = dict(
            zip(self.metrics, positive_throughout(self.table, self.metrics).tolist(), strict=True)
        )
        compared = self._since_start([logarithmic[m] for m in self.metrics])
        observed = compared.observations("pooled", first)
        return replace(
            observed,
            standardisation=replace(
                observed.standardisation,
                kind="log-start",
                start=start,
                logarithmic=tuple(logarithmic[f] for f in observed.features),
            ),
            notices=(*about_starts_not_known(self.table, self.metrics), *observed.notices),
        )

    def logged(self, metrics: Sequence[str]) -> Trajectories:
        """Return the trajectories with the logarithms of some metrics in their place.

        Raises
        ------
        UsageError
            A name is not a metric of the table.
        MetricNotFiniteError
            One of them is not positive somewhere.
        """
        require_known(metrics, self.metrics, "metric")
        return replace(self, table=logarithms(self.table, metrics))

    def _since_start(self, logarithmic: Sequence[bool]) -> Trajectories:
        return replace(self, table=since_start(self.table, self.metrics, logarithmic))

    def observations_as(
        self, features: Sequence[str], standardisation: Standardisation
    ) -> Observations:
        """Standardise the given metrics as a fitted map does, leaving no metric out.

        Raises
        ------
        MetricNotFiniteError, NotEnoughDataError, UsageError
        """
        chosen = self.select(metrics=features)
        lost: tuple[Notice, ...] = ()
        chosen._require_no_infinity()
        chosen._require_successive_checkpoints(standardisation.kind)
        if standardisation.kind == "log-start":
            common_start(chosen.table, chosen.step_unit, standardisation.start)
            lost = about_starts_not_known(chosen.table, chosen.metrics)
            chosen = chosen._since_start(standardisation.logarithmic)
        elif standardisation.logarithmic:
            is_log = zip(features, standardisation.logarithmic, strict=True)
            chosen = chosen.logged([feature for feature, log in is_log if log])
        usable, notices = chosen._without_unusable_runs(features, standardisation.kind)
        observed = usable._observe(tuple(features), standardisation, [*lost, *notices])
        usable._require_within_reach(observed, _FARTHEST_TO_DECODE)
        return observed

    def _values(self, metrics: Sequence[str]) -> FloatArray:
        return self.table[list(metrics)].to_numpy(dtype=np.float64)

    def _require_no_infinity(self) -> None:
        infinite = np.isinf(self._values(self.metrics))
        if not infinite.any():
            return
        names = self._run_names()
        metrics = [self.metrics[i] for i in np.flatnonzero(infinite.any(axis=0))]
        lines = [
            f"  {metric!r} at {here.sum():,} of {len(self.table):,} checkpoints "
            f"({some(self._places(here), 4)})"
            for metric, here in zip(self.metrics, infinite.T, strict=True)
            if here.any()
        ]
        runs = dict.fromkeys(names[r] for r in np.flatnonzero(infinite.any(axis=1)))
        remedies = []
        if len(metrics) < len(self.metrics):
            drop = Remedy("drop_metrics", tuple(metrics))
            remedies.append(Message("\n  leave the metrics out:  ", drop))
        if len(runs) < len(set(names)):
            exclude = Remedy("exclude_runs", tuple(runs))
            remedies.append(Message("\n  leave the runs out:     ", exclude))
        raise MetricNotFiniteError(
            "Metrics that are infinite:\n"
            + "\n".join(lines)
            + "\nNo run was dropped. Where a value is not known, leave it empty (NaN) in the table."
            + ("\nEither of these goes on, too:" if remedies else ""),
            *remedies,
        )

    def _places(self, rows: NDArray[np.bool_]) -> list[str]:
        """Name the checkpoints in a mask of the table's rows."""
        names, steps = self._run_names(), self.table["step"].to_numpy()
        return [f"{names[r]} at {self.step_unit} {steps[r]:,}" for r in np.flatnonzero(rows)]

    def _run_names(self) -> list[str]:
        """Name of each row's run, with its group where several groups have a run of that name."""
        groups_with = self.runs.groupby("run")["group"].size()
        return [
            run if groups_with[run] == 1 else f"{group}/{run}"
            for group, run in zip(self.table["group"], self.table["run"], strict=True)
        ]

    def _require_successive_checkpoints(self, kind: str) -> None:
        n = len(self.table)
        if n > 1 and (kind != "run" or self.lengths.max() > 1):
            return
        found = (
            f"There is only {n} checkpoint"
            if n < 2
            else f"Each of the {n} runs has a single checkpoint"
        )
        raise NotEnoughDataError(
            f"{found}. Phases are changes from checkpoint to checkpoint: save several checkpoints "
            "per run."
        )

    def _without_unusable_runs(
        self, features: Sequence[str], kind: str
    ) -> tuple[Trajectories, list[Notice]]:
        """Leave out runs in which no feature is known at enough checkpoints to be standardised."""
        runs, lengths = self.runs, self.lengths
        known = np.split(~np.isnan(self._values(features)), np.cumsum(lengths)[:-1])
        n_known = np.array([run.sum(axis=0).max() for run in known])
        usable = n_known >= (2 if kind == "run" else 1)
        if not usable.any():
            raise NotEnoughDataError(
                f"None of these metrics is known at enough checkpoints of a run: {some(features)}."
            )
        notices = []
        for r in np.flatnonzero(~usable):
            why = "None of its metrics is known at two checkpoints"
            if lengths[r] < 2:
                (step,) = self.table["step"][np.repeat(np.arange(len(runs)) == r, lengths)]
                why = f"It has a single checkpoint ({self.step_unit} {step})"
            why = f"{why}, and so it cannot be standardised within the run."
            if n_known[r] == 0:
                why = "No metric that the model uses is known in it."
            notices.append(Notice("model", "left out", f"run {runs['run'][r]}", why))
        kept = self.table[np.repeat(usable, lengths)].reset_index(drop=True)
        return replace(self, table=kept), notices

    def _about_metrics_left_out(self, features: Sequence[str]) -> list[Notice]:
        notices = []
        for metric in self.metrics:
            if metric in features:
                continue
            n_known = self.table.groupby(RUN_KEY)[metric].count().max()
            why = "It does not change in any run and carries no information about phases."
            if n_known < 2:
                where = "any checkpoint" if n_known == 0 else "two checkpoints of any run"
                why = f"It is not known at {where}."
            notices.append(Notice("model", "left out", f"metric {metric}", why))
        return notices

    def _observe(
        self,
        features: tuple[str, ...],
        standardisation: Standardisation,
        notices: list[Notice],
    ) -> Observations:
        raw, lengths = self._values(features), self.lengths
        borders = np.cumsum(lengths)[:-1]
        with np.errstate(over="ignore"):  # what overflows is too far away, and refused later
            if standardisation.kind == "run":
                runs = np.split(raw, borders)
                _require_scale(runs, standardisation.first, features)
                values = np.concatenate([_standardised(r, standardisation.first) for r in runs])
                notices = notices + self._about_lone_values(raw, values, features)
                notices += _flat_in_some_runs(values, lengths, self.runs, features)
            else:
                # Divided by 4 first: the difference of two huge numbers could overflow.
                centred = raw / 4 - standardisation.mean / 4
                values = 4 * (centred / standardisation.deviation)
        return Observations(
            values,
            lengths,
            self.table["step"].to_numpy(dtype=np.int64),
            self.runs,
            features,
            standardisation,
            (*notices, *self._about_missing_values(values, features)),
        )

    def _require_within_reach(self, observed: Observations, reach: float) -> None:
        too_far = np.abs(observed.values) > reach
        if not too_far.any():
            return
        of_metric = zip(observed.features, np.any(too_far, axis=0), strict=True)
        names = some(feature for feature, far in of_metric if far)
        raise NotEnoughDataError(
            f"Some values lie more than {reach:.0e} standard deviations away from the mean, "
            f"so the scale of these metrics says nothing about them: {names} "
            f"({some(self._places(np.any(too_far, axis=1)), 4)}). Take the scale from more "
            "checkpoints (",
            Remedy("standardise_first"),
            "), or leave the metrics out (",
            Remedy("drop_metrics"),
            ").",
        )

    def _about_lone_values(
        self, raw: FloatArray, values: FloatArray, features: Sequence[str]
    ) -> list[Notice]:
        """Name the values that are known, but that their run gives no scale."""
        lone = np.isnan(values) & ~np.isnan(raw)
        return [
            Notice(
                "model",
                "left out",
                f"metric {feature}",
                "A run in which it is known at a single checkpoint gives it no scale; it counts as "
                f"missing there ({some(self._places(here), 4)}).",
            )
            for feature, here in zip(features, lone.T, strict=True)
            if here.any()
        ]

    def _about_missing_values(self, values: FloatArray, features: Sequence[str]) -> list[Notice]:
        """Count and name what is missing; metrics that are missing together, together."""
        missing = np.isnan(values)
        if not missing.any():
            return []
        names = np.array(self._run_names())
        together: dict[bytes, list[int]] = {}
        for i in np.flatnonzero(missing.any(axis=0)):
            together.setdefault(missing[:, i].tobytes(), []).append(int(i))
        notices = []
        for metrics in together.values():
            here = missing[:, metrics[0]]
            runs = [
                f"{n:,} of {run}"
                for run, n in pd.Series(names[here]).value_counts(sort=False).items()
            ]
            notices.append(
                Notice(
                    "model",
                    "odd",
                    f"metric{'s' if len(metrics) > 1 else ''} {some(features[i] for i in metrics)}",
                    f"Missing at {here.sum():,} of {len(values):,} checkpoints ({some(runs, 4)}): "
                    "the state there is inferred from the other metrics and the checkpoints "
                    "around.",
                )
            )
        empty = np.all(missing, axis=1)
        if empty.any():
            notices.append(
                Notice(
                    "model",
                    "odd",
                    "checkpoints without metrics",
                    f"No metric is known at {empty.sum():,} of {len(values):,} checkpoints "
                    f"({some(self._places(empty), 4)}): the state there is inferred from the "
                    "checkpoints around alone.",
                )
            )
        return notices


def varying(table: pd.DataFrame, metrics: Sequence[str]) -> tuple[str, ...]:
    """Metrics that vary within some run."""
    columns = list(metrics)
    varies = np.zeros(len(columns), dtype=bool)
    for _, run in table.groupby(RUN_KEY, sort=False)[columns]:
        varies |= ~_is_flat(run.to_numpy(dtype=np.float64))
    return tuple(m for m, v in zip(metrics, varies, strict=True) if v)


def _is_flat(values: FloatArray) -> NDArray[np.bool_]:
    """Which columns, shape (D,), do not move beyond rounding noise where they are known."""
    peak = _peak(values)
    scaled = values / peak
    span = np.fmax.reduce(scaled, axis=0) - np.fmin.reduce(scaled, axis=0)
    moves = span > np.maximum(_CONSTANT_TOLERANCE, _SMALLEST / peak)
    return np.asarray(~moves)  # a column without known values has no span: NaN moves nothing


def _peak(values: FloatArray) -> FloatArray:
    """Largest magnitude of each column, 1 for zeros: divided by it, squares stay in range."""
    peak = np.fmax.reduce(np.abs(values), axis=0)
    return np.where(peak > 0, peak, 1.0)


def _moments(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and population deviation of the known values of each column; 0 of none."""
    known = ~np.isnan(values)
    n = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, values, 0.0).sum(axis=0) / n
    squares = np.where(known, values - mean, 0.0) ** 2
    return mean, np.sqrt(squares.sum(axis=0) / n)


def _standardised(run: FloatArray, first: int | None) -> FloatArray:
    """One run by its own mean and deviation.

    A metric flat in it is 0; one known at a single checkpoint has no deviation: it is missing.
    """
    scaled = run / _peak(run[:first])
    mean, deviation = _moments(scaled[:first])
    lone = (~np.isnan(run)).sum(axis=0) < 2
    scale = np.where(lone, np.nan, np.where(_is_flat(run), np.inf, deviation))
    return (scaled - mean) / scale


def _require_scale(runs: Sequence[FloatArray], first: int | None, features: Sequence[str]) -> None:
    """Refuse a window at the start of the runs in which metrics that move later do not move."""
    still = np.zeros(len(features), dtype=bool)
    for run in runs:
        still |= _is_flat(run[:first]) & ~_is_flat(run)
    if still.any():
        names = some(f for f, s in zip(features, still, strict=True) if s)
        raise NotEnoughDataError(
            f"Within the first {first} checkpoints of some run these metrics do not change (or "
            f"are missing), so they have no scale: {names}. Raise ",
            Remedy("standardise_first"),
            ".",
        )


def _pooled_standardisation(
    table: pd.DataFrame, features: Sequence[str], first: int | None
) -> Standardisation:
    runs = table.groupby(RUN_KEY, sort=False)
    reference = (runs.head(first) if first else table)[list(features)].to_numpy(dtype=np.float64)
    flat = _is_flat(reference)
    if flat.any():
        names = some(f for f, still in zip(features, flat, strict=True) if still)
        window = f"Within the first {first} checkpoints" if first else "Against their size"
        raise NotEnoughDataError(
            f"{window} of all runs these metrics do not change, so they have no scale: {names}. ",
            *(
                ("Raise ", Remedy("standardise_first"), ".")
                if first
                else ("Leave them out (", Remedy("drop_metrics"), ").")
            ),
        )
    peak = _peak(reference)
    mean, deviation = _moments(reference / peak)
    return Standardisation("pooled", first, peak * mean, peak * deviation)


def _flat_in_some_runs(
    standardised: FloatArray, lengths: IntArray, runs: pd.DataFrame, features: Sequence[str]
) -> list[Notice]:
    """Name runs in which a metric that varies elsewhere stays flat (it enters as 0 there)."""
    names = runs["run"].astype(str).tolist()
    flat: dict[str, list[str]] = {}
    for name, run in zip(names, np.split(standardised, np.cumsum(lengths)[:-1]), strict=True):
        known = ~np.isnan(run)
        for i in np.flatnonzero(known.any(axis=0) & ((run == 0) | ~known).all(axis=0)):
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


def _about_metrics(left_out: Sequence[str], dropped: Collection[str]) -> Iterator[Notice]:
    """Name the metrics left out: each that was to go, and together those beside the chosen ones."""
    beside = [m for m in left_out if m not in dropped]
    if beside:
        what = f"{len(beside)} metrics not asked for" if beside[1:] else f"metric {beside[0]}"
        yield Notice("model", "left out", what, f"Not among those asked for: {', '.join(beside)}.")
    for m in left_out:
        if m in dropped:
            yield Notice("model", "left out", f"metric {m}", "Left out by request.")


def _without(frame: pd.DataFrame, excluded: Collection[tuple[str, str]]) -> pd.DataFrame:
    """Leave the rows of runs (group, run) out."""
    if not excluded:
        return frame.reset_index(drop=True)
    out = pd.MultiIndex.from_tuples(list(excluded), names=RUN_KEY)
    return frame[~pd.MultiIndex.from_frame(frame[RUN_KEY]).isin(out)].reset_index(drop=True)
