"""Chains: stickiness, left to right, and rates in continuous time, against brute force."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from scipy.integrate import quad_vec
from scipy.linalg import expm
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.metrics import adjusted_rand_score

from hmmdyn.errors import UsageError
from hmmdyn.hmm.fit import em
from hmmdyn.hmm.fit.chains import CheckpointChain, ContinuousChain, check_options
from hmmdyn.hmm.fit.starts import KINDS, start
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.chain import (
    PROBABILITY_FLOOR,
    dwell_and_jumps,
    propagators,
)
from hmmdyn.hmm.model.clock import capped, gaps, median_gap
from hmmdyn.hmm.model.inference import beliefs, decode, log_emission, transition_posterior
from hmmdyn.hmm.model.kernels import TimeMajor, forward_backward
from hmmdyn.hmm.model.labels import reorder, time_order
from hmmdyn.hmm.model.parts import assembled, emissions_of, transitions_of
from hmmdyn.results.model import ModelOptions
from hmmdyn.results.observations import Sequences
from tests.simulate import random_parameters, sample

PYTHIA_STEPS = np.r_[0, 2 ** np.arange(10), np.arange(1000, 20001, 1000)]
OPTIONS = [
    ModelOptions(stickiness=20.0),
    ModelOptions(left_right=True),
    ModelOptions(minimum_dwell=3),
    ModelOptions(stickiness=5.0, left_right=True, minimum_dwell=2, autoregressive=True),
    ModelOptions(clock="log-step"),
    ModelOptions(stickiness=5.0, left_right=True, clock="step"),
    ModelOptions(autoregressive=True),
    ModelOptions(stickiness=5.0, left_right=True, clock="log-step", autoregressive=True),
]


def random_generator(n_states, seed, rate=0.3):
    rates = np.random.default_rng(seed).gamma(1.0, rate, (n_states, n_states))
    return rates - np.diag(rates.sum(axis=1))


def continuous(n_states, n_features, seed, clock="step", unit=10.0):
    generator = random_generator(n_states, seed)
    return replace(
        random_parameters(n_states, n_features, "diag", seed),
        generator=generator,
        transmat=expm(generator),
        clock=clock,
        unit=unit,
    )


def sampled_at(parameters, steps, n_runs, seed):
    """(values, lengths, steps, states) of runs saved at the same steps."""
    rng = np.random.default_rng(seed)
    lengths = np.array([len(steps)])
    moves, which = np.unique(
        gaps(parameters.clock, parameters.unit, steps, lengths), return_inverse=True
    )
    transmats = np.stack([expm(parameters.generator * gap) for gap in moves])
    states = []
    for _ in range(n_runs):
        state = rng.choice(parameters.n_states, p=parameters.startprob)
        for t in range(len(steps)):
            if t:
                state = rng.choice(parameters.n_states, p=transmats[which[t], state])
            states.append(state)
    states = np.array(states)
    noise = rng.normal(size=(len(states), parameters.means.shape[1]))
    values = parameters.means[states] + np.sqrt(parameters.covariances[states]) * noise
    return values, np.full(n_runs, len(steps)), np.tile(steps, n_runs), states


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_objective_never_falls(options, covariance_type, monkeypatch):
    monkeypatch.setattr(em, "MAX_ITERATIONS", 50)
    truth = random_parameters(3, 3, covariance_type, seed=1)
    values, _ = sample(truth, [31, 31, 31], seed=2)
    values[np.random.default_rng(3).random(values.shape) < 0.05] = np.nan
    lengths, steps = np.array([31, 31, 31]), np.tile(PYTHIA_STEPS, 3)
    unit = median_gap(options.clock, steps, lengths)
    starts = [
        start(Sequences(values, lengths), 4, covariance_type, 0, kind, options=options, unit=unit)
        for kind in KINDS
    ]
    for fitted in em.fit(Sequences(values, lengths, steps), starts, options=options):
        objective = np.array(fitted.objective)
        assert len(objective) > 3
        assert (np.diff(objective) > -1e-9 * np.abs(objective[1:])).all()


# Stickiness


def test_sticky_probabilities_are_the_maximum_of_their_objective():
    counts = np.array([[30.0, 12.0, 4.0], [7.0, 9.0, 1.0], [2.0, 5.0, 11.0]])
    chain = CheckpointChain(ModelOptions(stickiness=15.0))

    def negative(logits):
        transmat = np.exp(logits - logsumexp(logits))
        return -(counts[0] @ np.log(transmat)) - 15.0 * np.log(transmat[0])

    logits = minimize(negative, np.zeros(3), tol=1e-12).x
    ours = chain.maximise(np.full((3, 3), 1 / 3), np.full((3, 3), 1 / 3), counts)
    np.testing.assert_allclose(ours[0], np.exp(logits - logsumexp(logits)), atol=1e-5)
    assert chain.log_prior(ours) == pytest.approx(15.0 * np.log(np.diag(ours)).sum())


def test_stickiness_keeps_outliers_from_becoming_visits():
    rng = np.random.default_rng(4)
    states = np.repeat([0, 1], 100)
    values = 4.0 * states[:, None] + rng.normal(size=(200, 1))
    outliers = rng.choice(200, 12, replace=False)
    values[outliers, 0] = 4.0 * (1 - states[outliers])  # for once at the other one's level
    lengths = np.array([200])
    visits = []
    for options in (ModelOptions(), ModelOptions(stickiness=1000.0)):
        first = start(Sequences(values, lengths), 2, "diag", 0, "k-means", options=options)
        (fitted,) = em.fit(Sequences(values, lengths), [first], options=options)
        assert fitted.valid, fitted.reason
        visits.append(1 + np.count_nonzero(np.diff(fitted.states)))
    assert visits[0] > 2
    assert visits[1] == 2


# Left to right


@pytest.mark.parametrize("clock", ["checkpoint", "step"])
def test_left_to_right_never_goes_back(clock):
    """Also on runs that do go back: they stay where they were."""
    states = np.tile(np.repeat([0, 1, 0, 2], 15), 4)
    values = 4.0 * np.eye(3)[states] + np.random.default_rng(5).normal(size=(240, 3))
    lengths, steps = np.full(4, 60), np.tile(np.arange(60), 4)
    options = ModelOptions(left_right=True, clock=clock)
    swept = sweep(
        Sequences(values, lengths, steps),
        [2, 3, 4],
        covariance_type="diag",
        n_restarts=4,
        random_state=0,
        options=options,
    )
    assert set(swept.winners) == {2, 3, 4}
    for fitted in swept.winners.values():
        assert (
            fitted.parameters.transmat[np.tril_indices(len(fitted.parameters.means), -1)] == 0
        ).all()
        changes = np.diff(fitted.states.reshape(4, 60), axis=1)
        assert (changes >= 0).all()
        seen = beliefs(fitted.parameters, Sequences(values[::-1], lengths, steps))
        assert np.isfinite(seen.log_likelihood).all()


def test_left_to_right_forbids_nothing_else():
    values, _ = sample(random_parameters(3, 2, "diag", seed=6), [50], seed=7)
    lengths, options = np.array([50]), ModelOptions(left_right=True)
    first = start(Sequences(values, lengths), 3, "diag", 0, "k-means", options=options)
    (fitted,) = em.fit(Sequences(values, lengths), [first], options=options)
    assert fitted.parameters.startprob.min() >= PROBABILITY_FLOOR / 2
    assert (fitted.parameters.transmat[np.triu_indices(3)] > 0).all()
    np.testing.assert_allclose(fitted.parameters.transmat.sum(axis=1), 1)


# Minimum dwell


def dwelling_paths(parameters, values, lengths):
    """(first row, log joint of every path that keeps its states long enough) for each run."""
    log_b = log_emission(parameters, Sequences.of_one_run(values))
    end = np.cumsum(lengths)
    dwell = parameters.minimum_dwell
    for first, stop in zip(end - lengths, end, strict=True):
        joint = {}
        for path in product(range(parameters.n_states), repeat=int(stop - first)):
            total, kept = np.log(parameters.startprob[path[0]]) + log_b[first, path[0]], dwell
            for t in range(1, len(path)):
                j, k = path[t - 1], path[t]
                if kept >= dwell:
                    total += np.log(parameters.transmat[j, k])
                elif j != k:
                    total = -np.inf
                kept = kept + 1 if j == k else 1
                total += log_b[first + t, k]
            joint[path] = total
        yield first, joint


@pytest.fixture
def dwelling():
    parameters = replace(random_parameters(2, 2, "diag", seed=23), minimum_dwell=3)
    lengths = np.array([8, 1, 5])
    values = np.random.default_rng(24).normal(scale=2.0, size=(14, 2))
    return parameters, values, lengths


def test_inference_with_a_minimum_dwell_equals_brute_force(dwelling):
    parameters, values, lengths = dwelling
    seen, best = (
        beliefs(parameters, Sequences(values, lengths)),
        decode(parameters, Sequences(values, lengths)),
    )
    for run, (first, joint) in enumerate(dwelling_paths(*dwelling)):
        total = logsumexp(list(joint.values()))
        assert seen.log_likelihood[run] == pytest.approx(total, rel=1e-10)
        assert tuple(best[first : first + lengths[run]]) == max(joint, key=joint.get)
        for t in range(lengths[run]):
            for k in range(2):
                mass = logsumexp([v for p, v in joint.items() if p[t] == k])
                assert seen.smoothed[first + t, k] == pytest.approx(np.exp(mass - total))
        for t, j, k in product(range(1, lengths[run]), range(2), range(2)):
            mass = logsumexp([v for p, v in joint.items() if (p[t - 1], p[t]) == (j, k)])
            ours = transition_posterior(
                parameters, seen, np.array([first + t]), np.array([j]), np.array([k])
            )
            assert ours[0] == pytest.approx(np.exp(mass - total), abs=1e-12)


def test_compiled_smoothing_with_a_minimum_dwell_equals_brute_force(dwelling):
    """Posteriors, first states, and the transitions at which a state could be left."""
    parameters, values, lengths = dwelling
    order = TimeMajor(lengths)
    chain = CheckpointChain(ModelOptions(minimum_dwell=3))
    posterior = np.ascontiguousarray(
        log_emission(parameters, Sequences.of_one_run(values))[order.rows].T
    )
    matrices = chain.matrices(parameters.transmat)
    log_likelihood, transitions, first = chain.smooth(
        posterior, parameters.startprob, matrices, order.begins
    )
    counts, starts, total = np.zeros((2, 2)), np.zeros(2), 0.0
    for _, joint in dwelling_paths(*dwelling):
        of_run = logsumexp(list(joint.values()))
        total += of_run
        for path, value in joint.items():
            weight, kept = np.exp(value - of_run), 3
            starts[path[0]] += weight
            for j, k in pairwise(path):
                counts[j, k] += weight * (kept >= 3)
                kept = kept + 1 if j == k else 1
    assert log_likelihood == pytest.approx(total, rel=1e-10)
    np.testing.assert_allclose(first, starts)
    seen = beliefs(parameters, Sequences(values, lengths))
    np.testing.assert_allclose(posterior.T, seen.smoothed[order.rows], atol=1e-10)
    ours = chain.maximise(parameters.transmat, matrices, transitions)
    np.testing.assert_allclose(ours, counts / counts.sum(axis=1, keepdims=True))


def test_no_visit_is_shorter_than_the_minimum_dwell():
    rng = np.random.default_rng(25)
    states = np.tile(np.repeat([0, 1, 2], 20), 6)
    shown = np.where(rng.random(360) < 0.05, rng.integers(0, 3, 360), states)
    values = 8.0 * np.eye(3)[shown] + rng.normal(size=(360, 3))
    lengths = np.full(6, 60)
    visits = {}
    for dwell in (1, 3):
        swept = sweep(
            Sequences(values, lengths),
            [3],
            covariance_type="diag",
            n_restarts=4,
            random_state=0,
            options=ModelOptions(minimum_dwell=dwell),
        )
        path = swept.winners[3].states.reshape(6, 60)
        lasting = [np.diff(np.flatnonzero(np.r_[True, np.diff(run) != 0, True])) for run in path]
        visits[dwell] = min(min(lasts[1:-1]) for lasts in lasting)
    assert visits[1] == 1
    assert visits[3] >= 3
    assert adjusted_rand_score(states, path.ravel()) > 0.9


def test_a_minimum_dwell_counts_checkpoints_only():
    with pytest.raises(UsageError, match="does not go with clock"):
        check_options(ModelOptions(minimum_dwell=2, clock="step"))


# Continuous time


def test_gaps_of_the_clocks():
    steps, lengths = np.array([0, 1, 3, 10, 20]), np.array([3, 2])
    np.testing.assert_array_equal(gaps("checkpoint", 7.0, None, lengths), np.ones(5))
    np.testing.assert_allclose(gaps("step", 2.0, steps, lengths), [1, 0.5, 1, 1, 5])
    logs = [1, np.log(2), np.log(2), 1, np.log(21 / 11)]
    np.testing.assert_allclose(gaps("log-step", 1.0, steps, lengths), logs)
    assert median_gap("step", steps, lengths) == 2.0
    assert median_gap("step", steps[:2], np.array([1, 1])) == 1.0


def test_unfit_steps_and_options_are_refused():
    lengths = np.array([2])
    with pytest.raises(UsageError, match="needs the steps"):
        gaps("step", 1.0, None, lengths)
    with pytest.raises(UsageError, match="increase within every run"):
        gaps("step", 1.0, np.array([5, 5]), lengths)
    with pytest.raises(UsageError, match="0 or more, got -1"):
        gaps("log-step", 1.0, np.array([-1, 5]), lengths)
    values = np.random.default_rng(0).normal(size=(9, 1))
    for options in (
        ModelOptions(stickiness=-1.0),
        ModelOptions(clock="epoch"),
        ModelOptions(minimum_dwell=0),
    ):
        with pytest.raises(UsageError, match="must be"):
            sweep(
                Sequences(values, np.array([9])),
                [1],
                covariance_type="diag",
                n_restarts=1,
                random_state=0,
                options=options,
            )


@pytest.mark.parametrize("rate", [1e-6, 0.3, 30.0])
def test_propagators_are_the_matrix_exponential(rate):
    generator = random_generator(4, seed=8, rate=rate)
    apart = np.array([1e-3, 0.5, 1.0, 7.0, 1e4])
    expected = np.stack([expm(generator * gap) for gap in apart])
    np.testing.assert_allclose(propagators(generator, apart), expected, rtol=1e-9, atol=1e-14)


def test_dwell_and_jumps_are_the_integrals():
    """∫ A(s)[a, i] A(δ-s)[j, b] ds / A(δ)[a, b], by quadrature."""
    generator = random_generator(3, seed=9)
    apart = np.array([0.4, 2.5])
    counts = np.random.default_rng(10).gamma(1.0, size=(2, 3, 3))
    flows = counts / propagators(generator, apart)
    both = np.zeros((3, 3))
    for gap, flow in zip(apart, flows, strict=True):
        integral, _ = quad_vec(
            lambda s, gap=gap, flow=flow: (
                expm(generator * s).T @ flow @ expm(generator * (gap - s)).T
            ),
            0,
            gap,
        )
        both += integral
    time, jumps = dwell_and_jumps(generator, apart, flows)
    np.testing.assert_allclose(time, np.diag(both), rtol=1e-9)
    np.testing.assert_allclose(jumps, generator * (both - np.diag(np.diag(both))), rtol=1e-9)
    assert time.sum() == pytest.approx((counts.sum(axis=(1, 2)) * apart).sum())


@pytest.fixture
def tiny():
    """Two runs short enough to enumerate every path, their checkpoints unevenly spaced."""
    parameters = continuous(3, 2, seed=11)
    lengths = np.array([4, 3])
    steps = np.array([0, 5, 30, 31, 2, 14, 90])
    values = np.random.default_rng(12).normal(scale=2.0, size=(7, 2))
    return parameters, values, lengths, steps


def paths(parameters, values, lengths, steps):
    """(first row, log joint of every path) for each run."""
    log_b = log_emission(parameters, Sequences.of_one_run(values))
    end = np.cumsum(lengths)
    for first, stop in zip(end - lengths, end, strict=True):
        joint = {}
        for path in product(range(3), repeat=int(stop - first)):
            total = np.log(parameters.startprob[path[0]]) + log_b[first, path[0]]
            for t in range(1, len(path)):
                gap = (steps[first + t] - steps[first + t - 1]) / parameters.unit
                moved = expm(parameters.generator * gap)[path[t - 1], path[t]]
                total += np.log(moved) + log_b[first + t, path[t]]
            joint[path] = total
        yield first, joint


def test_inference_with_gaps_equals_brute_force(tiny):
    parameters, values, lengths, steps = tiny
    seen = beliefs(parameters, Sequences(values, lengths, steps))
    best = decode(parameters, Sequences(values, lengths, steps))
    for run, (first, joint) in enumerate(paths(*tiny)):
        total = logsumexp(list(joint.values()))
        assert seen.log_likelihood[run] == pytest.approx(total, rel=1e-10)
        assert tuple(best[first : first + lengths[run]]) == max(joint, key=joint.get)
        for t in range(lengths[run]):
            for k in range(3):
                mass = logsumexp([v for p, v in joint.items() if p[t] == k])
                assert seen.smoothed[first + t, k] == pytest.approx(np.exp(mass - total))
        for t, j, k in [(1, 0, 1), (2, 2, 2)]:
            mass = logsumexp([v for p, v in joint.items() if (p[t - 1], p[t]) == (j, k)])
            row, j, k = (np.array([i]) for i in (first + t, j, k))
            ours = transition_posterior(parameters, seen, row, j, k)
            assert ours[0] == pytest.approx(np.exp(mass - total))


def test_compiled_forward_backward_with_gaps_equals_brute_force(tiny):
    parameters, values, lengths, steps = tiny
    order = TimeMajor(lengths)
    apart = gaps("step", parameters.unit, steps, lengths)[order.rows]
    chain = ContinuousChain(ModelOptions(clock="step"), apart)
    matrices = chain.matrices(parameters.generator)
    which = np.unique(apart, return_inverse=True)[1]
    posterior = np.ascontiguousarray(
        log_emission(parameters, Sequences.of_one_run(values))[order.rows].T
    )
    log_likelihood, transitions, _ = forward_backward(
        posterior,
        parameters.startprob,
        matrices,
        order.begins,
        which,
    )
    expected = np.zeros_like(transitions)
    total = 0.0
    for first, joint in paths(*tiny):
        of_run = logsumexp(list(joint.values()))
        total += of_run
        for path, value in joint.items():
            for t in range(1, len(path)):
                column = int(np.flatnonzero(order.rows == first + t)[0])
                expected[which[column], path[t - 1], path[t]] += np.exp(value - of_run)
    assert log_likelihood == pytest.approx(total, rel=1e-10)
    np.testing.assert_allclose(transitions, expected, atol=1e-10)
    seen = beliefs(parameters, Sequences(values, lengths, steps))
    np.testing.assert_allclose(posterior.T, seen.smoothed[order.rows], atol=1e-10)


def test_equal_gaps_are_the_ordinary_chain():
    parameters = continuous(3, 2, seed=13)
    values, _ = sample(parameters, [20, 30], seed=14)
    lengths, steps = np.array([20, 30]), np.r_[10 * np.arange(20), 10 * np.arange(30)]
    ordinary = replace(parameters, generator=None, clock="checkpoint", unit=1.0)
    ours, theirs = (
        beliefs(parameters, Sequences(values, lengths, steps)),
        beliefs(ordinary, Sequences(values, lengths)),
    )
    np.testing.assert_allclose(ours.smoothed, theirs.smoothed, atol=1e-12)
    np.testing.assert_array_equal(
        decode(parameters, Sequences(values, lengths, steps)),
        decode(ordinary, Sequences(values, lengths)),
    )


def test_equal_gaps_are_fitted_as_the_ordinary_chain():
    """Two states that tend to stay: any such transition matrix has a generator."""
    truth = replace(
        random_parameters(2, 2, "diag", seed=15),
        transmat=np.array([[0.9, 0.1], [0.2, 0.8]]),
        means=np.array([[0.0, 0.0], [2.5, 1.0]]),
    )
    values, _ = sample(truth, [100, 80], seed=16)
    lengths, steps = np.array([100, 80]), np.r_[7 * np.arange(100), 7 * np.arange(80)]
    fits = []
    for clock in ("checkpoint", "step"):
        options = ModelOptions(clock=clock)
        unit = median_gap(clock, steps, lengths)
        first = start(
            Sequences(values, lengths), 2, "diag", 0, "k-means", options=options, unit=unit
        )
        (fitted,) = em.fit(Sequences(values, lengths, steps), [first], options=options)
        assert fitted.valid, fitted.reason
        fits.append(fitted)
    assert fits[1].log_likelihood == pytest.approx(fits[0].log_likelihood, abs=1e-3)
    np.testing.assert_allclose(fits[1].parameters.transmat, fits[0].parameters.transmat, atol=1e-3)
    np.testing.assert_array_equal(fits[0].states, fits[1].states)


def test_rates_reach_the_maximum_of_the_likelihood():
    """EM's rates, and those of a general optimiser, with the emissions as EM left them."""
    truth = replace(continuous(2, 1, seed=17, unit=1.0), means=np.array([[0.0], [4.0]]))
    truth = replace(truth, generator=np.array([[-0.2, 0.2], [0.1, -0.1]]))
    steps = np.cumsum(np.random.default_rng(18).integers(1, 9, 80))
    values, lengths, steps, _ = sampled_at(truth, steps, 3, seed=19)
    (fitted,) = em.fit(
        Sequences(values, lengths, steps), [truth], options=ModelOptions(clock="step")
    )
    assert fitted.valid, fitted.reason

    def negative(log_rates):
        a, b = np.exp(log_rates)
        candidate = replace(fitted.parameters, generator=np.array([[-a, a], [b, -b]]))
        return -beliefs(candidate, Sequences(values, lengths, steps)).log_likelihood.sum()

    best = np.exp(minimize(negative, np.log([0.2, 0.1]), method="Nelder-Mead").x)
    ours = fitted.parameters.generator[[0, 1], [1, 0]]
    np.testing.assert_allclose(ours, best, rtol=0.01)


