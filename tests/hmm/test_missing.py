"""Missing metric values are marginalised over, in EM as in inference."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from hmmdyn.hmm import em
from hmmdyn.hmm.inference import log_emission
from hmmdyn.hmm.lifted import Lifted
from hmmdyn.hmm.starts import KINDS, start
from tests.simulate import random_parameters, sample

COVARIANCE_TYPES = ["diag", "full"]


def with_holes(values, share, seed):
    holes = np.random.default_rng(seed).random(values.shape) < share
    return np.where(holes, np.nan, values)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_density_is_the_marginal_one(covariance_type):
    parameters = random_parameters(3, 4, covariance_type, seed=1)
    complete, _ = sample(parameters, [30], seed=2)
    values = with_holes(complete, 0.4, seed=3)
    values[5] = np.nan
    expected = np.zeros((30, 3))
    for t, row in enumerate(values):
        seen = np.flatnonzero(~np.isnan(row))
        for k in range(3):
            covariance = parameters.covariances[k]
            matrix = np.diag(covariance) if covariance.ndim == 1 else covariance
            if len(seen):
                expected[t, k] = multivariate_normal.logpdf(
                    row[seen], parameters.means[k][seen], matrix[np.ix_(seen, seen)]
                )
    np.testing.assert_allclose(log_emission(parameters, values), expected)
    lifted = Lifted(values, covariance_type).log_density(parameters.means, parameters.covariances)
    np.testing.assert_allclose(lifted.T, expected, atol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_moments_are_the_conditional_expectations(covariance_type):
    """Against the conditional normal distribution, row by row."""
    parameters = random_parameters(2, 3, covariance_type, seed=4)
    values = with_holes(sample(parameters, [20], seed=5)[0], 0.4, seed=6)
    posterior = np.random.default_rng(7).dirichlet(np.ones(2), size=20).T
    total, products = np.zeros((2, 3)), np.zeros((2, 3, 3))
    for k in range(2):
        mean, covariance = parameters.means[k], parameters.covariances[k]
        matrix = np.diag(covariance) if covariance.ndim == 1 else covariance
        for t, row in enumerate(values):
            o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
            gain = matrix[np.ix_(m, o)] @ np.linalg.inv(matrix[np.ix_(o, o)])
            expected = row.copy()
            expected[m] = mean[m] + gain @ (row[o] - mean[o])
            spread = np.zeros((3, 3))
            spread[np.ix_(m, m)] = matrix[np.ix_(m, m)] - gain @ matrix[np.ix_(o, m)]
            total[k] += posterior[k, t] * expected
            products[k] += posterior[k, t] * (np.outer(expected, expected) + spread)
    lifted = Lifted(values, covariance_type)
    count, ours, squares = lifted.moments(posterior, parameters.means, parameters.covariances)
    if covariance_type == "diag":
        products = np.diagonal(products, axis1=1, axis2=2)
    np.testing.assert_allclose(count, posterior.sum(axis=1))
    np.testing.assert_allclose(ours, total)
    np.testing.assert_allclose(squares, products)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_objective_never_falls_with_missing_values(covariance_type):
    truth = random_parameters(3, 4, covariance_type, seed=8)
    values = with_holes(sample(truth, [50, 30], seed=9)[0], 0.2, seed=10)
    lengths = np.array([50, 30])
    starts = [start(values, lengths, 3, covariance_type, 0, kind) for kind in KINDS]
    for fitted in em.fit(values, lengths, starts):
        assert fitted.parameters is not None, fitted.reason
        assert len(fitted.objective) > 3
        assert (np.diff(fitted.objective) > -1e-8).all()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_parameters_are_found_in_spite_of_holes(covariance_type):
    truth = random_parameters(2, 3, covariance_type, seed=11)
    truth = replace(truth, means=3 * truth.means, transmat=np.array([[0.95, 0.05], [0.05, 0.95]]))
    complete, _ = sample(truth, [800, 800], seed=12)
    lengths = np.array([800, 800])
    values = with_holes(complete, 0.3, seed=13)
    (fitted,) = em.fit(values, lengths, [truth])
    assert fitted.valid, fitted.reason
    np.testing.assert_allclose(fitted.parameters.means, truth.means, atol=0.25)
    np.testing.assert_allclose(fitted.parameters.covariances, truth.covariances, atol=0.5)
