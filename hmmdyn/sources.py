"""What a path, a frame or an index holds, read: folders, logs and tables -> metrics and outcomes.

Every stage imports what it stands on when it is called, so that nobody waits for another's.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmmdyn.errors import CheckpointError, NoCheckpointsError, OutputError, UsageError
from hmmdyn.messages import Remedy
from hmmdyn.names import require_known
from hmmdyn.options import FOLDER, TABLE, Options
from hmmdyn.places import Place, RemotePath, place, with_layout
from hmmdyn.results.keys import CHECKPOINT_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.version import __version__

if TYPE_CHECKING:
    import pandas as pd

    from hmmdyn.checkpoints.find.walking import Tree
    from hmmdyn.checkpoints.parameters import ParameterRules
    from hmmdyn.checkpoints.traffic import Traffic
    from hmmdyn.metrics.extract import Extraction
    from hmmdyn.metrics.registry import Metric
    from hmmdyn.metrics.shard import Shard
    from hmmdyn.results.checkpoints import CheckpointIndex
    from hmmdyn.tables.shards import Origin, ShardTable
    from hmmdyn.tables.trajectories import Trajectories

# Called with (stage, steps done, steps in all); for "reused", with checkpoints measured before.
Progress = Callable[[str, int, int], None]

_OWN_METRICS = "files of metrics"


def scan(root: Path | str, *, layout: str | None = None) -> CheckpointIndex:
    """Find the checkpoints under a folder; see :func:`~.checkpoints.find.discover.discover`.

    What plain numbers in their names count, the logs beside them say. The folder may be a URL
    (``s3://bucket/runs``), which may end in a layout.
    """
    from hmmdyn.checkpoints.find.discover import discover
    from hmmdyn.checkpoints.units import counted_as_logged
    from hmmdyn.logs import LogReader

    return counted_as_logged(discover(*with_layout(root, layout)), LogReader())


def scan_with_outcomes(
    root: Path | str | Place | Tree, layout: str | None = None, outcomes_file: Path | None = None
) -> CheckpointIndex:
    """Find the checkpoints under a folder, and what is logged beside them: each log is read once.

    Parameters
    ----------
    root : path, URL or Tree
        The folder, or what a walk under it has seen. A URL may end in a layout.
    layout, outcomes_file
        As in :class:`Options`.

    Raises
    ------
    HmmdynError
    """
    from hmmdyn.checkpoints.find.discover import discover
    from hmmdyn.checkpoints.find.walking import Tree
    from hmmdyn.checkpoints.logs import find_outcomes
    from hmmdyn.checkpoints.units import counted_as_logged
    from hmmdyn.logs import LogReader

    logs = LogReader()
    if not isinstance(root, Tree):
        root, layout = with_layout(root, layout)
    index = counted_as_logged(discover(root, layout), logs)
    return replace(index, logged=find_outcomes(index, outcomes_file, logs))


def scan_logs(root: Path | str) -> Trajectories | None:
    """Find the runs in a folder of logs; None where it holds none, or checkpoints not read.

    See :func:`~.stores.read_run_logs`.
    """
    from hmmdyn.checkpoints.find.candidates import find_candidates
    from hmmdyn.checkpoints.find.walking import walked
    from hmmdyn.stores import read_run_logs

    path, _ = with_layout(root, None)
    if not _is_folder(path):
        return None
    tree, not_read = walked(path), dict[str, str]()
    find_candidates(tree.folders, not_read)
    return None if not_read else read_run_logs(tree)


def read_runs(
    source: Any,
    options: Options | None = None,
    *,
    cache: Path | str | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    max_memory: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Trajectories:
    """Read the metrics and outcomes of runs, measuring checkpoints where need be.

    Parameters
    ----------
    source : path, CheckpointIndex, DataFrame or Trajectories
        A folder of checkpoints, also as a URL (``s3://…``), or its index; a folder of logs, or a
        table of metrics (CSV, Parquet, JSON lines, …); a frame of pandas, Arrow, Polars or another
        library, a dict of columns, or a list of frames or of paths.
    options : Options, optional
        How to read: those under "Reading" (an index was found with its ``layout`` already),
        ``outcome_columns`` and ``exclude_runs``. The others shape the model and the statements.
    cache : path, optional
        A Parquet file in which measurements are kept between calls: no checkpoint is measured
        twice.
    jobs : int
        Processes to work with; -1 for one per core.
    scheduler : str, optional
        Address of a Dask (``tcp://host:8786``) or Ray (``ray://host:10001``) cluster, whose workers
        measure checkpoints in the place of processes here.
    max_memory : int, optional
        Bytes that these processes may take together while they measure. What does not fit at once
        is read again; the numbers are the same.
    device : str
        Where singular values are computed: ``cpu``, or a device that PyTorch has (``cuda``,
        ``cuda:1``), for the same numbers to 1e-6, relative.
    progress : callable, optional
        Called with (stage, done, total).

    Raises
    ------
    HmmdynError
        Something could not be found, read or measured; the message says what and where.
    """
    options = Options.of(options)
    require_workable(jobs, progress, cache)
    more = _more_metrics(options)  # before anything is measured, which takes long
    known = more.metrics if more else ()
    place = Path(cache) if cache is not None else None
    found = _read(
        source, options, known, _How(place, jobs, scheduler, max_memory, device, progress)
    )
    if more is None or options.metrics_table is None:
        return found
    from hmmdyn.tables.join import join_metrics

    return join_metrics(found, more, options.metrics_table)


def _more_metrics(options: Options) -> Trajectories | None:
    """Read the table of further metrics, if there is one."""
    if options.metrics_table is None:
        return None
    from hmmdyn.tables.join import read_more_metrics

    return read_more_metrics(options.metrics_table, _columns_named(options))


@dataclass(frozen=True)
class _How:
    """How checkpoints are measured: the arguments of `read_runs` and `read_shard`."""

    cache: Path | None
    jobs: int
    scheduler: str | None
    max_memory: int | None
    device: str
    progress: Progress | None
    shard: Shard | None = None


def _read(source: Any, options: Options, more: tuple[str, ...], how: _How) -> Trajectories:
    """Read runs of any kind, to which the columns ``more`` will be joined."""
    from hmmdyn.logs.frames import TAKEN
    from hmmdyn.results.checkpoints import CheckpointIndex
    from hmmdyn.tables.trajectories import Trajectories

    if isinstance(source, Trajectories):
        options.require_fit_for(TABLE, "the source given")
        require_known(options.outcome_columns, source.outcomes, "outcome")
        return source.without_runs(options.exclude_runs)
    table = _given_from_python(source, options)
    if table is not None:
        return table.without_runs(options.exclude_runs)
    require(
        isinstance(source, (str, PathLike, RemotePath, CheckpointIndex)),
        f"'source' must be a path, a CheckpointIndex, a DataFrame or Trajectories, got {source!r}. "
        "Name a folder of checkpoints or logs, or a table of metrics: 'runs/', 'metrics.csv'; or "
        f"give {TAKEN}, or a list of frames or of paths.",
    )
    found = source if isinstance(source, CheckpointIndex) else find(source, options)
    if isinstance(found, Trajectories):
        return found.without_runs(options.exclude_runs)
    options.require_fit_for(FOLDER, str(found.root))
    return _measured(found, options, more, how).trajectories


def read_shard(
    index: CheckpointIndex | Trajectories,
    options: Options,
    shard: Shard,
    *,
    cache: Path | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    max_memory: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ShardTable:
    """Measure a shard of the checkpoints of an index, for `merge` to put together with others.

    Parameters
    ----------
    index : CheckpointIndex
        All the checkpoints, the same for every shard.
    options : Options
        The same for every shard.
    shard : Shard
        Which of them are measured.
    cache, jobs, scheduler, max_memory, device, progress
        As of :func:`read_runs`, whose errors it raises too.

    Raises
    ------
    UsageError
        There are no checkpoints, but a table; or further metrics are to be joined, which go to all
        checkpoints.
    """
    from hmmdyn.results.checkpoints import CheckpointIndex
    from hmmdyn.tables.shards import ShardTable

    if not isinstance(index, CheckpointIndex):
        raise UsageError(
            "These runs hold numbers that were measured before, and no checkpoints. Read them "
            "without shards."
        )
    options.require_fit_for(FOLDER, str(index.root))
    if options.metrics_table is not None:
        raise UsageError(
            "A shard cannot be joined with a table of further metrics. Leave ",
            Remedy("metrics_table"),
            " out, and give it to `hmmdyn analyze` of the merged table.",
        )
    how = _How(cache, jobs, scheduler, max_memory, device, progress, shard)
    found = _measured(index, options, (), how)
    return ShardTable(found.trajectories, _origin(index, options, shard, found))


def merge(paths: Iterable[Path | str], metrics_from: Path | str | None = None) -> Trajectories:
    """Put the shards of a metric table together: the same table as without shards.

    Parameters
    ----------
    paths : iterable of path
        A file for each shard, in any order.
    metrics_from : path, optional
        The file of metrics that the shards were measured with, where one of them is made of whole
        runs. It is executed.

    Raises
    ------
    TableError
        A file is no shard, shards do not belong together, one is there twice, or some are missing.
    UsageError
        A metric of whole runs is not known here, or the file of metrics is another one.
    """
    from hmmdyn.metrics.extract import with_metrics_of_runs
    from hmmdyn.metrics.registry import all_metrics, load_metrics
    from hmmdyn.tables.metric_table import PROVENANCE_COLUMNS
    from hmmdyn.tables.shards import merge_shards
    from hmmdyn.tables.trajectories import KEY_COLUMNS

    merged = merge_shards([Path(path) for path in paths])
    whole, metrics = merged.trajectories, merged.metrics
    if metrics_from and load_metrics(Path(metrics_from)) != merged.alike.get(_OWN_METRICS):
        raise UsageError(
            f"The shards were not measured with the metrics of {metrics_from} as it is now. Name "
            "the file that they were measured with."
        )
    known = {metric.name: metric for metric in all_metrics() if metric.needs == "run"}
    of_runs = [name for name in metrics if name not in whole.metrics]
    unknown = [name for name in of_runs if name not in known]
    if unknown:
        raise UsageError(
            f"Metrics that are made of whole runs are not known here: {', '.join(unknown)}. Name "
            "the file of metrics that the shards were measured with, ",
            Remedy("metrics_from"),
            ", or install the package that they are from.",
        )
    table = with_metrics_of_runs(whole.table, [known[name] for name in of_runs])
    return replace(
        whole,
        table=table[[*KEY_COLUMNS, *metrics, *PROVENANCE_COLUMNS, *whole.outcomes]],
        metrics=metrics,
        parts=whole.parts[whole.parts["metric"].isin(metrics)].reset_index(drop=True),
    )


def _origin(index: CheckpointIndex, options: Options, shard: Shard, found: _Measured) -> Origin:
    """Say where a shard belongs, and what all of them must have alike."""
    from hmmdyn.metrics.registry import load_metrics
    from hmmdyn.tables.shards import Origin

    own = options.metrics_from
    seen = [
        (str(f.path.relative_to(index.root)), f.size, f.mtime_ns, f.group, f.run, f.step, f.seed)
        for f in index.checkpoints
    ]
    stored = found.extraction.stored_outcomes
    return Origin(
        number=shard.number,
        of=shard.of,
        metrics=found.metrics,
        logged=tuple(
            found.called.get(name, name)
            for name in map(str, found.logged)
            if name not in CHECKPOINT_KEY
        ),
        stored={found.called.get(name, name): name for name in stored},
        alike={
            "versions of hmmdyn": __version__,
            "options": shlex.join(options.command_line()) or "none",
            "checkpoints found": f"{len(seen):,}, {_digest(seen)}",
            "outcomes logged beside them": _digest(found.logged.to_csv()),
            "tensors that never change": _digest(found.extraction.frozen),
            _OWN_METRICS: load_metrics(own) if own else "none",
            "rules of weights": _digest(asdict(rules_of(options))),
        },
    )


def _given_from_python(source: Any, options: Options) -> Trajectories | None:
    """Read a table of any library, or a list of tables or of files; None for anything else."""
    from hmmdyn.logs.frames import as_frame, is_frame, is_records
    from hmmdyn.stores.several import read_files, read_frames
    from hmmdyn.tables.metric_table import from_frame

    asked: dict[str, Any] = {
        "outcomes": options.outcome_columns,
        "metrics": _columns_named(options),
        "step_column": options.step_column,
    }
    if isinstance(source, Mapping) and source and all(map(is_frame, source.values())):
        options.require_fit_for(TABLE, "the frames")
        frames = [as_frame(one) for one in source.values()]
        known = [frame for frame in frames if frame is not None]
        return read_frames(known, names=source, **asked)
    if isinstance(source, (list, tuple)) and source and not is_records(source):
        frames = [as_frame(one) for one in source]
        if all(frame is not None for frame in frames):
            options.require_fit_for(TABLE, "the list of frames")
            return read_frames([frame for frame in frames if frame is not None], **asked)
        if all(isinstance(one, (str, PathLike)) for one in source):
            options.require_fit_for(TABLE, "the list of files")
            return read_files(source, **asked)
        return None
    frame = as_frame(source)
    if frame is None:
        return None
    options.require_fit_for(TABLE, "the DataFrame")
    return from_frame(frame, **asked)


def _columns_named(options: Options) -> tuple[str, ...]:
    """Return the metrics that are asked for by name, which are columns of a table."""
    from hmmdyn.metrics.registry import without_families

    return (*without_families(options.metrics), *options.keep_metrics)


def require(fits: bool, message: str) -> None:
    """Refuse what an argument is, with a `UsageError`, unless it fits."""
    if not fits:
        raise UsageError(message)


def require_workable(jobs: Any, progress: Any, cache: Any = None) -> None:
    """Refuse ways of working that can never work, with a `UsageError`, before any work is done."""
    is_number = isinstance(jobs, Integral) and not isinstance(jobs, bool)
    require(
        is_number and jobs != 0,
        f"'jobs' must be a number of processes, or -1 for all cores, got {jobs!r}. "
        "Write jobs=2, for instance, or leave it out for one.",
    )
    require(
        progress is None or callable(progress),
        f"'progress' must be a function that is called with (stage, done, total), "
        f"got {progress!r}. Write progress=print, for instance.",
    )
    require(
        cache is None or isinstance(cache, (str, PathLike)),
        f"'cache' must be the path of a Parquet file, got {cache!r}. "
        "Write cache='metrics-cache.parquet', for instance.",
    )


def cache_for(
    found: CheckpointIndex | Trajectories, output: Path, shard: Shard | None = None
) -> Path | None:
    """Return where the measurements of runs are kept between calls, whatever the output.

    That is with the user's other caches; where these cannot be written, in the folder ``output``.
    None where nothing is measured. A shard has a place of its own.
    """
    from hmmdyn.files import require_writable
    from hmmdyn.metrics.cache import place_for
    from hmmdyn.results.checkpoints import CheckpointIndex

    if not isinstance(found, CheckpointIndex):
        return None
    place = place_for(found.root, shard)
    try:
        require_writable(place.parent)
    except OutputError:
        part = "" if shard is None else f"-{shard.stem}"
        return output / f".metrics-cache{part}.parquet"
    return place


def find(source: Path | str | Place, options: Options) -> CheckpointIndex | Trajectories:
    """Find what a path holds: checkpoints, with what is logged beside them, or else logs.

    A folder that holds logs and no checkpoints is read as the runs that they tell. A folder is
    walked once, whatever is looked for in it, and a log is read once. The folder
    may lie in a store, which a URL names.
    """
    from hmmdyn.checkpoints.find.walking import walked
    from hmmdyn.record.reader import has_recordings, read_recordings
    from hmmdyn.tables.metric_table import read_table

    path, layout = with_layout(source, options.layout)
    tree = walked(path) if _is_folder(path) else None
    if not _holds_metrics(path, tree):
        try:
            return scan_with_outcomes(tree or path, layout, options.outcomes_file)
        except NoCheckpointsError:
            logs = None if tree is None else _read_logs(tree, options)
            if logs is None:
                raise
            return logs
    options.require_fit_for(TABLE, str(path))
    if not has_recordings(tree or path):
        return read_table(
            path,
            outcomes=options.outcome_columns,
            metrics=_columns_named(options),
            step_column=options.step_column,
        )
    recorded = read_recordings(tree or path)
    require_known(options.outcome_columns, recorded.outcomes, "outcome")
    return recorded


def _read_logs(tree: Tree, options: Options) -> Trajectories | None:
    """Read a folder of logs that holds no checkpoints; None where it holds no logs either."""
    from hmmdyn.stores import read_run_logs

    options.require_fit_for(TABLE, str(tree.root))
    return read_run_logs(
        tree,
        outcomes=options.outcome_columns,
        metrics=_columns_named(options),
        step_column=options.step_column,
    )


def rules_of(options: Options) -> ParameterRules:
    """Return which tensors count, and how, as the options say."""
    from hmmdyn.checkpoints.parameters import ParameterRules
    from hmmdyn.checkpoints.role_file import ToldRoles, read_roles

    told = ToldRoles() if options.roles is None else read_roles(options.roles)
    return ParameterRules(
        options.include,
        options.exclude,
        (*options.split, *told.split),
        options.heads or told.heads,
        options.cyclic,
        options.spectrum,
        options.tensors,
        told.roles,
    )


def expected_traffic(index: CheckpointIndex, options: Options) -> Traffic | None:
    """Tell how much measuring moves from a store; None where the checkpoints lie here."""
    if not isinstance(index.root, RemotePath):
        return None
    from hmmdyn.checkpoints import traffic
    from hmmdyn.metrics.registry import load_metrics, select_metrics, with_needed

    if options.metrics_from is not None:
        load_metrics(options.metrics_from)
    needs = {metric.needs for metric in with_needed(select_metrics(options.metrics or None))}
    compared_with = {"initial", "previous"} & needs
    return traffic.expected_traffic(index, rules_of(options), 1 + len(compared_with))


def _measured(
    index: CheckpointIndex,
    options: Options,
    more: tuple[str, ...],
    how: _How,
) -> _Measured:
    """Measure the checkpoints of an index and join the outcomes logged beside them.

    The names ``more`` are of metrics that are not measured.
    """
    import pandas as pd

    from hmmdyn.checkpoints.find.discover import without_runs
    from hmmdyn.checkpoints.logs import find_outcomes, join_outcomes, of_runs_in
    from hmmdyn.metrics.extract import extract
    from hmmdyn.metrics.registry import load_metrics, select_metrics, with_needed
    from hmmdyn.tables.join import require_new
    from hmmdyn.tables.trajectories import Trajectories

    # Before anything is measured, which takes long.
    if options.metrics_from is not None:
        load_metrics(options.metrics_from)
    rules = rules_of(options)
    chosen = select_metrics([name for name in options.metrics if name not in more] or None)
    if options.metrics_table is not None:
        require_new(more, options.metrics_table, [metric.name for metric in chosen])
    dropped = [name for name in options.drop_metrics if name not in more]
    if dropped:
        select_metrics(dropped)
    # Logs are read with all runs in sight: that of a run left out is not taken for another's.
    logged = index.logged or find_outcomes(index, options.outcomes_file)
    index = without_runs(index, options.exclude_runs)
    joined = join_outcomes(index, of_runs_in(index, logged))
    if options.outcome is not None:
        _require_somewhere(options.outcome, joined.table, index)
    extraction = extract(
        index,
        metrics=[metric.name for metric in chosen],
        metrics_from=options.metrics_from,
        by=options.by,
        rules=rules,
        cache=how.cache,
        n_jobs=how.jobs,
        skip_bad=options.skip_bad,
        shard=how.shard,
        scheduler=how.scheduler,
        max_memory=how.max_memory,
        device=how.device,
        progress=partial(how.progress, "metrics") if how.progress else None,
    )
    if how.progress:
        how.progress("reused", extraction.n_reused, len(extraction.table))
    outcomes = _join(joined.table, extraction)
    called = _called(outcomes, with_needed(chosen))
    outcomes = outcomes.rename(columns=called)
    measured = extraction.table.drop(columns=list(extraction.stored_outcomes))
    renamed = [
        Notice(
            "outcomes",
            "odd",
            f"outcome {name}",
            f"Called {new} here: {name} is the name of another column.",
        )
        for name, new in called.items()
    ]
    trajectories = Trajectories(
        pd.concat([measured, outcomes], axis=1),
        extraction.metrics,
        tuple(map(str, outcomes)),
        index.step_unit,
        (*index.notices, *logged.notices, *joined.notices, *extraction.notices, *renamed),
        extraction.parts,
    )
    metrics = tuple(m.name for m in chosen if m.needs == "run" or m.name in extraction.metrics)
    return _Measured(trajectories, extraction, metrics, joined.table, called)


@dataclass(frozen=True)
class _Measured:
    """What was measured, and what was found beside it.

    ``metrics`` are those of all checkpoints, also where ``trajectories`` hold a shard of them.
    ``logged`` has the outcomes of all checkpoints, and ``called`` those that were renamed.
    """

    trajectories: Trajectories
    extraction: Extraction
    metrics: tuple[str, ...]
    logged: pd.DataFrame
    called: Mapping[str, str]


def _require_somewhere(outcome: str, logged: pd.DataFrame, index: CheckpointIndex) -> None:
    """Refuse an outcome that is neither logged nor stored in the last checkpoint."""
    from hmmdyn.checkpoints.read import open_checkpoint

    known = [str(name) for name in logged if name not in CHECKPOINT_KEY]
    if outcome.removeprefix("logged_") in known:
        return
    try:
        with open_checkpoint(index.checkpoints[-1].path) as checkpoint:
            stored = list(checkpoint.scalars)
    except CheckpointError:
        return  # measuring says so of all that cannot be read
    require_known([outcome], [*known, *stored], "outcome")


def _join(logged: pd.DataFrame, extraction: Extraction) -> pd.DataFrame:
    """Outcomes of every checkpoint that was measured, row for row."""
    stored = extraction.table.set_index(CHECKPOINT_KEY)[list(extraction.stored_outcomes)]
    # A value logged beside the run wins over one stored in the checkpoint.
    outcomes = logged.set_index(CHECKPOINT_KEY).combine_first(stored).loc[stored.index]
    return outcomes.reset_index(drop=True)


def _called(outcomes: pd.DataFrame, metrics: Iterable[Metric]) -> dict[str, str]:
    """New names of outcomes whose own are those of metrics or keys."""
    from hmmdyn.tables.metric_table import PROVENANCE_COLUMNS
    from hmmdyn.tables.trajectories import KEY_COLUMNS

    taken = {*KEY_COLUMNS, *PROVENANCE_COLUMNS, *(metric.name for metric in metrics)}
    return {name: f"logged_{name}" for name in sorted(map(str, outcomes)) if name in taken}


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=8).hexdigest()


def is_table(source: Path | str) -> bool:
    """Whether a path or URL holds metrics, a table or recorded runs, rather than checkpoints."""
    return _holds_metrics(place(source), None)


def _is_folder(path: Place) -> bool:
    """Whether a path is a folder; who looks into one that does not answer says why."""
    try:
        return path.is_dir()
    except OSError:
        return False


def _holds_metrics(path: Place, tree: Tree | None) -> bool:
    from hmmdyn.logs.files import is_log
    from hmmdyn.record.reader import has_recordings

    if tree is not None:
        return has_recordings(tree)
    try:
        is_file = path.is_file() or (not path.exists() and is_log(path.name))
    except OSError:
        return False
    return is_file or has_recordings(path)
