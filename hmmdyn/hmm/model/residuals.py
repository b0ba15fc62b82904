"""What is left of observations around the states of a model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hmmdyn.hmm.model.emissions import log_density
from hmmdyn.hmm.model.inference import Beliefs
from hmmdyn.hmm.model.missing import patterns
from hmmdyn.hmm.model.parts import emissions_of
from hmmdyn.results.arrays import FloatArray, IntArray
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Sequences


class Autocorrelation(NamedTuple):
    """Of all metrics ``pooled``, and ``by_metric``, shape (D,); NaN without any pair."""

    pooled: float
    by_metric: FloatArray


def residual_autocorrelation(
    parameters: HMMParameters, data: Sequences, states: IntArray
) -> Autocorrelation:
    """Lag-1 autocorrelation of the standardised residuals within decoded states, shape (n,).

    Residuals are z - μ (where emissions remember, μ given the checkpoint before) in units of the
    state's deviation; pairs are successive checkpoints of one run in one state.
    """
    values, emissions = data.values, emissions_of(parameters)
    covariances = parameters.covariances
    if parameters.covariance_type == "full":
        covariances = np.diagonal(covariances, axis1=1, axis2=2)
    expected = np.empty_like(values)
    for k in range(parameters.n_states):
        here = states == k
        expected[here] = emissions.centre(k, data)[here]
    residuals = (values - expected) / np.sqrt(covariances)[states]
    run = data.run_of_row
    paired = (run[1:] == run[:-1]) & (states[1:] == states[:-1])
    before, after = residuals[:-1][paired], residuals[1:][paired]
    known = ~np.isnan(before * after)
    before, after = np.where(known, before, 0.0), np.where(known, after, 0.0)
    products = (before * after).sum(axis=0)
    squares = (before**2).sum(axis=0), (after**2).sum(axis=0)
    with np.errstate(invalid="ignore"):  # without pairs it is 0/0, and unknown
        by_metric = products / np.sqrt(squares[0] * squares[1])
        pooled = products.sum() / np.sqrt(squares[0].sum() * squares[1].sum())
    return Autocorrelation(float(pooled), by_metric)


def squared_distances(parameters: HMMParameters, data: Sequences, seen: Beliefs) -> FloatArray:
    """Expected squared Mahalanobis distance of each checkpoint from its state's centre, (n,).

    ``seen`` are the beliefs about these runs. Metrics that are missing add nothing.
    """
    emissions = emissions_of(parameters)
    groups = list(patterns(data.values))
    at_centre = np.empty_like(seen.log_emission)
    for k, covariance in enumerate(emissions.covariances):
        centre = emissions.centre(k, data)
        known = np.where(np.isnan(data.values), np.nan, centre)
        at_centre[:, k] = log_density(known, centre, covariance, groups)
    squares: FloatArray = 2 * (at_centre - seen.log_emission)
    return np.asarray((seen.smoothed * squares).sum(axis=1))
