"""Where EM starts: a first guess of every checkpoint's state, turned into parameters.

No kind of start is best on all data, so a sweep mixes them. None starts from transitions drawn
alone: those starve states.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sklearn.cluster import KMeans

from hmmdyn.hmm.fit.chains import adapted
from hmmdyn.hmm.model.labels import chain_order
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import PLAIN_MODEL, HMMParameters, ModelOptions
from hmmdyn.results.observations import Sequences

# In the order in which a sweep takes them, over and over.
KINDS = ("k-means", "time segments", "random transitions", "random segments")
# Pseudo-counts: how much of the pooled covariance and of uniform transitions a start keeps, so
# that no state starts singular and no transition starts (and so stays) impossible.
_COVARIANCE_PSEUDO_COUNT = 1.0
_TRANSITION_PSEUDO_COUNT = 0.5
# Clusters are sought in at most so many checkpoints, segments on a grid of so many times.
_CLUSTERED = 5000
_GRID = 100
_INDISTINCT = 1e-7


def start(
    data: Sequences,
    n_states: int,
    covariance_type: str,
    seed: int,
    kind: str,
    *,
    options: ModelOptions = PLAIN_MODEL,
    unit: float = 1.0,
) -> HMMParameters:
    """Make a start for EM, wholly determined by its arguments.

    Parameters
    ----------
    data : Sequences
        The runs to fit to. A missing value (NaN) counts as the metric's mean.
    n_states : int
        K, the number of states.
    covariance_type : str
        ``diag`` or ``full``.
    seed : int
        Of what is drawn at random.
    kind : str
        One of ``KINDS``: ``k-means`` (clusters of the observations, ignoring time); ``random
        transitions`` (the same, with transitions drawn at random); ``time segments`` (every run cut
        at the same relative times, where the pooled within-segment scatter is least for randomly
        weighted metrics); ``random segments`` (cut at random relative times).
    options : ModelOptions
        Of the model to be fitted.
    unit : float
        Of the options' clock.
    """
    rng = np.random.default_rng(seed)
    data = replace(data, values=filled(data.values))
    values, lengths = data.values, data.lengths
    if kind in ("k-means", "random transitions"):
        labels = _clusters(values, n_states, rng)
    elif kind == "time segments":
        labels = _best_segments(values, lengths, n_states, rng)
    else:
        labels = _cut(lengths, np.sort(rng.random(n_states - 1)))
    parameters = from_labels(data, labels, n_states, covariance_type, options=options, unit=unit)
    if kind == "random transitions":
        drawn = rng.dirichlet(np.ones(n_states), size=n_states)
        parameters = replace(parameters, transmat=0.5 * np.eye(n_states) + 0.5 * drawn)
        return adapted(parameters, options, unit)
    return parameters


def filled(values: FloatArray) -> FloatArray:
    """Return observations with a missing value as its metric's mean, or 0 where none is known."""
    known = ~np.isnan(values)
    if known.all():
        return values
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, values, mean)


def _clusters(values: FloatArray, n_states: int, rng: np.random.Generator) -> IntArray:
    seed = int(rng.integers(2**31))
    some = values
    if len(values) > _CLUSTERED:
        some = values[np.sort(rng.choice(len(values), _CLUSTERED, replace=False))]
    clusters = KMeans(min(n_states, _n_distinct(some, rng)), n_init=1, random_state=seed).fit(some)
    return np.asarray(clusters.predict(values).astype(np.int64))


def _n_distinct(values: FloatArray, rng: np.random.Generator) -> int:
    """Count the rows that k-means can tell apart: squaring distances costs it half the digits."""
    # Different rows also differ along a random direction, and one direction is quicker to compare.
    along = np.sort(values @ rng.random(values.shape[1]))
    return 1 + int((np.diff(along) > _INDISTINCT * np.abs(along).max()).sum())


def _cut(lengths: IntArray, borders: FloatArray) -> IntArray:
    """Number the segments between relative times, for every checkpoint."""
    return np.searchsorted(borders, _middles(lengths), side="right").astype(np.int64)


def _middles(lengths: IntArray) -> FloatArray:
    """Relative time of every checkpoint, as the middle of its share of the run."""
    return np.concatenate([(np.arange(n) + 0.5) / n for n in lengths])


