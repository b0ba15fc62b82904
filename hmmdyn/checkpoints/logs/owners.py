"""Whose log is it: the runs that a log, and each row of one that tells of several, belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from hmmdyn.checkpoints.find import layouts
from hmmdyn.logs.columns import seed_numbers
from hmmdyn.names import some
from hmmdyn.results.checkpoints import CheckpointIndex


class Run(NamedTuple):
    """Who a run is."""

    group: str
    run: str
    seed: int | None


class Runs:
    """The runs of an index, numbered, and which of them have checkpoints below each folder."""

    def __init__(self, index: CheckpointIndex) -> None:
        self.step_unit = index.step_unit
        self.root_name = index.root.resolve().name
        self.all = list(dict.fromkeys(Run(f.group, f.run, f.seed) for f in index.checkpoints))
        numbers = {run: number for number, run in enumerate(self.all)}
        folders = {(Run(f.group, f.run, f.seed), f.path.parent) for f in index.checkpoints}
        self._below: dict[tuple[str, ...], set[int]] = defaultdict(set)
        for run, folder in folders:
            parts = folder.relative_to(index.root).parts
            for depth in range(len(parts) + 1):
                self._below[parts[:depth]].add(numbers[run])

    def at(self, parts: tuple[str, ...], *, tells_itself: bool = False) -> list[int]:
        """Return the numbers of the runs that a log with these names may belong to.

        They are those below the nearest folder that holds checkpoints, narrowed down by the seed
        or, between several, the run and group that the log's own path names; but not where its rows
        are of several runs, as it tells itself.
        """
        depth = next(d for d in range(len(parts) - 1, -1, -1) if parts[:d] in self._below)
        found = sorted(self._below[parts[:depth]])
        if tells_itself:
            return found
        named = layouts.read_path(parts, self.root_name)
        if named.seed is not None and any(self.all[n].seed is not None for n in found):
            found = [n for n in found if self.all[n].seed == named.seed]
        elif len(found) > 1:
            found = [n for n in found if self.all[n].run == named.run] or found
        if len(found) > 1:
            found = [n for n in found if self.all[n].group == named.group] or found
        return found

    def below_the_run(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        """Return a log's own name, and those of its folders below the nearest with checkpoints."""
        depth = next(d for d in range(len(parts) - 1, -1, -1) if parts[:d] in self._below)
        return parts[depth:]

    def of_rows(
        self, frame: pd.DataFrame, identity: Mapping[str, str], candidates: Sequence[int]
    ) -> pd.Series:
        """Return the number of the run each row of a log belongs to, -1 where it is unknown.

        ``identity`` maps the roles group, run and seed to the columns that the log has of them.
        """
        told = {role: _spelled(frame[column], role) for role, column in identity.items()}
        labels = [label for label in ("run", "seed") if label in told]
        if len(candidates) == 1 and all(told[label].nunique() <= 1 for label in labels):
            return pd.Series(candidates[0], index=frame.index)
        by_group = "group" in told and len({self.all[n].group for n in candidates}) > 1
        for label in labels:
            keys = told[label].tolist()
            if by_group:
                keys = [f"{group}\0{key}" for group, key in zip(told["group"], keys, strict=True)]
            owners = self._owners(candidates, label, by_group)
            found = pd.Series([owners.get(key, -1) for key in keys], index=frame.index)
            if (found >= 0).any():
                return found
        return pd.Series(-1, index=frame.index)

    def why_nobodys(self, frame: pd.DataFrame, identity: Mapping[str, str]) -> str:
        """Say why none of the rows belongs to a run: what the log says, and what is here."""
        here = some(dict.fromkeys(run.run for run in self.all))
        columns = [identity[role] for role in ("run", "seed") if role in identity]
        if not columns:
            return (
                "its rows do not say which of the runs they belong to (in a column run or seed, "
                f"and group where two groups have the same); the runs are {here}"
            )
        told = "; ".join(
            f"its {column} is {some(map(repr, map(str, frame[column].dropna().unique())), 3)}"
            for column in columns
        )
        return (
            "its rows do not say which of the runs they belong to, or say it of several groups at "
            f"once: {told}, and the runs are {here}"
        )

    def _owners(self, candidates: Sequence[int], label: str, by_group: bool) -> dict[str, int]:
        """Map what a ``run`` or ``seed`` column may hold to the one run that it can mean."""
        meanings: dict[str, set[int]] = defaultdict(set)
        for number in candidates:
            group, run, seed = self.all[number]
            for name in {run, str(seed)} if label == "run" else {str(seed)}:
                meanings[f"{group}\0{name}" if by_group else name].add(number)
        return {name: min(numbers) for name, numbers in meanings.items() if len(numbers) == 1}


def _spelled(column: pd.Series, role: str) -> pd.Series:
    """Return names as texts; a seed as the number it is, however it is spelled (``seed_03``)."""
    text = column.astype("string").str.strip()
    if role != "seed":
        return text.astype(object)
    number = seed_numbers(text)
    return number.fillna(text).astype(object)
