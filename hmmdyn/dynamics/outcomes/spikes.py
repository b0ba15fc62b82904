"""Spikes and divergences: where a loss leaves its level upwards, and whether it comes back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hmmdyn.results.arrays import FloatArray

# A run needs this many finite evaluations before any of them can be called unusual.
MIN_EVALUATIONS = 10
PRECEDING = 7  # evaluations whose median is the level a value is held against
SCATTER_OVER = 15  # evaluations whose changes tell the scatter at a place
UNUSUAL = 8.0  # deviations above its level from which on a value is unusual …
NOTABLE = 0.02  # … and as a share of the loss's whole way down, lest trifles count
BRIEF = 0.1  # of the evaluations that a spike lasts at most
UNFINISHED = 3  # evaluations from which on an excursion that outlasts the run is a divergence

# Standard deviation of normal noise over the median absolute difference of two values.
_NORMAL_DIFFERENCE = 1.4826 / np.sqrt(2)


@dataclass(frozen=True)
class Excursion:
    """A loss off its level: evaluations ``first`` … ``after - 1`` of the run.

    ``returned`` is whether it was seen to come back, at evaluation ``after``. ``level`` is where it
    left from, NaN where too little had gone before; ``height`` is how far above that it came,
    infinite where the loss was.
    """

    kind: str
    first: int
    after: int
    returned: bool
    level: float
    height: float


def excursions(values: FloatArray) -> list[Excursion]:
    """Find the spikes and divergences of one loss.

    A value is unusual where it lies above the median of the 7 evaluations before it by more than 8
    robust standard deviations and 2 % of the loss's whole way down, or is infinite. The excursion
    ends where the loss is back below half of that. One that is over within a tenth of the
    evaluations is a ``spike``, a longer one a ``divergence``; so is one in which the run ends after
    three evaluations or more, or in infinite values.

    Parameters
    ----------
    values : ndarray, shape (n,)
        The loss at each evaluation; infinite where it was.

    Notes
    -----
    The deviation comes from changes between successive evaluations, over the whole run and over the
    15 before, whichever is larger: a steady rise is not unusual, nor is noise where the loss is
    still high. The first 7 evaluations are never unusual unless infinite.
    """
    finite = np.isfinite(values)
    level, reach = _level_and_reach(pd.Series(np.where(finite, values, np.nan)))
    unusual = ~finite | (values > level + reach)
    found: list[Excursion] = []
    i = 0
    for first in np.flatnonzero(unusual):
        if first < i:
            continue
        one = _excursion(values, int(first), float(level[first]), float(reach[first]))
        found.append(one)
        i = one.after
    return found


def _level_and_reach(loss: pd.Series) -> tuple[FloatArray, FloatArray]:
    """Level before each evaluation, and how far above it a value is not yet unusual.

    Both are NaN where too little has gone before.
    """
    known = loss.dropna()
    if len(known) < MIN_EVALUATIONS:
        return np.full(len(loss), np.nan), np.full(len(loss), np.nan)
    level = known.rolling(PRECEDING).median().shift(1)
    changes = known.diff().abs()
    here = changes.rolling(SCATTER_OVER, min_periods=PRECEDING - 1).median().shift(1)
    way = float(level.iloc[PRECEDING] - level.min())
    scatter = _NORMAL_DIFFERENCE * here.clip(lower=changes.median())
    reach = (UNUSUAL * scatter).clip(lower=NOTABLE * way)
    both = pd.DataFrame({"level": level, "reach": reach}).reindex(loss.index).ffill()
    return both["level"].to_numpy(), both["reach"].to_numpy()


def _excursion(values: FloatArray, first: int, level: float, reach: float) -> Excursion:
    # Where too little came before, any finite value is a way back.
    bound = np.finfo(float).max if np.isnan(level) else level + reach / 2
    back = np.flatnonzero(values[first:] <= bound)
    after = first + int(back[0]) if len(back) else len(values)
    lasted = after - first
    peak = float(values[first:after].max())
    if len(back):
        lasting = lasted > max(BRIEF * len(values), 1)
    else:
        lasting = lasted >= UNFINISHED or not np.isfinite(values[-1])
    kind = "divergence" if lasting else "spike"
    height = np.inf if np.isinf(peak) else peak - level
    return Excursion(kind, first, after, bool(len(back)), level, height)