def test_rates_are_recovered_from_pythias_spacing():
    truth = replace(
        continuous(3, 3, seed=20, clock="log-step", unit=0.05),
        startprob=np.array([1.0, 0.0, 0.0]),
        generator=0.01 * np.array([[-3.0, 2.0, 1.0], [1.0, -3.0, 2.0], [1.0, 1.0, -2.0]]),
        means=4 * np.eye(3),
    )
    steps = np.r_[0, 2 ** np.arange(10), np.arange(1000, 143001, 1000)]
    values, lengths, steps, states = sampled_at(truth, steps, 150, seed=21)
    swept = sweep(
        Sequences(values, lengths, steps),
        [3],
        covariance_type="diag",
        n_restarts=2,
        random_state=0,
        options=ModelOptions(clock="log-step"),
    )
    fitted = swept.winners[3]
    assert adjusted_rand_score(states, fitted.states) > 0.95
    order = np.array(
        [int(np.argmin(((fitted.parameters.means - m) ** 2).sum(1))) for m in truth.means]
    )
    per_log_step = reorder(fitted.parameters, order).generator / fitted.parameters.unit
    np.testing.assert_allclose(per_log_step, truth.generator / truth.unit, atol=0.1)


def test_rates_stay_bounded_where_every_checkpoint_is_another_state():
    """The likelihood of a chain that alternates rises with its rates without end."""
    values = np.tile([[0.0], [5.0]], (30, 1)) + 0.1 * np.random.default_rng(22).normal(size=(60, 1))
    lengths, steps = np.array([60]), np.arange(60)
    options = ModelOptions(clock="step")
    first = start(Sequences(values, lengths), 2, "diag", 0, "k-means", options=options)
    (fitted,) = em.fit(Sequences(values, lengths, steps), [first], options=options)
    assert fitted.valid, fitted.reason
    assert np.abs(fitted.parameters.generator).max() <= 3.0 * (1 + 1e-12)
    assert not (np.diff(fitted.objective) < -1e-9).any()


