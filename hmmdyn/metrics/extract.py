"""Every checkpoint to one row of the metric table: once, in parallel, resumable."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import joblib
import numpy as np
import pandas as pd
from joblib import effective_n_jobs

from hmmdyn.checkpoints.modules import in_network_order
from hmmdyn.checkpoints.parameters import DEFAULT_RULES, ParameterRules, rules_of_no_weight
from hmmdyn.errors import CheckpointError, HmmdynError, UsageError
from hmmdyn.messages import Either, Message, Remedy
from hmmdyn.metrics.cache import MeasurementCache, relative_path
from hmmdyn.metrics.checks import (
    Measured,
    Unchanging,
    find_unchanging,
    notices_of,
    require_same_architecture,
    runs_of,
)
from hmmdyn.metrics.clusters.cluster import on_cluster
from hmmdyn.metrics.linear_algebra import CPU, on_device
from hmmdyn.metrics.machine import Machine
from hmmdyn.metrics.measure import Measurement, measure
from hmmdyn.metrics.registry import Metric, load_metrics, select_metrics, with_needed
from hmmdyn.metrics.shard import Shard
from hmmdyn.metrics.tally import Part, Reference
from hmmdyn.names import printable, some
from hmmdyn.places import Place, is_url
from hmmdyn.results.arrays import FloatArray
from hmmdyn.results.checkpoints import CheckpointFile, CheckpointIndex
from hmmdyn.results.keys import RUN_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.results.parts import PARTS
from hmmdyn.workers import end_with_parent


@dataclass(frozen=True)
class Extraction:
    """The metrics of every checkpoint.

    Attributes
    ----------
    table : DataFrame
        One row per checkpoint in the order of the index: ``group, run, seed`` (Int64), ``step``,
        the metrics and stored outcomes (float64), ``path`` (below the root), ``size`` (bytes),
        ``mtime_ns``.
    metrics, stored_outcomes : tuple of str
        Columns of ``table``; stored outcomes were found in the checkpoints themselves.
    notices : tuple of Notice
    parts : DataFrame
        Metrics of parts of the networks, one row per checkpoint, part and metric; columns as
        `hmmdyn.results.parts.PARTS`. Empty unless asked for.
    frozen : Mapping of str to tuple of str
        Group -> tensors that were left out because they never change.
    n_computed, n_reused : int
        Checkpoints measured now, and taken from the cache.
    """

    table: pd.DataFrame
    metrics: tuple[str, ...]
    stored_outcomes: tuple[str, ...]
    notices: tuple[Notice, ...]
    parts: pd.DataFrame
    frozen: Mapping[str, tuple[str, ...]]
    n_computed: int
    n_reused: int


def extract(
    index: CheckpointIndex,
    *,
    metrics: Iterable[str] | None = None,
    metrics_from: Path | None = None,
    by: Sequence[str] = (),
    rules: ParameterRules = DEFAULT_RULES,
    cache: Path | None = None,
    n_jobs: int = 1,
    skip_bad: bool = False,
    shard: Shard | None = None,
    scheduler: str | None = None,
    max_memory: int | None = None,
    device: str = CPU,
    progress: Callable[[int, int], None] | None = None,
) -> Extraction:
    """Compute the metrics of every checkpoint of an index, or of a shard of them.

    Tensors that never change (the same, bit for bit, in the first, middle and last checkpoint of
    a run) are left out for the whole group. Interrupted at any time and called again with the
    same ``cache``, it goes on where it was and ends with the same table.

    Parameters
    ----------
    index : CheckpointIndex
        The checkpoints to measure.
    metrics : iterable of str, optional
        Names of metrics and families; the paper's by default.
    metrics_from : Path, optional
        A file of metrics of one's own (see :func:`hmmdyn.metrics.registry.load_metrics`), which is
        executed.
    by : sequence of {"layer", "role"}
        Measure the parts of the network, too.
    rules : ParameterRules
        Which tensors are weights and biases.
    cache : Path, optional
        A Parquet file in which measurements are kept between calls, made where it is missing.
    n_jobs : int
        Processes; -1 for one per core. The numbers do not depend on it.
    skip_bad : bool
        Leave checkpoints that cannot be read out, each with a notice.
    shard : Shard, optional
        Measure this share of the checkpoints alone.
    scheduler : str, optional
        Address of a Dask (``tcp://…``) or Ray (``ray://…``) cluster whose workers measure, in the
        place of processes here. They read the same files, by the same paths.
    max_memory : int, optional
        Bytes that all processes may take together. What does not fit at once is read again; the
        numbers are the same.
    device : str
        Where singular values are computed: ``cpu``, or a device of PyTorch's, such as ``cuda``.
    progress : callable, optional
        Called with (done, total) as checkpoints are finished.

    Raises
    ------
    CheckpointError
        Some checkpoints cannot be read. The others are measured (and kept) first, so that all
        bad ones are named at once.
    ArchitectureMismatchError
        Checkpoints of one group hold different weights.
    NoWeightsError
        A checkpoint holds no weight matrix.
    OutputError
        The cache cannot be written, or its place is taken by something else.
    UsageError
        A metric does not exist, a rule does not fit, ``n_jobs`` is 0, the file of metrics fails,
        memory is too small for the largest tensor, or there is no such device.
    """
    if n_jobs == 0:
        raise UsageError("'n_jobs' must be a number of processes, or -1 for all cores, got 0.")
    own = () if metrics_from is None else (load_metrics(metrics_from),)
    chosen = select_metrics(metrics)
    needed = with_needed(chosen)
    of_checkpoints = tuple(m for m in needed if m.needs != "run")
    files = index.checkpoints
    mine = dict.fromkeys(files if shard is None else shard.part_of(files))
    if scheduler is not None and max_memory is not None:
        raise UsageError(
            "'max_memory' is of processes here, and with a scheduler the workers of the cluster "
            "measure. Leave one of them out."
        )
    if scheduler is None:  # else it is the workers that need the device
        on_device(device)
    machine = Machine.shared(max_memory, effective_n_jobs(n_jobs), device)
    what = _What(tuple(m.name for m in of_checkpoints), rules, metrics_from, tuple(by), machine)
    probed = _probes(files)
    references = _references(files, needed)
    with MeasurementCache(cache, index.root, rules, own) as store:
        work = _Work(store, what, n_jobs, scheduler, len({*mine, *probed}), progress)
        probes = work.run([_Task(file, None, True, measured=file in mine) for file in probed])
        require_same_architecture(probes)
        unchanging = find_unchanging(probes)
        measured = work.run(
            [
                _Task(
                    file,
                    tuple(sorted(unchanging.frozen.get(file.group, ()))),
                    file in probed,
                    references[file],
                )
                for file in mine
            ]
        )
    bad = {relative_path(file, index.root): why for file, why in work.failures.items()}
    if bad and (not skip_bad or not (probes or measured)):
        raise CheckpointError(_all_bad_files(bad, work.n_total))
    found = tabulate(
        index.root,
        measured,
        chosen if shard is None else of_checkpoints,
        unchanging,
        by,
        beside={file: found for file, found in probes.items() if file not in measured},
    )
    n_computed = sum(file in work.computed for file in measured)
    return replace(
        found,
        notices=(
            *_skipped(bad),
            *_damaged(store.n_damaged),
            *_about_rules(rules, {**probes, **measured}),
            *found.notices,
        ),
        n_computed=n_computed,
        n_reused=len(measured) - n_computed,
    )


def tabulate(
    root: Place,
    measured: Measured,
    metrics: tuple[Metric, ...],
    unchanging: Unchanging,
    by: Sequence[str] = (),
    beside: Measured = MappingProxyType({}),
) -> Extraction:
    """Put measurements made earlier into one table, one row each.

    Parameters
    ----------
    root : Place
        Folder that the runs lie in; the paths in the table are relative to it.
    measured : mapping of CheckpointFile to Measurement
        What was measured of each checkpoint.
    metrics : tuple of Metric
        The columns wanted; those about biases only where biases change in every group.
    unchanging : Unchanging
        Tensors that were left out, and runs whose metrics never move, for the notices.
    by : sequence of {"layer", "role"}
        The parts of the networks wanted.
    beside : mapping of CheckpointFile to Measurement
        Others of the same runs, which have no row, but a say in what the columns are.

    Raises
    ------
    ArchitectureMismatchError
        Those of one group are of different weights.
    """
    together = {**beside, **measured}
    require_same_architecture(together)
    kept, no_biases = _without_bias_metrics(metrics, together)
    names = tuple(metric.name for metric in kept)
    outcomes = tuple(sorted({name for m in measured.values() for name in m.outcomes}))
    return Extraction(
        table=_table(root, measured, kept, outcomes),
        metrics=names,
        stored_outcomes=outcomes,
        notices=(*notices_of(measured, unchanging), *no_biases),
        parts=_parts(measured, names, by),
        frozen={group: tuple(sorted(names)) for group, names in unchanging.frozen.items()},
        n_computed=0,
        n_reused=len(measured),
    )


def with_metrics_of_runs(table: pd.DataFrame, metrics: Iterable[Metric]) -> pd.DataFrame:
    """Add metrics that are made of whole runs to a table that has what they are made of.

    Parameters
    ----------
    table : DataFrame
        All checkpoints, in the order of the index, with the columns that ``of`` names.
    metrics : iterable of Metric
        What to add: of those that need a ``run``.
    """
    runs = [run.reset_index(drop=True) for _, run in table.groupby(RUN_KEY, sort=False)]
    return table.assign(
        **{m.name: _column_of_runs(m, [run[list(m.of)] for run in runs]) for m in metrics}
    )


@dataclass(frozen=True)
class _What:
    """What is measured of every checkpoint."""

    metrics: tuple[str, ...]
    rules: ParameterRules
    metrics_from: Path | None
    by: tuple[str, ...]
    machine: Machine

    def absolute(self) -> _What:
        """With paths that mean the same in any working directory."""
        own = self.metrics_from
        return replace(self, metrics_from=None if own is None else own.absolute())


@dataclass(frozen=True)
class _Task:
    """Measure a checkpoint, compared with its ``references``, without the ``frozen`` tensors.

    None: whichever the cache left out. One that is not ``measured`` is only looked into.
    """

    file: CheckpointFile
    frozen: tuple[str, ...] | None
    fingerprint: bool
    references: Mapping[Reference, CheckpointFile] = field(default_factory=dict)
    measured: bool = True

    def absolute(self) -> _Task:
        """With paths that mean the same in any working directory."""
        references = {kind: _absolute(file) for kind, file in self.references.items()}
        return replace(self, file=_absolute(self.file), references=references)

    @property
    def compared_with(self) -> dict[str, str]:
        """What tells the references from other files, or from earlier ones in their place."""
        return {kind: _told_apart(file) for kind, file in self.references.items()}

    def is_done_by(self, measurement: Measurement, what: _What) -> bool:
        """Whether a measurement of the same file and rules is what is asked for."""
        if self.measured and not measurement.covers(what.metrics, what.by):
            return False
        has_fingerprints = not self.fingerprint or bool(measurement.fingerprints)
        if self.frozen is None:
            return has_fingerprints
        same = self.compared_with.items() <= measurement.compared_with.items()
        return has_fingerprints and measurement.frozen == self.frozen and same


def _told_apart(file: CheckpointFile) -> str:
    """Return what tells a file from others: in a store, many have one name, size and no time."""
    where = str(file.path) if is_url(str(file.path)) else file.path.name
    return f"{printable(where)} {file.size} {file.mtime_ns}"


def _absolute(file: CheckpointFile) -> CheckpointFile:
    return replace(file, path=file.path.absolute())


@dataclass
class _Work:
    """Carries out tasks that the cache has no result for, and keeps account."""

    store: MeasurementCache
    what: _What
    n_jobs: int
    scheduler: str | None
    n_total: int
    progress: Callable[[int, int], None] | None
    done: set[CheckpointFile] = field(default_factory=set)
    computed: set[CheckpointFile] = field(default_factory=set)
    failures: dict[CheckpointFile, str] = field(default_factory=dict)

    def run(self, tasks: Sequence[_Task]) -> Measured:
        """Measurements of all files that can be read, in the order of the tasks."""
        found: dict[CheckpointFile, Measurement] = {}
        to_do = []
        for task in tasks:
            kept = self.store.get(task.file)
            if kept is not None and task.is_done_by(kept, self.what):
                found[task.file] = kept
            elif task.file not in self.failures:
                to_do.append(task)
        self._advance({task.file for task in tasks} - {task.file for task in to_do})
        if to_do:
            self.store.flush()  # fails before any work where the cache cannot be written
        for file, result in self._results(to_do):
            if isinstance(result, Measurement):
                found[file] = result
                self.computed.add(file)
                self.store.put(file, result)
            else:
                self.failures[file] = result
            self._advance({file})
        return {task.file: found[task.file] for task in tasks if task.file in found}

    def _results(
        self, tasks: Sequence[_Task]
    ) -> Iterator[tuple[CheckpointFile, Measurement | str]]:
        if self.scheduler is not None:
            yield from self._results_of_cluster(self.scheduler, tasks)
        elif self.n_jobs == 1 or len(tasks) < 2:
            yield from (_measure(task, self.what) for task in tasks)
        else:
            parallel = joblib.Parallel(n_jobs=self.n_jobs, return_as="generator_unordered")
            here = Path.cwd(), os.getpid()
            calls = (joblib.delayed(_measure_in_worker)(task, self.what, *here) for task in tasks)
            try:
                yield from parallel(calls)
            except BrokenProcessPool as error:
                raise HmmdynError(
                    "A worker process was killed, most likely because memory ran out. What was "
                    "measured is kept; go on with fewer processes: ",
                    Either(typed="--jobs 1", called="jobs=1"),
                ) from error

    def _results_of_cluster(
        self, scheduler: str, tasks: Sequence[_Task]
    ) -> Iterator[tuple[CheckpointFile, Measurement | str]]:
        """As `_results`; the paths sent are absolute, and the files returned as they are here."""
        found = on_cluster(
            scheduler,
            partial(_measure_elsewhere, what=self.what.absolute()),
            [(i, task.absolute()) for i, task in enumerate(tasks)],
            died=lambda sent, why: (sent[0], f"{printable(str(sent[1].file.path))}: {why}."),
        )
        for i, result in found:
            yield tasks[i].file, result

    def _advance(self, files: set[CheckpointFile]) -> None:
        """Count each checkpoint once, though probed ones may be measured twice."""
        self.done |= files
        if self.progress is not None:
            self.progress(len(self.done), self.n_total)


def _measure(task: _Task, what: _What) -> tuple[CheckpointFile, Measurement | str]:
    """Measure a checkpoint, or say why it cannot be read."""
    try:
        measurement = measure(
            task.file.path,
            what.metrics if task.measured else (),
            what.rules,
            frozen=task.frozen or (),
            fingerprint=task.fingerprint,
            references={kind: file.path for kind, file in task.references.items()},
            by=what.by if task.measured else (),
            machine=what.machine,
        )
    except CheckpointError as error:
        return task.file, str(error)
    return task.file, replace(measurement, compared_with=task.compared_with)


def _measure_in_worker(
    task: _Task, what: _What, folder: Path, parent: int
) -> tuple[CheckpointFile, Measurement | str]:
    """As `_measure`, in the parent's ``folder``: workers live on, and it may have moved since.

    Ctrl-C is for the parent, which stops its workers and says so.
    """
    end_with_parent(parent)
    os.chdir(folder)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if what.metrics_from is not None:
        load_metrics(what.metrics_from)
    return _measure(task, what)


def _measure_elsewhere(sent: tuple[int, _Task], what: _What) -> tuple[int, Measurement | str]:
    """As `_measure`, on a worker that somebody else has started, of a numbered task."""
    i, task = sent
    if what.metrics_from is not None:
        load_metrics(what.metrics_from)
    return i, _measure(task, what)[1]


def _references(
    files: Sequence[CheckpointFile], metrics: Iterable[Metric]
) -> dict[CheckpointFile, dict[Reference, CheckpointFile]]:
    """Find what each checkpoint is compared with: the first of its run, and the one before."""
    needs = {metric.needs for metric in metrics}
    found: dict[CheckpointFile, dict[Reference, CheckpointFile]] = {file: {} for file in files}
    for of_run in runs_of(files).values():
        for before, file in zip([None, *of_run], of_run, strict=False):
            if "initial" in needs:
                found[file]["initial"] = of_run[0]
            if "previous" in needs and before is not None:
                found[file]["previous"] = before
    return found


def _probes(files: Sequence[CheckpointFile]) -> dict[CheckpointFile, None]:
    """First, middle and last checkpoint of every run, as an ordered set."""
    return {
        of_run[i]: None
        for of_run in runs_of(files).values()
        for i in sorted({0, len(of_run) // 2, len(of_run) - 1})
    }


def _about_rules(rules: ParameterRules, measured: Measured) -> Iterator[Notice]:
    if rules.roles or rules.split:  # else there is no need to look at all weights
        weights = {name for found in measured.values() for name in found.architecture.weights}
        yield from rules_of_no_weight(rules, weights)


def _all_bad_files(bad: dict[str, str], n_total: int) -> Message:
    reasons = "\n".join(f"  {why}" for why in list(bad.values())[:10])
    more = f"\n  and {len(bad) - 10} more" if len(bad) > 10 else ""
    said = f"{len(bad)} of {n_total} checkpoints cannot be read:\n{reasons}{more}\n"
    if len(bad) == n_total:
        return Message(said, "There is nothing to go on with.")
    advice = "Mend or remove them, or leave them out and go on with the rest: "
    return Message(said, advice, Remedy("skip_bad", True))


def _skipped(bad: dict[str, str]) -> list[Notice]:
    return [Notice("reading", "left out", path, why) for path, why in bad.items()]


def _damaged(n: int | None) -> list[Notice]:
    """Tell that kept measurements were damaged, if they were."""
    if n == 0:
        return []
    if n is None:
        what = "could not be read (it is damaged, or another version of hmmdyn wrote it)"
    else:
        what = f"is damaged ({n:,} of them)"
    return [
        Notice(
            "metrics",
            "odd",
            "measurements kept",
            f"The file of earlier measurements {what}. What is missing was measured again, so the "
            "numbers are right; if it happens again, look after the disk.",
        )
    ]


def _without_bias_metrics(
    metrics: tuple[Metric, ...], measured: Measured
) -> tuple[tuple[Metric, ...], list[Notice]]:
    """Leave out metrics of biases unless every group has biases to measure."""
    of_biases = [metric for metric in metrics if metric.needs == "biases"]
    groups = {
        file.group: bool(set(m.architecture.biases) - set(m.frozen)) for file, m in measured.items()
    }
    without = [group for group, has_biases in groups.items() if not has_biases]
    if not of_biases or not without:
        return metrics, []
    kept = tuple(metric for metric in metrics if metric not in of_biases)
    if len(without) == len(groups):
        reason = "No biases change in these models."
    else:
        reason = (
            f"There are none in group {some(without)}, and metrics must be known in all groups."
        )
    subject = f"metrics {', '.join(metric.name for metric in of_biases)}"
    return kept, [Notice("metrics", "left out", subject, reason)]


def _column(metric: Metric, measured: Measured) -> FloatArray:
    """Values of a metric, one for each checkpoint."""
    if metric.needs != "run":
        return np.array([m.metrics[metric.name] for m in measured.values()], dtype=np.float64)
    runs = runs_of(measured).values()
    return _column_of_runs(
        metric,
        (
            pd.DataFrame([{name: measured[f].metrics[name] for name in metric.of} for f in files])
            for files in runs
        ),
    )


def _column_of_runs(metric: Metric, runs: Iterable[pd.DataFrame]) -> FloatArray:
    return np.concatenate([np.asarray(metric.function(run), dtype=np.float64) for run in runs])


def _parts(measured: Measured, metrics: Sequence[str], by: Sequence[str]) -> pd.DataFrame:
    rows = [
        (file.group, file.run, file.step, part.by, part.name, metric, values[metric])
        for file, measurement in measured.items()
        for part, values in _in_order(measurement.parts, by)
        for metric in metrics
        if metric in values
    ]
    return PARTS.frame(pd.DataFrame(rows, columns=PARTS.names))


def _in_order(
    parts: Mapping[Part, Mapping[str, float]], by: Sequence[str]
) -> Iterator[tuple[Part, Mapping[str, float]]]:
    """Go through the parts that are wanted in the order of the network."""
    for kind in by:
        for name in in_network_order(kind, [part.name for part in parts if part.by == kind]):
            yield Part(kind, name), parts[Part(kind, name)]


def _table(
    root: Place, measured: Measured, metrics: Sequence[Metric], outcomes: Sequence[str]
) -> pd.DataFrame:
    files, found = list(measured), list(measured.values())
    columns: dict[str, object] = {
        "group": [file.group for file in files],
        "run": [file.run for file in files],
        "seed": pd.array([file.seed for file in files], dtype="Int64"),
        "step": np.array([file.step for file in files], dtype=np.int64),
    }
    for metric in metrics:
        columns[metric.name] = _column(metric, measured)
    for name in outcomes:
        columns[name] = np.array([m.outcomes.get(name, np.nan) for m in found], dtype=np.float64)
    columns["path"] = [relative_path(file, root) for file in files]
    columns["size"] = np.array([file.size for file in files], dtype=np.int64)
    columns["mtime_ns"] = np.array([file.mtime_ns for file in files], dtype=np.int64)
    return pd.DataFrame(columns)
