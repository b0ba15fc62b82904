import numpy as np
import pytest

from hmmdyn.hmm.choose.diagnostics import diagnose, phase_free, residual_autocorrelation
from hmmdyn.hmm.model.inference import decode
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Sequences
from hmmdyn.simulate.trajectories import simulate
from tests.simulate import random_parameters, sample


def one_state(n_features, covariance_type="diag"):
    covariance = np.ones(n_features) if covariance_type == "diag" else np.eye(n_features)
    return HMMParameters(
        np.ones(1), np.ones((1, 1)), np.zeros((1, n_features)), covariance[None], covariance_type
    )


def autoregression(coefficient, n, seed):
    rng = np.random.default_rng(seed)
    z = np.empty(n)
    z[0] = rng.normal()
    for t in range(1, n):
        z[t] = coefficient * z[t - 1] + np.sqrt(1 - coefficient**2) * rng.normal()
    return z


@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_autocorrelation_of_an_autoregression_is_its_coefficient(covariance_type):
    n = 40_000
    values = np.stack([autoregression(c, n, i) for i, c in enumerate((0.3, 0.8))], axis=1)
    parameters = one_state(2, covariance_type)
    pooled, by_metric = residual_autocorrelation(
        parameters, Sequences(values, np.array([n])), np.zeros(n, dtype=int)
    )
    # Bartlett: the standard error is sqrt((1 - coefficient²) / n) < 0.005.
    np.testing.assert_allclose(by_metric, [0.3, 0.8], atol=0.02)
    assert pooled == pytest.approx(0.55, abs=0.02)


def test_autocorrelation_is_nought_where_the_model_holds():
    parameters = random_parameters(3, 2, "full", seed=1)
    values, states = sample(parameters, [4000, 4000], seed=2)
    pooled, _ = residual_autocorrelation(
        parameters, Sequences(values, np.array([4000, 4000])), states
    )
    assert abs(pooled) < 0.03


def test_pairs_cross_neither_states_nor_runs_nor_missing_values():
    values = np.array([[1.0], [2.0], [50.0], [1.0], [3.0], [np.nan], [7.0]])
    states = np.array([0, 0, 1, 0, 0, 0, 0])
    parameters = HMMParameters(
        np.array([0.5, 0.5]), np.full((2, 2), 0.5), np.zeros((2, 1)), np.ones((2, 1)), "diag"
    )
    pooled, by_metric = residual_autocorrelation(
        parameters, Sequences(values, np.array([4, 3])), states
    )
    # Of run 1 (1, 2 | 50 | 1) and run 2 (3, missing, 7) only the pair (1, 2) is left.
    assert pooled == pytest.approx(1 * 2 / np.sqrt(1 * 4))
    pooled, by_metric = residual_autocorrelation(
        parameters, Sequences(values, np.array([1] * 7)), states
    )
    assert np.isnan(pooled)
    assert np.isnan(by_metric).all()


@pytest.mark.parametrize("n", [64, 65])
def test_surrogate_keeps_spectra_moments_and_nothing_else(n):
    rng = np.random.default_rng(0)
    lengths = np.array([n, n])
    values = rng.normal(size=(2 * n, 3)).cumsum(axis=0)
    # Without a trend the surrogate's spectrum is the run's own, up to the scale of each metric.
    basis = np.polynomial.legendre.legvander(np.tile(np.linspace(-1, 1, n), 2), 3)
    values -= basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
    made = phase_free(Sequences(values, lengths), random_state=3)
    assert not np.allclose(made, values, atol=0.1)
    for run, new in zip(np.split(values, 2), np.split(made, 2), strict=True):
        np.testing.assert_allclose(new.mean(axis=0), run.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(new.std(axis=0), run.std(axis=0))
        before, after = (np.fft.rfft(r, axis=0)[1:] for r in (run, new))
        np.testing.assert_allclose(np.abs(after), np.abs(before), rtol=1e-6)
        cross = [x[:, 0] * np.conj(x[:, 1]) for x in (before, after)]
        np.testing.assert_allclose(cross[0], cross[1], rtol=1e-6)
    np.testing.assert_array_equal(made, phase_free(Sequences(values, lengths), random_state=3))
    assert not np.allclose(made, phase_free(Sequences(values, lengths), random_state=4))


def test_surrogate_keeps_a_slow_trend_and_missing_values():
    t = np.linspace(-1, 1, 50)
    values = np.stack([t**3 - t, 2 * t**2], axis=1)
    values[7, 1] = np.nan
    made = phase_free(Sequences(values, np.array([50])), random_state=0)
    np.testing.assert_allclose(made[:, 0], values[:, 0], atol=1e-9)
    np.testing.assert_array_equal(np.isnan(made), np.isnan(values))


def test_runs_of_one_checkpoint_and_constant_metrics_have_a_surrogate():
    values = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [4.0, 5.0]])
    made = phase_free(Sequences(values, np.array([1, 3])), random_state=0)
    assert np.isfinite(made).all()
    np.testing.assert_allclose(made[:, 1], 5.0)


def diagnosed(parameters, values, lengths, candidates=(1, 2, 3), choose=lambda data: 1):
    return diagnose(parameters, Sequences(values, np.array(lengths)), candidates, choose)


def test_clean_phases_leave_nothing_to_say():
    s = simulate("sharp", 2, n_runs=4, noise=0.15, random_state=0)
    means = np.array([s.values[s.phases == k].mean(axis=0) for k in range(2)])
    variances = np.array([s.values[s.phases == k].var(axis=0) for k in range(2)])
    parameters = HMMParameters(
        np.array([0.9, 0.1]), np.array([[0.98, 0.02], [0.02, 0.98]]), means, variances, "diag"
    )
    seen = []

    def choose(data):
        seen.append(data.values)
        return 1

    d = diagnose(parameters, Sequences(s.values, s.lengths), range(1, 4), choose, random_state=8)
    np.testing.assert_array_equal(seen[0], phase_free(Sequences(s.values, s.lengths), 8))
    assert d.surrogate_n_states == 1
    assert not d.at_limit
    assert d.single_run_states == ()
    assert abs(d.autocorrelation) < 0.3
    assert d.notices == ()


def test_limits_are_said_in_words():
    values = np.concatenate([autoregression(0.95, 400, 1), autoregression(0.95, 400, 2) + 40])
    parameters = HMMParameters(
        np.array([0.5, 0.5]),
        np.array([[0.99, 0.01], [0.01, 0.99]]),
        np.array([[0.0], [40.0]]),
        np.ones((2, 1)),
        "diag",
    )
    d = diagnosed(parameters, values[:, None], [400, 400], (1, 2), choose=lambda data: 2)
    assert set(decode(parameters, Sequences(values[:, None], np.array([400, 400])))) == {0, 1}
    assert d.at_limit
    assert d.single_run_states == (0, 1)
    autocorrelation, surrogate, single = (n.message for n in d.notices)
    assert "K is a resolution rather than a count of phases" in autocorrelation
    assert f"{d.autocorrelation:.2f}" in autocorrelation
    assert "gives 2 on made-up trajectories" in surrogate
    assert single.startswith("States 0 and 1 of 2 are visited by a single run each")


def test_with_one_run_every_state_is_of_one_run_and_that_is_not_said():
    parameters = random_parameters(2, 1, "diag", seed=1)
    values, _ = sample(parameters, [30], seed=2)
    d = diagnosed(parameters, values, [30], choose=lambda data: None)
    assert d.single_run_states == ()
    assert d.surrogate_n_states is None
