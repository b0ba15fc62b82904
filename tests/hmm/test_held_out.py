"""Scores on held-out runs against hand-split runs and closed forms; the rule against the truth."""

from dataclasses import replace
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import expm
from scipy.stats import multivariate_normal, trim_mean
from scipy.stats.mstats import winsorize

from hmmdyn.errors import UsageError
from hmmdyn.hmm.choose.folds import about_metrics_left_out
from hmmdyn.hmm.choose.held_out import HeldOut, hold_out, trimmed_mean
from hmmdyn.hmm.choose.path_score import Residuals, log_path, path_scores
from hmmdyn.hmm.choose.recommend import recommend
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.inference import beliefs, decode
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Sequences
from hmmdyn.simulate.trajectories import simulate
from tests.simulate import random_parameters, sample


@pytest.fixture(scope="module")
def sharp():
    return simulate("sharp", 3, n_runs=4, n_checkpoints=30, n_metrics=3, random_state=1)


@pytest.fixture(scope="module")
def held_out_sharp(sharp):
    return hold_out(Sequences(sharp.values, sharp.lengths), [2, 3], random_state=5)


def test_every_run_is_scored_by_a_model_that_has_not_seen_it(sharp, held_out_sharp):
    runs = held_out_sharp.runs
    assert len(runs) == 2 * 3 * 4  # covariance types, K = 1 … 3, runs
    for row in runs[runs["n_states"] == 3].itertuples():
        seen = np.repeat(np.arange(4) != row.run, 30)
        winner = sweep(
            Sequences(sharp.values[seen], np.array([30] * 3)),
            [1, 2, 3],
            covariance_type=row.covariance_type,
            n_restarts=2,
            random_state=5,
        ).winners[3]
        expected = beliefs(
            winner.parameters, Sequences(sharp.values[~seen], np.array([30]))
        ).log_likelihood
        assert row.held_out == pytest.approx(expected[0] / 30, rel=1e-12)


def test_means_and_errors_are_over_runs(held_out_sharp):
    for row in held_out_sharp.criteria.itertuples():
        of_runs = held_out_sharp.runs.query(
            "covariance_type == @row.covariance_type and n_states == @row.n_states"
        )
        for score in ("held_out", "path"):
            values = of_runs[score].to_numpy()
            assert getattr(row, score) == pytest.approx(values.mean())
            error = values.std(ddof=1) / np.sqrt(4)  # of four runs none is trimmed
            assert getattr(row, f"{score}_se") == pytest.approx(error)
        assert row.n_scored == 4


def test_trimmed_mean_is_that_of_scipy_and_its_error_that_of_winsorised_scores():
    scores = np.random.default_rng(0).standard_t(2, size=13)
    mean, error = trimmed_mean(scores)
    assert mean == pytest.approx(trim_mean(scores, 0.2))
    winsorised = np.asarray(winsorize(scores, (2 / 13, 2 / 13)))
    # Wilcox (2012), section 3.3.2: s_w / ((1 - 2 g) sqrt n), where g n are cut at either end.
    assert error == pytest.approx(winsorised.std(ddof=1) / ((1 - 4 / 13) * np.sqrt(13)))
    scores[4] = -1e9
    assert trimmed_mean(scores)[1] < 3


def test_runs_with_missing_values_are_scored(sharp):
    values = sharp.values.copy()
    values[np.random.default_rng(0).random(values.shape) < 0.03] = np.nan
    held_out = hold_out(Sequences(values, sharp.lengths), range(1, 4), covariance_types=["diag"])
    assert held_out.criteria[["held_out", "path"]].notna().all(axis=None)
    assert held_out.criteria["held_out"].idxmax() == 2  # three states


def test_a_metric_that_no_other_run_knows_is_not_scored(sharp):
    """The run that knows it is scored as if it did not."""
    values = sharp.values.copy()
    values[30:, 2] = np.nan  # known in run 0 alone
    held_out = hold_out(Sequences(values, sharp.lengths), [3], covariance_types=["diag"])
    assert held_out.left_out == (2,)
    without = hold_out(Sequences(values[:, :2], sharp.lengths), [3], covariance_types=["diag"])
    assert without.left_out == ()
    scores = ["n_states", "held_out", "path"]
    ours, theirs = (h.runs.query("run == 0")[scores] for h in (held_out, without))
    pd.testing.assert_frame_equal(ours, theirs)
    assert held_out.criteria["path"].notna().all()
    (notice,) = about_metrics_left_out(held_out.left_out, ("a", "b", "c"))
    assert notice.subject == "metric c"


