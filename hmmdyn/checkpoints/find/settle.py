"""Settle what claims to be the same checkpoint: each gets one file, or there is an error."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from hmmdyn.checkpoints.find.claims import Claim, paths_left_out, say_how
from hmmdyn.errors import DuplicateCheckpointError, LayoutError
from hmmdyn.messages import Message
from hmmdyn.names import printable, some
from hmmdyn.places import Place
from hmmdyn.results.notice import Notice

# Why one of several files of a checkpoint is left out.
_ALIAS = "an alias of a checkpoint that is there."
_PART = "parts of a checkpoint that is there as a whole."
_SECOND_FORMAT = "the same checkpoint is there in a format that is preferred."


def step_unit(root: Place, claims: Sequence[Claim]) -> str:
    """Return the unit every checkpoint has: step before epoch. Aliases have no vote."""
    voters = [claim for claim in claims if not claim.reading.alias] or claims
    for unit in ("step", "epoch"):
        if all(claim.time(unit) is not None for claim in voters):
            return unit
    by_epoch = [claim.file.path for claim in voters if claim.reading.step is None]
    by_step = [claim.file.path for claim in voters if claim.reading.epoch is None]
    raise LayoutError(
        f"the checkpoints under {printable(str(root))} cannot be put on one axis: "
        f"{len(by_epoch)} tell only an epoch ({some(by_epoch, 2)}), "
        f"{len(by_step)} only a step ({some(by_step, 2)}).\n"
        "Choose one kind, with a layout that fits only its paths. ",
        say_how(max(by_step, by_epoch, key=len), by_step, by_epoch),
    )


def settle(
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
        time = claim.time(unit)
        if time is None:
            left_out[_ALIAS].append(claim.file.path)
        else:
            rivals[(*claim.run, time)].append(claim)
    settled = {}
    duplicates: dict[str, list[str]] = {}
    only_parts: dict[str, list[str]] = {}
    for (group, run, time), claimants in rivals.items():
        firm = _without_those_that_give_way(claimants, left_out)
        if len(firm) == 1:
            settled[group, run, time] = firm[0]
            continue
        checkpoint = f"{unit} {time} of run {run}, group {group}"
        paths = [claim.file.path for claim in firm or claimants]
        (duplicates if firm else only_parts)[checkpoint] = paths
    if only_parts:
        raise LayoutError(_spread_over_ranks(only_parts))
    if duplicates:
        raise DuplicateCheckpointError(
            f"more than one file claims to be the same checkpoint:\n{_listed(duplicates)}\n"
            "Remove or move one of each, or tell them apart. ",
            say_how([path for paths in duplicates.values() for path in paths]),
        )
    notices += [paths_left_out(paths, reason) for reason, paths in left_out.items() if paths]
    return settled


def _without_those_that_give_way(
    claimants: Sequence[Claim], left_out: dict[str, list[str]]
) -> list[Claim]:
    """Leave out what repeats another claimant of one checkpoint; parts alone give way to nothing.

    Parameters
    ----------
    claimants : sequence of Claim
        All that claim to be this checkpoint.
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


def _listed(checkpoints: Mapping[str, Sequence[str]]) -> str:
    lines = [
        f"  {checkpoint}: {' and '.join(map(printable, paths))}"
        for checkpoint, paths in list(checkpoints.items())[:5]
    ]
    more = [f"  … ({len(checkpoints)} in all)"] if len(checkpoints) > 5 else []
    return "\n".join([*lines, *more])


def _spread_over_ranks(checkpoints: Mapping[str, Sequence[str]]) -> Message:
    return Message(
        "these checkpoints are spread over several files, as training on several devices writes "
        f"them, and hmmdyn does not put such files together:\n"
        f"{_listed(checkpoints)}\n"
        "Merge each into one file with the tool of the library that wrote it (DeepSpeed: "
        "zero_to_fp32.py; Megatron: its checkpoint converter).\n"
        "If they are copies of the whole model instead, choose one of them. ",
        say_how([paths[0] for paths in checkpoints.values()]),
    )


def _one_folder_in_two_formats(claims: Sequence[Claim]) -> bool:
    files = [claim.file for claim in claims]
    return (
        len({file.folder for file in files}) == 1
        and len({file.format for file in files}) == len(files)
        and all(file.fills_folder for file in files)
    )


def check_runs(root: Place, claims: Iterable[Claim]) -> None:
    """Refuse a run that mixes names or seeds: it may be several."""
    first: dict[tuple[str, str], Claim] = {}
    for claim in claims:
        other = first.setdefault(claim.run, claim)
        # An alias may be named otherwise: best_acc_epoch_3.
        alias = claim.reading.alias or other.reading.alias
        alike = alias or claim.reading.decoration == other.reading.decoration
        if not alike or claim.reading.seed != other.reading.seed:
            raise LayoutError(
                f"{printable(other.file.path)} and {printable(claim.file.path)} under "
                f"{printable(str(root))} would both be run {claim.reading.run} of group "
                f"{claim.reading.group}, but are named differently: they may be two runs.\n",
                say_how([other.file.path, claim.file.path]),
            )
