"""Tables given from Python: frames of any library, and columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from hmmdyn.errors import UsageError
from hmmdyn.logs.columnar import from_arrow

TAKEN = (
    "a pandas DataFrame, an Arrow table, a frame of Polars or another library (with the Arrow C "
    "interface or the dataframe interchange protocol), a dict of columns, a list of rows"
)


def is_frame(source: Any) -> bool:
    """Whether this has named columns, as the frames of all libraries do."""
    return hasattr(source, "columns") or hasattr(source, "column_names")


def is_records(source: Any) -> bool:
    """Whether this is a list of rows, each a dict of single values."""
    if not isinstance(source, (list, tuple)) or not source:
        return False
    rows = all(isinstance(row, Mapping) for row in source)
    return rows and all(pd.api.types.is_scalar(value) for row in source for value in row.values())


def as_frame(source: Any) -> pd.DataFrame | None:
    """Return a table of any library as a pandas DataFrame; None for what is no table.

    Raises
    ------
    UsageError
        It claims to be a table and cannot be read as one.
    """
    if isinstance(source, pd.DataFrame):
        return source
    is_columns = isinstance(source, Mapping) and all(isinstance(name, str) for name in source)
    try:
        if isinstance(source, pa.RecordBatchReader):
            return from_arrow(source.read_all())
        if isinstance(source, (pa.Table, pa.RecordBatch)) or hasattr(source, "__arrow_c_stream__"):
            return from_arrow(pa.table(source))
        if hasattr(source, "__dataframe__"):
            from pyarrow.interchange import from_dataframe

            return from_arrow(from_dataframe(source))
        if is_columns and source:
            return pd.DataFrame(dict(source))
        if is_records(source):
            return pd.DataFrame(list(source))
    except (ValueError, TypeError, pa.ArrowException, RuntimeError) as error:
        raise UsageError(
            f"'source' cannot be read as a table: {error}. Give {TAKEN}, whose columns are equally "
            "long."
        ) from None
    return None