def _best_segments(
    values: FloatArray, lengths: IntArray, n_states: int, rng: np.random.Generator
) -> IntArray:
    """Cut relative time where the scatter within the segments is least (Bellman 1961)."""
    n_bins = max(n_states, min(_GRID, int(lengths.max())))
    bins = np.minimum((_middles(lengths) * n_bins).astype(np.int64), n_bins - 1)
    weighted = values * np.sqrt(rng.uniform(0.5, 1.5, values.shape[1]))
    count = np.concatenate([[0], np.cumsum(np.bincount(bins, minlength=n_bins))])
    total = np.zeros((n_bins + 1, values.shape[1]))
    np.add.at(total, bins + 1, weighted)
    total = total.cumsum(axis=0)
    square = np.bincount(bins, weights=(weighted**2).sum(axis=1), minlength=n_bins)
    square = np.concatenate([[0], np.cumsum(square)])
    # cost[i, j]: scatter of bins i … j-1 around their mean.
    n = count[None, :] - count[:, None]
    between = ((total[None, :] - total[:, None]) ** 2).sum(axis=2)
    cost = square[None, :] - square[:, None] - between / np.maximum(n, 1)
    cost[np.tril_indices(n_bins + 1)] = np.inf
    best, came_from = cost[0], []
    for _ in range(n_states - 1):
        reached = best[:, None] + cost
        came_from.append(reached.argmin(axis=0))
        best = reached.min(axis=0)
    borders = [n_bins]
    for back in reversed(came_from):
        borders.append(int(back[borders[-1]]))
    return _cut(lengths, np.array(sorted(borders[1:])) / n_bins)


def pooled_covariance(values: FloatArray) -> FloatArray:
    """Covariance of all checkpoints, shape (D, D)."""
    return _scatter(values, values.mean(axis=0)) / len(values)


def from_labels(
    data: Sequences,
    labels: IntArray,
    n_states: int,
    covariance_type: str,
    *,
    options: ModelOptions = PLAIN_MODEL,
    unit: float = 1.0,
    pooled: FloatArray | None = None,
) -> HMMParameters:
    """Estimate the parameters of states that are given for every checkpoint, with pseudo-counts.

    Parameters
    ----------
    data : Sequences
        The runs; their values must be finite.
    labels : ndarray, shape (n,)
        A state for every checkpoint. One that no checkpoint has gets the pooled mean and
        covariance. Those of a left-to-right model are put in the order of most runs first.
    n_states : int
        K, the number of states.
    covariance_type : str
        ``diag`` or ``full``.
    options, unit
        As in :func:`start`.
    pooled : ndarray, shape (D, D), optional
        Covariance of all checkpoints, where it is known already.
    """
    values, lengths = data.values, data.lengths
    if options.left_right:
        labels = np.argsort(chain_order(labels, lengths, n_states))[labels]
    n_features = values.shape[1]
    if pooled is None:
        pooled = pooled_covariance(values)
    means = np.zeros((n_states, n_features))
    covariances = np.zeros((n_states, n_features, n_features))
    for k in range(n_states):
        members = values[labels == k]
        means[k] = members.mean(axis=0) if len(members) else values.mean(axis=0)
        scatter = _scatter(members, means[k]) + _COVARIANCE_PSEUDO_COUNT * pooled
        covariances[k] = scatter / (len(members) + _COVARIANCE_PSEUDO_COUNT)
    covariances += 1e-3 * np.eye(n_features)
    first = data.first_rows
    starts = np.bincount(labels[first], minlength=n_states) + _TRANSITION_PSEUDO_COUNT
    counts = np.full((n_states, n_states), _TRANSITION_PSEUDO_COUNT)
    inner = np.ones(len(labels), dtype=bool)
    inner[first] = False
    pairs = labels[:-1][inner[1:]] * n_states + labels[1:][inner[1:]]
    counts += np.bincount(pairs, minlength=n_states**2).reshape(n_states, n_states)
    parameters = HMMParameters(
        startprob=starts / starts.sum(),
        transmat=counts / counts.sum(axis=1, keepdims=True),
        means=means,
        covariances=(
            covariances
            if covariance_type == "full"
            else np.diagonal(covariances, axis1=1, axis2=2).copy()
        ),
        covariance_type=covariance_type,
    )
    return adapted(parameters, options, unit)


def _scatter(values: FloatArray, mean: FloatArray) -> FloatArray:
    centred = values - mean
    return centred.T @ centred
