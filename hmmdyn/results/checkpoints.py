"""What was found on disk: checkpoints, and outcomes logged beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from hmmdyn.places import Place
from hmmdyn.results.columns import (
    INTEGER,
    NUMBER,
    RUN_COLUMNS,
    STEP,
    TEXT,
    Column,
    Table,
)
from hmmdyn.results.keys import CHECKPOINT_KEY
from hmmdyn.results.notice import Notice
from hmmdyn.results.shown import Shown

_MEASURED = "only where the checkpoint was measured from a file"

METRICS = Table(
    name="metrics",
    title="Metrics and outcomes of every checkpoint",
    rows="checkpoint",
    columns=(
        *RUN_COLUMNS,
        STEP,
        Column("<metric>", NUMBER, "value of <metric>, a metric of the weights", "of the metric"),
        Column(
            "<outcome>",
            NUMBER,
            "value of <outcome>, an outcome, as it was logged",
            "of the outcome",
            missing="where it was not logged at that step",
        ),
        Column("path", TEXT, "the checkpoint's file or folder", only=_MEASURED),
        Column("size", INTEGER, "size of its files", "bytes", only=_MEASURED),
        Column(
            "mtime_ns",
            INTEGER,
            "when it was last modified, since 1970; 0 if its store does not tell",
            "nanoseconds",
            only=_MEASURED,
        ),
    ),
)


@dataclass(frozen=True, order=True)
class CheckpointFile:
    """One checkpoint. ``path`` is a file, or a folder for multi-file formats.

    ``step`` is in the index's ``step_unit``. ``size`` in bytes and ``mtime_ns`` (modification
    time, nanoseconds since the epoch, 0 if a store does not tell it) cover all the files of the
    checkpoint (sum and maximum).
    ``format`` is a short human name, guessed from the file's name: ``safetensors``, ``pytorch``,
    ``npz``, ``npy``, ``keras``, ``hdf5``, ``flax``, ``stable-baselines3``, ``orbax``, or one of the
    first two with
    ``(sharded)`` or ``(distributed)`` behind it. The reader goes by content.
    """

    group: str
    run: str
    step: int
    seed: int | None
    path: Place
    format: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class LogFile:
    """A file that may be a log: ``shown`` is what messages call it.

    ``parts`` are its names from the root down, the stem last: they may say whose log it is.
    """

    path: Place
    parts: tuple[str, ...]
    shown: str


@dataclass(frozen=True)
class CheckpointIndex:
    """What discovery found under ``root``.

    ``checkpoints`` is sorted by (group, run, step), runs in natural order (``seed2`` before
    ``seed10``). ``step_unit`` is ``step`` or ``epoch``. ``logs`` are the files that may hold
    outcomes, none of them opened yet, and ``logged`` what they hold; None where they have not been
    looked for, or read. Where the names of checkpoints do not say what they count
    (``checkpoint_3``), ``unit_is_told`` is false, and the logs may tell.
    """

    root: Place
    checkpoints: tuple[CheckpointFile, ...]
    step_unit: str
    notices: tuple[Notice, ...] = ()
    logs: tuple[LogFile, ...] | None = None
    logged: OutcomeTable | None = None
    unit_is_told: bool = True


@dataclass(frozen=True, repr=False)
class OutcomeTable(Shown):
    """Outcomes (loss, accuracy, …) logged beside the checkpoints, before they are joined.

    ``table`` has ``group, run, step`` and one float64 column per outcome (NaN: not logged at that
    step), sorted by run and step. ``sources`` maps each file read to the number of its rows used.
    """

    table: pd.DataFrame
    sources: Mapping[str, int]
    notices: tuple[Notice, ...] = ()

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Names of the outcome columns."""
        return tuple(c for c in self.table.columns if c not in CHECKPOINT_KEY)