@pytest.mark.parametrize("longest", [1e4, 1e12])
def test_a_single_very_long_gap_costs_em_few_iterations(longest):
    """And does not keep the states from being left as often as elsewhere."""
    states = np.tile(np.repeat([0, 1, 2], 20), 4)
    values = 4.0 * np.eye(3)[states] + np.random.default_rng(26).normal(size=(240, 3))
    lengths, steps = np.full(4, 60), np.tile(10 * np.arange(60), 4)
    steps[35:60] += int(10 * longest)
    options = ModelOptions(clock="step")
    first = start(Sequences(values, lengths), 3, "diag", 0, "k-means", options=options, unit=10.0)
    (fitted,) = em.fit(Sequences(values, lengths, steps), [first], options=options)
    assert fitted.valid, fitted.reason
    assert len(fitted.objective) < 100
    assert not (np.diff(fitted.objective) < -1e-9).any()
    leaving = -np.diag(reorder(fitted.parameters, time_order(fitted.states, lengths, 3)).generator)
    assert leaving[0] == pytest.approx(1 / 20, rel=0.2)  # seen in all four runs
    assert adjusted_rand_score(states, fitted.states) > 0.99


def test_gaps_are_bounded_and_those_that_are_named():
    steps, lengths = np.array([0, 2, 4, 6, 5_000, 0, 2, 202]), np.array([5, 3])
    np.testing.assert_allclose(gaps("step", 2.0, steps, lengths), [1, 1, 1, 1, 100, 1, 1, 100])
    assert median_gap("step", steps, lengths) == 2.0
    assert capped("step", steps, lengths).tolist() == [4]  # the other one is 100 units long
    assert not len(capped("checkpoint", steps, lengths))
    alone = 1_000 * np.arange(5)
    assert median_gap("step", alone, np.array([5])) == 1_000.0


