"""What is seen only when checkpoints are compared: odd architectures, tensors that never change.

Everything here works on measurements; no file is opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hmmdyn.checkpoints.parameters import shape_differences
from hmmdyn.errors import ArchitectureMismatchError
from hmmdyn.messages import Remedy
from hmmdyn.metrics.measure import Measurement, by_reason
from hmmdyn.names import counted, natural_key, printable, some
from hmmdyn.results.checkpoints import CheckpointFile
from hmmdyn.results.notice import Notice

# In the order of the index: by group, run and step.
Measured = Mapping[CheckpointFile, Measurement]
RunKey = tuple[str, str]

_STAGE = "metrics"


@dataclass(frozen=True)
class Unchanging:
    """Weights and biases that never change: by group, name -> runs; and runs where none does."""

    frozen: Mapping[str, Mapping[str, list[str]]]
    dead_runs: tuple[RunKey, ...]


def require_same_architecture(measured: Measured) -> None:
    """Require that all checkpoints of a group hold the same weights and biases.

    Raises
    ------
    ArchitectureMismatchError
        The message names the runs that differ from the most usual architecture, and how.
    """
    for group, files in _by_group(measured).items():
        shapes = {file: measured[file].architecture.shapes for file in files}
        kinds = {file: tuple(sorted(found.items())) for file, found in shapes.items()}
        usual_kind, n_usual = Counter(kinds.values()).most_common(1)[0]
        if n_usual == len(files):
            continue
        odd: dict[str, list[CheckpointFile]] = {}
        for file in files:
            if kinds[file] != usual_kind:
                odd.setdefault(file.run, []).append(file)
        lines = [
            f"  run {printable(run)}, {counted(len(those), 'checkpoint', 'checkpoints')}: "
            f"{shape_differences(shapes[those[0]], dict(usual_kind))}"
            for run, those in list(odd.items())[:5]
        ]
        more = f"\n  and {counted(len(odd) - 5, 'run', 'runs')} more" if len(odd) > 5 else ""
        raise ArchitectureMismatchError(
            f"Group {printable(group)!r} mixes architectures: "
            f"{len(files) - n_usual} of {len(files)} checkpoints looked at differ from the rest.\n"
            + "\n".join(lines)
            + more
            + "\nMetrics of different architectures cannot be compared. Give each architecture a "
            "group of its own\n(",
            Remedy("layout"),
            " with {group}), leave the odd runs out (",
            Remedy("exclude_runs"),
            "), or leave those tensors out (",
            Remedy("exclude", ("REGEX",)),
            ").",
        )


def find_unchanging(probes: Measured) -> Unchanging:
    """Find tensors that are the same, bit for bit, in all of a run's probed checkpoints.

    Parameters
    ----------
    probes : Measured
        The first, middle and last checkpoint of each run, fingerprinted. Runs with a single one
        say nothing.
    """
    frozen: dict[str, dict[str, list[str]]] = {}
    dead_runs = []
    for (group, run), files in runs_of(probes).items():
        first, *others = (probes[file].fingerprints for file in files)
        same = [name for name in first if all(o.get(name) == first[name] for o in others)]
        if not others:
            continue
        if len(same) == len(first):
            dead_runs.append((group, run))
            continue
        for name in same:
            frozen.setdefault(group, {}).setdefault(name, []).append(run)
    return Unchanging(frozen, tuple(dead_runs))


def notices_of(measured: Measured, unchanging: Unchanging) -> list[Notice]:
    """Say what the metrics are about: what was left out and why, and what looks odd."""
    return [
        *_left_out(measured),
        *_frozen(unchanging),
        *_dead(unchanging),
        *_not_finite(measured),
        *_failed(measured),
    ]


def _left_out(measured: Measured) -> Iterable[Notice]:
    for group, files in _by_group(measured).items():
        left_out: dict[str, str] = {}
        for file in files:
            left_out |= measured[file].architecture.left_out
        if left_out:
            architecture = measured[files[0]].architecture
            yield Notice(
                _STAGE,
                "left out",
                f"tensors of group {printable(group)}",
                f"Tensors left out of the metrics: {by_reason(left_out)}. That leaves "
                f"{counted(len(architecture.weights), 'weight', 'weights')} and "
                f"{counted(len(architecture.biases), 'bias', 'biases')}.",
            )


def _frozen(unchanging: Unchanging) -> Iterable[Notice]:
    for group, names in unchanging.frozen.items():
        runs = sorted({run for where in names.values() for run in where}, key=natural_key)
        yield Notice(
            _STAGE,
            "left out",
            f"tensors of group {printable(group)}",
            f"{counted(len(names), 'tensor never changes', 'tensors never change')} (the same, bit "
            f"for bit, in the first, middle and last checkpoint of {some(runs, 3)}) and left out "
            f"of the metrics of the whole group: {some(names)}.",
        )


def _dead(unchanging: Unchanging) -> Iterable[Notice]:
    for _, run in unchanging.dead_runs:
        yield Notice(
            _STAGE,
            "odd",
            f"run {printable(run)}",
            "All its weights are the same in the first, middle and last checkpoint. "
            "Were the right files saved?",
        )


def _not_finite(measured: Measured) -> Iterable[Notice]:
    for (_, run), files in runs_of(measured).items():
        bad = [file for file in files if measured[file].not_finite]
        if bad:
            names = dict.fromkeys(name for file in bad for name in measured[file].not_finite)
            yield Notice(
                _STAGE,
                "odd",
                f"run {printable(run)}",
                f"NaN or infinity in {some(names)} at {len(bad)} of its {len(files)} checkpoints "
                f"({some(f'{file.step:,}' for file in bad)}): metrics are NaN there.",
            )


def _failed(measured: Measured) -> Iterable[Notice]:
    """Name the metrics that failed, each once, with where it did first."""
    where: dict[str, list[CheckpointFile]] = {}
    for file, measurement in measured.items():
        for name in measurement.problems:
            where.setdefault(name, []).append(file)
    for name, files in where.items():
        first = files[0]
        yield Notice(
            _STAGE,
            "odd",
            f"metric {printable(name)}",
            f"It is NaN at {len(files):,} of {len(measured):,} checkpoints, first at step "
            f"{first.step:,} of run {printable(first.run)}: {measured[first].problems[name]}. The "
            "other metrics are not touched by it.",
        )


def _by_group(files: Iterable[CheckpointFile]) -> dict[str, list[CheckpointFile]]:
    groups: dict[str, list[CheckpointFile]] = {}
    for file in files:
        groups.setdefault(file.group, []).append(file)
    return groups


def runs_of(files: Iterable[CheckpointFile]) -> dict[RunKey, list[CheckpointFile]]:
    """Files of each run (group, run), in the order given."""
    runs: dict[RunKey, list[CheckpointFile]] = {}
    for file in files:
        runs.setdefault((file.group, file.run), []).append(file)
    return runs
