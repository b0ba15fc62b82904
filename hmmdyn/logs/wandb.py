"""Runs as Weights & Biases keeps them on disk (``run-ID.wandb``), whether they were sent or not.

The file is a log of LevelDB's (blocks of 32 KiB with checksums) behind seven bytes of its own, and
each record a protobuf message ``Record`` of ``wandb_internal.proto``. The few fields that are
needed are read here: no library of W&B's, and nothing that a file names is loaded or run.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import pandas as pd

from hmmdyn.errors import LogError
from hmmdyn.logs.log import Log
from hmmdyn.logs.records import flat_fields
from hmmdyn.roles import is_seed

_HEADER = 7  # bytes of the file, and of each piece of a record
_BLOCK = 32 * 2**10
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
# Numbers of fields, by message.
_HISTORY, _CONFIG, _RUN = 2, 5, 17  # of Record
_ITEM, _STEP = 1, 2  # of HistoryRecord; the items of ConfigRecord have the same number
_STEP_NUM = 1
_KEY, _NESTED_KEY, _VALUE_JSON = 1, 2, 16  # of an item
_RUN_ID, _RUN_CONFIG, _RUN_GROUP, _DISPLAY_NAME = 1, 4, 6, 8  # of RunRecord


def read_wandb(data: bytes) -> Log:
    """Read the history of a run, with its name, group and seed.

    Raises
    ------
    LogError
        It holds no history.
    """
    rows: list[dict[str, Any]] = []
    names: dict[int, str] = {}
    config: dict[str, Any] = {}
    n_damaged = 0
    for record in _records(data):
        try:
            told = dict(_fields(record or b"")) if record is not None else {}
            if _HISTORY in told:
                rows.append(_row(_bytes(told[_HISTORY])))
            elif _RUN in told:
                run = dict(_fields(_bytes(told[_RUN])))
                names |= {
                    n: _text(run[n]) for n in (_RUN_ID, _RUN_GROUP, _DISPLAY_NAME) if n in run
                }
                config |= _items(_bytes(run.get(_RUN_CONFIG, b"")))
            elif _CONFIG in told:
                config |= _items(_bytes(told[_CONFIG]))
        except (ValueError, RecursionError):
            record = None
        n_damaged += record is None
    rows = [row for row in rows if row]
    if not rows:
        raise LogError("it is a run of W&B's without a history")
    identity = {"run": names.get(_DISPLAY_NAME) or names.get(_RUN_ID)}
    identity |= {"run_id": names.get(_RUN_ID), "group": names.get(_RUN_GROUP)}
    identity["seed"] = next((str(v) for k, v in config.items() if is_seed(k)), None)
    known = {name: value for name, value in identity.items() if value}
    frame = pd.DataFrame(rows)
    frame = frame.drop(columns=[name for name in known if name in frame]).assign(**known)
    left_out = {"Records that are damaged or cut short": n_damaged} if n_damaged else {}
    return Log(frame, "W&B run", left_out)


def _row(history: bytes) -> dict[str, Any]:
    row = dict(flat_fields(_items(history)))
    if "_step" not in row:
        for number, value in _fields(history):
            if number == _STEP:
                row["_step"] = dict(_fields(_bytes(value))).get(_STEP_NUM, 0)
    return row


def _items(message: bytes) -> dict[str, Any]:
    """Return the keys and values of a history's or a configuration's items."""
    found: dict[str, Any] = {}
    for number, value in _fields(message):
        if number != _ITEM:
            continue
        item = list(_fields(_bytes(value)))
        keys = [_text(v) for n, v in item if n in (_KEY, _NESTED_KEY)]
        texts = [_text(v) for n, v in item if n == _VALUE_JSON]
        if keys and texts:
            found["/".join(keys)] = json.loads(texts[-1])
    return found


def _records(data: bytes) -> Iterator[bytes | None]:
    """Yield the records of a log of LevelDB's; None for one that is damaged or cut short."""
    at, parts, is_open = _HEADER, list[bytes](), False
    while at + _HEADER <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:
            at += left
            continue
        checksum, length, kind = struct.unpack_from("<IHB", data, at)
        body = data[at + _HEADER : at + _HEADER + length]
        if kind == 0 and length == 0:  # the rest of a block
            at += left
            continue
        whole = length <= left - _HEADER and len(body) == length
        if not whole or zlib.crc32(body, zlib.crc32(bytes([kind]))) != checksum:
            yield None
            parts, is_open = [], False
            at += left
            continue
        at += _HEADER + length
        if kind in (_FULL, _FIRST):
            if is_open:
                yield None
            parts, is_open = [], True
        elif not is_open:
            continue
        parts.append(body)
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts, is_open = [], False
    if is_open or at < len(data):
        yield None


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the fields of a protobuf message: their number, and an integer or bytes.

    Raises
    ------
    ValueError
        It is no message.
    """
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _varint(message, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"a field of kind {wire}")
        if at + length > len(message):
            raise ValueError("a field that is cut short")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
    raise ValueError("an integer that does not end")


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("an integer where a message was meant")
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode("utf-8", "replace")
