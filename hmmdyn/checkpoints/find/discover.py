"""From a folder to an index of its checkpoints: walk, understand the paths, report what is odd.

`hmmdyn.checkpoints.find.layouts` says what a path means; this module finds the files, settles what
the paths claim against each other, and refuses whatever is not certain. No checkpoint is opened
here.
"""

from __future__ import annotations

import re
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hmmdyn.checkpoints.find import layouts
from hmmdyn.checkpoints.find.candidates import (
    FILE_FORMATS,
    Candidate,
    beside_the_model,
    find_candidates,
)
from hmmdyn.checkpoints.find.layouts import Layout, Reading
from hmmdyn.checkpoints.find.schedules import by_run, odd_schedules
from hmmdyn.checkpoints.find.walking import walk
from hmmdyn.errors import DuplicateCheckpointError, LayoutError, NoCheckpointsError
from hmmdyn.messages import Message, Remedy
from hmmdyn.names import natural_key, printable, runs_named, some
from hmmdyn.results.checkpoints import CheckpointFile, CheckpointIndex
from hmmdyn.results.notice import Notice

_STAGE = "discovery"

# Why a path may be left out, when there are checkpoints enough beside it.
_HARMLESS = (layouts.NO_STEP, layouts.ONLY_ALIAS, layouts.TEMPORARY)

# Why one of several files of a checkpoint is left out.
_ALIAS = "an alias of a checkpoint that is there."
_PART = "parts of a checkpoint that is there as a whole."
_SECOND_FORMAT = "the same checkpoint is there in a format that is preferred."

_EXAMPLE = "{group}/seed{seed}/step_{step}.pt"


def _say_how(layout: str = _EXAMPLE) -> Message:
    return Message(
        "Say how the paths are to be read, for example\n  ",
        Remedy("layout", layout),
        "\nwhere {group}, {run}, {seed}, {step} and {epoch} stand for what they name and * for "
        "anything.",
    )


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
    root = Path(root)
    rule = None if layout is None else Layout(layout)
    name = _check_folder(root)
    unreadable: dict[str, str] = {}
    candidates = find_candidates(root, unreadable)
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
    notices += [
        Notice(_STAGE, "odd", f"group {finding.group}", finding.message)
        for finding in odd_schedules(checkpoints, unit)
    ]
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
        for (group, run), files in by_run(index.checkpoints).items()
    ]
    return pd.DataFrame(rows).astype({"seed": "Int64"})


# ------------------------------------------------------------------------------------ nothing found


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
            f"{', '.join(FILE_FORMATS)} files, and folders of Orbax and torch.distributed; "
            "optimizer, scheduler and random-number state is not one."
        )
    if unreadable:
        message += " Not read: " + some(f"{path} ({why})" for path, why in unreadable.items()) + "."
    return message


# --------------------------------------------------------------------------------------- claims


def _read_names(
    root: Path, name: str, candidates: Iterable[Candidate], notices: list[Notice]
) -> list[Claim]:
    """Understand every path by its names, or say which cannot be."""
    candidates = list(candidates)
    beside = beside_the_model(candidates)
    if beside:
        reason = "beside the model, in the folder of a checkpoint."
        notices.append(_paths_left_out([file.path for file in beside], reason))
    claims = [
        Claim(file, layouts.read_path(file.parts, name, file.format))
        for file in candidates
        if file not in beside
    ]
    if _started_twice(claims):
        claims = [
            Claim(file, layouts.read_path(file.parts, name, file.format, keep_occasions=True))
            for file, _ in claims
        ]
    twice = _started_twice(claims)
    if twice:
        claim, other = twice[0]
        raise LayoutError(
            f"run {claim.reading.run} of group {claim.reading.group} was started more than once: "
            f"{printable(claim.file.path)} and {printable(other.file.path)} may be one run "
            f"resumed or two runs.\n",
            _say_how(),
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
        reason = Message(f"{problem}.")
        if problem == layouts.NO_STEP:
            reason = Message(
                reason, " If they are checkpoints, ", Remedy("layout"), " can say which."
            )
        notices.append(_paths_left_out(paths, reason))
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
    beside = beside_the_model(candidates)
    for file in candidates:
        reading = rule.read(file.path, name)
        if reading is None and file not in beside:
            reading = rule.read("/".join(file.folder), name)
        if reading is None:
            others.append(file.path)
        else:
            claims.append(Claim(file, reading))
    if not claims:
        paths = "\n".join(f"  {printable(path)}" for path in sorted(others)[:5])
        raise LayoutError(
            Remedy("layout", rule.pattern),
            f" fits none of the {len(others)} checkpoint files under "
            f"{printable(str(root))}, among them\n{paths}\n"
            "A layout describes the whole path, relative to that folder.",
        )
    if others:
        reason = Message(Remedy("layout", rule.pattern), " does not fit.")
        notices.append(_paths_left_out(others, reason))
    return claims


def _not_understood(root: Path, claims: Sequence[Claim], n_found: int) -> Message:
    lines = "\n".join(
        f"  {printable(claim.file.path)}: {claim.reading.problem}" for claim in claims[:5]
    )
    more = "\n  …" if len(claims) > 5 else ""
    overwritten = ""
    if len({claim.file.folder for claim in claims}) == n_found and all(
        claim.reading.problem == layouts.NO_STEP for claim in claims
    ):
        overwritten = (
            "There is one file per folder: if training overwrites it, only the last state is left, "
            "and a training map needs\nmany. Save each under a name of its own, such as "
            "ckpt_{step}.pt.\n"
        )
    return Message(
        f"{len(claims)} of the {n_found} checkpoint files under {printable(str(root))} do not say "
        f"for certain which run and step they are:\n{lines}{more}\n{overwritten}",
        _say_how(_suggested_layout(claims[0].file.path) or _EXAMPLE),
    )


def _suggested_layout(path: str) -> str | None:
    """Guess what may be meant: the last number is the step, the folders above run and group.

    ``a/seed3/model_0009999.pth`` gives ``{group}/seed{seed}/model_{step}.pth``; None where there is
    no number, or nothing that is sure to fit.
    """
    fields = ["{group}", "{run}", "{step}"]
    names = []
    for name in reversed(path.split("/")):
        stem, dot, suffix = name.partition(".")
        numbered = re.fullmatch(r"(.*?)[0-9]+([^0-9]*)", stem)
        if layouts.parse(name).has("seed") and "{run}" in fields:
            fields.remove("{run}")
            name = re.sub(r"(seed[-_= ]?)[0-9]+", r"\1{seed}", name, flags=re.IGNORECASE)
        elif numbered and "{step}" in fields:
            fields.remove("{step}")
            name = f"{numbered[1]}{{step}}{numbered[2]}{dot}{suffix}"
        elif "{step}" not in fields and fields and not layouts.is_neutral(name):
            name = fields.pop()
        names.append(name)
    pattern = "/".join(reversed(names))
    fits = "{step}" not in fields and not set(path) & set("{}*") and Layout(pattern).read(path, "")
    return pattern if fits else None


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
        "Choose one kind with a layout that fits only its paths, for example\n  ",
        Remedy("layout", _EXAMPLE),
    )


