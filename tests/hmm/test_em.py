"""EM: recovery, closed forms, hmmlearn as a peer, and everything that can go wrong as a reason."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from hmmdyn.errors import TrainingMapError
from hmmdyn.hmm.conversion import from_hmmlearn, to_hmmlearn
from hmmdyn.hmm.fit import em
from hmmdyn.hmm.fit.densities import Lifted
from hmmdyn.hmm.fit.starts import KINDS, start
from hmmdyn.hmm.model.chain import PROBABILITY_FLOOR
from hmmdyn.hmm.model.inference import beliefs, decode, log_emission
from hmmdyn.hmm.model.sizes import n_parameters
from hmmdyn.results.model import ModelOptions
from hmmdyn.results.observations import Sequences
from tests.simulate import random_parameters, sample

COVARIANCE_TYPES = ["diag", "full"]


def fit(data, first):
    return em.fit(data, [first])[0]


def sticky(n_states, n_features, covariance_type, seed):
    parameters = random_parameters(n_states, n_features, covariance_type, seed)
    transmat = 0.9 * np.eye(n_states) + 0.1 * parameters.transmat
    return replace(parameters, transmat=transmat, means=3 * parameters.means)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_recovers_the_states_it_was_sampled_from(covariance_type):
    truth = sticky(3, 3, covariance_type, seed=1)
    lengths = np.array([100, 150, 80])
    values, states = sample(truth, list(lengths), seed=2)
    fitted = fit(
        Sequences(values, lengths),
        start(Sequences(values, lengths), 3, covariance_type, 0, "k-means"),
    )
    assert fitted.valid, fitted.reason
    assert adjusted_rand_score(states, fitted.states) > 0.95


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_fit_is_judged_as_its_parameters_are_elsewhere(covariance_type):
    """Path and likelihood come from lifted densities; whitened ones, run by run, must agree."""
    lengths = np.array([70, 1, 50])
    values, _ = sample(sticky(3, 3, covariance_type, seed=31), list(lengths), seed=32)
    fitted = fit(
        Sequences(values, lengths),
        start(Sequences(values, lengths), 3, covariance_type, 0, "k-means"),
    )
    np.testing.assert_array_equal(
        fitted.states, decode(fitted.parameters, Sequences(values, lengths))
    )
    expected = beliefs(fitted.parameters, Sequences(values, lengths)).log_likelihood.sum()
    assert fitted.log_likelihood == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_one_state_is_the_closed_form(covariance_type):
    values, _ = sample(random_parameters(1, 3, covariance_type, seed=3), [60], seed=4)
    lengths = np.array([60])
    fitted = fit(
        Sequences(values, lengths),
        start(Sequences(values, lengths), 1, covariance_type, 0, "k-means"),
    )
    scatter = np.cov(values.T, ddof=0) + em.COVARIANCE_PRIOR / 60 * np.eye(3)
    expected = np.diag(scatter) if covariance_type == "diag" else scatter
    np.testing.assert_allclose(fitted.parameters.means[0], values.mean(axis=0), atol=1e-10)
    np.testing.assert_allclose(fitted.parameters.covariances[0], expected, rtol=1e-8)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_penalised_objective_never_falls(covariance_type):
    values, _ = sample(sticky(4, 3, covariance_type, seed=5), [80, 80], seed=6)
    lengths = np.array([80, 80])
    starts = [
        start(Sequences(values, lengths), 4, covariance_type, s, "random segments")
        for s in range(6)
    ]
    for fitted in em.fit(Sequences(values, lengths), starts):
        objective = np.array(fitted.objective)
        assert len(objective) > 5
        assert (np.diff(objective) > -1e-9 * np.abs(objective[1:])).all()


@pytest.mark.parametrize("lengths", [[90, 90], [100, 1, 40, 17]], ids=["equal", "unequal"])
@pytest.mark.parametrize("n_states", [1, 2, 5, 8])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_compat_iterations_are_hmmlearns(covariance_type, n_states, lengths):
    """From the same start: log-likelihoods to 1e-10 and parameters to 1e-8, relative."""
    values, _ = sample(sticky(4, 3, covariance_type, seed=16), lengths, seed=17)
    first = start(Sequences(values, np.array(lengths)), n_states, covariance_type, 0, "k-means")
    ours = em.Model(first)
    engine = em.EM(Sequences(values, np.array(lengths)), covariance_type, compat=True)
    engine.advance([ours], 20, until_converged=False)
    peer = to_hmmlearn(first)
    peer.set_params(init_params="")
    peer.monitor_.n_iter, peer.monitor_.tol, peer.n_iter = 20, -np.inf, 20
    peer.fit(values, lengths)
    theirs = from_hmmlearn(peer)
    np.testing.assert_allclose(ours.objective, peer.monitor_.history, rtol=1e-10)
    judged = engine.judge(ours)
    assert judged.log_likelihood == pytest.approx(peer.score(values, lengths), rel=1e-10)
    for name in ("startprob", "transmat", "means", "covariances"):
        np.testing.assert_allclose(
            getattr(ours.parameters, name), getattr(theirs, name), rtol=1e-8, atol=1e-12
        )


def test_models_side_by_side_do_not_disturb_each_other():
    values, _ = sample(sticky(3, 3, "full", seed=18), [60, 70], seed=19)
    lengths = np.array([60, 70])
    starts = [
        start(Sequences(values, lengths), k, "full", s, "k-means")
        for k in (1, 3, 4)
        for s in (0, 1)
    ]
    together = em.fit(Sequences(values, lengths), starts)
    for first, result in zip(starts, together, strict=True):
        alone = fit(Sequences(values, lengths), first)
        assert len(alone.objective) == len(result.objective)
        assert result.log_likelihood == pytest.approx(alone.log_likelihood, rel=1e-12)
        np.testing.assert_array_equal(alone.states, result.states)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_lifted_density_is_the_gaussian_one_even_for_narrow_states(covariance_type):
    parameters = random_parameters(3, 4, covariance_type, seed=20)
    narrow = replace(parameters, covariances=1e-6 * parameters.covariances)
    values, _ = sample(narrow, [50], seed=21)
    lifted = Lifted(values, covariance_type).log_density(narrow.means, narrow.covariances)
    expected = log_emission(narrow, Sequences.of_one_run(values)).T
    near = expected > expected.max() - 100  # elsewhere the density is as good as zero
    np.testing.assert_allclose(lifted[near], expected[near], atol=1e-6)


def test_a_state_that_cannot_be_reached_does_not_underflow_the_others():
    """The best density is the unreachable state's, by a factor of e to the 5000."""
    values = np.r_[np.zeros(10), np.full(10, 100.0)][:, None]
    lengths = np.array([20])
    first = start(Sequences(values, lengths), 2, "diag", 0, "k-means")
    stuck = replace(
        first,
        startprob=np.array([1.0, 0.0]),
        transmat=np.eye(2),
        means=np.array([[0.0], [100.0]]),
        covariances=np.ones((2, 1)),
    )
    expected = beliefs(stuck, Sequences(values, lengths)).log_likelihood.sum()
    assert fit(Sequences(values, lengths), stuck).objective[0] == pytest.approx(
        expected - 0.5 * em.COVARIANCE_PRIOR * 2
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_conversion_to_hmmlearn_and_back(covariance_type):
    parameters = random_parameters(3, 2, covariance_type, seed=22)
    values, _ = sample(parameters, [40], seed=23)
    model = to_hmmlearn(parameters)
    ours = beliefs(parameters, Sequences(values, np.array([40]))).log_likelihood.sum()
    assert model.score(values) == pytest.approx(ours)
    again = from_hmmlearn(model)
    for name in ("startprob", "transmat", "means", "covariances"):
        np.testing.assert_array_equal(getattr(again, name), getattr(parameters, name))
    model.covariance_type = "tied"
    with pytest.raises(TrainingMapError, match="diag or full"):
        from_hmmlearn(model)


def test_exhausted_budget_is_not_convergence(monkeypatch):
    monkeypatch.setattr(em, "MAX_ITERATIONS", 2)
    values, _ = sample(sticky(4, 3, "diag", seed=7), [100], seed=8)
    lengths = np.array([100])
    fitted = fit(
        Sequences(values, lengths),
        start(Sequences(values, lengths), 4, "diag", 0, "random segments"),
    )
    assert not fitted.valid
    assert fitted.reason == "not converged after 2 iterations"
    assert np.isfinite(fitted.log_likelihood)


def test_a_starved_state_keeps_finite_parameters_and_is_named():
    values, _ = sample(sticky(2, 2, "diag", seed=9), [60], seed=10)
    lengths = np.array([60])
    first = start(Sequences(values, lengths), 3, "diag", 0, "k-means")
    means = first.means.copy()
    means[2] = 1e4  # nothing is ever near it
    fitted = fit(Sequences(values, lengths), replace(first, means=means))
    assert fitted.reason == "only 2 of 3 states are visited"
    assert np.isfinite(fitted.parameters.means).all()
    np.testing.assert_allclose(fitted.parameters.transmat.sum(axis=1), 1)


def test_not_finite_is_a_reason_not_an_exception():
    values, _ = sample(sticky(2, 2, "full", seed=11), [40], seed=12)
    first = start(Sequences(values, np.array([40])), 2, "full", 0, "k-means")
    fitted = fit(Sequences(np.where(values == values[3], 1e200, values), np.array([40])), first)
    assert fitted.parameters is None
    assert fitted.reason.startswith("not finite")


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_duplicated_rows_do_not_make_a_singular_covariance(covariance_type):
    values = np.repeat(np.array([[0.0, 1.0], [3.0, -1.0]]), 20, axis=0)
    lengths = np.array([40])
    fitted = fit(
        Sequences(values, lengths),
        start(Sequences(values, lengths), 2, covariance_type, 0, "k-means"),
    )
    assert fitted.valid, fitted.reason
    smallest = min(
        np.linalg.eigvalsh(np.diag(c) if c.ndim == 1 else c).min()
        for c in fitted.parameters.covariances
    )
    assert smallest == pytest.approx(em.COVARIANCE_PRIOR / 20)


def test_full_prior_stays_off_the_off_diagonals():
    # hmmlearn would add a scalar prior to every entry of a full covariance.
    rng = np.random.default_rng(13)
    values = rng.normal(size=(4000, 2))
    lengths = np.array([4000])
    fitted = fit(
        Sequences(values, lengths), start(Sequences(values, lengths), 1, "full", 0, "k-means")
    )
    off_diagonal = fitted.parameters.covariances[0][0, 1]
    assert off_diagonal == pytest.approx(np.cov(values.T, ddof=0)[0, 1], abs=1e-12)


def test_parameter_counts_follow_the_formula():
    # (K-1) + K(K-1) + KD + KD (diag) or KD(D+1)/2 (full): docs/method/states.md
    assert n_parameters(1, 14, "diag") == 28
    assert n_parameters(4, 14, "diag") == 3 + 12 + 56 + 56
    assert n_parameters(4, 14, "full") == 3 + 12 + 56 + 4 * 105


def test_starts_depend_on_their_seed_only():
    values, _ = sample(sticky(3, 2, "diag", seed=14), [30, 40], seed=15)
    lengths = np.array([30, 40])
    for kind in KINDS:
        a, b, c = (start(Sequences(values, lengths), 3, "diag", s, kind) for s in (0, 0, 1))
        np.testing.assert_array_equal(a.means, b.means)
        assert "random" not in kind or not np.array_equal(a.transmat, c.transmat)
        np.testing.assert_allclose(a.transmat.sum(axis=1), 1)
        assert (a.transmat > 0).all()


def test_probabilities_never_seen_stay_possible():
    """Runs that only go forward: going back must stay improbable, not impossible."""
    values = np.tile(np.repeat([0.0, 5.0], 20), 3)[:, None]
    values = values + np.random.default_rng(24).normal(scale=0.1, size=values.shape)
    lengths = np.array([40, 40, 40])
    fitted = fit(
        Sequences(values, lengths), start(Sequences(values, lengths), 2, "diag", 0, "k-means")
    ).parameters
    assert fitted.transmat.min() == pytest.approx(PROBABILITY_FLOOR)
    assert fitted.startprob.min() == pytest.approx(PROBABILITY_FLOOR)


def test_a_state_at_the_very_end_of_runs_keeps_a_transition_row():
    values = np.tile(np.r_[np.zeros(19), 8.0], 2)[:, None]
    values = values + np.random.default_rng(25).normal(scale=0.1, size=values.shape)
    lengths = np.array([20, 20])
    fitted = fit(
        Sequences(values, lengths), start(Sequences(values, lengths), 2, "diag", 0, "k-means")
    )
    assert fitted.valid, fitted.reason
    np.testing.assert_allclose(fitted.parameters.transmat.sum(axis=1), 1)


def test_a_falling_objective_is_the_reason():
    values, _ = sample(sticky(2, 2, "diag", seed=26), [30], seed=27)
    lengths = np.array([30])
    model = em.Model(start(Sequences(values, lengths), 2, "diag", 0, "k-means"))
    model.objective = [-10.0, -9.0, -9.5]
    judged = em.EM(Sequences(values, lengths), "diag").judge(model)
    assert judged.reason == "the objective fell during EM"


def test_a_small_rise_is_not_convergence():
    """EM crosses plateaus: what counts is where the shrinking rises end, not the last one."""
    values, _ = sample(sticky(2, 2, "diag", seed=26), [30], seed=27)
    model = em.Model(start(Sequences(values, np.array([30])), 2, "diag", 0, "k-means"))
    model.objective = [0.0, 1.0, 1.5]  # 1/2, then 1/4, 1/8, …
    assert model.left_to_rise == pytest.approx(0.5)
    model.objective = [0.0, 1e-9, 3e-9]  # tiny, but growing
    assert model.left_to_rise == np.inf
    model.objective = [-1.0, np.nan]
    assert np.isnan(model.left_to_rise)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_nearly_singular_state_is_whitened(covariance_type):
    """Collinear metrics: variances of 1 and of 1e-12 side by side, far from the origin.

    The covariance's own rounding leaves 1e-4 or so; without whitening the error is above 1.
    """
    rng = np.random.default_rng(28)
    parameters = random_parameters(2, 3, covariance_type, seed=29)
    if covariance_type == "full":
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        narrow = turn @ np.diag([1.0, 1.0, 1e-12]) @ turn.T
    else:
        narrow = np.array([1.0, 1.0, 1e-12])
    covariances = np.stack([parameters.covariances[0], narrow])
    parameters = replace(parameters, covariances=covariances, means=100 + parameters.means)
    values, _ = sample(parameters, [40], seed=30)
    lifted = Lifted(values, covariance_type).log_density(parameters.means, covariances)
    np.testing.assert_allclose(
        lifted, log_emission(parameters, Sequences.of_one_run(values)).T, atol=1e-3
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_single_precision_leads_to_the_same_end(covariance_type):
    """Iterations in single precision, then in double: where double alone ends, judged as it is."""
    lengths = np.array([300, 200, 250])
    values, _ = sample(sticky(4, 3, covariance_type, seed=33), list(lengths), seed=34)
    first = start(Sequences(values, lengths), 4, covariance_type, 0, "time segments")
    alone = fit(Sequences(values, lengths), first)
    rough = em.Model(first)
    em.EM(Sequences(values, lengths), covariance_type, single=True).advance(
        [rough], 40, until_converged=False
    )
    assert len(rough.objective) == 40
    assert rough.objective[-1] == pytest.approx(alone.objective[-1], abs=1e-5 * len(values))
    after = fit(Sequences(values, lengths), rough.parameters)
    assert after.valid, after.reason
    assert after.log_likelihood == pytest.approx(alone.log_likelihood, abs=1e-3)
    np.testing.assert_array_equal(after.states, alone.states)
    assert (np.diff(after.objective) > -1e-9 * np.abs(after.objective[1:])).all()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_single_precision_is_taken_where_it_suffices(covariance_type):
    parameters = random_parameters(3, 4, covariance_type, seed=35)
    values, _ = sample(parameters, [200], seed=36)
    exact = Lifted(values, covariance_type)
    single = Lifted(values, covariance_type, single=True)
    means, covariances = parameters.means, parameters.covariances
    density = single.log_density(means, covariances)
    assert density.dtype == np.float32
    expected = exact.log_density(means, covariances)
    np.testing.assert_allclose(density, expected, rtol=1e-5, atol=1e-3)
    posterior = np.random.default_rng(37).dirichlet(np.ones(3), size=200).T
    moments = single.moments(posterior.astype(np.float32), means, covariances)
    for ours, theirs in zip(moments, exact.moments(posterior, means, covariances), strict=True):
        assert ours.dtype == np.float64
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_single_precision_is_not_taken_for_a_narrow_state_or_a_missing_value(covariance_type):
    """Standard deviations of 1e-3 around 1: single precision alone would be off by whole nats."""
    parameters = random_parameters(2, 3, covariance_type, seed=38)
    narrow = replace(
        parameters,
        means=1 + 0.1 * parameters.means,
        covariances=1e-6 * parameters.covariances,
    )
    values, _ = sample(narrow, [60], seed=39)
    single = Lifted(values, covariance_type, single=True)
    density = single.log_density(narrow.means, narrow.covariances)
    assert density.dtype == np.float64
    exact = Lifted(values, covariance_type)
    np.testing.assert_array_equal(density, exact.log_density(narrow.means, narrow.covariances))
    values[3, 1] = np.nan
    with_hole = Lifted(values, covariance_type, single=True)
    density = with_hole.log_density(parameters.means, parameters.covariances)
    assert density.dtype == np.float64


@pytest.mark.parametrize("options", [ModelOptions(clock="step"), ModelOptions(autoregressive=True)])
def test_a_start_of_another_variant_is_refused(options):
    values, _ = sample(random_parameters(2, 2, "diag", seed=1), [30], seed=2)
    data = Sequences.of_one_run(values, np.arange(30))
    plain = start(data, 2, "diag", 0, "k-means")
    with pytest.raises(AssertionError, match="options of the EM"):
        em.fit(data, [plain], options=options)
