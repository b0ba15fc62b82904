"""How the studies write their tables."""

from __future__ import annotations

import pandas as pd


def table(frame: pd.DataFrame, digits: str) -> str:
    """Return a table of numbers as Markdown, its index as the first columns."""
    head = [*frame.index.names, *map(str, frame.columns)]
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for key, values in zip(frame.index, frame.to_numpy(), strict=True):
        keys = key if isinstance(key, tuple) else (key,)
        lines.append(" | ".join([*map(str, keys), *(format(x, digits) for x in values)]))
    return "\n".join(f"| {line} |" for line in lines)
