"""Recorded runs to trajectories: what extraction does, for measurements made while training ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hmmdyn.checkpoints.find import layouts
from hmmdyn.checkpoints.find.candidates import find_candidates
from hmmdyn.checkpoints.find.walking import Folder, Tree, walk, walked
from hmmdyn.errors import ArchitectureMismatchError, LayoutError, TableError
from hmmdyn.metrics.checks import Unchanging
from hmmdyn.metrics.extract import tabulate
from hmmdyn.metrics.measure import Measurement
from hmmdyn.metrics.registry import select_metrics
from hmmdyn.names import counted, natural_key, printable, some
from hmmdyn.places import Place, place
from hmmdyn.record.rows import (
    RECORDING,
    Recording,
    measurement_of,
    read_rows,
    recording_of,
)
from hmmdyn.results.checkpoints import CheckpointFile
from hmmdyn.results.notice import Notice
from hmmdyn.tables.trajectories import Trajectories

_STAGE = "metrics"
RunKey = tuple[str, str]


class _Run(NamedTuple):
    """One recorded run: what it is called, what was recorded, and its measurements by step."""

    key: RunKey
    file: Place
    recording: Recording
    measurements: dict[CheckpointFile, Measurement]
    is_whole: bool


def has_recordings(source: Place | str | Tree) -> bool:
    """Whether a path is a recorded run's file, or a folder with one somewhere below it."""
    if isinstance(source, Tree):
        return any(map(_is_recorded, source.folders))
    path = place(source)
    if not path.is_dir():
        return path.name == RECORDING
    return any(map(_is_recorded, walk(path, {})))


def read_recordings(source: Place | str | Tree) -> Trajectories:
    """Read the runs that `MetricRecorder` recorded below a folder, or one run's file.

    The folder may be given as the tree that a walk has seen.

    Group, run and seed are read from the folders' names, as for checkpoints. The rows of a group
    all leave the same tensors out: those that most of its rows leave out because they never
    change. Other rows are left out themselves, with a notice.

    Raises
    ------
    LayoutError
        Folders do not say for certain which runs they are.
    TableError
        A file is damaged, the runs count steps and epochs, or they have no metric in common.
    ArchitectureMismatchError
        Runs of one group are of different weights, or were recorded by different rules.
    """
    path = source.root if isinstance(source, Tree) else place(source)
    root = path if path.is_dir() else path.parent
    tree = walked(source if isinstance(source, Tree) else root)
    folders: list[tuple[str, ...]] = [()]
    if path.is_dir():
        folders = [folder.parts for folder in tree.folders if _is_recorded(folder)]
    shown = printable(str(path))
    runs = sorted(
        _runs(root, folders), key=lambda run: (_natural(run.key[0]), _natural(run.key[1]))
    )
    if not runs:
        raise TableError(f"{shown} holds no row of a recorded run.")
    units = sorted({run.recording.plan.step_unit for run in runs})
    if len(units) > 1:
        raise TableError(
            f"{shown} holds runs recorded by step and runs recorded by epoch. Read them apart."
        )
    _require_same_rules(runs)
    unchanging, kept, left_out = _comparable(runs)
    shared = set.intersection(*(set(run.recording.plan.metrics) for run in runs))
    if not shared:
        raise TableError(f"The runs under {shown} have no recorded metric in common.")
    found = tabulate(root, kept, select_metrics(shared), unchanging)
    notices = (*_cut_short(runs), *left_out, *_partly(runs, shared), *_unused(tree, runs))
    return Trajectories(
        found.table, found.metrics, found.stored_outcomes, units[0], (*found.notices, *notices)
    )


def _is_recorded(folder: Folder) -> bool:
    return any(entry.name == RECORDING for entry in folder.files)


def _runs(root: Place, folders: list[tuple[str, ...]]) -> Iterator[_Run]:
    for parts, (group, name, seed) in zip(folders, _identified(root, folders), strict=True):
        path = root / "/".join((*parts, RECORDING))
        rows, is_whole = read_rows(path)
        if not rows:
            continue
        recording, status = recording_of(rows[0], path), path.stat()
        measurements = {
            CheckpointFile(
                group,
                name,
                row["step"],
                seed,
                path,
                "recording",
                status.st_size,
                status.st_mtime_ns,
            ): measurement_of(row, recording, path)
            for row in rows
        }
        yield _Run((group, name), path, recording, measurements, is_whole)


