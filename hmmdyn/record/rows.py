"""The file of a recorded run: JSON lines, one row per recorded step, in order of steps.

A row holds ``step``, the metrics and the outcomes by name. Beside them stand ``not_finite`` and
``unchanged`` (names of tensors) and ``problems`` (metric -> why it is not known), each left away
where there is nothing to say, and in the first row
``recording``: what was recorded and how, and a fingerprint of every weight and bias. NaN is written
as ``null``; an outcome may be ``Infinity``.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

from hmmdyn.checkpoints.parameters import ParameterRules
from hmmdyn.choices import EXACT
from hmmdyn.errors import OutputError, TableError, UsageError
from hmmdyn.files import replacing
from hmmdyn.metrics.measure import Architecture, Measurement
from hmmdyn.metrics.registry import VERSION, Metric, select_metrics, with_needed
from hmmdyn.places import Place
from hmmdyn.version import __version__

RECORDING = "hmmdyn-metrics.jsonl"  # in the folder of the run
REPLACED = "hmmdyn-metrics.jsonl.replaced"  # beside it: rows that training went back before
OF_ROW = (
    "step",
    "not_finite",
    "unchanged",
    "problems",
    "recording",
)  # what is neither metric nor outcome

Row = dict[str, Any]


class RowFile:
    """Rows on disk, each there as soon as it is given; a killed process loses at most that one.

    A row goes to the operating system in one write, so that it outlives the process. It is not
    forced onto the disk, which takes milliseconds and matters only when the machine itself fails.

    Nobody else may write the file meanwhile. Where somebody does nevertheless, as on a network file
    system whose locks end at the machine, the next row raises instead of being lost.

    Parameters
    ----------
    path : Path
        Made, with its folder, where it is missing.
    rows : list of Row
        What it holds from now on.

    Raises
    ------
    OutputError
        The file cannot be written, or (later) somebody else has written it.
    """

    def __init__(self, path: Path, rows: list[Row]) -> None:
        self._path = path
        self._file: FileIO | None = None
        self.replace(rows)

    def add(self, row: Row) -> None:
        """Append a row; those of the same step and later ones move to the file of replaced rows."""
        if self.rows and self.rows[-1]["step"] >= row["step"]:
            kept = [earlier for earlier in self.rows if earlier["step"] < row["step"]]
            self._set_aside(self.rows[len(kept) :])
            self.replace([*kept, row])
            return
        self._write(_line(row), self._end)
        self.rows.append(row)

    def amend(self, outcomes: Mapping[str, float]) -> None:
        """Add outcomes to the last row, in its place."""
        row = {**self.rows[-1], **outcomes}
        # Padded to the length of the old row: a shorter one would leave the old one's end behind.
        line = _line(row)[:-1].ljust(self._end - self._last_at - 1) + b"\n"
        self._write(line, self._last_at)
        self.rows[-1] = row

    def replace(self, rows: Iterable[Row]) -> None:
        """Put other rows in the place of all, at once."""
        if self._file is not None:
            self._require_ours(self._file)
        self.rows = list(rows)
        self.close()
        lines = [_line(row) for row in self.rows]
        with replacing(self._path) as temporary:
            temporary.write_bytes(b"".join(lines))
        try:
            self._file = FileIO(self._path, "r+")
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        self._end = sum(map(len, lines))
        self._last_at = self._end - len(lines[-1]) if lines else 0

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _set_aside(self, rows: list[Row]) -> None:
        """Keep rows that go: training may have been started anew in this folder by mistake."""
        path = self._path.with_name(REPLACED)
        try:
            with path.open("ab") as file:
                file.write(b"".join(map(_line, rows)))
        except OSError as error:
            raise _cannot_write(path, error) from error

    def _write(self, line: bytes, at: int) -> None:
        """Write the last row."""
        file = self._file
        if file is None:
            raise UsageError(f"The recording {self._path} is not open.")
        self._require_ours(file)
        try:
            file.seek(at)
            n_written = file.write(line)
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        if n_written != len(line):
            with suppress(OSError):
                file.truncate(self._end)
            raise _cannot_write(self._path, "no space is left on the device")
        self._last_at, self._end = at, at + len(line)

    def _require_ours(self, file: FileIO) -> None:
        """Refuse a file that is another one by now, or has rows that were not given here."""
        if file.closed:
            raise UsageError(f"The recording {self._path} is closed. Open a new MetricRecorder.")
        try:
            ours, there = os.fstat(file.fileno()), self._path.stat()
        except OSError as error:
            raise _cannot_write(self._path, error) from error
        if not os.path.samestat(ours, there) or there.st_size != self._end:
            raise OutputError(
                f"{self._path} was written, moved or replaced by somebody else since the last row. "
                "Is the run trained twice at once, or was an earlier job of it still running?\n"
                "No row was lost without a word: what is there now is theirs. Let one of the two "
                "go on, or record each into a folder of its own."
            )


@dataclass(frozen=True)
class Plan:
    """What is recorded and how; rows of different plans are not comparable."""

    metrics: tuple[str, ...]
    rules: ParameterRules
    step_unit: str
    metrics_version: int = VERSION


@dataclass(frozen=True)
class Recording:
    """What the first row tells of all: plan, weights, and a hash of each weight and bias."""

    plan: Plan
    architecture: Architecture
    fingerprints: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return what `recording_of` reads."""
        return {"hmmdyn_version": __version__, **asdict(self)}


