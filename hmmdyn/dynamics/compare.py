"""How differently runs walk the map."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import wasserstein_distance, wasserstein_distance_nd

from hmmdyn.results import Dissimilarity, FloatArray


def dissimilarity(occupancy: pd.DataFrame, means: FloatArray) -> Dissimilarity:
    """Return the expected Wasserstein-1 distance between two runs' bags of states.

    E[W] = 2 / (N (N - 1)) Σ_{i<j} W₁(P̂_i, P̂_j) (Hu 2023, eq. 1).

    Parameters
    ----------
    occupancy : DataFrame
        One row per run with columns ``state_0 …``.
    means : ndarray, shape (K, D)
        Emission means in standardised units: their distances are the ground cost.
    """
    columns = [c for c in occupancy if str(c).startswith("state_")]
    bags = occupancy[columns].to_numpy(dtype=np.float64)
    labels = np.arange(bags.shape[1])
    return Dissimilarity(
        emission=_mean_over_pairs(bags, lambda p, q: _between_means(p, q, means)),
        total_variation=_mean_over_pairs(bags, lambda p, q: 0.5 * float(np.abs(p - q).sum())),
        labels=_mean_over_pairs(
            bags, lambda p, q: float(wasserstein_distance(labels, labels, p, q))
        ),
        n_runs=len(bags),
    )


def _between_means(p: FloatArray, q: FloatArray, means: FloatArray) -> float:
    # What two runs share does not move: only the difference is carried from state to state.
    surplus, deficit = np.maximum(p - q, 0), np.maximum(q - p, 0)
    moved = surplus.sum()
    if moved <= 0:
        return 0.0
    sources, sinks = surplus > 0, deficit > 0
    distance = wasserstein_distance_nd(
        means[sources], means[sinks], surplus[sources], deficit[sinks]
    )
    return float(moved * distance)


def _mean_over_pairs(
    bags: FloatArray, distance: Callable[[FloatArray, FloatArray], float]
) -> float:
    pairs = list(combinations(range(len(bags)), 2))
    if not pairs:
        return float("nan")
    return float(np.mean([distance(bags[i], bags[j]) for i, j in pairs]))
