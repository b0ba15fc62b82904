"""How results show themselves: a line per field, tables by what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from textwrap import shorten


class Shown:
    """A result that shows itself a line per field: tables and the like by what is in them."""

    def __repr__(self) -> str:
        own = fields(self)  # type: ignore[arg-type]
        width = max(len(f.name) for f in own)
        lines = [f"  {f.name:<{width}}  {_in_short(getattr(self, f.name))}" for f in own]
        return "\n".join([type(self).__name__, *lines])


def _in_short(value: object) -> str:
    import numpy as np
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        columns = repr(list(value.columns))[1:-1].replace("'", "")
        return shorten(f"table, {len(value):,} × {value.shape[1]}: {columns}", 92, placeholder=" …")
    if isinstance(value, np.ndarray):
        return f"array, {' × '.join(map(str, value.shape))}"
    if isinstance(value, Shown):
        return type(value).__name__
    if isinstance(value, Mapping) or (value and isinstance(value, tuple)):
        return f"{type(value).__name__} of {len(value)}"
    return repr(value)
