"""Tables of text: CSV and its relatives, as programs and people write them."""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from hmmdyn.errors import NoTimeError
from hmmdyn.logs.log import NO_TIME, Log
from hmmdyn.roles import is_group, is_seed, run_rank, tells_time

_SEPARATORS = ",;\t|"
_HEAD = 400  # lines among which the header is looked for
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]+,[0-9]+(?:[eE][-+]?[0-9]+)?")
_DECIMAL_POINT = re.compile(r"[-+]?[0-9]*\.[0-9]+(?:[eE][-+]?[0-9]+)?")
_UNIT = re.compile(r"[\[(<].*[\])>]|-?")
_MISSING = ["", "NaN", "nan", "NA", "N/A", "n/a", "NULL", "null", "None", "none", "-", "<NA>"]
_MISSING += ["#N/A", "-nan", "-NaN", "nil", "--"]


class _Form(NamedTuple):
    """How a table of text is written: its separator, and what is above its numbers."""

    separator: str  # a regular expression, for pandas
    names: list[str]
    first_row: int  # the line on which the rows begin, counted from 0
    n_fields: int  # of a row; one more than names where rows end with a separator
    decimal: str
    n_above: int  # lines above the header


def read_separated(text: str, *, require_time: bool) -> Log:
    """Read a table of text with a header.

    Understood: commas, semicolons, tabs, bars or blanks between fields, decimal commas, padding,
    settings or comments above the header, a header in several lines, headers that come again in the
    middle (as in logs written one behind the other), rows that end with a separator although the
    header does not, and a last line that is cut short.

    Parameters
    ----------
    text : str
        The whole file.
    require_time : bool
        Raise NoTimeError by the header alone, so that a large table is not read in vain.

    Raises
    ------
    LogError, ValueError
    """
    lines = _lines(text)
    form = _form(lines)
    if require_time and not any(map(tells_time, form.names)) and not _is_monitor(form.names):
        raise NoTimeError(NO_TIME)
    left_out = {}
    if form.n_above:
        left_out["Lines above the header of a table"] = form.n_above
    if _is_torn(lines, form):
        lines.pop()
        left_out["Last lines that are cut short"] = 1
    columns = [*form.names, *[""] * (form.n_fields - len(form.names))]
    unique = [f"{name}\0{i}" for i, name in enumerate(columns)]  # two may have one name
    texts = [u for u, name in zip(unique, columns, strict=True) if _is_identity(name)]
    frame = pd.DataFrame(columns=unique)
    if len(lines) > form.first_row:
        frame = _rows("".join(lines[form.first_row :]), form, unique, texts)
    kept = [
        i
        for i, name in enumerate(columns)
        if name or (i < len(form.names) and not frame.iloc[:, i].isna().all())
    ]
    names = [columns[i] or f"unnamed: {i}" for i in kept]
    frame = frame.iloc[:, kept].set_axis(names, axis=1)
    for i, name in enumerate(frame.columns):
        if _is_identity(name):
            frame.isetitem(i, _stripped(frame.iloc[:, i]))
    again = _headers_again(frame)
    if again.any():
        frame = frame[~again].reset_index(drop=True)
        left_out["Headers repeated among the rows"] = int(again.sum())
    return Log(frame, "table of text", left_out)


