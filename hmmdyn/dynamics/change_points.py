"""Where in a run a decoded change of state happened: an interval of checkpoints, not a point.

A change is placed between its neighbours: the map says that the run was in state j from one
checkpoint on, in state k until another, and changed from the one to the other once in between.
Given that, its place τ (the first checkpoint in k) has the posterior

    p(τ) ∝ Π_{s<τ} b_j(z_s)^w · Π_{s≥τ} b_k(z_s)^w · p(staying in j until τ, then in k),

with b the emission densities. With w = 1 this is what the hidden Markov model itself says, and it
is far too sure: the model takes checkpoints to be independent given the states, while the residuals
of real trajectories remember. The evidence is therefore tempered by w = (1 - ρ)/(1 + ρ), with ρ the
lag-1 autocorrelation of the residuals within states.

Why this w: away from the true change, the sum of log-density ratios walks with a drift and a
variance per checkpoint. If the model held, a mean ratio of Δ²/2 would come with a variance of Δ²,
and exp(sum) would be the right posterior. Autocorrelated residuals leave the drift as it is, but
the walk then varies, in the long run, (1 + ρ)/(1 - ρ) times as much: n checkpoints tell as much as
n w independent ones [1]_. Multiplied by w, drift and variance are Δ²w/2 and Δ²w: again those of a
posterior that is as sure as it may be. This is the scaling by which likelihoods whose terms are
wrongly taken to be independent are made to cover what they claim [2]_.

The interval takes the map as given. Where the states are not the phases, it cannot know; and where
a change is sharper than the memory of the noise, it is wider than it need be. Both are measured in
``benchmarks/change_points.md``.

References
----------
.. [1] Bayley & Hammersley (1946), Supplement to the J. of the Royal Statistical Society 8, 184-197.
.. [2] Ribatet, Cooley & Davison (2012), Statistica Sinica 22, 813-845.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax

from hmmdyn.hmm.choose.diagnostics import residual_autocorrelation
from hmmdyn.hmm.model.chain import transition_matrices
from hmmdyn.hmm.training_map import Decoding
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import HMMParameters

# Posterior mass of an interval; as much of the rest may lie before it as after it.
LEVEL = 0.9
_TINY = 1e-300  # stands for a transition of probability zero, whose logarithm would spoil sums
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Places:
    """Where one change may have happened: rows of the first checkpoint in its new state.

    ``rows`` (m,) increase by one; ``posterior`` (m,) sums to one.
    """

    rows: IntArray
    posterior: FloatArray

    def interval(self, level: float = LEVEL) -> tuple[int, int]:
        """First and last row of the equal-tailed interval that holds at least ``level``."""
        tail = (1 - level) / 2 + _ROUNDING
        cumulated = self.posterior.cumsum()
        first = int(np.searchsorted(cumulated, tail, side="right"))
        last = int(np.searchsorted(cumulated, 1 - tail))
        return int(self.rows[first]), int(self.rows[last])


def intervals(
    decoding: Decoding, parameters: HMMParameters, rows: IntArray
) -> tuple[IntArray, IntArray]:
    """90 % interval of steps of every decoded change: open at its low end, closed at its high one.

    Parameters
    ----------
    decoding : Decoding
        The runs as the map reads them.
    parameters : HMMParameters
        The map.
    rows : ndarray, shape (m,)
        Every row at which a run enters another state than it was in, in order.

    Returns
    -------
    low, high : ndarray, shape (m,)
        The change happened after checkpoint ``low`` and not after ``high``. No interval is less
        than one gap between checkpoints, and each holds the decoded change.
    """
    steps = decoding.observations.steps
    w = evidence_weight(decoding, parameters)
    found = [places.interval() for places in change_places(decoding, parameters, rows, w)]
    first, last = np.array(found, dtype=np.int64).reshape(-1, 2).T
    return steps[np.minimum(first, rows) - 1], steps[np.maximum(last, rows)]


def evidence_weight(decoding: Decoding, parameters: HMMParameters) -> float:
    """Return how many independent checkpoints one is worth, 0 … 1: (1 - ρ)/(1 + ρ).

    ρ is the lag-1 autocorrelation of the residuals within states, all metrics and runs pooled.
    A negative one counts as 0, and so does one that is unknown because no two successive
    checkpoints share a state.
    """
    data = decoding.observations
    path = decoding.states["state"].to_numpy()
    rho, _ = residual_autocorrelation(parameters, data.values, data.lengths, path)
    rho = float(np.clip(np.nan_to_num(rho), 0, 1))
    return (1 - rho) / (1 + rho)


def change_places(
    decoding: Decoding, parameters: HMMParameters, rows: IntArray, weight: float
) -> Iterator[Places]:
    """Posterior place of every decoded change, given the changes before and after it.

    Parameters
    ----------
    decoding : Decoding
        The runs as the map reads them.
    parameters : HMMParameters
        The map.
    rows : ndarray, shape (m,)
        As in :func:`intervals`.
    weight : float
        The power w of the emission densities; 1 is the posterior of the model itself.

    Notes
    -----
    Between checkpoints a and b (the entries into j and out of k, or the ends of the run), with m
    the minimum dwell, the chain stays in j over the checkpoints a + m … τ - 1 and in k over
    τ + m … b - 1; before that, it cannot leave. A run's first visit may have begun before the run,
    and its last one may go on after it.
    """
    path = decoding.states["state"].to_numpy()
    log_b = weight * decoding.beliefs.log_emission
    ends_of_runs = np.concatenate([[0], np.cumsum(decoding.observations.lengths)])
    borders = np.union1d(ends_of_runs, rows)
    at_end = np.isin(borders, ends_of_runs)
    dwell = parameters.minimum_dwell
    log_transmats, which = _log_chain(parameters, decoding.beliefs.gaps)
    log_stay = np.diagonal(log_transmats, axis1=1, axis2=2)[which]  # (n, K)
    for t, i in zip(rows, np.searchsorted(borders, rows), strict=True):
        a, b = borders[i - 1], borders[i + 1]
        j, k = path[t - 1], path[t]
        kept_j = 1 if at_end[i - 1] else dwell
        kept_k = 1 if at_end[i + 1] else dwell
        tau = np.arange(a + kept_j, b - kept_k + 1)
        seen_j, seen_k = _cumulated(log_b[a:b, j]), _cumulated(log_b[a:b, k])
        stay_j, stay_k = _cumulated(log_stay[a:b, j]), _cumulated(log_stay[a:b, k])
        in_j = tau - a  # checkpoints in j; the rest are in k
        log_weights = (
            (seen_j[in_j] + seen_k[-1] - seen_k[in_j])
            + (stay_j[in_j] - stay_j[kept_j])
            + (stay_k[-1] - stay_k[np.minimum(in_j + dwell, b - a)])
            + log_transmats[which[tau], j, k]
        )
        yield Places(tau, softmax(log_weights))


def _log_chain(parameters: HMMParameters, before: FloatArray) -> tuple[FloatArray, IntArray]:
    """Log transition probabilities between states (G, K, K), and which lead to each row (n,)."""
    transitions, which = transition_matrices(replace(parameters, minimum_dwell=1), before)
    return np.log(np.maximum(transitions, _TINY)), which


def _cumulated(values: FloatArray) -> FloatArray:
    """Sums of the first 0, 1, … n of n values, shape (n + 1,)."""
    return np.concatenate([[0.0], values.cumsum()])
