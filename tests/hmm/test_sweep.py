"""The sweep: winners, reproducibility, and the moves that find better ones."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from hmmdyn.hmm.choose.stability import measure_stability
from hmmdyn.hmm.fit import em, successive_halving
from hmmdyn.hmm.fit import sweep as sweeping
from hmmdyn.hmm.fit.split_merge import Members
from hmmdyn.hmm.fit.starts import start
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.inference import beliefs, log_emission
from hmmdyn.hmm.model.kernels import TimeMajor, forward_backward
from hmmdyn.hmm.model.labels import match
from hmmdyn.results.observations import Sequences
from hmmdyn.simulate.trajectories import simulate
from hmmdyn.tables.metric_table import read_table
from tests.simulate import PYTHIA, random_parameters, sample


@pytest.fixture(scope="module")
def phases():
    """Twelve runs of unequal length that walk four states in order."""
    parameters = random_parameters(4, 3, "diag", seed=1)
    truth = replace(
        parameters,
        startprob=np.array([1.0, 0, 0, 0]),
        transmat=0.93 * np.eye(4) + 0.07 * np.eye(4)[[1, 2, 3, 3]],
        means=2 * parameters.means,
    )
    lengths = np.array([40, 55, 60, 33, 47, 50, 52, 61, 38, 44, 59, 41])
    values, states = sample(truth, list(lengths), seed=2)
    return values, lengths, states


def test_winners_are_no_worse_than_every_start_polished_alone(phases):
    """Up to the true four states; beyond, likelihoods have many maxima of nearly equal height."""
    values, lengths, _ = phases
    swept = sweep(
        Sequences(values, lengths),
        range(1, 6),
        covariance_type="diag",
        n_restarts=4,
        random_state=0,
    )
    assert list(swept.winners) == [1, 2, 3, 4, 5]
    for k, winner in swept.winners.items():
        alone = [
            start(Sequences(values, lengths), k, "diag", seed, kind)
            for seed, kind in enumerate(["k-means", "random segments"] * 3)
        ]
        best = max(
            fit.log_likelihood for fit in em.fit(Sequences(values, lengths), alone) if fit.valid
        )
        assert winner.log_likelihood > best - (1e-3 if k <= 4 else 5)


def test_true_states_are_found(phases):
    values, lengths, states = phases
    swept = sweep(
        Sequences(values, lengths), [3, 4, 5], covariance_type="full", n_restarts=4, random_state=0
    )
    assert adjusted_rand_score(states, swept.winners[4].states) > 0.95


def test_jobs_and_repeats_change_nothing(phases):
    values, lengths, _ = phases
    one, two = (
        sweep(
            Sequences(values, lengths),
            [2, 3, 4],
            covariance_type="full",
            n_restarts=3,
            random_state=5,
            n_jobs=j,
        )
        for j in (1, 2)
    )
    for k in (2, 3, 4):
        np.testing.assert_array_equal(
            one.winners[k].parameters.means, two.winners[k].parameters.means
        )
    assert [(a.start, a.seed, a.n_iterations) for a in one.attempts] == [
        (a.start, a.seed, a.n_iterations) for a in two.attempts
    ]


def test_a_split_finds_what_starts_miss(phases):
    """One poor start per K: splits and merges of the neighbours make up for it."""
    values, lengths, _ = phases
    poor = sweep(
        Sequences(values, lengths),
        range(1, 6),
        covariance_type="diag",
        n_restarts=1,
        random_state=3,
    )
    good = sweep(
        Sequences(values, lengths),
        range(1, 6),
        covariance_type="diag",
        n_restarts=12,
        random_state=4,
    )
    for k in poor.winners:
        assert poor.winners[k].log_likelihood > good.winners[k].log_likelihood - 1.0
    assert any(a.fit.valid and a.start.startswith("split") for a in poor.attempts)


@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_halving_in_single_precision_ends_in_double(phases, monkeypatch, covariance_type):
    """The same winners up to the true four states, and no noise of single precision in a fit."""
    values, lengths, _ = phases
    settings = {"covariance_type": covariance_type, "n_restarts": 3, "random_state": 0}
    double = sweep(Sequences(values, lengths), range(1, 5), **settings)
    monkeypatch.setattr(successive_halving, "_MANY", 0)
    single = sweep(Sequences(values, lengths), range(1, 5), **settings)
    for k, winner in single.winners.items():
        assert winner.log_likelihood == pytest.approx(double.winners[k].log_likelihood, abs=0.01)
        assert adjusted_rand_score(winner.states, double.winners[k].states) == 1
        objective = np.array(winner.objective)
        assert (np.diff(objective) > -1e-9 * np.abs(objective[1:])).all()
        exact = em.fit(Sequences(values, lengths), [winner.parameters])[0]
        assert winner.log_likelihood == pytest.approx(exact.log_likelihood, abs=1e-3)
    assert {a.fit.reason for a in single.attempts} <= {"", "left behind"}


def test_widening_makes_no_winner_worse_and_some_better(monkeypatch):
    """The last step of a sweep: what it starts from is what a sweep without it ends with."""
    gains = []
    for seed in (1, 2):
        drift = simulate("drift", n_runs=6, random_state=seed)
        ends = []
        for wider in (1.0, 3.0):
            monkeypatch.setattr(sweeping, "_WIDER", wider)
            swept = sweep(
                Sequences(drift.values, drift.lengths),
                range(4, 8),
                covariance_type="full",
                n_restarts=2,
                random_state=1,
            )
            ends.append(np.array([winner.objective[-1] for winner in swept.winners.values()]))
        gains += list(ends[1] - ends[0])
    assert min(gains) > -0.1  # how far apart EM can stop
    assert max(gains) > 1


def test_a_contender_expected_to_stay_behind_is_out():
    first = random_parameters(2, 2, "diag", seed=0)
    leader, challenger = (
        successive_halving.Contender(2, "k-means", seed, em.Model(first)) for seed in (0, 1)
    )
    leader.reached = 1.0
    assert challenger.may_pass(leader)  # what it has reached is not known
    challenger.model.objective = [-2.0, -1.0, -0.5]  # 1/2 to come
    challenger.reached = -0.5
    assert not challenger.may_pass(leader)
    challenger.reached = 0.75
    assert challenger.may_pass(leader)


def test_members_of_two_states_are_put_together_without_their_values():
    values = 1e3 + np.random.default_rng(0).normal(size=(9, 3))
    for n in (0, 1, 4):
        both = Members.of(values[:n]).with_others(Members.of(values[n:]))
        assert both.n == 9
        np.testing.assert_allclose(both.mean, values.mean(axis=0))
        np.testing.assert_allclose(both.scatter, 9 * np.cov(values.T, ddof=0), rtol=1e-9, atol=1e-9)


def test_missing_values_are_swept_over(phases):
    values, lengths, states = phases
    holes = np.random.default_rng(0).random(values.shape) < 0.1
    swept = sweep(
        Sequences(np.where(holes, np.nan, values), lengths),
        [3, 4],
        covariance_type="diag",
        n_restarts=4,
        random_state=0,
    )
    assert adjusted_rand_score(states, swept.winners[4].states) > 0.9


def test_runs_side_by_side_are_the_runs_one_by_one():
    """The compiled recursions against the ones in log space, run by run, unequal lengths."""
    parameters = random_parameters(3, 2, "full", seed=6)
    lengths = np.array([5, 1, 9, 9, 2])
    values, _ = sample(parameters, list(lengths), seed=7)
    order = TimeMajor(lengths)
    assert sorted(order.rows) == list(range(26))
    posterior = np.ascontiguousarray(
        log_emission(parameters, Sequences.of_one_run(values))[order.rows].T
    )
    log_likelihood, transitions, first = forward_backward(
        posterior, parameters.startprob, parameters.transmat, order.begins
    )
    seen = beliefs(parameters, Sequences(values, lengths))
    assert log_likelihood == pytest.approx(seen.log_likelihood.sum(), rel=1e-12)
    np.testing.assert_allclose(posterior.T, seen.smoothed[order.rows], atol=1e-12)
    starts = np.cumsum(lengths) - lengths
    np.testing.assert_allclose(first, seen.smoothed[starts].sum(axis=0))
    assert transitions.sum() == pytest.approx(lengths.sum() - len(lengths))


def test_states_are_matched_by_their_means():
    reference = np.array([[0.0, 0.0], [5.0, 0.0], [0.0, 5.0]])
    moved = reference[[2, 0, 1]] + 0.1
    assert match(reference, moved).tolist() == [2, 0, 1]
    assert match(reference, moved[:2]).tolist() == [2, 0]
    assert match(reference[:2], moved).tolist() == [-1, 0, 1]


def test_stability_tells_a_map_that_is_there_from_noise(phases):
    values, lengths, _ = phases
    winner = sweep(
        Sequences(values, lengths), [4], covariance_type="diag", n_restarts=4, random_state=0
    )
    stable = measure_stability(
        winner.winners[4].parameters, Sequences(values, lengths), n_repeats=4, random_state=1
    )
    assert stable.agreement > 0.99
    assert stable.states["n_found"].tolist() == [4, 4, 4, 4]
    noise = np.random.default_rng(1).normal(size=(200, 3))
    alone = sweep(
        Sequences(noise, np.array([200])), [5], covariance_type="full", n_restarts=4, random_state=0
    )
    unstable = measure_stability(
        alone.winners[5].parameters, Sequences(noise, np.array([200])), n_repeats=4, random_state=1
    )
    assert unstable.agreement < 0.9
    assert unstable.states["n_found"].min() < 4


@pytest.mark.skipif(not PYTHIA.exists(), reason="the Pythia table is not there")
def test_every_seed_finds_the_same_map_of_pythia():
    """Diagonal covariances: the maps of 20 seeds of the sweep agree with ARI >= 0.99."""
    data = read_table(PYTHIA).observations()
    sweeps = [
        sweep(
            data,
            range(1, 9),
            covariance_type="diag",
            n_restarts=5,
            random_state=seed,
        )
        for seed in range(20)
    ]
    reasons = {a.fit.reason for swept in sweeps for a in swept.attempts}
    assert reasons <= {"", "left behind"}
    for k in (4, 6, 8):
        states = [swept.winners[k].states for swept in sweeps]
        assert min(adjusted_rand_score(states[0], other) for other in states[1:]) >= 0.99
