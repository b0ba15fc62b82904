"""What counts as significant, and what many tests at once cost: one rule for all statements."""

from __future__ import annotations

import numpy as np
from scipy.stats import false_discovery_control

from hmmdyn.results.arrays import FloatArray

SIGNIFICANT = 0.05
# Of a test that asks for one direction only: the same share of false ones in that direction.
SIGNIFICANT_ONE_SIDED = SIGNIFICANT / 2
# Up to so many ways to hand runs to groups are all gone through; of more, as many are drawn.
N_PERMUTATIONS = 9_999


def corrected(p: FloatArray) -> FloatArray:
    """Adjust the p-values that are known by Benjamini–Hochberg; NaN stays NaN.

    What no outcome could have made significant is no test and must come as NaN: it would only make
    the others weaker.
    """
    p = np.asarray(p, dtype=np.float64)
    out = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        out[known] = false_discovery_control(p[known])
    return out
