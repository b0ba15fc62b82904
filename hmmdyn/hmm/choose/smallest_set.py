"""The smallest set of metrics whose map has the states of the full one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from numbers import Real

import numpy as np

from hmmdyn.errors import NotEnoughDataError, UsageError
from hmmdyn.hmm.choose.supported import model_of_labels
from hmmdyn.hmm.model.inference import decode
from hmmdyn.results.arrays import IntArray
from hmmdyn.results.model import PLAIN_MODEL, ModelOptions
from hmmdyn.results.observations import Observations
from hmmdyn.results.smallest_set import METRIC_SETS, SmallestSet

_ALL_SETS_TO = 2  # metrics: beyond, sets grow from the best ones
_GROWN = 3  # sets of a size that grow by one more metric


def smallest_set(
    observations: Observations,
    states: IntArray,
    *,
    covariance_type: str = "diag",
    options: ModelOptions = PLAIN_MODEL,
    least_overlap: float = 0.9,
) -> SmallestSet:
    """Find the smallest set of metrics with which a map has the same states.

    For a set of metrics, a model is fitted to these alone, from the states of the full map on, by a
    few iterations of EM, and all checkpoints are decoded with it. The set suffices where every
    state has nearly the same checkpoints. All sets of one and of two metrics are tried; larger ones
    grow from the best three of each size, one metric at a time, so that a larger set need not be
    the smallest there is.

    Parameters
    ----------
    observations : Observations
        What the full map was fitted to, shape (n, D).
    states : ndarray, shape (n,)
        Its decoded states.
    covariance_type, options
        With which it was fitted.
    least_overlap : float
        Of the checkpoints in a state by either map, the share in it by both, for every state, from
        which on a set suffices; above 0, at most 1.

    Raises
    ------
    NotEnoughDataError
        The map has a single state, which any metric has.
    UsageError
        ``least_overlap`` is out of range.

    Notes
    -----
    It says which metrics carry the states once these are known. Whether they would have been found
    from these metrics alone is another question: fit a map to them (``metrics=…``).
    """
    if not isinstance(least_overlap, Real) or not 0 < least_overlap <= 1:
        raise UsageError(
            f"'least_overlap' must be above 0 and at most 1, got {least_overlap!r}: 0.9 asks that "
            "every state has nine in ten of its checkpoints."
        )
    if len(np.unique(states)) < 2:
        raise NotEnoughDataError(
            "The map has a single state, which any metric has: no set of metrics is smaller than "
            "another."
        )
    features = observations.features
    states = np.unique(states, return_inverse=True)[1]  # of those that are visited
    rows: list[dict[str, object]] = []
    best: list[tuple[int, ...]] = []
    for size in range(1, len(features) + 1):
        scores = {}
        for chosen in _sets_of(size, len(features), best):
            mask = np.isin(np.arange(len(features)), chosen)
            model = model_of_labels(
                observations.with_metrics(mask), states, covariance_type, options
            )
            again = decode(model, observations.with_metrics(mask))
            scores[chosen] = _overlap(states, again), float((states == again).mean())
        best = sorted(scores, key=lambda one: scores[one], reverse=True)
        rows += (
            {
                "n_metrics": size,
                "metrics": ", ".join(features[i] for i in one),
                "agreement": scores[one][1],
                "least_overlap": scores[one][0],
                "suffices": scores[one][0] >= least_overlap,
            }
            for one in best
        )
        if scores[best[0]][0] >= least_overlap:
            break
    return SmallestSet(
        metrics=tuple(features[i] for i in best[0]),
        least_overlap=scores[best[0]][0],
        tried=METRIC_SETS.frame(rows),
    )


def _sets_of(size: int, n: int, smaller: list[tuple[int, ...]]) -> Iterable[tuple[int, ...]]:
    """Return the sets of a size to try, in a fixed order, given smaller ones, the best first."""
    if size <= _ALL_SETS_TO:
        return combinations(range(n), size)
    grown = {
        tuple(sorted({*one, further}))
        for one in smaller[:_GROWN]
        for further in range(n)
        if further not in one
    }
    return sorted(grown)


def _overlap(states: IntArray, again: IntArray) -> float:
    """Of the checkpoints in a state by either map, the share in it by both; the least of all."""
    known = np.unique(states)
    mine, other = states == known[:, None], again == known[:, None]
    return float(((mine & other).sum(axis=1) / (mine | other).sum(axis=1)).min())
