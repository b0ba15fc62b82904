"""From a folder to an index of its checkpoints: walk, understand the paths, report what is odd.

`hmmdyn.checkpoints.layouts` says what a path means; this module finds the files, settles what the
paths claim against each other, and refuses whatever is not certain. No checkpoint is opened here.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hmmdyn.checkpoints import layouts
from hmmdyn.checkpoints.layouts import Layout, Reading
from hmmdyn.errors import DuplicateCheckpointError, LayoutError, NoCheckpointsError
from hmmdyn.names import natural_key, printable, runs_named, some
from hmmdyn.results import CheckpointFile, CheckpointIndex, Notice

_STAGE = "discovery"

_FORMATS = {
    ".safetensors": "safetensors",
    ".npz": "npz",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".pth.tar": "pytorch",
    ".bin": "pytorch",
    ".ckpt": "pytorch",
}
_CHECKPOINT = re.compile(
    rf"(?P<stem>.+?)(?P<suffix>{'|'.join(re.escape(s) for s in _FORMATS)})", re.IGNORECASE
)
# Files of one checkpoint in several, as Hugging Face writes them.
_SHARD = re.compile(
    r"(?P<stem>.+)-[0-9]{5,}-of-[0-9]{5,}(?P<suffix>\.(?:safetensors|bin))"
    r"|(?P<index_stem>.+)(?P<index_suffix>\.(?:safetensors|bin))\.index(?:\.[^.]+)?\.json"
)
# Of one checkpoint saved in several formats, the first of these is read.
_FORMAT_PREFERENCE = (
    "safetensors",
    "safetensors (sharded)",
    "npz",
    "pytorch",
    "pytorch (sharded)",
)
_WHOLE_FOLDER_STEMS = frozenset({"model", "pytorch_model"})
_SKIPPED_FOLDERS = frozenset({"__pycache__", "hmmdyn-report"})

# Why a path may be left out, when there are checkpoints enough beside it.
_HARMLESS = (layouts.NO_STEP, layouts.ONLY_ALIAS, layouts.TEMPORARY)

_REMEDY = (
    "Say how the paths are to be read, for example\n"
    '  --layout "{group}/seed{seed}/step_{step}.pt"\n'
    "where {group}, {run}, {seed}, {step} and {epoch} stand for what they name and * for anything."
)


class Folder(NamedTuple):
    """A folder met on the walk: its names from the root down, and all it holds but folders."""

    parts: tuple[str, ...]
    files: list[os.DirEntry[str]]


class Candidate(NamedTuple):
    """A file, or a folder of shards (``file`` is empty), that may be a checkpoint."""

    folder: tuple[str, ...]
    file: str
    stem: str
    format: str
    size: int
    mtime_ns: int

    @property
    def path(self) -> str:
        """Path relative to the root."""
        return "/".join((*self.folder, self.file) if self.file else self.folder)

    @property
    def parts(self) -> tuple[str, ...]:
        """The names that may say which checkpoint this is."""
        return (*self.folder, self.stem) if self.file else self.folder

    @property
    def fills_folder(self) -> bool:
        """Whether its name says that the folder is the checkpoint (``model.safetensors``)."""
        return not self.file or self.stem in _WHOLE_FOLDER_STEMS


class Claim(NamedTuple):
    """A candidate and what its path says."""

    file: Candidate
    reading: Reading


def discover(root: Path, layout: str | None = None) -> CheckpointIndex:
    """Find the checkpoints under a folder and say which group, run, seed and step each is.

    Parameters
    ----------
    root : Path
        Folder of runs, or of one run. Links to folders are followed, each folder is read once.
    layout : str, optional
        How paths are to be read where their names do not say it for certain; see
        `hmmdyn.checkpoints.layouts.Layout`. Files that do not fit it are left out.

    Returns
    -------
    CheckpointIndex
        Its notices name what was left out and what is odd.

    Raises
    ------
    NoCheckpointsError
        The folder is missing, unreadable, empty, or holds no checkpoints.
    LayoutError
        Paths that cannot be understood for certain, or a layout that fits none of them.
    DuplicateCheckpointError
        Two files claim the same group, run and step.
    UsageError
        The layout has an unknown placeholder or no step.
    """
    root = Path(root)
    rule = None if layout is None else Layout(layout)
    name = _check_folder(root)
    unreadable: dict[str, str] = {}
    candidates = []
    for folder in walk(root, unreadable):
        candidates += _candidates_in(folder, unreadable)
    if not candidates:
        raise NoCheckpointsError(_nothing_found(root, unreadable))
    notices = [
        _paths_left_out([path for path in unreadable if unreadable[path] == why], f"{why}.")
        for why in sorted(set(unreadable.values()))
    ]
    if rule is None:
        claims = _read_names(root, name, candidates, notices)
    else:
        claims = _read_by_rule(root, name, candidates, rule, notices)
    unit = _step_unit(root, claims)
    settled = _settle(claims, unit, notices)
    _check_runs(root, settled.values())
    checkpoints = _sorted_files(root, settled)
    notices += _oddities(checkpoints, unit)
    return CheckpointIndex(root, checkpoints, unit, tuple(notices))


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
        for (group, run), files in _by_run(index.checkpoints).items()
    ]
    return pd.DataFrame(rows).astype({"seed": "Int64"})


# ------------------------------------------------------------------------------------- walking


def walk(root: Path, unreadable: dict[str, str]) -> Iterator[Folder]:
    """Walk the folders under a root, each real folder once, in a fixed order.

    Links to folders come last, so that a folder is met under its own name first; links that lead
    back, or up to a folder that holds the root, end there. Hidden names, caches and hmmdyn's own
    reports are skipped.

    Parameters
    ----------
    root : Path
        An existing folder.
    unreadable : dict
        Filled with the relative path of each folder or link that is not read, and the reason.
    """
    visited: set[tuple[int, int]] = set()
    for ancestor in root.resolve().parents:
        with suppress(OSError):
            visited.add(_identity(str(ancestor)))
    folders: list[tuple[str, ...]] = [()]
    links: list[tuple[str, ...]] = []
    while folders or links:
        parts = folders.pop() if folders else links.pop(0)
        path = os.path.join(root, *parts)  # noqa: PTH118 - text is twice as fast as Path here
        try:
            identity = _identity(path)
            if identity in visited:
                unreadable["/".join(parts)] = "a link to a folder read under another name"
                continue
            visited.add(identity)
            with os.scandir(path) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            unreadable["/".join(parts)] = f"the folder cannot be read ({error.strerror})"
            continue
        files = []
        subfolders = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SKIPPED_FOLDERS:
                continue
            kind = _kind(entry)
            if kind == "file":
                files.append(entry)
            elif kind == "folder":
                subfolders.append((*parts, entry.name))
            elif kind == "link to a folder":
                links.append((*parts, entry.name))
            else:
                unreadable["/".join((*parts, entry.name))] = kind
        folders += reversed(subfolders)
        yield Folder(parts, files)


def regular_file(
    entry: os.DirEntry[str], parts: Sequence[str], unreadable: dict[str, str]
) -> os.stat_result | None:
    """Return the status of a regular file; None, with the reason noted, for anything else."""
    try:
        status = entry.stat()
    except OSError as error:
        reason = f"it cannot be read ({error.strerror})"
    else:
        if stat.S_ISREG(status.st_mode):
            return status
        reason = "it is not a regular file"
    unreadable["/".join((*parts, entry.name))] = reason
    return None


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116 - as above
    return status.st_dev, status.st_ino


def _kind(entry: os.DirEntry[str]) -> str:
    if not entry.is_symlink():
        return "folder" if entry.is_dir() else "file"
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "a link that leads nowhere"
    return "link to a folder" if stat.S_ISDIR(mode) else "file"


def _check_folder(root: Path) -> str:
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
            f"{shown} is a file, not a folder. Give the folder that holds the runs."
        )
    return root.resolve().name or "runs"


def _nothing_found(root: Path, unreadable: Mapping[str, str]) -> str:
    shown = printable(str(root))
    files = (entry for folder in walk(root, {}) for entry in folder.files)
    suffixes = Counter(Path(entry.name).suffix.lower() for entry in files)
    if "" in unreadable:
        return f"{shown} cannot be looked into: {unreadable['']}."
    message = f"{shown} is empty: it holds no files."
    if suffixes:
        by_number = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))
        kinds = some(f"{suffix or 'no suffix'} ({number})" for suffix, number in by_number)
        message = (
            f"{shown} holds no checkpoints. Files found, by suffix: {kinds}. Checkpoints are "
            f"{', '.join(_FORMATS)} files; optimizer, scheduler and random-number state is not one."
        )
    if unreadable:
        message += " Not read: " + some(f"{path} ({why})" for path, why in unreadable.items()) + "."
    return message


def _candidates_in(folder: Folder, unreadable: dict[str, str]) -> list[Candidate]:
    """Return what may be a checkpoint among the files of one folder, shards put together."""
    whole: list[tuple[os.DirEntry[str], str, str]] = []
    shards: dict[str, dict[str, list[os.DirEntry[str]]]] = {}
    for entry in folder.files:
        shard = _SHARD.fullmatch(entry.name)
        if shard:
            stem = shard["stem"] or shard["index_stem"]
            suffix = shard["suffix"] or shard["index_suffix"]
            shards.setdefault(suffix, {}).setdefault(stem, []).append(entry)
            continue
        match = _CHECKPOINT.fullmatch(entry.name)
        if match and not layouts.is_companion(match["stem"]):
            whole.append((entry, match["stem"], _FORMATS[match["suffix"].lower()]))
    found = []
    for suffix, sets in shards.items():
        if len(sets) == 1:
            (entries,) = sets.values()
            sharded = f"{_FORMATS[suffix]} (sharded)"
            found.append(_candidate(folder, "", "", sharded, entries, unreadable))
        else:  # several checkpoints share the folder: no one of them is the folder
            whole += [
                (entry, stem, _FORMATS[suffix])
                for stem, entries in sets.items()
                for entry in entries
                if entry.name.endswith(suffix)
            ]
    for entry, stem, name in whole:
        found.append(_candidate(folder, entry.name, stem, name, [entry], unreadable))
    return [candidate for candidate in found if candidate is not None]


def _candidate(
    folder: Folder,
    file: str,
    stem: str,
    format_name: str,
    entries: Iterable[os.DirEntry[str]],
    unreadable: dict[str, str],
) -> Candidate | None:
    status = [regular_file(entry, folder.parts, unreadable) for entry in entries]
    known = [s for s in status if s is not None]
    if not known:
        return None
    size, mtime = sum(s.st_size for s in known), max(s.st_mtime_ns for s in known)
    return Candidate(folder.parts, file, stem, format_name, size, mtime)


# --------------------------------------------------------------------------------------- claims


def _read_names(
    root: Path, name: str, candidates: Iterable[Candidate], notices: list[Notice]
) -> list[Claim]:
    """Understand every path by its names, or say which cannot be."""
    claims = [Claim(file, layouts.read_path(file.parts, name)) for file in candidates]
    if _started_twice(claims):
        claims = [
            Claim(file, layouts.read_path(file.parts, name, keep_occasions=True))
            for file, _ in claims
        ]
    twice = _started_twice(claims)
    if twice:
        claim, other = twice[0]
        raise LayoutError(
            f"run {claim.reading.run} of group {claim.reading.group} was started more than once: "
            f"{printable(claim.file.path)} and {printable(other.file.path)} may be one run "
            f"resumed or two runs.\n{_REMEDY}"
        )
    understood = [claim for claim in claims if not claim.reading.problem]
    runs = {_run_key(claim) for claim in understood}
    harmless: dict[str, list[str]] = defaultdict(list)
    uncertain = []
    for claim in claims:
        problem, seed = claim.reading.problem, claim.reading.seed
        if not problem:
            continue
        # A file without a step beside a run's checkpoints is no loss; a whole seed would be one.
        lost_seed = problem == layouts.NO_STEP and seed is not None and _run_key(claim) not in runs
        if lost_seed or problem not in _HARMLESS:
            uncertain.append(claim)
        else:
            harmless[problem].append(claim.file.path)
    if uncertain or not understood:
        raise LayoutError(_not_understood(root, uncertain or claims, len(claims)))
    for problem, paths in harmless.items():
        remedy = " If they are checkpoints, --layout can say which." * (problem == layouts.NO_STEP)
        notices.append(_paths_left_out(paths, f"{problem}.{remedy}"))
    return understood


def _started_twice(claims: Iterable[Claim]) -> list[tuple[Claim, Claim]]:
    """Return pairs of claims on one run that lie under different dates or versions."""
    first: dict[tuple[str, str], Claim] = {}
    pairs = []
    for claim in claims:
        if not claim.reading.problem:
            other = first.setdefault(_run_key(claim), claim)
            if other.reading.occasions != claim.reading.occasions:
                pairs.append((other, claim))
    return pairs


def _read_by_rule(
    root: Path, name: str, candidates: Sequence[Candidate], rule: Layout, notices: list[Notice]
) -> list[Claim]:
    """Understand paths by the user's layout: that of the file, or of the folder it is in."""
    claims = []
    others = []
    for file in candidates:
        reading = rule.read(file.path, name) or rule.read("/".join(file.folder), name)
        if reading is None:
            others.append(file.path)
        else:
            claims.append(Claim(file, reading))
    if not claims:
        paths = "\n".join(f"  {printable(path)}" for path in sorted(others)[:5])
        raise LayoutError(
            f"--layout {rule.pattern!r} fits none of the {len(others)} checkpoint files under "
            f"{printable(str(root))}, among them\n{paths}\n"
            "A layout describes the whole path, relative to that folder."
        )
    if others:
        notices.append(_paths_left_out(others, f"--layout {rule.pattern!r} does not fit."))
    return claims


