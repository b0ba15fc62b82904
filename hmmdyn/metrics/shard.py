"""A share of the checkpoints, for one of several processes that know nothing of each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from hmmdyn.errors import UsageError
from hmmdyn.metrics.checks import runs_of
from hmmdyn.names import printable
from hmmdyn.results.checkpoints import CheckpointFile


@dataclass(frozen=True)
class Shard:
    """Shard ``number`` (from 1) ``of`` so many.

    The checkpoints of every run are dealt in turn, in order of steps, from a shard on that the
    names of group and run decide. So shards are of nearly equal size (by one checkpoint per run at
    most), and a run that grows, or another run, moves no checkpoint to another shard.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise UsageError(
                f"There is no shard {self.number} of {self.of}. Shards are numbered from 1: "
                f"{_EXAMPLE}"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``3/16``.

        Raises
        ------
        UsageError
            The text is not of this form, or there is no such shard.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text, re.ASCII)
        if found is None:
            raise UsageError(f"A shard is written as {_EXAMPLE} Got {printable(text)!r}.")
        return cls(int(found[1]), int(found[2]))

    @property
    def stem(self) -> str:
        """A part of a file's name: ``3-of-16``."""
        return f"{self.number}-of-{self.of}"

    def part_of(self, files: Iterable[CheckpointFile]) -> tuple[CheckpointFile, ...]:
        """Return the checkpoints that fall to this shard, in the order given."""
        return tuple(
            file
            for (group, run), of_run in runs_of(files).items()
            for file in of_run[(self.number - 1 - _start(group, run)) % self.of :: self.of]
        )


_EXAMPLE = "3/16 (the third of sixteen)."


def _start(group: str, run: str) -> int:
    """Return a number that the names of a run decide, and nothing else."""
    name = f"{group}\n{run}".encode(errors="surrogateescape")
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest())
