"""What the steps of runs say on their own: which runs are short, and where steps are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from hmmdyn.names import some
from hmmdyn.results.checkpoints import CheckpointFile

RunKey = tuple[str, str]


class Finding(NamedTuple):
    """One odd thing about runs of a group: its kind, the runs and steps, and it in words."""

    kind: str
    group: str
    runs: tuple[str, ...]
    steps: tuple[int, ...]
    message: str


def by_run(checkpoints: Iterable[CheckpointFile]) -> dict[RunKey, list[CheckpointFile]]:
    """Sort checkpoints into runs (group, run), in the order given."""
    runs: dict[RunKey, list[CheckpointFile]] = {}
    for file in checkpoints:
        runs.setdefault((file.group, file.run), []).append(file)
    return runs


def odd_schedules(checkpoints: Iterable[CheckpointFile], unit: str) -> Iterator[Finding]:
    """Find runs that are short, end early, or miss steps that most of their group have.

    Parameters
    ----------
    checkpoints : iterable of CheckpointFile
        In the order of an index.
    unit : str
        ``step`` or ``epoch``.
    """
    groups: dict[str, dict[str, list[int]]] = {}
    for (group, run), files in by_run(checkpoints).items():
        groups.setdefault(group, {})[run] = [file.step for file in files]
    for group, runs in groups.items():
        single = tuple(run for run, steps in runs.items() if len(steps) == 1)
        if single:
            message = f"Runs with a single checkpoint, which show no change: {some(single)}."
            yield Finding("single checkpoint", group, single, (), message)
        end = max(steps[-1] for steps in runs.values())
        early = {run: steps[-1] for run, steps in runs.items() if steps[-1] < end}
        if early:
            listed = some(f"{run} at {last}" for run, last in early.items())
            message = f"Runs that end before {unit} {end}: {listed}."
            yield Finding("short run", group, tuple(early), tuple(early.values()), message)
        gaps = _gaps(runs)
        if gaps:
            listed = some(f"{run} ({some(map(str, steps), 3)})" for run, steps in gaps.items())
            message = f"Runs that miss {unit}s most others of the group have: {listed}."
            missing = tuple(sorted({step for steps in gaps.values() for step in steps}))
            yield Finding("gap", group, tuple(gaps), missing, message)


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
