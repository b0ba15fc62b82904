"""Logs that are lines of text: MLPerf's, and those that say ``step:125 val_loss:4.6``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from hmmdyn.errors import LogError
from hmmdyn.logs.log import LARGEST_STEP, Log
from hmmdyn.roles import data_split, epoch_rank, is_outcome, step_rank

_MLLOG = ":::MLLOG"
_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|nan|inf|-inf"
# What may stand before a line's own words: a time, a level, a rank in brackets.
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.,]+"
_PREFIX = rf"(?:\s*(?:\[[^\]]{{0,60}}\]|{_DAY}|INFO|DEBUG|[-:|]))*\s*"
_TIME = re.compile(
    _PREFIX + r"(?:[Tt]rain(?:ing)? )?(?P<name>[A-Za-z_][\w/]{0,60})\s{0,9}(?:[:=]\s{0,9}|\s)"
    r"\[?(?P<at>[0-9]+)(?:\s*/\s*[0-9]+)?(?![\w.])"
)
_BRACKET = re.compile(  # as OLMo has it
    r".{0,120}?\[(?P<name>[A-Za-z_]{1,30})=(?P<at>[0-9]+)(?:/[0-9]+)?(?=[\],])"
)
_ONE_PAIR = re.compile(r"\s+[\w/@.\-]{1,60}=\S{1,30}\s*")
_PAIR = re.compile(
    r"(?<![\w/@.\-])(?P<name>[A-Za-z_][\w/@.\-]{0,60}(?: [A-Za-z_][\w/@.\-]{0,60})?)"
    rf"(?P<sign>\s{{0,9}}[:=]\s{{0,9}}|\s)(?P<value>{_NUMBER})"
    r"(?:/(?P<of>[0-9]+))?(?P<unit>%|ms\b|s\b|M\b|k\b)?(?![\w.])"
)
_PART = re.compile(r"(?i:(train|val(?:id(?:ation)?)?|test|eval(?:uation)?)(?: set)?)\s{0,9}[:|]")
_LINES_BELOW = 40  # of a line that tells the time, which may hold its values
_LONGEST_LINE = 10_000
_LEAST_LINES = 3  # fewer lines with a step are no log
_MLLOG_TIMES = {"step_num": "step", "epoch_num": "epoch", "samples_count": "samples"}


def read_mllog(text: str) -> Log:
    """Read MLPerf's events: those with a number (or several) and a step, epoch or sample count.

    Raises
    ------
    LogError
    """
    rows: list[dict[str, Any]] = []
    n_damaged, seed = 0, None
    for line in text.splitlines():
        _, mark, record = line.partition(_MLLOG)
        if not mark:
            continue
        try:
            event = json.loads(record)
            key, value, metadata = event["key"], event["value"], event.get("metadata") or {}
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            n_damaged += 1
            continue
        if key == "seed" and _is_number(value):
            seed = str(value)
        if not isinstance(metadata, dict):
            continue
        times = {
            to: metadata[of] for of, to in _MLLOG_TIMES.items() if _is_number(metadata.get(of))
        }
        values = value if isinstance(value, dict) else {key: value}
        numbers = {str(name): v for name, v in values.items() if _is_number(v)}
        if times and numbers and not str(key).endswith(("_start", "_stop")):
            rows.append({**times, **{n: v for n, v in numbers.items() if n not in times}})
    if not rows:
        raise LogError("none of its events has a number and a step")
    frame = pd.DataFrame(rows)
    if seed is not None and "seed" not in frame:
        frame["seed"] = seed
    why = "Lines of MLPerf's that are no events"
    return Log(frame, "MLPerf log", {why: n_damaged} if n_damaged else {})


def has_mllog(text: str) -> bool:
    """Whether a text holds lines of MLPerf's logger."""
    return _MLLOG in text


def read_step_lines(text: str) -> Log:
    """Read lines that begin with a step or epoch and hold numbers with names.

    ``step:125/1770 val_loss:4.5 train_time:8121ms`` (modded-nanogpt), ``iter 10: loss 2.5``
    (nanoGPT), ``epoch 3 | loss = 0.5``; lines that end in a record (fairseq); and outcomes in the
    lines below one that tells the time, as Keras and OLMo print them. Everything else in the file,
    such as the source of the program, is passed over.

    Raises
    ------
    LogError
        There are fewer than three such lines.
    """
    rows = list(_rows(text))
    if len(rows) < _LEAST_LINES:
        raise LogError("it is not a table, and no lines of it begin with a step or epoch")
    frame = pd.DataFrame(rows)
    steps = [name for name in frame.columns if step_rank(str(name)) is not None]
    if len(steps) > 1 and (frame[steps].notna().sum(axis=1) <= 1).all():
        # Training and evaluation call one count otherwise: iter and step (nanoGPT).
        frame["step"] = frame[steps].bfill(axis=1).iloc[:, 0]
        frame = frame.drop(columns=[name for name in steps if name != "step"])
    return Log(frame, "lines of text")


def _rows(text: str) -> Iterator[dict[str, Any]]:
    above: dict[str, Any] = {}  # the time that a line above told
    n_below = 0
    for line in text.splitlines():
        if len(line) > _LONGEST_LINE:
            continue
        record = _record_at_end(line)
        if record is not None:
            yield record
            continue
        start = next((m for m in (_TIME.match(line), _BRACKET.match(line)) if _tells(m)), None)
        if start is not None:
            at = int(start["at"])
            above = {start["name"]: at} if at < LARGEST_STEP else {}
            n_below = 0
            found = _pairs(line, start.end())
        else:
            n_below += bool(line.strip())
            found = _pairs(line, 0) if n_below <= _LINES_BELOW else {}
            if not any(map(is_outcome, found)) and not _ONE_PAIR.fullmatch(line):
                continue
        if found and above:
            yield {**found, **above}


def _tells(start: re.Match[str] | None) -> bool:
    """Whether a line begins with a step or an epoch."""
    name = start["name"] if start else ""
    return step_rank(name) is not None or epoch_rank(name) is not None


def _pairs(line: str, begin: int) -> dict[str, float]:
    """Return the numbers that have names; without a sign between them only those of outcomes."""
    part = _PART.match(line)
    found: dict[str, float] = {}
    for pair in _PAIR.finditer(line, begin):
        called = pair["name"].strip().replace(" ", "_")
        if not pair["sign"].strip() and not is_outcome(called):
            continue
        if part and is_outcome(called) and not data_split(called):
            called = f"{part[1].lower()}_{called}"
        number = float(pair["value"])
        if pair["of"] is not None:
            number = number / float(pair["of"]) if float(pair["of"]) else float("nan")
        found.setdefault(called, number / 100 if pair["unit"] == "%" else number)
    return found


def _record_at_end(line: str) -> dict[str, Any] | None:
    """Return the record that a line of a logger ends with, if it tells a step (fairseq)."""
    at = line.find("{")
    if at <= 0 or not line.rstrip().endswith("}"):
        return None
    try:
        told = json.loads(line[at:])
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict):
        return None
    row = {re.sub(_OF_A_PART, "", str(name)): value for name, value in told.items()}
    row = {name: value for name, value in row.items() if isinstance(value, (int, float, str))}
    return row if len(row) > 1 and any(step_rank(name) is not None for name in row) else None


# Fairseq puts the part of the data before the names of counts, too.
_OF_A_PART = r"^(?:train|valid|test)_(?=num_updates$|epoch$)"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
