"""What each log of a folder holds: its rows, with the part of the data before their names."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from hmmdyn.errors import LogError, NoTimeError
from hmmdyn.logs import Log
from hmmdyn.logs.columns import Columns, split_of_path, understand
from hmmdyn.names import some
from hmmdyn.results.notice import Notice
from hmmdyn.roles import data_split, is_outcome


@dataclass
class LeftOut:
    """What is left out while logs are read, gathered by reason so that each is told once."""

    by_reason: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def because(self, reason: str, subject: str) -> None:
        """Note a file that is left out."""
        self.by_reason[reason].append(subject)

    def notices(self) -> tuple[Notice, ...]:
        """Tell what was gathered."""
        return tuple(
            Notice("metrics", "left out", "logs", f"{reason}: {some(subjects)}.")
            for reason, subjects in self.by_reason.items()
        )


@dataclass(frozen=True)
class Piece:
    """A log of a run, or of several: where it lies, and its understood columns."""

    parts: tuple[str, ...]
    shown: str
    columns: Columns

    @property
    def names_runs(self) -> bool:
        """Whether its own rows say which runs they are of."""
        return self.columns.run is not None or self.columns.seed is not None


def understood(parts: tuple[str, ...], shown: str, log: Log, left_out: LeftOut) -> Piece:
    """Understand a log, and name outcomes by the part of the data that its path tells.

    Parameters
    ----------
    parts : tuple of str
        Names of its folders below the root, and its own without the suffix.
    shown : str
        What messages call it.
    log : Log
        What was read.
    left_out : LeftOut
        Added to: what is left out, and why.

    Raises
    ------
    LogError
    """
    for reason, number in log.left_out.items():
        left_out.because(reason, f"{shown} ({number})")
    if log.damaged:
        left_out.because("Lines that are not JSON objects", f"{shown} ({len(log.damaged)})")
    twice = log.frame.columns.duplicated()
    if twice.any():
        left_out.because("Columns of a name already taken", f"{shown} ({twice.sum()})")
    columns = understand(log.frame.loc[:, ~twice])
    if not (columns.steps or columns.epochs or columns.amounts):
        raise NoTimeError("it has no step or epoch column")
    if not columns.values:
        raise LogError("it holds no numbers")
    part = split_of_path(parts)
    renamed = {
        name: f"{part}/{name}"
        for name in columns.values
        if part and is_outcome(name) and not data_split(name)
    }
    renamed = {old: new for old, new in renamed.items() if new not in columns.frame}
    return Piece(
        parts,
        shown,
        Columns(
            columns.frame.rename(columns=renamed),
            columns.steps,
            columns.epochs,
            columns.amounts,
            columns.run,
            columns.seed,
            columns.group,
            tuple(renamed.get(name, name) for name in columns.values),
            columns.passed_over,
        ),
    )
