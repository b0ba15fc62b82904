"""The power law that fits the tail of numbers best.

References
----------
Clauset, Shalizi, Newman, "Power-law distributions in empirical data", SIAM Review 51 (2009).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hmmdyn.results.arrays import FloatArray


@dataclass(frozen=True)
class PowerLaw:
    """A density proportional to x^−exponent from ``start`` on; NaN where none can be fitted.

    Attributes
    ----------
    exponent : float
    start : float
        The least number of the tail.
    distance : float
        Kolmogorov–Smirnov distance between the tail and the law.
    """

    exponent: float
    start: float
    distance: float


NONE = PowerLaw(math.nan, math.nan, math.nan)


def fit_power_law(values: FloatArray) -> PowerLaw:
    """Fit a power law to the tail of positive numbers, from the number on where it fits best.

    From each number on, the exponent is that of largest likelihood (Clauset 2009, equation 3.1);
    the tail is the one at the smallest Kolmogorov–Smirnov distance (section 3.3).

    Parameters
    ----------
    values : array, shape (n,)
        Positive, smallest first.
    """
    n = len(values)
    if n < 3 or values[0] == values[-1]:
        return NONE
    logs = np.log(values)
    n_tail = np.arange(n, 0, -1.0)
    sums = np.cumsum(logs[::-1])[::-1] - n_tail * logs
    best = NONE
    for i in range(n - 1):
        if sums[i] <= 0:  # equal numbers alone
            continue
        exponent = 1 + n_tail[i] / sums[i]
        law = -np.expm1((1 - exponent) * (logs[i:] - logs[i]))
        distance = float(np.abs(law - np.arange(n_tail[i]) / n_tail[i]).max())
        if not distance >= best.distance:  # NaN at first
            best = PowerLaw(float(exponent), float(values[i]), distance)
    return best