def _not_understood(root: Path, claims: Sequence[Claim], n_found: int) -> str:
    lines = "\n".join(
        f"  {printable(claim.file.path)}: {claim.reading.problem}" for claim in claims[:5]
    )
    more = "\n  …" if len(claims) > 5 else ""
    return (
        f"{len(claims)} of the {n_found} checkpoint files under {printable(str(root))} do not say "
        f"for certain which run and step they are:\n{lines}{more}\n{_REMEDY}"
    )


def _step_unit(root: Path, claims: Sequence[Claim]) -> str:
    """Return the unit every checkpoint has: step before epoch. Aliases have no vote."""
    voters = [claim for claim in claims if not claim.reading.alias] or claims
    for unit in ("step", "epoch"):
        if all(_time(claim, unit) is not None for claim in voters):
            return unit
    by_epoch = [claim.file.path for claim in voters if claim.reading.step is None]
    by_step = [claim.file.path for claim in voters if claim.reading.epoch is None]
    raise LayoutError(
        f"the checkpoints under {printable(str(root))} cannot be put on one axis: "
        f"{len(by_epoch)} tell only an epoch ({some(by_epoch, 2)}), "
        f"{len(by_step)} only a step ({some(by_step, 2)}).\n"
        "Choose one kind with a layout that fits only its paths, for example\n"
        '  --layout "{group}/seed{seed}/step_{step}.pt"'
    )