def recording_of(row: Row, path: Place) -> Recording:
    """Read what the first row tells of all.

    Raises
    ------
    TableError
        It is malformed.
    """
    try:
        told = row["recording"]
        plan, rules, architecture = told["plan"], told["plan"]["rules"], told["architecture"]
        return Recording(
            plan=Plan(
                metrics=tuple(map(str, plan["metrics"])),
                rules=ParameterRules(
                    include=tuple(map(str, rules["include"])),
                    exclude=tuple(map(str, rules["exclude"])),
                    split=tuple((str(regex), int(a), int(n)) for regex, a, n in rules["split"]),
                    **{kind: _count(rules.get(kind)) for kind in ("heads", "cyclic")},
                    spectrum=str(rules.get("spectrum", EXACT)),
                    tensors=tuple(map(str, rules.get("tensors", ()))),
                    roles=tuple((str(regex), str(role)) for regex, role in rules.get("roles", ())),
                ),
                step_unit=str(plan["step_unit"]),
                metrics_version=int(plan["metrics_version"]),
            ),
            architecture=Architecture(
                weights=_shapes(architecture["weights"]),
                biases=_shapes(architecture["biases"]),
                left_out={str(n): str(why) for n, why in architecture["left_out"].items()},
            ),
            fingerprints={str(n): str(value) for n, value in told["fingerprints"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, UsageError) as error:
        raise TableError(
            f"{path}: its first row does not say what was recorded. {_REMEDY}"
        ) from error


def measured_names(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """Names of the metrics that every row has: those of a whole run are made of their columns."""
    return tuple(metric.name for metric in with_needed(metrics) if metric.needs != "run")


def _count(told: object) -> int | None:
    return None if told is None else int(str(told))


def measurement_of(row: Row, recording: Recording, path: Place) -> Measurement:
    """Return the measurement that a row was made of; all its other numbers are outcomes.

    Raises
    ------
    TableError
        A metric is missing, or something is no number.
    """
    metrics = measured_names(select_metrics(recording.plan.metrics))
    try:
        numbers = {
            str(name): math.nan if value is None else _number(value)
            for name, value in row.items()
            if name not in OF_ROW
        }
        return Measurement(
            architecture=recording.architecture,
            frozen=tuple(map(str, row.get("unchanged", ()))),
            metrics={name: numbers.pop(name) for name in metrics},
            outcomes=numbers,
            not_finite=tuple(map(str, row.get("not_finite", ()))),
            problems={str(name): str(why) for name, why in row.get("problems", {}).items()},
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise TableError(
            f"{path}: the row of step {row['step']} lacks a metric, or holds what is no number "
            f"({error}). {_REMEDY}"
        ) from error


_LARGEST = 4 << 30  # bytes of a recording, which is read whole


def read_rows(path: Place) -> tuple[list[Row], bool]:
    """Read rows, and tell whether the last one is whole; one cut short is left out.

    Raises
    ------
    TableError
        The file cannot be read, or is not one that a recorder wrote.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise TableError(f"{path} cannot be read: it is larger than {_LARGEST:,} bytes.")
        *lines, rest = path.read_bytes().split(b"\n")
    except OSError as error:
        raise TableError(f"{path} cannot be read: {error.strerror or error}.") from error
    rows = [_row(line, path, number) for number, line in enumerate(lines, 1)]
    if any(b["step"] <= a["step"] for a, b in pairwise(rows)):
        raise TableError(f"{path}: its rows are not in the order of their steps. {_REMEDY}")
    return rows, not rest


_REMEDY = "It is not a file that hmmdyn recorded, or was changed since: move it away."


def _shapes(told: Mapping[Any, Any]) -> dict[str, tuple[int, ...]]:
    return {str(name): tuple(map(int, shape)) for name, shape in told.items()}


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(repr(value))
    return float(value)


def _row(line: bytes, path: Place, number: int) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    step = row.get("step") if isinstance(row, dict) else None
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step < 2**53:
        raise TableError(f"{path}, line {number}: this is no row with a step. {_REMEDY}")
    return dict(row)


def _line(row: Mapping[str, Any]) -> bytes:
    plain = {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in row.items()
    }
    return (json.dumps(plain) + "\n").encode()


def _cannot_write(path: Path, reason: OSError | str) -> OutputError:
    why = getattr(reason, "strerror", None) or reason
    return OutputError(f"Cannot write {path}: {why}.")
