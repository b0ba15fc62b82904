"""The numbers in a column of a log, however they were written."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

_TRUTH = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
_MISSING = ("", "nan", "none", "null", "na", "n/a", "-", "--", "<na>")
_DECIMAL_COMMA = r"[-+]?[0-9]*,[0-9]+(?:[eE][-+]?[0-9]+)?"


class Numbers(NamedTuple):
    """A column as float64, NaN where there is no number.

    ``n_others`` counts values that are no numbers; ``read_as`` says how text was read, in words.
    """

    values: pd.Series
    n_others: int
    read_as: str = ""


def as_numbers(column: pd.Series) -> Numbers:
    """Read a column as numbers: 93 % is 0.93, true is 1, and a comma may be the decimal point."""
    if pd.api.types.is_complex_dtype(column) or column.dtype.kind in "mM":
        return Numbers(pd.Series(np.nan, index=column.index), int(column.notna().sum()))
    if column.dtype.kind in "iuf":
        return Numbers(_floats(column), 0)
    if pd.api.types.is_bool_dtype(column) and column.notna().any():
        return Numbers(_floats(column.astype("float64")), 0, "true as 1, false as 0")
    text = column.astype("string").str.strip()
    text = text.mask(text.str.lower().isin(_MISSING))
    known = text.notna()
    numbers = pd.to_numeric(text, errors="coerce")
    if known.any() and not (known & numbers.notna()).any():
        for read_as, read in (
            ("93 % as 0.93", _percent),
            ("true as 1, false as 0", _truth),
            ("a comma as the decimal point", _comma),
        ):
            found = read(text)
            if (found.notna() | ~known).all():
                return Numbers(_floats(found), 0, read_as)
    return Numbers(_floats(numbers), int((known & numbers.isna()).sum()))


def _percent(text: pd.Series) -> pd.Series:
    share = text.str.extract(r"^(.*?)\s*%$", expand=False).str.replace(",", ".")
    return pd.to_numeric(share, errors="coerce") / 100


def _truth(text: pd.Series) -> pd.Series:
    return text.str.lower().map(_TRUTH)


def _comma(text: pd.Series) -> pd.Series:
    fits = text.str.fullmatch(f"(?:{_DECIMAL_COMMA}|[-+]?[0-9]+)").fillna(False).astype(bool)
    return pd.to_numeric(text.str.replace(",", ".").where(fits), errors="coerce")


def _floats(column: pd.Series) -> pd.Series:
    return pd.Series(column.to_numpy(np.float64, na_value=np.nan), index=column.index)
