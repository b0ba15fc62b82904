"""The scalars in TensorBoard's event files, as a table."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import pandas as pd

from hmmdyn.errors import LogError
from hmmdyn.names import printable
from hmmdyn.places import Place
from hmmdyn.roles import data_split

_HEADER, _SUM = 12, 4  # bytes before an event, and after it
# Folders that TensorBoard makes for parts of the data. The tags in them are the same, so that the
# folder's name must tell the parts apart.
_SPLITS = {"train", "training", "val", "valid", "validation", "eval", "evaluation", "test", "dev"}


def read_events(path: Place) -> pd.DataFrame:
    """Read the scalars of an event file: a column ``step`` (or ``epoch``) and one for each tag.

    A tag that is logged at a step again has a further row for it, below the first. An event that
    is cut short at the end of the file, as in a run that still goes on, is not read.

    Raises
    ------
    LogError
        TensorBoard is not installed, or the file is damaged or holds no scalars.
    """
    try:
        from google.protobuf.message import DecodeError
        from tensorboard.compat.proto.event_pb2 import Event
    except ImportError:
        raise LogError(
            "it is an event file of TensorBoard, whose package is not installed (install it with: "
            "pip install 'hmmdyn[tensorboard]')"
        ) from None
    rows: list[tuple[str, int, str, float]] = []
    try:
        for data in _events(path.read_bytes()):
            event = Event.FromString(data)
            for value in event.summary.value:
                number = _scalar(value)
                time = _time(value.tag)
                if number is not None and value.tag != time:
                    rows.append((time, event.step, value.tag, number))
    except (DecodeError, ValueError, TypeError, LookupError) as error:
        raise LogError(f"it is damaged ({printable(str(error)[:200])})") from None
    if not rows:
        raise LogError("it holds no scalars")
    return _table(rows, path.parent.name)


def _events(data: bytes) -> Iterator[bytes]:
    """Go through the whole events of a file; refuse one that is longer than the file, or damaged.

    An event is its length (8 bytes) and the checksum of that (4), the data, and their checksum (4).
    The last one is cut short while it is written.
    """
    start = 0
    while start + _HEADER <= len(data):
        (length,) = struct.unpack_from("<Q", data, start)
        if length > len(data):
            raise LogError(f"it is damaged (an event claims {length:,} bytes)")
        event = start + _HEADER
        if event + length + _SUM > len(data):
            return
        _require_sum(data, start, 8)
        _require_sum(data, event, length)
        yield data[event : event + length]
        start = event + length + _SUM


def _require_sum(data: bytes, start: int, length: int) -> None:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    end = start + length
    if struct.unpack_from("<I", data, end) != (masked_crc32c(data[start:end]),):
        raise LogError("it is damaged (the checksum of an event does not fit)")


def _scalar(value: Any) -> float | None:
    """Return the number in a summary; None where it holds something else (a text, an image, …)."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    if kind != "tensor" or value.tensor.tensor_shape.dim or value.tensor.tensor_shape.unknown_rank:
        return None
    from tensorboard.util.tensor_util import make_ndarray

    array = make_ndarray(value.tensor)
    return float(array.item()) if array.dtype.kind in "iuf" else None


def _time(tag: str) -> str:
    """Return what the steps of a tag count: Keras counts epochs for what it calls ``epoch_…``."""
    return "epoch" if tag.startswith("epoch_") else "step"


def _table(rows: list[tuple[str, int, str, float]], folder: str) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["time", "at", "tag", "value"])
    if folder.lower() in _SPLITS:
        frame["tag"] = [tag if data_split(tag) else f"{folder}/{tag}" for tag in frame["tag"]]
    frame["again"] = frame.groupby(["time", "at", "tag"]).cumcount()
    tables = [
        of_one.pivot(index=["again", "at"], columns="tag", values="value")
        .rename_axis(index=["again", str(time)], columns=None)
        .reset_index(str(time))
        for time, of_one in frame.groupby("time")
    ]
    return pd.concat(tables, ignore_index=True)