def _rows(text: str, form: _Form, names: Sequence[str], texts: Sequence[str]) -> pd.DataFrame:
    """Read the rows below a header; ``texts`` are columns that stay as they are written."""
    options: dict[str, Any] = {} if form.separator == r"\s+" else {"low_memory": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame: pd.DataFrame = pd.read_csv(
            io.StringIO(text),
            sep=form.separator,
            names=list(names),
            header=None,
            index_col=False,
            skipinitialspace=True,
            decimal=form.decimal,
            dtype=dict.fromkeys(texts, str),
            keep_default_na=False,
            na_values={name: _MISSING for name in names if name not in texts},
            **options,
        )
    return frame


def _lines(text: str) -> list[str]:
    """Return the lines of a text, each with its end, whichever system wrote them."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [f"{line}\n" for line in lines[:-1]] + [line for line in lines[-1:] if line]


def _form(lines: Sequence[str]) -> _Form:
    head = lines[:_HEAD]
    sure = head if head and head[-1].endswith("\n") else head[:-1] or head
    best: _Form | None = None
    for separator in _SEPARATORS:
        if any(separator in line for line in head):
            form = _form_with(separator, sure)
            if form and (best is None or len(form.names) > len(best.names)):
                best = form
    best = best or _form_with(" ", sure) or _form_with(",", sure)
    if best is None:
        raise NoTimeError(NO_TIME)
    return best


def _form_with(separator: str, lines: Sequence[str]) -> _Form | None:
    """Find the header, if the fields of these lines are separated so."""
    rows = [_fields(line, separator) for line in lines]
    pivoted = _pivoted(rows[:3])
    if pivoted:
        decimal = _decimal(separator, rows[3:])
        return _Form(_pattern(separator), pivoted, 3, len(pivoted), decimal, 0)
    for at, row in enumerate(rows):
        if not _may_be_header(row):
            continue
        below = at + 1
        header = [row]
        while below < len(rows) and (
            rows[below] == [] or _goes_on(header, rows[below], rows[below + 1 : below + 2])
        ):
            if rows[below] and not all(map(_UNIT.fullmatch, rows[below])):
                header.append(rows[below])
            below += 1
        data = [row for row in rows[below:] if row]
        names = ["/".join(part for part in parts if part) for parts in zip(*header, strict=True)]
        commented = names[0].startswith("#")
        names[0] = names[0].lstrip("#").strip()
        if commented and not names[0]:
            names = names[1:]
        if not any(names):
            continue
        if not data:
            if any(map(tells_time, names)) or at == 0:
                return _Form(_pattern(separator), names, below, len(names), ".", at)
            continue
        first = data[0]
        surplus = len(first) - len(names)
        surplus_is_empty = surplus > 0 and not any(any(row[len(names) :]) for row in data)
        if not any(map(_is_number, first)) and not any(map(tells_time, names)):
            continue
        if surplus > 0 and not surplus_is_empty and not any(map(tells_time, names)):
            continue
        n_fields = len(names) + (surplus if surplus_is_empty else 0)
        return _Form(_pattern(separator), names, below, n_fields, _decimal(separator, data), at)
    return None


def _pivoted(head: Sequence[Sequence[str]]) -> list[str]:
    """Return the names of a pivot table as pandas saves it; nothing where it is none.

    Its header is ``,loss,loss`` above ``seed,0,1`` above ``step,,``.
    """
    if len(head) < 3 or len({len(row) for row in head}) > 1:
        return []
    (corner, *quantities), (level, *labels), (time, *rest) = head
    if corner or any(rest) or not tells_time(time) or not all(quantities) or not all(labels):
        return []
    if is_seed(level):
        return [time, *(f"{q}_seed{v}" for q, v in zip(quantities, labels, strict=True))]
    if run_rank(level) is not None:
        return [time, *(f"{v} - {q}" for q, v in zip(quantities, labels, strict=True))]
    return []


def _fields(line: str, separator: str) -> list[str]:
    if not line.strip():
        return []
    if separator == " ":
        return line.split()
    try:
        return [field.strip() for field in next(csv.reader([line], delimiter=separator))]
    except (csv.Error, StopIteration):
        return []


def _may_be_header(row: Sequence[str]) -> bool:
    named = [field for field in row if field]
    return (
        bool(named)
        and not any(map(_is_number, named))
        and not (named[0].startswith("#") and len(named) > 1 and named[0].startswith("#{"))
        and not named[0].startswith(("{", "["))
        and (len(row) > 1 or tells_time(row[0]))
        and not (len(row) == 1 and "=" in row[0])
    )


def _goes_on(header: list[list[str]], row: list[str], after: list[list[str]]) -> bool:
    """Whether a line belongs to the header above it: as many fields, no number, numbers below."""
    return (
        len(row) == len(header[0])
        and row != header[0]
        and not any(map(_is_number, row))
        and bool(after)
        and (any(map(_is_number, after[0])) or "" in row)
        and (
            any(not field for field in row)
            or len(set(header[0])) < len(header[0])
            or all(map(_UNIT.fullmatch, row))
            or "" in header[0]
        )
    )


def _pattern(separator: str) -> str:
    return r"\s+" if separator == " " else separator


def _decimal(separator: str, data: Sequence[Sequence[str]]) -> str:
    cells = [cell for row in data for cell in row]
    has_comma = separator != "," and any(map(_DECIMAL_COMMA.fullmatch, cells))
    return "," if has_comma and not any(map(_DECIMAL_POINT.fullmatch, cells)) else "."


def _is_torn(lines: Sequence[str], form: _Form) -> bool:
    if len(lines) <= form.first_row + 1 or lines[-1].endswith("\n"):
        return False
    separator = " " if form.separator == r"\s+" else form.separator
    return len(_fields(lines[-1], separator)) < len(form.names) or lines[-1].count('"') % 2 == 1


def _headers_again(frame: pd.DataFrame) -> pd.Series:
    """Rows that repeat the names of the columns."""
    again = pd.Series(True, index=frame.index)
    for i, name in enumerate(frame.columns):
        column = frame.iloc[:, i]
        if column.dtype.kind in "iufb" or not name:
            return again & False
        again &= column.astype("string").str.strip().eq(name).fillna(False).astype(bool)
    return again


def _stripped(column: pd.Series) -> Any:
    text = column.str.strip()
    return text.mask(text == "")


def _is_identity(name: str) -> bool:
    return run_rank(name) is not None or is_seed(name) or is_group(name)


def _is_monitor(names: Sequence[str]) -> bool:
    return list(names[:3]) == ["r", "l", "t"]


def _is_number(field: str) -> bool:
    text = field.rstrip("%").replace(",", ".")
    try:
        float(text)
    except ValueError:
        return False
    return text.lower() not in ("nan", "inf", "infinity", "-inf")
