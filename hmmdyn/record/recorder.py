"""The recorder: a row of metrics whenever a training loop asks for one."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hmmdyn.checkpoints.parameters import (
    DEFAULT_RULES,
    ParameterRules,
    select_parameters,
    shape_differences,
)
from hmmdyn.checkpoints.read import Checkpoint
from hmmdyn.errors import ArchitectureMismatchError, UsageError
from hmmdyn.locks import Lock
from hmmdyn.metrics.measure import Measurement, fingerprint_of, measure_opened
from hmmdyn.metrics.registry import all_metrics, select_metrics, with_needed
from hmmdyn.metrics.tally import References
from hmmdyn.names import normalise_column, require_one_of, some
from hmmdyn.record.earlier import EarlierWeights
from hmmdyn.record.live import copied, live_weights
from hmmdyn.record.rows import (
    OF_ROW,
    RECORDING,
    Plan,
    Recording,
    Row,
    RowFile,
    measured_names,
    read_rows,
    recording_of,
)
from hmmdyn.tables.metric_table import PROVENANCE_COLUMNS
from hmmdyn.tables.trajectories import KEY_COLUMNS

STEP_UNITS = ("step", "epoch")
LOCK = ".hmmdyn-metrics.lock"  # in the folder of the run, while it is recorded


class MetricRecorder:
    """Records the metrics of a model's weights, step by step, into the folder of a run.

    Each row is what extraction would give of a checkpoint saved at that step, together with the
    outcomes given. It is in ``run_dir/hmmdyn-metrics.jsonl`` when `record` returns, so that a
    killed training loses at most one row. Opened again, a recording goes on; recording a step again
    removes the rows from that step on, because training went back to before it. They are kept in
    ``hmmdyn-metrics.jsonl.replaced`` beside it, which no analysis reads.

    One recorder at a time has a folder: a lock, which ends with its process, keeps the others out.
    In distributed training (``torch.distributed``, or ``RANK`` and ``WORLD_SIZE`` as torchrun,
    Accelerate and DeepSpeed set them) the process of rank 0 records, and in the others all methods
    do nothing; ``is_recording`` says which it is.

    Tensors that have not changed since the first row are left out, as in extraction. Which these
    are shows in the second row, and the first is then measured again if it had others: until then a
    copy of the model's weights is held in main memory. Where a tensor begins to change only later,
    rows before and after are not comparable; the fewer of them are named and left out on reading.

    Nothing is moved, no gradient graph is kept and no random number drawn: the training is the same
    as without. Tensors are copied to main memory one at a time. Record whole weights: a model
    spread over devices has to be gathered first.

    Parameters
    ----------
    run_dir : path
        Folder of this run; its path says group, run and seed, as it does for checkpoints:
        ``runs/adamw/seed3``.
    every : int
        `step` records at multiples of it.
    metrics : iterable of str, optional
        Names of metrics and families; the paper's by default. Those that compare with the first
        weights keep a copy of them in the folder of the run (narrow types widened to float32),
        and those that compare with the row before a copy of its weights in main memory. After a
        restart the row before is not known: these metrics miss a value, and ``path_length`` all
        from there on. Without ``spectral_norm``, ``trace_over_spectral``, ``mean_sv`` and
        ``var_sv`` no singular values are computed, which take most of the time.
    rules : ParameterRules
        Which tensors are weights and biases (`hmmdyn.record.ParameterRules`): regular expressions
        of what to include, exclude and split.
    step_unit : {"step", "epoch"}
        What ``step`` counts.
    every_rank : bool
        Record in every process of a distributed training: each trains a run of its own, into a
        folder of its own.

    Raises
    ------
    UsageError
        An argument is not allowed, or the folder holds a recording made otherwise.
    OutputError, TableError
        The folder cannot be written, another recorder has it, or it holds a file of that name that
        is no recording.

    Examples
    --------
    >>> with MetricRecorder("runs/seed0", every=100) as recorder:  # doctest: +SKIP
    ...     for step, batch in enumerate(batches):
    ...         recorder.step(model, step, train_loss=loss)
    """

    def __init__(
        self,
        run_dir: str | Path,
        *,
        every: int = 1,
        metrics: Iterable[str] | None = None,
        rules: ParameterRules = DEFAULT_RULES,
        step_unit: str = "step",
        every_rank: bool = False,
    ) -> None:
        if not isinstance(every, int) or every < 1:
            raise UsageError(f"'every' must be a whole number from 1 on, got {every!r}.")
        require_one_of(step_unit, STEP_UNITS, "step_unit")
        self.every = every
        chosen = select_metrics(metrics)
        self._plan = Plan(tuple(metric.name for metric in chosen), rules, step_unit)
        self._measured = measured_names(chosen)
        self._of_optimizer = [m.name for m in chosen if m.needs == "optimizer"]
        self._earlier = EarlierWeights(Path(run_dir), with_needed(chosen))
        self._waiting: dict[str, Any] = {}  # outcomes for the next row
        self._recording: Recording | None = None
        # The first weights, kept until a tensor has changed; and the tensors that have not yet.
        self._first: Checkpoint | None = None
        self._unchanged: frozenset[str] = frozenset()
        self.is_recording = every_rank or _rank() == 0
        self._file = self._opened(Path(run_dir)) if self.is_recording else None

    @property
    def last_step(self) -> int | None:
        """The last step recorded, None before the first and where another process records."""
        rows = self._file.rows if self._file is not None else []
        return rows[-1]["step"] if rows else None

    def _opened(self, run_dir: Path) -> RowFile:
        """Take hold of the folder, and go on with the rows in it."""
        path = run_dir / RECORDING
        self._lock = Lock(
            run_dir / LOCK,
            f"{run_dir} is being recorded",
            "One recorder at a time has a folder, so that no rows are lost: end the other job, "
            "close() the other recorder,\nor record into another folder. In distributed training, "
            "make the recorder in the process of rank 0 only.\nIf a machine went down, its file "
            "server lets go after a minute or two.",
        )
        try:
            rows = read_rows(path)[0] if path.exists() else []
            if rows:
                self._go_on(rows, path)
            return RowFile(path, rows)
        except BaseException:
            self._lock.release()
            raise

    def step(self, model: Any, step: int, *, optimizer: Any = None, **outcomes: Any) -> None:
        """Record where ``step`` is a multiple of ``every``; else `log` the outcomes.

        Parameters
        ----------
        model, step, optimizer, **outcomes
            As of `record`.
        """
        if _whole(step) % self.every == 0:
            self.record(model, step, optimizer=optimizer, **outcomes)
        else:
            self.log(step, **outcomes)

    def record(self, model: Any, step: int, *, optimizer: Any = None, **outcomes: Any) -> None:
        """Measure the weights and write a row.

        Parameters
        ----------
        model : torch.nn.Module or mapping
            A module, or a mapping of names to tensors or NumPy arrays (a state dictionary).
        step : int
            Steps (or epochs) trained so far; 0 is the untrained model.
        optimizer : torch.optim.Optimizer, mapping or list of these, optional
            What trains the model, or its state dictionary, for metrics of the family ``optimizer``;
            not looked at without these.
        **outcomes
            Loss, accuracy and the like: numbers, or tensors of a single one.

        Raises
        ------
        ArchitectureMismatchError
            The weights are not those recorded before.
        NoWeightsError
            The model holds no weight matrix.
        UsageError
            The step is no whole number from 0 on, an outcome is no number or bears the name of a
            metric, the model is neither of the two, or a metric needs an optimizer that is not
            given.
        OutputError
            The row cannot be written.
        """
        step = _whole(step)
        named = self._named(outcomes)
        if self._file is None:
            return
        file, recording = self._file, self._recording
        weights, untrained = live_weights(model, self._needed(optimizer, model))
        if recording is None or not file.rows or step <= file.rows[0]["step"]:
            measurement, notes = self._measure_first(weights, untrained)
        else:
            if step <= file.rows[-1]["step"]:
                self._earlier.forget()
            measurement, notes = self._measure_later(weights, recording, file), {}
        told = {**measurement.outcomes, **self._waiting, **named}
        file.add({"step": step, **_row_of(measurement), **_numbers(told), **notes})
        self._earlier.keep(weights, measurement.architecture.weights)
        self._waiting = {}

    def log(self, step: int, **outcomes: Any) -> None:
        """Add outcomes to the row of ``step`` if it is the last one; else to the next row.

        The latest value of each counts, so that a row has what was logged since the row before, as
        the join of logs to checkpoints does it. For evaluations that follow the recording.
        """
        named = self._named(outcomes)
        if self._file is None:
            return
        if named and _whole(step) == self.last_step:
            self._file.amend(_numbers(named))
        else:
            self._waiting |= named

    def close(self) -> None:
        """Let go of the file and the folder; every row is in it already."""
        if self._file is not None:
            self._file.close()
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _needed(self, optimizer: Any, model: Any) -> Any:
        """Return the optimizer if a metric needs it; a mapping may hold its state itself."""
        if self._of_optimizer and optimizer is None and not isinstance(model, Mapping):
            raise UsageError(
                f"{some(self._of_optimizer)} need the state of the optimizer: "
                "record(model, step, optimizer=optimizer). Or leave these metrics out."
            )
        return optimizer if self._of_optimizer else None

    def _go_on(self, rows: list[Row], path: Path) -> None:
        """Take up a recording made before."""
        recording = recording_of(rows[0], path)
        if recording.plan != self._plan:
            raise UsageError(
                f"{path} was recorded otherwise: {_differences(recording.plan, self._plan)}.\n"
                "Go on with the same options, or record into another folder."
            )
        self._recording = recording
        # A tensor that changed and then came back to its first numbers counts as changed.
        so_far = recording.fingerprints if len(rows) == 1 else rows[-1].get("unchanged", ())
        self._unchanged = frozenset(so_far)

    def _measure_first(
        self, weights: Checkpoint, untrained: frozenset[str]
    ) -> tuple[Measurement, dict[str, Any]]:
        """Measure weights that there is nothing to compare with; also return what is said once."""
        parameters = select_parameters(weights, self._plan.rules)
        counted = frozenset((*parameters.weights, *parameters.biases))
        # A guess: tensors that no optimizer trains will not change. If it is wrong, the first row
        # is measured again.
        frozen = counted & untrained if counted - untrained else frozenset()
        first = copied(weights, counted)
        self._earlier.begin(first, parameters.weights)
        measurement = self._measure(first, frozen, {"initial": first}, fingerprint=True)
        self._recording = Recording(self._plan, measurement.architecture, measurement.fingerprints)
        self._first, self._unchanged = first, counted
        return measurement, {"recording": self._recording.as_json()}

    def _measure_later(
        self, weights: Checkpoint, recording: Recording, file: RowFile
    ) -> Measurement:
        """Measure weights without those that are still what they were in the first row."""
        unchanged = frozenset(
            name
            for name in self._unchanged
            if name in weights
            and fingerprint_of(weights[name].read()) == recording.fingerprints[name]
        )
        # If nothing has changed yet, as in a warm-up from a learning rate of 0, the guess of the
        # first row still holds.
        settled = len(unchanged) < len(recording.fingerprints)
        frozen = unchanged if settled else file.rows[0].get("unchanged", ())
        measurement = self._measure(weights, frozen, self._earlier.references())
        measurement = replace(
            measurement, problems={**measurement.problems, **self._earlier.problems()}
        )
        _require_same_architecture(measurement, recording)
        if settled:
            self._settle(unchanged, file)
        return measurement

    def _settle(self, unchanged: frozenset[str], file: RowFile) -> None:
        """Measure the rows up to now again, where they have other tensors than those to come.

        That is once only, and of the first weights, which had not changed in any of those rows.
        What was measured of the optimizer's state, which had, stays.
        """
        self._unchanged = unchanged
        first, self._first = self._first, None
        rows = file.rows
        if first is None or unchanged == frozenset(rows[0].get("unchanged", ())):
            return
        again = self._row_of_weights(first, unchanged, {"initial": first})
        later: References = {"initial": first, "previous": first}
        after = self._row_of_weights(first, unchanged, later) if rows[1:] else again
        file.replace(self._measured_again(row, after if i else again) for i, row in enumerate(rows))

    def _row_of_weights(
        self, weights: Checkpoint, frozen: Iterable[str], references: References
    ) -> Row:
        names = [name for name in self._measured if name not in self._of_optimizer]
        return _row_of(self._measure(weights, frozen, references, names))

    def _measured_again(self, row: Row, of_weights: Row) -> Row:
        notes = ("unchanged", "not_finite", "problems")
        told = row.get("problems", {})
        problems = {name: told[name] for name in self._of_optimizer if name in told}
        problems |= of_weights.get("problems", {})
        kept = {key: row[key] for key in row if key not in notes}
        return {**kept, **of_weights, **({"problems": problems} if problems else {})}

    def _measure(
        self,
        weights: Checkpoint,
        frozen: Iterable[str],
        references: References,
        names: Iterable[str] | None = None,
        *,
        fingerprint: bool = False,
    ) -> Measurement:
        return measure_opened(
            weights,
            self._measured if names is None else tuple(names),
            self._plan.rules,
            frozen=frozenset(frozen),
            fingerprint=fingerprint,
            references=references,
        )

    def _named(self, outcomes: Mapping[str, Any]) -> dict[str, Any]:
        """Check outcomes, name them as those of logs are, and let go of gradient graphs."""
        named = {normalise_column(name): _single(value, name) for name, value in outcomes.items()}
        metrics = (metric.name for metric in all_metrics())
        taken = {*KEY_COLUMNS, *PROVENANCE_COLUMNS, *OF_ROW, "epoch", *metrics}
        if clash := sorted(taken & named.keys()):
            raise UsageError(
                f"An outcome cannot be called {clash[0]!r}, which names something else in the row."
            )
        return named


def _row_of(measurement: Measurement) -> Row:
    notes = {
        "not_finite": list(measurement.not_finite),
        "unchanged": list(measurement.frozen),
        "problems": dict(measurement.problems),
    }
    return {**measurement.metrics, **{key: told for key, told in notes.items() if told}}


def _require_same_architecture(measurement: Measurement, recording: Recording) -> None:
    found, expected = measurement.architecture.shapes, recording.architecture.shapes
    if found != expected:
        raise ArchitectureMismatchError(
            f"These are not the weights recorded before: {shape_differences(found, expected)}.\n"
            "Record each model into a folder of its own."
        )


def _rank() -> int:
    """Return which process of a distributed training this is, 0 where there is one only."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    rank, size = (os.environ.get(name, "") for name in ("RANK", "WORLD_SIZE"))
    # Both, as launchers set them: RANK alone may be anything, such as that of an adapter.
    return int(rank) if rank.isdecimal() and size.isdecimal() and int(size) > 1 else 0


def _whole(step: Any) -> int:
    try:
        number = operator.index(step)
    except TypeError:
        number = -1
    if number < 0:
        raise UsageError(f"'step' must be a whole number from 0 on, got {step!r}.")
    return number


def _single(value: Any, name: str) -> Any:
    """Return a number, or a tensor of one: to look at it would wait for the accelerator."""
    if hasattr(value, "detach") and value.numel() == 1:
        return value.detach().clone()
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"Outcome {name!r} must be a single number, got {value!r}.") from None


def _numbers(outcomes: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in outcomes.items()}


def _differences(found: Plan, wanted: Plan) -> str:
    pairs = {
        field: (getattr(found, field), getattr(wanted, field))
        for field in ("metrics", "rules", "step_unit", "metrics_version")
    }
    return "; ".join(f"{f} was {a}, is {b}" for f, (a, b) in pairs.items() if a != b)
