"""In which part of the network a change of state happens first: in which layer, in which role.

Of every run that makes the change, each part has a date: when its metric crosses the middle between
its levels before and after. What is told is by how much a part is ahead of the others, over runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from hmmdyn.dynamics.outcomes.medians import median_interval
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.keys import CHECKPOINT_KEY, RUN_KEY
from hmmdyn.results.verdicts import CANNOT_TELL
from hmmdyn.results.where import AFTER, BEFORE, WHERE

_LEVEL = 0.95  # of the statement about all parts of one metric together
_FEWEST = 3  # checkpoints on either side, for levels
_CLEAR = 4.0  # a part moves where its levels are so many times the noise apart
# Median of absolute differences of two normal numbers -> their standard deviation.
_NOISE = 1.4826 / np.sqrt(2)


def where_it_moves(
    parts: pd.DataFrame, states: pd.DataFrame, boundaries: pd.DataFrame
) -> pd.DataFrame:
    """Say for every boundary, metric and part of the network when the part moves.

    Parameters
    ----------
    parts : DataFrame
        See :data:`.results.parts.PARTS`.
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
    one metric together (Bonferroni). A run in which a part does not move clearly has no date for
    it.
    """
    rows: list[dict[str, object]] = []
    if parts.empty or boundaries.empty:
        return WHERE.frame(rows)
    wide = parts.pivot(index=CHECKPOINT_KEY, columns=["by", "metric", "part"], values="value")
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
    return WHERE.frame(rows)


class _Dates(NamedTuple):
    """Bounds of when the parts of one run move, shape (P,); NaN where one does not."""

    low: FloatArray
    high: FloatArray


def _dates(
    steps: IntArray, path: IntArray, values: FloatArray, ends: tuple[int, int]
) -> _Dates | None:
    """Date the parts of one run, ``values`` of shape (T, P); None if it makes no such change."""
    before, after = ends
    changes = np.flatnonzero((path[:-1] == before) & (path[1:] == after)) + 1
    if not len(changes):
        return None
    at = int(changes[0])
    start = at - int(np.argmin(np.append(path[:at][::-1] == before, False)))
    end = at + int(np.argmin(np.append(path[at:] == after, False)))
    if min(at - start, end - at) < _FEWEST:
        return None
    window = values[start:end]
    levels = np.array([np.median(values[start:at], axis=0), np.median(values[at:end], axis=0)])
    noise = _NOISE * np.median(np.abs(np.diff(window, axis=0)), axis=0)
    moves = np.abs(levels[1] - levels[0]) > np.maximum(_CLEAR * noise, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        is_past = (window - levels[0]) / (levels[1] - levels[0]) >= 0.5
    # The cut that leaves the fewest checkpoints on the wrong side: one outlier makes no date.
    wrong = np.cumsum(is_past, axis=0) - np.cumsum(~is_past, axis=0)
    cut = wrong[:-1].argmin(axis=0) + 1
    low, high = (steps[start + cut - i].astype(np.float64) for i in (1, 0))
    return _Dates(np.where(moves, low, np.nan), np.where(moves, high, np.nan))


def _leads(names: list[str], dates: list[_Dates]) -> Iterator[dict[str, object]]:
    """By how much each part is ahead of the middle of the others, over runs."""
    low, high = (np.array([getattr(date, end) for date in dates]) for end in ("low", "high"))
    level = 1 - (1 - _LEVEL) / len(names)
    for i, name in enumerate(names):
        others = [k for k in range(len(names)) if k != i]
        moved = np.isfinite(low[:, i]) & np.isfinite(low[:, others]).any(axis=1)
        row: dict[str, object] = {"part": name, "n_runs": int(np.isfinite(low[:, i]).sum())}
        if moved.any():
            rest = (np.nanmedian(end[moved][:, others], axis=1) for end in (low, high))
            rest_low, rest_high = rest
            earliest, latest = rest_low - high[moved, i], rest_high - low[moved, i]
            least, most = median_interval(earliest, latest, level)
            # Too few runs cannot bound a median: the share of all intervals from least to greatest
            # that miss it is 2 · 2^-n.
            is_bounded = 2.0 ** (1 - moved.sum()) <= 1 - level
            row |= {
                "lead": float(np.median((earliest + latest) / 2)),
                "lead_low": least if is_bounded else np.nan,
                "lead_high": most if is_bounded else np.nan,
                "when": _verdict(least, most) if is_bounded else CANNOT_TELL,
            }
        yield {"when": CANNOT_TELL, **row}


def _verdict(least: float, most: float) -> str:
    return BEFORE if least > 0 else AFTER if most < 0 else CANNOT_TELL
