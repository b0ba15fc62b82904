"""Forward–backward and Viterbi against a sum over every state path, and against hmmlearn."""

from itertools import product

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from hmmdyn.hmm.model.inference import beliefs, decode, log_emission, transition_posterior
from hmmdyn.results.observations import Sequences
from tests.simulate import random_parameters, sample

COVARIANCE_TYPES = ["diag", "full"]


def log_joint(parameters, log_b, path):
    with np.errstate(divide="ignore"):
        total = np.log(parameters.startprob[path[0]]) + log_b[0, path[0]]
        for t in range(1, len(path)):
            total += np.log(parameters.transmat[path[t - 1], path[t]]) + log_b[t, path[t]]
    return total


@pytest.fixture(params=COVARIANCE_TYPES)
def model(request):
    parameters = random_parameters(3, 2, request.param, seed=1)
    lengths = [5, 1, 3]
    values, _ = sample(parameters, lengths, seed=2)
    return parameters, values, np.array(lengths)


def each_run(parameters, values, lengths):
    """(rows, log joint of every path as a dict) for each run."""
    log_b = log_emission(parameters, Sequences.of_one_run(values))
    end = np.cumsum(lengths)
    for start, stop in zip(end - lengths, end, strict=True):
        paths = product(range(parameters.n_states), repeat=int(stop - start))
        yield slice(start, stop), {p: log_joint(parameters, log_b[start:stop], p) for p in paths}


def test_log_emission_is_the_gaussian_density(model):
    parameters, values, _ = model
    ours = log_emission(parameters, Sequences.of_one_run(values))
    for k in range(3):
        covariance = parameters.covariances[k]
        matrix = np.diag(covariance) if covariance.ndim == 1 else covariance
        expected = multivariate_normal(parameters.means[k], matrix).logpdf(values)
        np.testing.assert_allclose(ours[:, k], expected, rtol=1e-12)


def test_beliefs_equal_brute_force(model):
    parameters, values, lengths = model
    seen = beliefs(parameters, Sequences(values, lengths))
    for run, (rows, joint) in enumerate(each_run(parameters, values, lengths)):
        total = logsumexp(list(joint.values()))
        assert seen.log_likelihood[run] == pytest.approx(total, rel=1e-12)
        for t in range(rows.stop - rows.start):
            for k in range(3):
                mass = logsumexp([v for p, v in joint.items() if p[t] == k])
                assert seen.smoothed[rows.start + t, k] == pytest.approx(np.exp(mass - total))


def test_filtered_posterior_uses_only_the_past(model):
    parameters, values, lengths = model
    seen = beliefs(parameters, Sequences(values, lengths))
    for t in range(lengths[0]):
        past = beliefs(parameters, Sequences(values[: t + 1], np.array([t + 1])))
        np.testing.assert_allclose(seen.filtered[t], past.smoothed[-1], rtol=1e-10)


def test_viterbi_finds_the_best_path(model):
    parameters, values, lengths = model
    path = decode(parameters, Sequences(values, lengths))
    for rows, joint in each_run(parameters, values, lengths):
        assert tuple(path[rows]) == max(joint, key=joint.get)


def test_transition_posterior_equals_brute_force(model):
    parameters, values, lengths = model
    seen = beliefs(parameters, Sequences(values, lengths))
    _rows, joint = next(each_run(parameters, values, lengths))
    total = logsumexp(list(joint.values()))
    for t, j, k in [(1, 0, 1), (2, 2, 2), (4, 1, 0)]:
        mass = logsumexp([v for p, v in joint.items() if (p[t - 1], p[t]) == (j, k)])
        ours = transition_posterior(parameters, seen, np.array([t]), np.array([j]), np.array([k]))
        assert ours[0] == pytest.approx(np.exp(mass - total))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_agrees_with_hmmlearn_on_long_unequal_runs(covariance_type):
    parameters = random_parameters(5, 4, covariance_type, seed=3)
    lengths = [120, 7, 60]
    values, _ = sample(parameters, lengths, seed=4)
    peer = GaussianHMM(5, covariance_type=covariance_type)
    peer.startprob_, peer.transmat_ = parameters.startprob, parameters.transmat
    peer.means_, peer.covars_ = parameters.means, parameters.covariances
    seen = beliefs(parameters, Sequences(values, np.array(lengths)))
    assert seen.log_likelihood.sum() == pytest.approx(peer.score(values, lengths), rel=1e-12)
    np.testing.assert_allclose(seen.smoothed, peer.predict_proba(values, lengths), atol=1e-10)
    np.testing.assert_array_equal(
        decode(parameters, Sequences(values, np.array(lengths))), peer.predict(values, lengths)
    )


def test_a_forbidden_path_does_not_turn_into_nan():
    parameters = random_parameters(2, 1, "diag", seed=5)
    left_right = type(parameters)(
        startprob=np.array([1.0, 0.0]),
        transmat=np.array([[0.5, 0.5], [0.0, 1.0]]),
        means=parameters.means,
        covariances=parameters.covariances,
        covariance_type="diag",
    )
    values, _ = sample(parameters, [20], seed=6)
    seen = beliefs(left_right, Sequences(values, np.array([20])))
    assert np.isfinite(seen.smoothed).all()
    assert (np.diff(decode(left_right, Sequences(values, np.array([20])))) >= 0).all()
