"""Splits and merges of states: other labellings of the checkpoints, from which EM may get further.

EM ends in a local maximum where one state covers two phases, or two states share one. As in
split-and-merge EM [1]_, a state is then cut in two, or two are made one. Ueda et al. do both at
once and keep the number of states; here a split of a model with one state fewer and a merge of a
model with one more both challenge the model in between.

References
----------
.. [1] Ueda, Nakano, Ghahramani & Hinton (2000), Neural Computation 12, 2109-2128.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hmmdyn.hmm.fit.em import COVARIANCE_PRIOR
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.observations import Sequences


class SplitMerge:
    """Finds the most promising splits and merges of labels, by one Gaussian per label.

    Parameters
    ----------
    data : Sequences
        The runs; their values must be finite.
    covariance_type : str
        ``diag`` or ``full``.
    n_best : int
        So many splits, and so many merges, are returned at most.
    """

    def __init__(self, data: Sequences, covariance_type: str, n_best: int) -> None:
        self._values, self._run_of_row = data.values, data.run_of_row
        self._covariance_type = covariance_type
        self._n_best = n_best

    def splits(self, states: IntArray, n_states: int) -> list[IntArray]:
        """Label the checkpoints anew with one state in two halves: the most telling splits.

        ``states`` (n,) are the present labels, 0 … ``n_states`` - 1.
        """
        splits = []
        for k in range(n_states):
            members = np.flatnonzero(states == k)
            if len(members) < 4:  # no two halves of two
                continue
            for later in (self._later_half(members), self._upper_half(members)):
                halves = members[~later], members[later]
                if min(map(len, halves)) > 1:
                    one, two = (Members.of(self._values[half]) for half in halves)
                    gain = self._cost(one.with_others(two)) - self._cost(one) - self._cost(two)
                    splits.append((gain, halves[1]))
        best = sorted(splits, key=lambda split: -split[0])[: self._n_best]
        return [_with_label(states, rows, n_states) for _, rows in best]

    def merges(self, states: IntArray, n_states: int) -> list[IntArray]:
        """Label the checkpoints anew with two states as one: the least costly merges."""
        members = [Members.of(self._values[states == k]) for k in range(n_states)]
        alone = [self._cost(state) for state in members]
        merges = [
            (self._cost(members[j].with_others(members[k])) - alone[j] - alone[k], j, k)
            for j, k in combinations(range(n_states), 2)
        ]
        merged = []
        for _, j, k in sorted(merges)[: self._n_best]:
            labels = np.where(states == k, j, states)
            merged.append(labels - (labels > k))
        return merged

    def _later_half(self, members: IntArray) -> NDArray[np.bool_]:
        """Which members lie in the later half of what their run has of them."""
        run = self._run_of_row[members]
        rank = np.arange(len(members)) - np.searchsorted(run, run)
        return 2 * rank >= np.bincount(run)[run]

    def _upper_half(self, members: IntArray) -> NDArray[np.bool_]:
        """Which members lie above the mean along their first principal axis."""
        centred = self._values[members] - self._values[members].mean(axis=0)
        axis = np.linalg.eigh(centred.T @ centred)[1][:, -1]
        return np.asarray(centred @ axis > 0)

    def _cost(self, members: Members) -> float:
        """Twice the negative log-likelihood of one Gaussian, up to what all splits share."""
        n = members.n
        if not n:  # a state that no checkpoint is decoded to costs nothing
            return 0.0
        covariance = (members.scatter + COVARIANCE_PRIOR * np.eye(len(members.mean))) / n
        if self._covariance_type == "diag":
            return float(n * np.log(np.diag(covariance)).sum())
        return float(n * np.linalg.slogdet(covariance)[1])


@dataclass(frozen=True)
class Members:
    """Checkpoints of a state: their number, mean (D,) and scatter around it (D, D)."""

    n: int
    mean: FloatArray
    scatter: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> Members:
        """Take checkpoints by their observations, shape (n, D)."""
        n = len(values)
        mean = values.sum(axis=0) / max(n, 1)
        centred = values - mean
        return cls(n, mean, centred.T @ centred)

    def with_others(self, others: Members) -> Members:
        """Both together, without a second look at the checkpoints (Chan et al. 1983)."""
        n = self.n + others.n
        share = others.n / max(n, 1)
        apart = others.mean - self.mean
        between = self.n * share * np.outer(apart, apart)
        return Members(n, self.mean + share * apart, self.scatter + others.scatter + between)


def _with_label(states: IntArray, rows: IntArray, label: int) -> IntArray:
    labels = states.copy()
    labels[rows] = label
    return labels