def _settle(
    claims: Sequence[Claim], unit: str, notices: list[Notice]
) -> dict[tuple[str, str, int], Claim]:
    """Give each (group, run, step) its one file: aliases and second formats in a folder give way.

    Raises
    ------
    DuplicateCheckpointError
        Two other files claim the same group, run and step.
    """
    rivals: dict[tuple[str, str, int], list[Claim]] = defaultdict(list)
    aliases = []
    for claim in claims:
        time = _time(claim, unit)
        if time is None:
            aliases.append(claim.file.path)
        else:
            rivals[(*_run_key(claim), time)].append(claim)
    settled = {}
    second_formats = []
    duplicates = []
    for (group, run, time), claimants in rivals.items():
        firm = [claim for claim in claimants if not claim.reading.alias] or claimants
        aliases += [claim.file.path for claim in claimants if claim not in firm]
        if len(firm) > 1 and _one_folder_in_two_formats(firm):
            firm.sort(key=lambda claim: _FORMAT_PREFERENCE.index(claim.file.format))
            second_formats += [claim.file.path for claim in firm[1:]]
            firm = firm[:1]
        if len(firm) > 1:
            paths = " and ".join(printable(claim.file.path) for claim in firm)
            duplicates.append(f"  {unit} {time} of run {run}, group {group}: {paths}")
        settled[group, run, time] = firm[0]
    if duplicates:
        more = f"\n  … ({len(duplicates)} in all)" if len(duplicates) > 5 else ""
        listed = "\n".join(duplicates[:5])
        raise DuplicateCheckpointError(
            f"more than one file claims to be the same checkpoint:\n{listed}{more}\n"
            f"Remove or move one of each, or tell them apart. {_REMEDY}"
        )
    if aliases:
        notices.append(_paths_left_out(aliases, "an alias of a checkpoint that is there."))
    if second_formats:
        reason = "the same checkpoint is there in a format that is preferred."
        notices.append(_paths_left_out(second_formats, reason))
    return settled


