"""In which part of the network a change of state happens first: in which layer, in which role.

Of every run that makes the change, each part has a date: when its metric crosses the middle between
its levels before and after. What is told is by how much a part is ahead of the others, over runs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import binom

from hmmdyn.dynamics.moves import FEWEST, Dates, crossings, median_between, way_done
from hmmdyn.dynamics.significance import SIGNIFICANT, corrected
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY
from hmmdyn.results.verdicts import CANNOT_TELL
from hmmdyn.results.where import AFTER, BEFORE, WHERE

_SERIES = ["by", "metric", "part"]


def where_it_moves(
    parts: pd.DataFrame, states: pd.DataFrame, boundaries: pd.DataFrame
) -> pd.DataFrame:
    """Say for every boundary, metric and part of the network when the part moves.

    Parameters
    ----------
    parts : DataFrame
        See :data:`.results.parts.PARTS`; parts in the order of the network.
    states : DataFrame
        See :data:`.results.states.STATES`.
    boundaries : DataFrame
        Those between states that are asked about: ``from_state``, ``to_state``.

    Returns
    -------
    DataFrame
        See :data:`.results.where.WHERE`.

    Notes
    -----
    A date lies between two checkpoints, and so a lead is known to within two gaps; the interval of
    its median over runs is that of order statistics of these bounds, and holds for all parts of
    one metric together (Bonferroni). A part is only said to move before or after the others where
    the sign test over runs agrees, corrected over all metrics, parts and boundaries
    (Benjamini–Hochberg). A run in which a part does not move clearly has no date for it.
    """
    rows: list[dict[str, object]] = []
    if parts.empty or boundaries.empty:
        return WHERE.frame(rows)
    in_order = pd.MultiIndex.from_frame(parts[_SERIES].drop_duplicates())
    wide = parts.pivot(index=CHECKPOINT_KEY, columns=_SERIES, values="value")
    wide = wide.reindex(columns=in_order)
    known = states.set_index(CHECKPOINT_KEY)["state"]
    wide = wide.loc[wide.index.isin(known.index)].sort_index()
    of_runs = [
        (run.index.get_level_values("step").to_numpy(), known.loc[run.index].to_numpy(), run)
        for _, run in wide.groupby(RUN_KEY, sort=False)
    ]
    for j, k in boundaries[["from_state", "to_state"]].itertuples(index=False, name=None):
        columns = wide.columns.to_frame(index=False)  # in their order
        for (by, metric), of_metric in columns.groupby(["by", "metric"], sort=False):
            names = of_metric["part"].tolist()
            if len(names) == 1:  # there are no others to be ahead of
                continue
            dates = [
                _dates(steps, path, run.to_numpy(np.float64)[:, of_metric.index], (j, k))
                for steps, path, run in of_runs
            ]
            found = [date for date in dates if date is not None]
            if found:
                told = {"from_state": j, "to_state": k, "by": by, "metric": metric}
                rows += ({**told, **row} for row in _leads(names, found))
    table = WHERE.frame(rows)
    table["p_corrected"] = corrected(table["p"].to_numpy())
    is_told = table["p_corrected"] < SIGNIFICANT
    table.loc[is_told & (table["lead_low"] > 0), "when"] = BEFORE
    table.loc[is_told & (table["lead_high"] < 0), "when"] = AFTER
    return table


def _dates(
    steps: IntArray, path: IntArray, values: FloatArray, ends: tuple[int, int]
) -> Dates | None:
    """Date the parts of one run, ``values`` of shape (T, P); None if it makes no such change."""
    before, after = ends
    changes = np.flatnonzero((path[:-1] == before) & (path[1:] == after)) + 1
    if not len(changes):
        return None
    at = int(changes[0])
    start = at - int(np.argmin(np.append(path[:at][::-1] == before, False)))
    end = at + int(np.argmin(np.append(path[at:] == after, False)))
    if min(at - start, end - at) < FEWEST:
        return None
    return crossings(steps[start:end], way_done(values[start:end], at - start, end - at))


def _leads(names: list[str], dates: list[Dates]) -> Iterator[dict[str, object]]:
    """By how much each part is ahead of the middle of the others, over runs."""
    low, high = (np.array([getattr(date, end) for date in dates]) for end in ("low", "high"))
    for i, name in enumerate(names):
        others = [k for k in range(len(names)) if k != i]
        moved = np.isfinite(low[:, i]) & np.isfinite(low[:, others]).any(axis=1)
        row: dict[str, object] = {"part": name, "n_runs": int(np.isfinite(low[:, i]).sum())}
        if moved.any():
            rest = (np.nanmedian(end[moved][:, others], axis=1) for end in (low, high))
            rest_low, rest_high = rest
            earliest, latest = rest_low - high[moved, i], rest_high - low[moved, i]
            lead = median_between(earliest, latest, len(names))
            row |= {
                "lead": lead.middle,
                "lead_low": lead.low,
                "lead_high": lead.high,
                "p": _p_value(earliest, latest),
            }
        yield {"when": CANNOT_TELL, **row}


def _p_value(earliest: FloatArray, latest: FloatArray) -> float:
    """Test by signs whether the median lead is 0; NaN for runs too few to ever be significant.

    A run whose bounds have 0 between them counts for neither side.
    """
    n_runs, n_clear = len(earliest), max(int((earliest > 0).sum()), int((latest < 0).sum()))
    least = 2 * binom.sf(n_runs - 1, n_runs, 0.5)
    return min(1.0, 2 * binom.sf(n_clear - 1, n_runs, 0.5)) if least < SIGNIFICANT else np.nan
