"""Missing metric values: rows that lack the same metrics are treated together."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hmmdyn.results.arrays import FloatArray, IntArray


def patterns(values: FloatArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Group rows by which metrics they have: (rows, observed metrics), both as indices."""
    missing = np.isnan(values)
    if not missing.any():
        yield np.arange(len(values)), np.arange(values.shape[1])
        return
    kinds, which = np.unique(missing, axis=0, return_inverse=True)
    for kind, pattern in enumerate(kinds):
        yield np.flatnonzero(which == kind), np.flatnonzero(~pattern)


def marginal(
    means: FloatArray, covariances: FloatArray, observed: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Means (S, d) and covariances (S, d) or (S, d, d) of the observed metrics alone."""
    if covariances.ndim == 2:
        return means[:, observed], covariances[:, observed]
    return means[:, observed], covariances[:, observed[:, None], observed]