def test_stickiness_in_continuous_time_is_time_spent():
    """κ units without a jump, added to the dwell times."""
    counts = np.array([[[8.0, 2.0], [1.0, 9.0]]])
    generator = np.array([[-0.2, 0.2], [0.1, -0.1]])
    plain, sticky = (
        ContinuousChain(ModelOptions(clock="step", stickiness=k), np.ones(1)) for k in (0.0, 50.0)
    )
    matrices = plain.matrices(generator)
    rates = [chain.maximise(generator, matrices, counts)[0, 1] for chain in (plain, sticky)]
    time, jumps = dwell_and_jumps(generator, np.ones(1), counts / matrices)
    assert rates[0] == pytest.approx(jumps[0, 1] / time[0])
    assert rates[1] == pytest.approx(jumps[0, 1] / (time[0] + 50.0))
    assert sticky.log_prior(generator) == pytest.approx(-50.0 * 0.3)


def test_a_run_of_one_checkpoint_has_a_path_without_transitions():
    """Over gaps, too, where there is no gap to take the exponential of."""
    plain = random_parameters(2, 2, "diag", seed=3)
    generator = np.array([[-0.1, 0.1], [0.2, -0.2]])
    knowing = replace(plain, generator=generator, clock="step", unit=10.0)
    for parameters in (plain, replace(plain, minimum_dwell=3), knowing):
        assert transitions_of(parameters).log_path(np.array([1]), np.ones(1)) == 0.0


@pytest.mark.parametrize("variant", ["plain", "dwell", "clock"])
def test_a_model_is_put_together_from_its_parts(variant):
    plain = random_parameters(3, 2, "full", seed=4)
    generator = np.array([[-0.3, 0.2, 0.1], [0.0, -0.5, 0.5], [0.1, 0.1, -0.2]])
    parameters = {
        "plain": plain,
        "dwell": replace(plain, minimum_dwell=2, autoregression=np.full((3, 2), 0.5)),
        "clock": replace(plain, generator=generator, clock="step", unit=5.0),
    }[variant]
    again = assembled(parameters.startprob, transitions_of(parameters), emissions_of(parameters))
    for name, value in vars(parameters).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    part = transitions_of(parameters).among(np.array([0, 2])).closed()
    np.testing.assert_allclose(part.transmat.sum(axis=1), 1)
