"""The entropy of the hidden path against a sum over every path."""

from itertools import product

import numpy as np
import pytest
from scipy.special import logsumexp

from hmmdyn.hmm.choose.criteria import icl, path_entropy
from hmmdyn.hmm.model.inference import log_emission
from hmmdyn.results.observations import Sequences
from tests.simulate import random_parameters, sample


def brute_force(parameters, values):
    """(log-likelihood, entropy of the path) of one run."""
    log_b = log_emission(parameters, Sequences.of_one_run(values))
    joint = []
    for path in product(range(parameters.n_states), repeat=len(values)):
        total = np.log(parameters.startprob[path[0]]) + log_b[0, path[0]]
        for t in range(1, len(path)):
            total += np.log(parameters.transmat[path[t - 1], path[t]]) + log_b[t, path[t]]
        joint.append(total)
    log_likelihood = logsumexp(joint)
    posterior = np.exp(np.array(joint) - log_likelihood)
    return log_likelihood, -(posterior * np.log(posterior)).sum()


@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_entropy_and_icl_of_short_runs(covariance_type):
    parameters = random_parameters(3, 2, covariance_type, seed=3)
    lengths = [5, 1, 4]
    values, _ = sample(parameters, lengths, seed=4)
    runs = np.split(values, np.cumsum(lengths)[:-1])
    log_likelihood, entropy = np.sum([brute_force(parameters, run) for run in runs], axis=0)
    assert entropy > 0.1
    assert path_entropy(parameters, Sequences(values, np.array(lengths))) == pytest.approx(
        entropy, rel=1e-9
    )
    p = 2 + 6 + 3 * (2 + (2 if covariance_type == "diag" else 3))
    expected = -2 * log_likelihood + p * np.log(10) + 2 * entropy
    assert icl(parameters, Sequences(values, np.array(lengths))) == pytest.approx(
        expected, rel=1e-12
    )


def test_a_single_state_has_no_entropy():
    parameters = random_parameters(1, 2, "diag", seed=3)
    values, _ = sample(parameters, [6], seed=4)
    assert path_entropy(parameters, Sequences(values, np.array([6]))) == pytest.approx(0, abs=1e-9)


def test_an_impossible_transition_has_no_entropy():
    parameters = random_parameters(2, 2, "diag", seed=3)
    parameters.transmat[:] = [[1, 0], [0, 1]]
    values, _ = sample(parameters, [6], seed=4)
    log_likelihood, entropy = 0.0, 0.0
    stays = [
        np.log(parameters.startprob[k])
        + log_emission(parameters, Sequences.of_one_run(values))[:, k].sum()
        for k in range(2)
    ]
    log_likelihood = logsumexp(stays)
    posterior = np.exp(np.array(stays) - log_likelihood)
    entropy = -(posterior * np.log(np.maximum(posterior, 1e-300))).sum()
    assert path_entropy(parameters, Sequences(values, np.array([6]))) == pytest.approx(
        entropy, abs=1e-9
    )