def _one_folder_in_two_formats(claims: Sequence[Claim]) -> bool:
    files = [claim.file for claim in claims]
    return (
        len({file.folder for file in files}) == 1
        and len({file.format for file in files}) == len(files)
        and all(file.fills_folder for file in files)
    )


def _check_runs(root: Path, claims: Iterable[Claim]) -> None:
    """Refuse a run that mixes names or seeds: it may be several."""
    first: dict[tuple[str, str], Claim] = {}
    for claim in claims:
        other = first.setdefault(_run_key(claim), claim)
        if (claim.reading.decoration, claim.reading.seed) != (
            other.reading.decoration,
            other.reading.seed,
        ):
            raise LayoutError(
                f"{printable(other.file.path)} and {printable(claim.file.path)} under "
                f"{printable(str(root))} would both be run {claim.reading.run} of group "
                f"{claim.reading.group}, but are named differently: they may be two runs.\n"
                + _REMEDY
            )


def _sorted_files(
    root: Path, settled: Mapping[tuple[str, str, int], Claim]
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


def _run_key(claim: Claim) -> tuple[str, str]:
    return claim.reading.group, claim.reading.run


def _natural_run(run: tuple[str, str]) -> tuple[object, ...]:
    group, name = run
    return natural_key(group), group, natural_key(name), name


def _time(claim: Claim, unit: str) -> int | None:
    return claim.reading.step if unit == "step" else claim.reading.epoch


def _paths_left_out(paths: Sequence[str], reason: str) -> Notice:
    number = "1 path" if len(paths) == 1 else f"{len(paths)} paths"
    message = f"{number} left out ({some(sorted(paths, key=natural_key))}): {reason}"
    return Notice(_STAGE, "left out", "paths", message)


# ------------------------------------------------------------------------------------- oddities


def _by_run(
    checkpoints: Iterable[CheckpointFile],
) -> dict[tuple[str, str], list[CheckpointFile]]:
    runs: dict[tuple[str, str], list[CheckpointFile]] = {}
    for file in checkpoints:
        runs.setdefault((file.group, file.run), []).append(file)
    return runs


def _oddities(checkpoints: Iterable[CheckpointFile], unit: str) -> Iterator[Notice]:
    """Say which runs are short, end early, or miss steps that most of their group have."""
    groups: dict[str, dict[str, list[int]]] = {}
    for (group, run), files in _by_run(checkpoints).items():
        groups.setdefault(group, {})[run] = [file.step for file in files]
    for group, runs in groups.items():
        single = [run for run, steps in runs.items() if len(steps) == 1]
        if single:
            yield _odd(
                group, f"Runs with a single checkpoint, which show no change: {some(single)}."
            )
        end = max(steps[-1] for steps in runs.values())
        early = [f"{run} at {steps[-1]}" for run, steps in runs.items() if steps[-1] < end]
        if early:
            yield _odd(group, f"Runs that end before {unit} {end}: {some(early)}.")
        gaps = [f"{run} ({some(map(str, g), 3)})" for run, g in _gaps(runs).items()]
        if gaps:
            yield _odd(
                group, f"Runs that miss {unit}s most others of the group have: {some(gaps)}."
            )


def _gaps(runs: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Return, per run, the steps before its end that most of the other runs have and it has not."""
    runs_with = Counter(step for steps in runs.values() for step in steps)
    common = sorted(step for step, n in runs_with.items() if n > (len(runs) - 1) / 2)
    missing = {
        run: [step for step in common if step < steps[-1] and step not in own]
        for run, steps in runs.items()
        for own in [set(steps)]
    }
    return {run: steps for run, steps in missing.items() if steps}


def _odd(group: str, message: str) -> Notice:
    return Notice(_STAGE, "odd", f"group {group}", message)
