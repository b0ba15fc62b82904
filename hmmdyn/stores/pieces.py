"""What each log of a folder holds: its rows, with the part of the data before their names."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hmmdyn.errors import LogError, NoTimeError
from hmmdyn.logs import Log
from hmmdyn.logs.columns import SEED_NAME, Columns, split_of_path, understand
from hmmdyn.logs.recipes import with_recipe
from hmmdyn.names import normalise_column, some
from hmmdyn.results.notice import Notice
from hmmdyn.roles import data_split, is_clock, is_outcome, is_split

_RUN_ID = "run_id"
_EXPORTED = re.compile(r"(?:run-)?(?P<run>.+?)-tag-(?P<tag>.+)")  # by TensorBoard


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

    @property
    def value_column(self) -> str | None:
        """The column ``value`` of a log that holds nothing else; None where it holds more."""
        values = [name for name in self.columns.values if not is_clock(name)]
        return values[0] if [normalise_column(name) for name in values] == ["value"] else None

    def only(self, role: str) -> str | None:
        """The run, seed or group of all rows, where they tell one alone."""
        column = self.columns.identity.get(role)
        told: Any = [] if column is None else self.columns.frame[column].dropna().unique()
        return str(told[0]) if len(told) == 1 else None

    @property
    def run_id(self) -> str | None:
        """What a tracker calls the one run of these rows, beside its name."""
        frame = self.columns.frame
        if _RUN_ID not in frame or self.columns.run == _RUN_ID:
            return None
        told = frame[_RUN_ID].dropna().unique()
        return str(told[0]) if len(told) == 1 else None

    @property
    def run_key(self) -> tuple[str | None, str | None]:
        """Its group and the name of its run."""
        return self.only("group"), self.only("run")

    def called(self, run: str) -> Piece:
        """Give all rows another name of their run."""
        assert self.columns.run is not None
        frame = self.columns.frame.assign(**{self.columns.run: run})
        return replace(self, columns=replace(self.columns, frame=frame))

    def renamed(self, names: Mapping[str, str]) -> Piece:
        """Call columns otherwise, unless a name is taken."""
        columns = self.columns
        free = {old: new for old, new in names.items() if new not in columns.frame}
        frame = columns.frame.rename(columns=free)
        values = tuple(free.get(name, name) for name in columns.values)
        return replace(self, columns=replace(columns, frame=frame, values=values))

    def of_part(self, part: str) -> Piece:
        """Put a part of the data before the names of outcomes that tell none."""
        told = [n for n in self.columns.values if is_outcome(n) and not data_split(n)]
        return self.renamed({name: f"{part}/{name}" for name in told}) if part else self


def understood(
    parts: tuple[str, ...],
    shown: str,
    log: Log,
    left_out: LeftOut,
    step_column: str | None = None,
) -> Piece:
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
    step_column : str, optional
        What counts training, in logs that have this column.

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
    if step_column in columns.frame:
        columns = columns.counted_by(str(step_column))
    if columns.run is not None or columns.seed is not None:
        columns = with_recipe(columns)
    if not (columns.steps or columns.epochs or columns.amounts):
        raise NoTimeError("it has no step or epoch column")
    if not columns.values:
        raise LogError("it holds no numbers")
    return Piece(parts, shown, columns).of_part(split_of_path(parts))


def told_by_names(pieces: Sequence[Piece]) -> list[Piece]:
    """Give logs what only the names of all files together tell.

    Runs of a tracker may share a name: then their seeds or identifiers name them. Files of one
    value are of the quantity that they are called by (``seed0/l2.csv`` with a column ``value``,
    TensorBoard's ``run-seed0-tag-loss.csv``). Files that differ in the part of the data alone
    (``seed0_train.csv``, ``seed0_test.csv``) are of one run.
    """
    named = _with_names_apart(_with_named_values(pieces))
    without = [_without_split(piece.parts) for piece in named]
    splits = defaultdict(set)
    for parts, split in without:
        splits[parts].add(split)
    return [
        replace(piece, parts=parts).of_part(split) if split and len(splits[parts]) > 1 else piece
        for piece, (parts, split) in zip(named, without, strict=True)
    ]


def _with_named_values(pieces: Sequence[Piece]) -> list[Piece]:
    """Call columns ``value`` by their files, where those are called by a quantity.

    That is so where one of them is called by an outcome, or files of one name lie in several
    folders.
    """
    of_value = [piece for piece in pieces if piece.value_column is not None]
    read = {piece.parts: _run_and_quantity(piece.parts[-1]) for piece in of_value}
    folders = defaultdict(set)
    for piece in of_value:
        folders[piece.parts[-1]].add(piece.parts[:-1])
    one_is_an_outcome = any(is_outcome(quantity) for _, quantity in read.values())
    named = []
    for piece in pieces:
        column = piece.value_column
        if column is not None and (one_is_an_outcome or len(folders[piece.parts[-1]]) > 1):
            run, quantity = read[piece.parts]
            piece = piece.renamed({column: quantity})
            if run:
                piece = replace(piece, parts=(*piece.parts[:-1], run))
            piece = piece.of_part(split_of_path(piece.parts))
        named.append(piece)
    return named


def _with_names_apart(pieces: Sequence[Piece]) -> list[Piece]:
    """Tell runs of one name apart: by their seeds, else by the identifiers that a tracker gave."""
    ids, seeds = defaultdict(set), defaultdict(list)
    for piece in pieces:
        if piece.run_id:
            ids[piece.run_key].add(piece.run_id)
            seeds[piece.run_key].append(piece.only("seed"))
    apart = []
    for piece in pieces:
        key = piece.run_key
        if piece.run_id and len(ids[key]) > 1:
            name, seed = piece.only("run"), piece.only("seed")
            if len(set(seeds[key])) == len(ids[key]) and None not in seeds[key]:
                piece = piece.called(run=f"{name}-seed{seed}")
            else:
                piece = piece.called(run=f"{name}-{piece.run_id}")
        apart.append(piece)
    return apart


def _run_and_quantity(stem: str) -> tuple[str, str]:
    """Read ``run-seed0-tag-loss`` (TensorBoard's) and ``loss_seed0``; ``loss`` tells no run."""
    exported = _EXPORTED.fullmatch(stem)
    if exported:
        return exported["run"], exported["tag"]
    seeded = SEED_NAME.fullmatch(stem)
    quantity = "_".join(filter(None, (seeded["before"], seeded["after"]))) if seeded else ""
    return (f"seed{seeded['seed']}", quantity) if seeded and quantity else ("", stem)


def _without_split(parts: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Return the path without a word for a part of the data, and that word; empty if there is none.

    A name that is such a word alone was understood with the log.
    """
    for at in range(len(parts) - 1, -1, -1):
        pieces = re.split(r"([-_.]+)", parts[at])
        said = [i for i in range(0, len(pieces), 2) if is_split(pieces[i])]
        if len(said) == 1 and len(pieces) > 1:
            i = said[0]
            left = pieces[: max(i - 1, 0)] + pieces[i + (1 if i else 2) :]
            return (*parts[:at], "".join(left), *parts[at + 1 :]), pieces[i].lower()
    return parts, ""