def _identified(root: Place, folders: list[tuple[str, ...]]) -> list[tuple[str, str, int | None]]:
    """Group, run and seed of each folder, as those of a checkpoint in it would be read."""
    for keep_occasions in (False, True):
        readings = [
            layouts.read_path(
                (*parts, "step_0"), root.resolve().name or "runs", keep_occasions=keep_occasions
            )
            for parts in folders
        ]
        keys = Counter((reading.group, reading.run) for reading in readings)
        if max(keys.values(), default=1) == 1:
            break
    for parts, reading in zip(folders, readings, strict=True):
        problem = reading.problem
        if keys[reading.group, reading.run] > 1:
            problem = f"another folder, too, is run {reading.run} of group {reading.group}"
        if problem:
            raise LayoutError(
                f"{printable('/'.join(parts))} under {printable(str(root))} does not say for "
                f"certain which run was recorded there: {problem}.\n"
                "Rename the folders, for example to recipe/seed3."
            )
    return [(reading.group, reading.run, reading.seed) for reading in readings]


def _require_same_rules(runs: list[_Run]) -> None:
    first: dict[str, _Run] = {}
    for run in runs:
        other = first.setdefault(run.key[0], run)
        for what in ("rules", "metrics_version"):
            here, there = (getattr(r.recording.plan, what) for r in (run, other))
            if here != there:
                raise ArchitectureMismatchError(
                    f"Runs {printable(other.key[1])} and {printable(run.key[1])} of group "
                    f"{printable(run.key[0])} were recorded with different {what}: {there} and "
                    f"{here}.\nTheir metrics cannot be compared. Read them apart."
                )


def _comparable(
    runs: list[_Run],
) -> tuple[Unchanging, dict[CheckpointFile, Measurement], list[Notice]]:
    """Keep the rows of each group that leave the same tensors out, and say which those are."""
    frozen: dict[str, Mapping[str, list[str]]] = {}
    kept: dict[CheckpointFile, Measurement] = {}
    notices = []
    for group in dict.fromkeys(run.key[0] for run in runs):
        members = [run for run in runs if run.key[0] == group]
        sets = Counter(m.frozen for run in members for m in run.measurements.values())
        usual = sets.most_common(1)[0][0]
        if usual:
            frozen[group] = {name: [run.key[1] for run in members] for name in usual}
        for run in members:
            fitting = {f: m for f, m in run.measurements.items() if m.frozen == usual}
            kept |= fitting
            odd = {f: m for f, m in run.measurements.items() if f not in fitting}
            if odd:
                names = {name for m in odd.values() for name in set(m.frozen) ^ set(usual)}
                notices.append(
                    Notice(
                        _STAGE,
                        "left out",
                        f"run {printable(run.key[1])}",
                        f"{counted(len(odd), 'row', 'rows')} left out (step "
                        f"{some(f'{file.step:,}' for file in odd)}): some tensors were unchanged "
                        f"until there and not in most other rows, or the other way round "
                        f"({some(sorted(names, key=natural_key))}). Exclude them when recording "
                        "to keep every row.",
                    )
                )
    return Unchanging(frozen, _never_moved(runs)), kept, notices


def _never_moved(runs: list[_Run]) -> tuple[RunKey, ...]:
    """Runs whose metrics are the same, to the last digit, in all of several rows."""
    values = {
        run.key: [tuple(m.metrics.items()) for m in run.measurements.values()] for run in runs
    }
    return tuple(key for key, rows in values.items() if len(rows) > 1 and len(set(rows)) == 1)


def _cut_short(runs: list[_Run]) -> Iterator[Notice]:
    for run in runs:
        if not run.is_whole:
            yield Notice(
                "reading",
                "left out",
                f"run {printable(run.key[1])}",
                "The last row of its recording was cut short when training was stopped.",
            )


def _partly(runs: list[_Run], shared: set[str]) -> Iterator[Notice]:
    others = sorted({name for run in runs for name in run.recording.plan.metrics} - shared)
    if others:
        yield Notice(
            _STAGE, "left out", f"metrics {some(others)}", "They were recorded in some runs only."
        )


def _unused(tree: Tree, runs: list[_Run]) -> Iterator[Notice]:
    """Name checkpoints of runs that were not recorded; those of recorded runs are the same rows."""
    recorded = {run.file.parent.relative_to(tree.root).parts for run in runs}
    paths = [
        candidate.path
        for candidate in find_candidates(tree.folders, {})
        if not any(candidate.parts[:depth] in recorded for depth in range(len(candidate.parts) + 1))
    ]
    if paths:
        yield Notice(
            "discovery",
            "left out",
            "paths",
            f"{counted(len(paths), 'checkpoint file', 'checkpoint files')} of runs that were not "
            f"recorded ({some(sorted(paths, key=natural_key))}). To read checkpoints alone, move "
            f"the files {RECORDING} away.",
        )


def _natural(name: str) -> tuple[object, ...]:
    return (*natural_key(name), name)