def test_many_runs_are_held_out_in_ten_folds_of_nearly_the_same_size():
    s = simulate("sharp", 1, n_runs=23, n_checkpoints=8, n_metrics=2, random_state=2)
    one, two = (hold_out(Sequences(s.values, s.lengths), [1], random_state=r).runs for r in (0, 1))
    folds = one[one["covariance_type"] == "diag"].groupby("fold").size()
    assert sorted(folds) == [2] * 7 + [3] * 3
    assert sorted(one.loc[one["covariance_type"] == "diag", "run"]) == list(range(23))
    assert not one["run"].equals(two["run"])
    pd.testing.assert_frame_equal(
        one, hold_out(Sequences(s.values, s.lengths), [1], random_state=0).runs
    )


def test_progress_counts_to_its_end(sharp):
    seen = []
    hold_out(
        Sequences(sharp.values, sharp.lengths),
        [1, 2],
        covariance_types=["diag"],
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][0] == seen[-1][1]


# The path score


def stationary(n_features, coefficient, stride=1):
    eye = np.eye(n_features)
    return Residuals(coefficient * eye, (1 - coefficient**2) * eye, eye, stride)


def test_residuals_are_scored_as_a_stationary_autoregression():
    run = np.random.default_rng(0).normal(size=(7, 1))
    lag = np.abs(np.subtract.outer(np.arange(7), np.arange(7)))
    expected = multivariate_normal(np.zeros(7), 0.6**lag).logpdf(run[:, 0])
    assert stationary(1, 0.6).log_density(run) == pytest.approx(expected)
    # Every third checkpoint, in the mean over the three ways to begin.
    looks = [run[offset::3, 0] for offset in range(3)]
    expected = np.mean(
        [
            multivariate_normal(np.zeros(len(z)), 0.6 ** lag[: len(z), : len(z)]).logpdf(z)
            for z in looks
        ]
    )
    assert stationary(1, 0.6, stride=3).log_density(run) == pytest.approx(expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_an_autoregression_is_found_again(stride):
    rng = np.random.default_rng(1)
    a = np.array([[0.7, 0.2], [-0.1, 0.5]])
    z = np.zeros((40_000, 2))
    for t in range(1, len(z)):
        z[t] = a @ z[t - 1] + rng.normal(size=2) * (1.0, 0.5)
    fitted = Residuals.fit(z, np.array([10_000, 30_000]), stride)
    noise = np.diag([1.0, 0.25])
    expected = noise if stride == 1 else noise + a @ noise @ a.T
    np.testing.assert_allclose(fitted.transition, np.linalg.matrix_power(a, stride), atol=0.02)
    np.testing.assert_allclose(fitted.innovation, expected, atol=0.05)
    np.testing.assert_allclose(fitted.marginal, np.cov(z.T), atol=0.01)


def test_path_score_is_the_likelihood_at_the_decoded_path_and_bounds_that_over_all_paths():
    parameters = random_parameters(2, 2, "full", seed=4)
    values, _ = sample(parameters, [6], seed=5)
    residuals = stationary(2, 0.5)
    path = tuple(decode(parameters, Sequences(values, np.array([6]))))
    log_joint = {}
    for s in product(range(2), repeat=6):
        rest = values - parameters.means[list(s)]
        total = np.log(parameters.startprob[s[0]])
        total += multivariate_normal(np.zeros(2), np.eye(2)).logpdf(rest[0])
        for t in range(1, 6):
            total += np.log(parameters.transmat[s[t - 1], s[t]])
            total += multivariate_normal(0.5 * rest[t - 1], 0.75 * np.eye(2)).logpdf(rest[t])
        log_joint[s] = total
    score = 6 * path_scores(parameters, residuals, Sequences(values, np.array([6])))[0]
    assert score == pytest.approx(log_joint[path])
    assert score <= np.logaddexp.reduce(list(log_joint.values()))


def test_a_missing_value_counts_as_its_states_mean():
    parameters = random_parameters(2, 3, "diag", seed=4)
    values, states = sample(parameters, [8], seed=5)
    values[5, 1] = parameters.means[states[5], 1]
    lengths = np.array([8])
    with_mean = path_scores(parameters, stationary(3, 0.5), Sequences(values, lengths))
    np.testing.assert_array_equal(decode(parameters, Sequences(values, lengths)), states)
    values[5, 1] = np.nan
    np.testing.assert_array_equal(decode(parameters, Sequences(values, lengths)), states)
    assert path_scores(parameters, stationary(3, 0.5), Sequences(values, lengths)) == pytest.approx(
        with_mean
    )


def test_without_autocorrelation_one_state_has_the_same_score_as_the_model_itself():
    parameters = HMMParameters(
        np.ones(1), np.ones((1, 1)), np.array([[1.0, 2.0]]), np.eye(2)[None], "full"
    )
    values, _ = sample(parameters, [5, 3, 1], seed=5)
    lengths = np.array([5, 3, 1])
    score = path_scores(parameters, stationary(2, 0.0), Sequences(values, lengths))
    likelihood = beliefs(parameters, Sequences(values, lengths)).log_likelihood
    np.testing.assert_allclose(score, likelihood / lengths)


# The rule


def table(path, held_out=None, covariance_type="diag", error=0.1):
    k = np.arange(1, len(path) + 1)
    return pd.DataFrame(
        {
            "covariance_type": covariance_type,
            "n_states": k,
            "held_out": np.array(path if held_out is None else held_out, dtype=float),
            "held_out_se": error,
            "path": np.array(path, dtype=float),
            "path_se": error,
            "n_scored": 10,
        }
    )


def recommended(*tables, n_runs=10):
    return recommend(HeldOut(pd.concat(tables, ignore_index=True), pd.DataFrame(), n_runs))


def test_the_smallest_number_within_one_standard_error():
    r = recommended(table([0, 1, 1.95, 2, 1.92, 1.5]))
    assert (r.n_states, r.low, r.high) == (3, 3, 5)
    assert r.reason.startswith("3 states: ")


def test_full_covariance_where_it_is_clearly_better_and_diagonal_where_not():
    steps = [0, 1, 2, 1.5]
    assert recommended(table(steps), table(steps, None, "full")).covariance_type == "diag"
    better = [0, 1, 3, 2.5]
    assert recommended(table(steps), table(better, None, "full")).covariance_type == "full"


def test_drift_that_repeats_determines_nothing():
    r = recommended(table([5, 3, 2, 1, 1], held_out=[0, 1, 2, 3, 3.05]))
    assert (r.n_states, r.low, r.high) == (None, 1, 4)
    assert "do not determine the number of states" in r.reason
    assert "from 1 to 4" in r.reason
    assert "4 states repeat" in r.reason


def test_nothing_that_repeats_is_one_state():
    r = recommended(table([5, 3, 2], held_out=[3, 2, 1]))
    assert (r.n_states, r.low, r.high) == (1, 1, 1)


def test_runs_that_cannot_tell_determine_nothing():
    for scores in ([1, 1, 1], [1, 1.05, 1.02]):
        r = recommended(table(scores))
        assert (r.n_states, r.low, r.high) == (None, 1, 3)
        assert "anything from 1 to 3" in r.reason
        assert "differ so much" in r.reason


def test_a_number_without_a_valid_fit_in_some_fold_is_not_compared():
    r = recommended(table([0, 1, np.nan, 2, 1.5]))
    assert r.n_states == 4
    r = recommended(table([np.nan] * 3))
    assert (r.n_states, r.low, r.high) == (None, 1, 3)
    assert "none had a valid fit" in r.reason


def test_a_single_number_is_no_choice():
    r = recommended(table([1]))
    assert (r.n_states, r.low, r.high) == (None, 1, 1)
    assert "only one to choose from" in r.reason


def test_the_largest_number_tried_is_said():
    r = recommended(table([0, 1, 2]))
    assert r.n_states == 3
    assert "largest number tried" in r.reason


@pytest.mark.parametrize(("lengths", "said"), [([20], "1 run "), ([20, 20], "2 runs ")])
def test_fewer_than_three_runs_recommend_nothing(lengths, said):
    values = np.random.default_rng(0).normal(size=(sum(lengths), 2))
    held_out = hold_out(Sequences(values, np.array(lengths)), range(1, 4))
    assert held_out.runs.empty
    assert held_out.criteria["held_out"].isna().all()
    r = recommend(held_out)
    assert (r.n_states, r.low, r.high) == (None, 1, 3)
    assert said in r.reason


def test_more_states_than_different_checkpoints_are_left_without_a_score():
    values = np.repeat([[0.0, 1.0], [3.0, -1.0]], 5, axis=0)
    held_out = hold_out(Sequences(np.tile(values, (3, 1)), np.array([10, 10, 10])), range(1, 5))
    scored = held_out.criteria.set_index(["covariance_type", "n_states"])["held_out"]
    assert scored.loc[("diag", 3)] != scored.loc[("diag", 3)]
    assert held_out.criteria.loc[held_out.criteria["n_states"] > 2, "n_scored"].eq(0).all()
    assert recommend(held_out).high <= 2


def test_a_run_that_a_model_calls_impossible_cannot_be_compared(sharp, monkeypatch):
    def vanishing(parameters, data):
        impossible = parameters.n_states == 2 and np.array_equal(data.values, sharp.values[:30])
        return SimpleNamespace(
            log_likelihood=np.array([-np.inf])
            if impossible
            else beliefs(parameters, data).log_likelihood
        )

    monkeypatch.setattr("hmmdyn.hmm.choose.held_out.beliefs", vanishing)
    held_out = hold_out(Sequences(sharp.values, sharp.lengths), [2, 3], covariance_types=["diag"])
    criteria = held_out.criteria.set_index("n_states")
    assert criteria.loc[2, ["held_out", "path"]].isna().all()
    assert criteria.loc[[1, 3], ["held_out", "path"]].notna().all(axis=None)
    assert recommend(held_out).n_states == 3


def test_unknown_covariance_types_are_refused():
    values = np.zeros((6, 1))
    for wrong in (["tied"], []):
        with pytest.raises(UsageError, match="covariance_types"):
            hold_out(Sequences(values, np.array([2, 2, 2])), [1], covariance_types=wrong)


# The claims, in small; benchmarks/choosing_k.py has them at full size.


@pytest.mark.parametrize(
    ("kind", "truth", "seed"),
    [("phases", 2, 11), ("phases", 3, 12), ("sharp", 4, 13), ("phases", 4, 14)],
)
def test_phases_are_counted(kind, truth, seed):
    s = simulate(kind, truth, n_checkpoints=50, random_state=seed)
    r = recommend(hold_out(Sequences(s.values, s.lengths), range(1, 6), covariance_types=["diag"]))
    assert r.n_states is not None
    assert abs(r.n_states - truth) <= 1


def test_one_odd_run_does_not_decide():
    s = simulate("phases", 3, n_runs=9, n_checkpoints=50, random_state=17)
    odd = simulate("drift", n_runs=1, n_checkpoints=50, noise=0.5, random_state=18)
    values = np.concatenate([s.values, odd.values])
    r = recommend(
        hold_out(Sequences(values, np.full(10, 50)), range(1, 6), covariance_types=["diag"])
    )
    assert r.n_states in (3, 4)


@pytest.mark.parametrize(("kind", "seed"), [("drift", 15), ("shared drift", 16)])
def test_drift_is_not_counted_as_phases(kind, seed):
    s = simulate(kind, n_checkpoints=50, random_state=seed)
    r = recommend(hold_out(Sequences(s.values, s.lengths), range(1, 6), covariance_types=["full"]))
    assert r.n_states is None or r.n_states <= 2
    assert r.low == 1


def test_a_path_costs_what_the_chain_says():
    """By the gaps where it has a clock; nothing for checkpoints a minimum dwell keeps."""
    plain = random_parameters(2, 1, "diag", seed=3)
    path = np.array([0, 0, 0, 1, 1, 1, 0])
    start, moves = np.log(plain.startprob), np.log(plain.transmat)
    every = start[0] + moves[0, 0] * 2 + moves[0, 1] + moves[1, 1] * 2 + moves[1, 0]
    assert log_path(plain, path, np.ones(7)) == pytest.approx(every)
    kept = replace(plain, minimum_dwell=3)
    # The first visit may have begun before, so all its stays are free; the second's two are kept.
    expected = start[0] + moves[0, 0] * 2 + moves[0, 1] + moves[1, 0]
    assert log_path(kept, path, np.ones(7)) == pytest.approx(expected)
    rates = np.array([[-0.1, 0.1], [0.3, -0.3]])
    clocked = replace(plain, generator=rates, clock="step")
    gaps = np.array([1.0, 1, 2, 5, 1, 1, 7])
    by_gap = [
        np.log(expm(rates * g)[a, b]) for g, (a, b) in zip(gaps[1:], pairwise(path), strict=True)
    ]
    assert log_path(clocked, path, gaps) == pytest.approx(start[0] + sum(by_gap))
