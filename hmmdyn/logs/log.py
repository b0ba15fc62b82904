"""A log as it was written, before anybody asks what its columns mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

NO_TIME = "it has no step or epoch column"
LARGEST_STEP = 2**53  # beyond it a float does not tell successive steps apart


@dataclass(frozen=True)
class Log:
    """The rows of a log, in the order they were written.

    Attributes
    ----------
    frame : DataFrame
        Columns as they were called; runs, seeds and groups are text.
    format : str
        What kind of file it is, in words.
    left_out : mapping of str to int
        Why rows or lines were left out -> how many.
    damaged : tuple of int
        Lines, counted from 1, that should be records and are none.
    own : bytes or None
        What hmmdyn wrote about a metric table of its own.
    """

    frame: pd.DataFrame
    format: str
    left_out: Mapping[str, int] = field(default_factory=dict)
    damaged: tuple[int, ...] = ()
    own: bytes | None = None
