"""Missing metric values are marginalised over, in EM as in inference."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.metrics import adjusted_rand_score

from hmmdyn.hmm.fit import em
from hmmdyn.hmm.fit.densities import Lifted
from hmmdyn.hmm.fit.emissions import Emissions
from hmmdyn.hmm.fit.starts import KINDS, start
from hmmdyn.hmm.model.emissions import GaussianEmissions
from hmmdyn.hmm.model.inference import log_emission
from hmmdyn.results.observations import Sequences
from hmmdyn.simulate.trajectories import simulate
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
    np.testing.assert_allclose(log_emission(parameters, Sequences.of_one_run(values)), expected)
    lifted = Lifted(values, covariance_type).log_density(parameters.means, parameters.covariances)
    np.testing.assert_allclose(lifted.T, expected, atol=1e-9)


def test_moments_are_the_conditional_expectations():
    """Under full covariances, against the conditional normal distribution, row by row."""
    parameters = random_parameters(2, 3, "full", seed=4)
    values = with_holes(sample(parameters, [20], seed=5)[0], 0.4, seed=6)
    posterior = np.random.default_rng(7).dirichlet(np.ones(2), size=20).T
    total, products = np.zeros((2, 3)), np.zeros((2, 3, 3))
    for k in range(2):
        mean, matrix = parameters.means[k], parameters.covariances[k]
        for t, row in enumerate(values):
            o, m = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
            gain = matrix[np.ix_(m, o)] @ np.linalg.inv(matrix[np.ix_(o, o)])
            expected = row.copy()
            expected[m] = mean[m] + gain @ (row[o] - mean[o])
            spread = np.zeros((3, 3))
            spread[np.ix_(m, m)] = matrix[np.ix_(m, m)] - gain @ matrix[np.ix_(o, m)]
            total[k] += posterior[k, t] * expected
            products[k] += posterior[k, t] * (np.outer(expected, expected) + spread)
    lifted = Lifted(values, "full")
    count, ours, squares = lifted.moments(posterior, parameters.means, parameters.covariances)
    np.testing.assert_allclose(count, posterior.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(ours, total)
    np.testing.assert_allclose(squares, products)


def test_diagonal_emissions_are_estimated_from_what_is_known():
    """Metrics are independent within a state, so nothing has to be expected of a missing one."""
    values = with_holes(np.random.default_rng(14).normal(size=(40, 3)), 0.4, seed=15)
    posterior = np.random.default_rng(16).dirichlet(np.ones(2), size=40).T
    states = GaussianEmissions(np.zeros((2, 3)), np.ones((2, 3)), "diag")
    Emissions(values, "diag").maximise(posterior, states, np.full(3, 0.01))
    for k in range(2):
        for i in range(3):
            known = ~np.isnan(values[:, i])
            weights, z = posterior[k, known], values[known, i]
            mean = np.average(z, weights=weights)
            assert states.means[k, i] == pytest.approx(mean)
            variance = (weights @ (z - mean) ** 2 + 0.01) / weights.sum()
            assert states.covariances[k, i] == pytest.approx(variance)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("late", [8, 15])
def test_em_ends_where_a_state_never_sees_a_metric(covariance_type, late):
    """A metric that is saved only from some checkpoint on; phases begin at 10 and 20."""
    made = simulate("sharp", 3, n_runs=5, n_checkpoints=30, n_metrics=3, random_state=1)
    complete, lengths = made.values, made.lengths
    values = complete.copy()
    values[np.tile(np.arange(30) < late, 5), 2] = np.nan
    kinds = ["k-means", "time segments"]
    fits = em.fit(
        Sequences(values, lengths),
        [start(Sequences(values, lengths), 3, covariance_type, 0, k) for k in kinds],
    )
    for fitted in fits:
        assert fitted.valid, fitted.reason
        assert len(fitted.objective) < 100
        assert (np.diff(fitted.objective) > -1e-8).all()
        assert adjusted_rand_score(made.phases, fitted.states) > 0.9


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_metric_not_seen_in_a_state_stays_as_wide_as_the_data(covariance_type):
    """And the state's other metrics are estimated as without it."""
    rng = np.random.default_rng(17)
    values, posterior = rng.normal(size=(30, 3)), np.ones((1, 30))
    values[:, 2] = np.nan
    first = random_parameters(1, 3, covariance_type, seed=18)
    without, unseen = (
        GaussianEmissions(first.means[:, :d].copy(), first.covariances[:, :d].copy(), "diag")
        if covariance_type == "diag"
        else GaussianEmissions(
            first.means[:, :d].copy(), first.covariances[:, :d, :d].copy(), "full"
        )
        for d in (2, 3)
    )
    for states in (without, unseen):
        d = states.means.shape[1]
        prior = 0.01 * (np.ones(d) if covariance_type == "diag" else np.eye(d))
        Emissions(values[:, :d], covariance_type).maximise(posterior, states, prior)
    before, after = first.covariances[0], unseen.covariances[0]
    np.testing.assert_allclose(unseen.means[0, :2], without.means[0])
    if covariance_type == "diag":
        np.testing.assert_allclose(after[:2], without.covariances[0])
        assert unseen.means[0, 2] == first.means[0, 2]
        assert after[2] == max(before[2], 1.0)
        return
    np.testing.assert_allclose(after[:2, :2], without.covariances[0])
    # Given the others, it is distributed as before, but not more narrowly than the data are.
    gains = [c[2, :2] @ np.linalg.inv(c[:2, :2]) for c in (before, after)]
    np.testing.assert_allclose(gains[1], gains[0])
    offsets = [
        m[2] - g @ m[:2] for m, g in zip((first.means[0], unseen.means[0]), gains, strict=True)
    ]
    assert offsets[1] == pytest.approx(offsets[0])
    rests = [c[2, 2] - g @ c[:2, 2] for c, g in zip((before, after), gains, strict=True)]
    assert rests[1] == pytest.approx(max(rests[0], 1.0))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_objective_never_falls_with_missing_values(covariance_type):
    truth = random_parameters(3, 4, covariance_type, seed=8)
    values = with_holes(sample(truth, [50, 30], seed=9)[0], 0.2, seed=10)
    lengths = np.array([50, 30])
    starts = [start(Sequences(values, lengths), 3, covariance_type, 0, kind) for kind in KINDS]
    for fitted in em.fit(Sequences(values, lengths), starts):
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
    (fitted,) = em.fit(Sequences(values, lengths), [truth])
    assert fitted.valid, fitted.reason
    np.testing.assert_allclose(fitted.parameters.means, truth.means, atol=0.25)
    np.testing.assert_allclose(fitted.parameters.covariances, truth.covariances, atol=0.5)
