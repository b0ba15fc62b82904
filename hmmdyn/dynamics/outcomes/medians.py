"""The median over runs of what evaluations tell of each run to within an interval only."""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from hmmdyn.results.arrays import FloatArray


def median_interval(low: FloatArray, high: FloatArray, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of the median of values known to lie between ``low`` and ``high``.

    The lower end is that of the order statistics of the lower bounds, the upper end that of the
    upper bounds: every order statistic of the values lies between those of the bounds. Fewer than
    six values cannot bound their median so, and it is from the least to the greatest that the
    bounds leave open; NaN to NaN without any.

    Parameters
    ----------
    low, high : ndarray, shape (n,)
        Bounds; ``high`` may be infinite.
    level : float
        Of the interval: how often it holds the median, at least.
    """
    n = len(low)
    if n == 0:
        return float("nan"), float("nan")
    rank = max(int(binom.ppf((1 - level) / 2, n, 0.5)), 1)
    return float(np.sort(low)[rank - 1]), float(np.sort(high)[n - rank])