def _settle(
    claims: Sequence[Claim], unit: str, notices: list[Notice]
) -> dict[tuple[str, str, int], Claim]:
    """Give each (group, run, step) its one file: aliases and second formats in a folder give way.

    Raises
    ------
    DuplicateCheckpointError
        Two other files claim the same group, run and step.
    LayoutError
        There are only parts of a checkpoint.
    """
    rivals: dict[tuple[str, str, int], list[Claim]] = defaultdict(list)
    left_out: dict[str, list[str]] = defaultdict(list)
    for claim in claims:
        time = _time(claim, unit)
        if time is None:
            left_out[_ALIAS].append(claim.file.path)
        else:
            rivals[(*_run_key(claim), time)].append(claim)
    settled = {}
    duplicates: list[str] = []
    only_parts: list[str] = []
    for (group, run, time), claimants in rivals.items():
        firm = _without_those_that_give_way(claimants, left_out)
        if len(firm) == 1:
            settled[group, run, time] = firm[0]
            continue
        paths = " and ".join(printable(claim.file.path) for claim in firm or claimants)
        (duplicates if firm else only_parts).append(
            f"  {unit} {time} of run {run}, group {group}: {paths}"
        )
    if only_parts:
        raise LayoutError(_spread_over_ranks(only_parts))
    if duplicates:
        raise DuplicateCheckpointError(
            f"more than one file claims to be the same checkpoint:\n{_listed(duplicates)}\n"
            f"Remove or move one of each, or tell them apart. ",
            _say_how(),
        )
    notices += [_paths_left_out(paths, reason) for reason, paths in left_out.items() if paths]
    return settled


def _without_those_that_give_way(
    claimants: Sequence[Claim], left_out: dict[str, list[str]]
) -> list[Claim]:
    """Leave out what repeats another claimant of one checkpoint; parts alone give way to nothing.

    Parameters
    ----------
    claimants : sequence of Claim
    left_out : dict
        Reason -> paths, added to.
    """
    firm = [claim for claim in claimants if not claim.reading.alias] or list(claimants)
    left_out[_ALIAS] += [claim.file.path for claim in claimants if claim not in firm]
    parts = [claim for claim in firm if claim.reading.is_part]
    if len(parts) > 1 or any(claim.reading.is_slice for claim in parts):
        firm = [claim for claim in firm if claim not in parts]
        left_out[_PART] += [claim.file.path for claim in parts]
    if len(firm) > 1 and _one_folder_in_two_formats(firm):
        firm.sort(key=lambda claim: claim.file.preference)
        left_out[_SECOND_FORMAT] += [claim.file.path for claim in firm[1:]]
        firm = firm[:1]
    return firm


def _listed(checkpoints: Sequence[str]) -> str:
    more = f"\n  … ({len(checkpoints)} in all)" if len(checkpoints) > 5 else ""
    return "\n".join(checkpoints[:5]) + more


def _spread_over_ranks(checkpoints: Sequence[str]) -> Message:
    return Message(
        "these checkpoints are spread over several files, as training on several devices writes "
        f"them, and hmmdyn does not put such files together:\n"
        f"{_listed(checkpoints)}\n"
        "Merge each into one file with the tool of the library that wrote it (DeepSpeed: "
        "zero_to_fp32.py; Megatron: its checkpoint converter).\n"
        "If they are copies of the whole model instead, choose one of them, for example\n  ",
        Remedy("layout", "{run}/step_{step}/rank0.pt"),
    )


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
        alias = claim.reading.alias or other.reading.alias  # its name says more: best_acc_epoch_3
        alike = alias or claim.reading.decoration == other.reading.decoration
        if not alike or claim.reading.seed != other.reading.seed:
            raise LayoutError(
                f"{printable(other.file.path)} and {printable(claim.file.path)} under "
                f"{printable(str(root))} would both be run {claim.reading.run} of group "
                f"{claim.reading.group}, but are named differently: they may be two runs.\n",
                _say_how(),
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
    message = Message(f"{number} left out ({some(sorted(paths, key=natural_key))}): ", reason)
    return Notice(_STAGE, "left out", "paths", message)
