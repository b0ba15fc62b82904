"""Where EM starts: a first guess of every checkpoint's state, turned into parameters."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans

from hmmdyn.results import FloatArray, HMMParameters, IntArray

# Pseudo-counts: how much of the pooled covariance and of uniform transitions a start keeps, so
# that no state starts singular and no transition starts (and so stays) impossible.
_COVARIANCE_PSEUDO_COUNT = 1.0
_TRANSITION_PSEUDO_COUNT = 0.5


def start(
    values: FloatArray, lengths: IntArray, n_states: int, covariance_type: str, seed: int, kind: str
) -> HMMParameters:
    """Make a start for EM, wholly determined by its arguments.

    ``kind`` is ``kmeans`` (clusters of the observations, ignoring time) or ``segments`` (every run
    cut at the same random relative times: phases that follow each other).
    """
    rng = np.random.default_rng(seed)
    if kind == "kmeans":
        labels = _kmeans_labels(values, n_states, int(rng.integers(2**31)))
    else:
        labels = _segment_labels(lengths, n_states, rng)
    return _from_labels(values, lengths, labels, n_states, covariance_type)


def _kmeans_labels(values: FloatArray, n_states: int, seed: int) -> IntArray:
    labels = KMeans(n_states, n_init=1, random_state=seed).fit_predict(values)
    return labels.astype(np.int64)


def _segment_labels(lengths: IntArray, n_states: int, rng: np.random.Generator) -> IntArray:
    borders = np.sort(rng.random(n_states - 1))
    return np.concatenate(
        [np.searchsorted(borders, (np.arange(n) + 0.5) / n).astype(np.int64) for n in lengths]
    )


def _from_labels(
    values: FloatArray, lengths: IntArray, labels: IntArray, n_states: int, covariance_type: str
) -> HMMParameters:
    n_features = values.shape[1]
    pooled = np.cov(values.T, ddof=0).reshape(n_features, n_features)
    means = np.zeros((n_states, n_features))
    covariances = np.zeros((n_states, n_features, n_features))
    for k in range(n_states):
        members = values[labels == k]
        means[k] = members.mean(axis=0) if len(members) else values.mean(axis=0)
        scatter = (members - means[k]).T @ (members - means[k])
        covariances[k] = (scatter + _COVARIANCE_PSEUDO_COUNT * pooled) / (
            len(members) + _COVARIANCE_PSEUDO_COUNT
        )
    covariances += 1e-3 * np.eye(n_features)
    first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    starts = np.bincount(labels[first], minlength=n_states) + _TRANSITION_PSEUDO_COUNT
    counts = np.full((n_states, n_states), _TRANSITION_PSEUDO_COUNT)
    inner = np.setdiff1d(np.arange(len(labels)), first)
    np.add.at(counts, (labels[inner - 1], labels[inner]), 1)
    return HMMParameters(
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
