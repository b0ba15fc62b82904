"""How the entries of the weights are distributed.

References
----------
Hoyer, "Non-negative matrix factorization with sparseness constraints", JMLR 5 (2004), section 3.1.
"""

from __future__ import annotations

import math

from hmmdyn.metrics.entries import Entries
from hmmdyn.metrics.registry import metric
from hmmdyn.metrics.summary import Matrix

_NEAR = 0.1  # of the root mean square; a normal distribution has 8 % of its entries nearer to 0


@metric(needs="matrix", source="Hoyer 2004, section 3.1")
def hoyer_sparsity(matrix: Matrix) -> float:
    """Sparsity (√n − ℓ1/ℓ2) / (√n − 1), from 0 (all alike) to 1 (one entry)."""
    root = math.sqrt(matrix.values.size)
    if root == 1 or not matrix.l2:
        return math.nan
    return (root - matrix.l1 / matrix.l2) / (root - 1)


@metric(needs="weights")
def kurtosis_w(weights: Entries) -> float:
    """Kurtosis of all weights (3 for a normal distribution)."""
    return weights.kurtosis


@metric(needs="weights")
def near_zero_w(weights: Entries) -> float:
    """Share of the weights below a tenth of their root mean square."""
    mean = weights.mean
    return weights.share_below(_NEAR * math.sqrt(weights.variance + mean * mean))


@metric(needs="weights", unit="w")
def q05_w(weights: Entries) -> float:
    """Quantile of all weights that 5 % lie below."""
    return weights.quantile(0.05)


@metric(needs="weights", unit="w")
def q95_w(weights: Entries) -> float:
    """Quantile of all weights that 5 % lie above."""
    return weights.quantile(0.95)
