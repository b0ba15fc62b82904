"""Emissions that remember the checkpoint before."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from hmmdyn.hmm.fit import em
from hmmdyn.hmm.fit.emissions import AutoregressiveEmissions
from hmmdyn.hmm.fit.starts import start
from hmmdyn.hmm.model.autoregression import MAX_AUTOREGRESSION, maximise, predecessors
from hmmdyn.hmm.model.inference import log_emission
from hmmdyn.hmm.model.missing import patterns
from hmmdyn.hmm.model.parts import emissions_of
from hmmdyn.results.model import ModelOptions
from hmmdyn.results.observations import Sequences
from tests.simulate import random_parameters, sample

COVARIANCE_TYPES = ["diag", "full"]
OPTIONS = ModelOptions(autoregressive=True)


def remembering(n_states, n_features, covariance_type, seed):
    rho = np.random.default_rng(seed).uniform(-0.2, 0.9, (n_states, n_features))
    parameters = random_parameters(n_states, n_features, covariance_type, seed)
    return replace(parameters, autoregression=rho)


def matrix(covariance):
    return np.diag(covariance) if covariance.ndim == 1 else covariance


def simulated(parameters, states, lengths, seed):
    rng = np.random.default_rng(seed)
    firsts = set(np.cumsum(lengths) - lengths)
    values = np.empty((len(states), parameters.means.shape[1]))
    for t, k in enumerate(states):
        pull = 0.0 if t in firsts else values[t - 1] - parameters.means[k]
        mean = parameters.means[k] + parameters.autoregression[k] * pull
        values[t] = rng.multivariate_normal(mean, matrix(parameters.covariances[k]))
    return values


def density(parameters, values, lengths):
    """Row by row: what is missing is left out, and a metric without a past starts anew."""
    firsts = set(np.cumsum(lengths) - lengths)
    out = np.zeros((len(values), parameters.n_states))
    for t, row in enumerate(values):
        seen = np.flatnonzero(~np.isnan(row))
        if not len(seen):
            continue
        for k in range(parameters.n_states):
            mean = parameters.means[k].copy()
            for i in range(len(row)):
                if t not in firsts and not np.isnan(values[t - 1, i]):
                    rho = parameters.autoregression[k, i]
                    mean[i] += rho * (values[t - 1, i] - parameters.means[k, i])
            covariance = matrix(parameters.covariances[k])[np.ix_(seen, seen)]
            out[t, k] = multivariate_normal.logpdf(row[seen], mean[seen], covariance)
    return out


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_density_is_the_conditional_one(covariance_type):
    parameters = remembering(3, 4, covariance_type, seed=1)
    lengths = np.array([12, 1, 9])
    values, _ = sample(parameters, list(lengths), seed=2)
    values[np.random.default_rng(3).random(values.shape) < 0.2] = np.nan
    values[4] = np.nan
    expected = density(parameters, values, lengths)
    np.testing.assert_allclose(
        log_emission(parameters, Sequences(values, lengths)), expected, atol=1e-10
    )
    emissions = AutoregressiveEmissions(values, predecessors(Sequences(values, lengths)))
    ours = emissions.log_density(emissions_of(parameters))
    np.testing.assert_allclose(ours.T, expected, atol=1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_without_memory_it_is_the_plain_emission(covariance_type):
    parameters = random_parameters(2, 3, covariance_type, seed=4)
    values, _ = sample(parameters, [20], seed=5)
    remembering_nothing = replace(parameters, autoregression=np.zeros((2, 3)))
    np.testing.assert_allclose(
        log_emission(remembering_nothing, Sequences.of_one_run(values)),
        log_emission(parameters, Sequences.of_one_run(values)),
        rtol=1e-12,
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_repeated_steps_reach_what_an_optimiser_finds(covariance_type):
    """Weighted likelihood of one state, in mean and memory given the covariance it ends with."""
    truth = remembering(1, 2, covariance_type, seed=6)
    lengths = np.array([60, 40])
    values = simulated(truth, np.zeros(100, dtype=int), lengths, seed=7)
    weights = np.random.default_rng(8).uniform(0.1, 1.0, 100)
    before, groups = predecessors(Sequences(values, lengths)), list(patterns(values))
    mean, covariance, rho = truth.means[0], truth.covariances[0], np.zeros(2)
    for _ in range(200):
        mean, covariance, rho = maximise(
            weights, values, before, groups, mean, covariance, rho, 0 * covariance
        )

    def negative(x):
        candidate = replace(
            truth, means=x[None, :2], autoregression=x[None, 2:], covariances=covariance[None]
        )
        return -weights @ log_emission(candidate, Sequences(values, lengths))[:, 0]

    best = minimize(negative, np.r_[truth.means[0], 0.1, 0.1], tol=1e-10).x
    np.testing.assert_allclose(np.r_[mean, rho], best, atol=1e-4)
    residual = values - mean - rho * np.where(np.isnan(before), 0, before - mean)
    scatter = (residual * weights[:, None]).T @ residual / weights.sum()
    expected = np.diag(scatter) if covariance_type == "diag" else scatter
    np.testing.assert_allclose(covariance, expected, rtol=1e-8)


@pytest.mark.parametrize("holes", [0.0, 0.1])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_parameters_are_recovered(covariance_type, holes):
    truth = replace(
        remembering(2, 3, covariance_type, seed=9),
        means=np.array([[0.0, 0.0, 0.0], [3.0, -3.0, 2.0]]),
        autoregression=np.array([[0.8, 0.5, 0.0], [0.3, 0.8, 0.6]]),
    )
    truth = replace(truth, covariances=0.2 * truth.covariances)
    states = np.tile(np.repeat([0, 1], 60), 40)
    lengths = np.full(40, 120)
    values = simulated(truth, states, lengths, seed=10)
    values[np.random.default_rng(11).random(values.shape) < holes] = np.nan
    first = start(Sequences(values, lengths), 2, covariance_type, 0, "k-means", options=OPTIONS)
    (fitted,) = em.fit(Sequences(values, lengths), [first], options=OPTIONS)
    assert fitted.valid, fitted.reason
    assert adjusted_rand_score(states, fitted.states) > 0.95
    order = np.argsort(fitted.parameters.means[:, 0])
    np.testing.assert_allclose(fitted.parameters.means[order], truth.means, atol=0.3)
    rho, covariances = (
        getattr(fitted.parameters, name)[order] for name in ("autoregression", "covariances")
    )
    np.testing.assert_allclose(rho, truth.autoregression, atol=0.1 if holes else 0.05)
    # After a hole a metric starts anew, which the truth does not: that widens the noise.
    np.testing.assert_allclose(covariances, truth.covariances, atol=0.3 if holes else 0.08)


def test_memory_is_bounded_on_a_trend_without_a_level():
    values = np.cumsum(np.ones((50, 1)), axis=0) / 15
    lengths = np.array([50])
    first = start(Sequences(values, lengths), 1, "diag", 0, "k-means", options=OPTIONS)
    (fitted,) = em.fit(Sequences(values, lengths), [first], options=OPTIONS)
    assert fitted.parameters.autoregression[0, 0] == pytest.approx(MAX_AUTOREGRESSION)
    assert np.isfinite(fitted.parameters.means).all()


def test_a_starved_state_and_overflow_are_reasons_not_exceptions():
    values, _ = sample(random_parameters(2, 2, "full", seed=12), [40], seed=13)
    lengths = np.array([40])
    first = start(Sequences(values, lengths), 2, "full", 0, "k-means", options=OPTIONS)
    means = first.means.copy()
    means[1] = 1e4
    (starved,) = em.fit(Sequences(values, lengths), [replace(first, means=means)], options=OPTIONS)
    assert starved.reason == "only 1 of 2 states are visited"
    (overflown,) = em.fit(
        Sequences(np.where(values == values[3], 1e200, values), lengths), [first], options=OPTIONS
    )
    assert overflown.reason.startswith("not finite")
