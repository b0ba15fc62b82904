"""How differently runs walk the map: distances between their bags of states, runs and groups."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist, pdist
from scipy.stats import permutation_test
from threadpoolctl import threadpool_limits

from hmmdyn.dynamics.occupancy import bags, common_bags
from hmmdyn.dynamics.significance import N_PERMUTATIONS, SIGNIFICANT, corrected
from hmmdyn.dynamics.transport import transport_costs
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.convergence import Dissimilarity
from hmmdyn.results.groups import GROUP_DISSIMILARITIES
from hmmdyn.results.keys import RUN_KEY

_BATCH = 500


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
    shares = bags(occupancy)
    if len(shares) < 2:
        return Dissimilarity(np.nan, np.nan, np.nan, len(shares))
    return Dissimilarity(
        emission=_mean_over_pairs(distances(shares, means)),
        total_variation=float(pdist(shares, "cityblock").mean() / 2),
        # On a line W₁ is the area between the two cumulative distributions (Vallender 1974).
        labels=float(pdist(shares.cumsum(axis=1), "cityblock").mean()),
        n_runs=len(shares),
    )


def distances(shares: FloatArray, means: FloatArray) -> FloatArray:
    """Wasserstein-1 distances between bags of states (R, K), shape (R, R).

    The ground cost is the Euclidean distance between emission means (K, D), so relabelling states
    changes nothing.
    """
    return transport_costs(shares, cdist(means, means))


def compare_pairs(
    states: pd.DataFrame, means: FloatArray, *, random_state: int = 0
) -> pd.DataFrame:
    """Test whether runs of two groups are further apart than runs of one, pair by pair of groups.

    The runs of a pair are compared over the stretch they have in common
    (:func:`hmmdyn.dynamics.occupancy.common_bags`): a recipe is not unlike itself for being run
    longer, or saved more often at first.

    If the two recipes walk the map alike, it does not matter which run bears which label: ``p`` is
    the share of divisions of the runs into groups of these sizes whose ``excess`` is at least the
    one seen. Every division is tried where there are few, else 9,999 drawn ones. It needs no
    assumption but that runs are independent, and tells groups apart that differ in their spread
    alone, too [1]_.

    Parameters
    ----------
    states : DataFrame
        ``group, run, seed, step, state``, runs contiguous, steps increasing within a run.
    means : ndarray, shape (K, D)
        As in :func:`distances`.
    random_state : int
        Seeds the divisions drawn.

    Returns
    -------
    DataFrame
        See :data:`.results.groups.GROUP_DISSIMILARITIES`. ``p`` and ``p_corrected`` are NaN where
        the groups are too small to tell, or have no stretch in common.

    References
    ----------
    .. [1] Székely & Rizzo (2013), Energy statistics: a class of statistics based on distances.
       Journal of Statistical Planning and Inference 143, 1249-1272.
    """
    rows = []
    for a, b in combinations(states["group"].unique(), 2):
        both = states[states["group"].isin([a, b])]
        n_runs = len(both.drop_duplicates(RUN_KEY))
        row: dict[str, object] = {"group_a": a, "group_b": b, "n_a": 0, "n_b": 0, "cut": False}
        row["n_left_out"] = n_runs
        common = common_bags(both, len(means))
        if common is not None:
            row["n_left_out"] = n_runs - len(common.bags)
            in_b = (common.bags["group"] == b).to_numpy(dtype=bool)
            in_order = np.argsort(in_b, kind="stable")
            apart = distances(bags(common.bags)[in_order], means)
            row |= {"first_step": common.start, "last_step": common.end}
            row["cut"] = bool(both["step"].max() > common.end)
            row |= compare_pair(apart, int((~in_b).sum()), random_state=random_state)
        rows.append(row)
    pairs = GROUP_DISSIMILARITIES.frame(rows)
    return pairs.assign(p_corrected=corrected(pairs["p"].to_numpy()))


def compare_pair(
    between_runs: FloatArray, n_a: int, *, random_state: int = 0
) -> dict[str, float | int]:
    """Compare two groups by the distances between their runs, of which the first ``n_a`` are one's.

    What it returns are columns of :data:`.results.groups.GROUP_DISSIMILARITIES`.
    """
    n_b = len(between_runs) - n_a
    least_p = _least_p(n_a, n_b)
    tells = least_p < SIGNIFICANT
    return {
        "n_a": n_a,
        "n_b": n_b,
        "between": float(between_runs[:n_a, n_a:].mean()),
        "within_a": _mean_over_pairs(between_runs[:n_a, :n_a]),
        "within_b": _mean_over_pairs(between_runs[n_a:, n_a:]),
        "excess": float(_excess(between_runs, np.arange(n_a), n_a + np.arange(n_b))),
        "least_p": least_p,
        "p": _permuted_p(between_runs, n_a, random_state) if tells else np.nan,
    }


def _permuted_p(between_runs: FloatArray, n_a: int, seed: int) -> float:
    """Return p of the division of the runs into the first ``n_a`` and the others."""

    def excess(a: IntArray, b: IntArray, axis: int) -> FloatArray:
        return _excess(between_runs, np.moveaxis(a, axis, -1), np.moveaxis(b, axis, -1))

    with threadpool_limits(1):  # matrices too small to share out
        found = permutation_test(
            np.split(np.arange(len(between_runs)), [n_a]),
            excess,
            alternative="greater",
            n_resamples=N_PERMUTATIONS,
            batch=_BATCH,
            vectorized=True,
            random_state=np.random.default_rng(seed),
        )
    return float(found.pvalue)


def _excess(between_runs: FloatArray, a: IntArray, b: IntArray) -> FloatArray:
    """Energy statistic of divisions, given by the runs on either side, shapes (…, n_a), (…, n_b).

    Never negative for a distance of negative type, such as W₁ on a line; 0 for equal groups.
    """
    # 2 x'Dy - x'Dx - y'Dy, where x and y give each run its share in the mean over its group.
    share: FloatArray = np.zeros((*a.shape[:-1], len(between_runs)))
    np.put_along_axis(share, a.astype(int), 1 / a.shape[-1], axis=-1)
    np.put_along_axis(share, b.astype(int), -1 / b.shape[-1], axis=-1)
    excess = -((share @ between_runs) * share).sum(axis=-1)
    # Runs added in another order are no further apart; and no zero is negative.
    return np.asarray(np.round(excess, 9) + 0.0)


def _least_p(n_a: int, n_b: int) -> float:
    """One division among all; of two groups of a size, the two halves can change places.

    NaN where a group has a single run, and so no spread of its own.
    """
    if min(n_a, n_b) < 2:
        return float("nan")
    return (2 if n_a == n_b else 1) / comb(n_a + n_b, n_a)


def _mean_over_pairs(matrix: FloatArray) -> float:
    n = len(matrix)
    return float(matrix.sum() / (n * (n - 1))) if n > 1 else float("nan")
