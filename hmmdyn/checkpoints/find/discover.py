"""From a folder to an index of its checkpoints: walk, understand the paths, report what is odd.

`candidates` finds the files, `layouts` says what a path means, `claims` what is understood of all
of them, and `settle` which file is which checkpoint; whatever is not certain is refused. No
checkpoint is read here.
"""

from __future__ import annotations

import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

import pandas as pd

from hmmdyn.checkpoints.find.candidates import FILE_FORMATS, find_candidates
from hmmdyn.checkpoints.find.claims import Claim, paths_left_out, read_by_rule, read_names
from hmmdyn.checkpoints.find.layouts import Layout
from hmmdyn.checkpoints.find.logs import find_logs
from hmmdyn.checkpoints.find.schedules import by_run, odd_schedules
from hmmdyn.checkpoints.find.settle import check_runs, settle, step_unit
from hmmdyn.checkpoints.find.walking import Tree, walked
from hmmdyn.errors import NoCheckpointsError
from hmmdyn.names import natural_key, printable, runs_named, some
from hmmdyn.places import Place
from hmmdyn.results.checkpoints import CheckpointFile, CheckpointIndex
from hmmdyn.results.notice import Notice

_STAGE = "discovery"


def discover(root: Place | Tree, layout: str | None = None) -> CheckpointIndex:
    """Find the checkpoints under a folder and say which group, run, seed and step each is.

    Parameters
    ----------
    root : Place or Tree
        Folder of runs, or of one run. Links to folders are followed, each folder is read once. A
        tree, where a walk has seen it already.
    layout : str, optional
        How paths are to be read where their names do not say it for certain; see
        `hmmdyn.checkpoints.find.layouts.Layout`. Files that do not fit it are left out.

    Returns
    -------
    CheckpointIndex
        Its notices name what was left out and what is odd.

    Raises
    ------
    NoCheckpointsError
        The folder is missing, unreadable, empty, or holds no checkpoints.
    LayoutError
        Paths that cannot be understood for certain, a layout that fits none of them, or checkpoints
        spread over one file per rank.
    DuplicateCheckpointError
        Two files claim the same group, run and step.
    UsageError
        The layout has an unknown placeholder or no step.
    """
    rule = None if layout is None else Layout(layout)
    name = _check_folder(root.root if isinstance(root, Tree) else root)
    tree = walked(root)
    root = tree.root
    unreadable = dict(tree.unreadable)
    candidates = find_candidates(tree.folders, unreadable)
    if not candidates:
        raise NoCheckpointsError(_nothing_found(tree, unreadable))
    notices = [
        paths_left_out([path for path in unreadable if unreadable[path] == why], f"{why}.")
        for why in sorted(set(unreadable.values()))
    ]
    if rule is None:
        claims = read_names(root, name, candidates, notices)
    else:
        claims = read_by_rule(root, name, candidates, rule, notices)
    unit = step_unit(root, claims)
    settled = settle(claims, unit, notices)
    check_runs(root, settled.values())
    checkpoints = _sorted_files(root, settled)
    notices += [
        Notice(_STAGE, "odd", f"group {finding.group}", finding.message)
        for finding in odd_schedules(checkpoints, unit)
    ]
    return CheckpointIndex(
        root,
        checkpoints,
        unit,
        tuple(notices),
        find_logs(tree.folders),
        unit_is_told=any(claim.reading.unit_is_told for claim in settled.values()),
    )


def without_runs(index: CheckpointIndex, names: Sequence[str]) -> CheckpointIndex:
    """Leave runs out, named ``run``, or ``group/run`` where several groups have such a run.

    Raises
    ------
    UsageError
        A name is not a run's, or is ambiguous.
    NoCheckpointsError
        No run is left.
    """
    excluded = runs_named(names, ((file.group, file.run) for file in index.checkpoints))
    kept = tuple(f for f in index.checkpoints if (f.group, f.run) not in excluded)
    if not kept:
        raise NoCheckpointsError("No run is left: every one of them was excluded by request.")
    notices = tuple(
        Notice(_STAGE, "left out", f"run {name}", "Left out by request.") for name in names
    )
    return replace(index, checkpoints=kept, notices=index.notices + notices)


def summarise(index: CheckpointIndex) -> pd.DataFrame:
    """One row per run: what ``hmmdyn scan`` shows.

    Returns
    -------
    DataFrame
        ``group, run, seed`` (Int64), ``n_checkpoints, first_step, last_step`` (in the index's
        ``step_unit``), ``format`` and ``size`` (bytes), in the order of the index.
    """
    rows = [
        {
            "group": group,
            "run": run,
            "seed": files[0].seed,
            "n_checkpoints": len(files),
            "first_step": files[0].step,
            "last_step": files[-1].step,
            "format": ", ".join(sorted({file.format for file in files})),
            "size": sum(file.size for file in files),
        }
        for (group, run), files in by_run(index.checkpoints).items()
    ]
    return pd.DataFrame(rows).astype({"seed": "Int64"})


def _check_folder(root: Place) -> str:
    """Return the root folder's own name, or say why it cannot be looked into."""
    shown = printable(str(root))
    try:
        mode = root.stat().st_mode
    except FileNotFoundError:
        raise NoCheckpointsError(
            f"{shown} does not exist. Give the folder that holds the runs."
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NoCheckpointsError(f"{shown} cannot be read: {reason}.") from None
    if not stat.S_ISDIR(mode):
        raise NoCheckpointsError(
            f"{shown} is a file, not a folder: checkpoints are looked for below a folder of runs. "
            "A table of metrics is analysed by itself."
        )
    return root.resolve().name or "runs"


def _nothing_found(tree: Tree, unreadable: Mapping[str, str]) -> str:
    shown = printable(str(tree.root))
    files = (entry for folder in tree.folders for entry in folder.files)
    suffixes = Counter(PurePosixPath(entry.name).suffix.lower() for entry in files)
    if "" in unreadable:
        return f"{shown} cannot be looked into: {unreadable['']}."
    message = f"{shown} is empty: it holds no files."
    if suffixes:
        by_number = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
        kinds = some(f"{suffix or 'no suffix'} ({number})" for suffix, number in by_number)
        message = (
            f"{shown} holds no checkpoints. Files found, by suffix: {kinds}. Checkpoints are "
            f"{', '.join(FILE_FORMATS)} files, and folders of Orbax and torch.distributed; "
            "optimizer, scheduler and random-number state is not one. Tables with a column step or "
            "epoch (.csv, .jsonl, .parquet, …) are read without checkpoints, too: one, or a folder "
            "with one per run."
        )
    if unreadable:
        message += " Not read: " + some(f"{path} ({why})" for path, why in unreadable.items()) + "."
    return message


def _sorted_files(
    root: Place, settled: Mapping[tuple[str, str, int], Claim]
) -> tuple[CheckpointFile, ...]:
    runs = sorted({key[:2] for key in settled}, key=_natural_run)
    rank = {run: i for i, run in enumerate(runs)}
    return tuple(
        CheckpointFile(
            group=group,
            run=run,
            step=step,
            seed=reading.seed,
            path=root / file.path,
            format=file.format,
            size=file.size,
            mtime_ns=file.mtime_ns,
        )
        for (group, run, step), (file, reading) in sorted(
            settled.items(), key=lambda item: (rank[item[0][:2]], item[0][2])
        )
    )


def _natural_run(run: tuple[str, str]) -> tuple[object, ...]:
    group, name = run
    return natural_key(group), group, natural_key(name), name
