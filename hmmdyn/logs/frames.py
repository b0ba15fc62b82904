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
    "interface or the dataframe interchange protocol), a dict of columns"
)


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
    except (ValueError, TypeError, pa.ArrowException, RuntimeError) as error:
        raise UsageError(
            f"'source' cannot be read as a table: {error}. Give {TAKEN}, whose columns are equally "
            "long."
        ) from None
    return None
