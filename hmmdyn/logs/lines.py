"""Logs that are lines of text: MLPerf's, and those that say ``step:125 val_loss:4.6``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from hmmdyn.errors import LogError
from hmmdyn.logs.log import LARGEST_STEP, Log
from hmmdyn.roles import epoch_rank, step_rank

_MLLOG = ":::MLLOG"
_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|nan|inf|-inf"
# What may stand before a line's own words: a time, a level, a rank in brackets.
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:.,]+"
_PREFIX = rf"(?:\s*(?:\[[^\]]{{0,60}}\]|{_DAY}|INFO|DEBUG|[-:|]))*\s*"
_TIME = re.compile(
    _PREFIX + r"(?P<name>[A-Za-z_][\w/]{0,60})\s{0,9}(?:[:=]\s{0,9}|\s)\[?(?P<at>[0-9]+)"
    r"(?:\s*/\s*[0-9]+)?(?![\w.])"
)
_PAIR = re.compile(
    r"(?<![\w/@.\-])(?P<name>[A-Za-z_][\w/@.\-]{0,60}(?: [A-Za-z_][\w/@.\-]{0,60})?)"
    rf"\s{{0,9}}[:=]\s{{0,9}}(?P<value>{_NUMBER})"
    r"(?P<unit>%|ms\b|s\b|M\b|k\b)?(?![\w.])"
)
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

    ``step:125/1770 val_loss:4.5 train_time:8121ms`` (modded-nanogpt), ``epoch 3 | loss = 0.5``.
    Everything else in the file, such as the source of the program, is passed over.

    Raises
    ------
    LogError
        There are fewer than three such lines.
    """
    rows = list(_rows(text))
    if len(rows) < _LEAST_LINES:
        raise LogError("it is not a table, and no lines of it begin with a step or epoch")
    return Log(pd.DataFrame(rows), "lines of text")


def _rows(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        if len(line) > 10_000:
            continue
        start = _TIME.match(line)
        if start is None:
            continue
        name = start["name"]
        if step_rank(name) is None and epoch_rank(name) is None:
            continue
        at = int(start["at"])
        row: dict[str, Any] = {name: at} if at < LARGEST_STEP else {}
        for pair in _PAIR.finditer(line, start.end()):
            called = pair["name"].strip().replace(" ", "_")
            number = float(pair["value"])
            row.setdefault(called, number / 100 if pair["unit"] == "%" else number)
        if len(row) > 1:
            yield row


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
