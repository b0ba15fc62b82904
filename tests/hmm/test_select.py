from dataclasses import replace

import numpy as np
import pytest

from hmmdyn.errors import NotEnoughDataError, NoValidFitError, UsageError
from hmmdyn.hmm.choose.evidence import _recommended
from hmmdyn.hmm.choose.folds import split_runs
from hmmdyn.hmm.choose.select import select_n_states
from hmmdyn.hmm.fit import em, sweep
from hmmdyn.hmm.fit.settings import SweepSettings
from hmmdyn.hmm.fit.starts import KINDS
from hmmdyn.hmm.model.inference import beliefs
from hmmdyn.hmm.model.labels import reorder, time_order
from hmmdyn.results.model import PLAIN_MODEL, ModelOptions
from hmmdyn.results.observations import Sequences
from hmmdyn.results.selection import Recommendation
from tests.simulate import observations, random_parameters, sample


@pytest.fixture(scope="module")
def three_states():
    parameters = random_parameters(3, 3, "diag", seed=1)
    truth = replace(
        parameters,
        startprob=np.array([1.0, 0, 0]),
        transmat=np.array([[0.9, 0.1, 0], [0, 0.9, 0.1], [0, 0, 1.0]]),
        means=3 * parameters.means,
    )
    lengths = [60] * 6
    values, states = sample(truth, lengths, seed=2)
    return observations(values, lengths), states


def test_bic_finds_the_true_number_where_the_model_holds(three_states):
    data, _states = three_states
    selection = select_n_states(data, range(1, 6), n_restarts=6, quick=True)
    assert selection.n_states == 3
    assert selection.criterion == "bic"
    row = selection.criteria.set_index("n_states").loc[3]
    model = selection.models[3]
    log_likelihood = beliefs(model, data).log_likelihood.sum()
    p = 2 + 6 + 9 + 9
    assert row["log_likelihood"] == pytest.approx(log_likelihood)
    assert row["bic"] == pytest.approx(-2 * log_likelihood + p * np.log(360))
    assert row["aic"] == pytest.approx(-2 * log_likelihood + 2 * p)


def test_the_choice_is_weighed(three_states):
    data, _ = three_states
    selection = select_n_states(data, range(1, 5), n_restarts=4)
    assert selection.stability.agreement > 0.95
    assert selection.stability.states["n_found"].min() >= 9
    assert selection.diagnostics.autocorrelation == pytest.approx(0, abs=0.15)
    assert set(selection.criteria["covariance_type"]) == {"diag", "full"}
    assert len(selection.criteria) == 8
    assert selection.curve["n_states"].tolist() == [1, 2, 3, 4]
    assert selection.recommendation.n_states == 3
    assert selection.n_states == 3
    same_type = selection.recommendation.covariance_type == "diag"
    assert (selection.recommended is None) == same_type


def test_every_attempt_is_recorded(three_states):
    data, _ = three_states
    selection = select_n_states(data, range(1, 4), n_restarts=4, quick=True)
    starts = selection.attempts[selection.attempts["start"].isin(KINDS)]
    assert starts.groupby("n_states").size().tolist() == [1, 4, 4]
    assert starts["seed"].is_unique
    others = selection.attempts.drop(starts.index)
    assert set(others["start"]) <= {"split of 1 states", "split of 2 states", "merge of 3 states"}
    reasons = selection.attempts["reason"]
    assert (selection.attempts["valid"] == (reasons == "")).all()
    valid = selection.attempts[selection.attempts["valid"]]
    best = valid.groupby("n_states")["log_likelihood"].max()
    np.testing.assert_allclose(best, selection.criteria["log_likelihood"], rtol=1e-12)


def test_states_are_in_order_of_time(three_states):
    data, _ = three_states
    model = select_n_states(data, [3], n_restarts=4, quick=True).models[3]
    assert model.startprob.argmax() == 0
    assert model.transmat[0, 1] > 0.05
    assert model.transmat[1, 2] > 0.05


def test_result_does_not_depend_on_jobs_and_repeats(three_states):
    data, _ = three_states
    one, two = (
        select_n_states(data, [2, 3], n_restarts=3, quick=True, n_jobs=n_jobs) for n_jobs in (1, 2)
    )
    assert one.criteria.equals(two.criteria)
    assert one.attempts.equals(two.attempts)
    for k in (2, 3):
        np.testing.assert_array_equal(one.models[k].means, two.models[k].means)


def test_paper_protocol_scores_runs_the_fit_has_not_seen(three_states):
    data, _ = three_states
    selection = select_n_states(
        data, range(1, 5), protocol="paper", n_restarts=4, random_state=3, quick=True
    )
    assert selection.criterion == "held_out_bic"
    assert len(selection.held_out) == 1  # one in five of six runs, rounded
    held = (data.runs["group"] + "/" + data.runs["run"]).isin(selection.held_out).to_numpy()
    rows = np.repeat(held, data.lengths)
    # A model of another K than the chosen one is still the one fitted to the training runs.
    other = next(k for k in selection.models if k != selection.n_states)
    log_likelihood = beliefs(
        selection.models[other], Sequences(data.values[rows], data.lengths[held])
    ).log_likelihood.sum()
    row = selection.criteria.set_index("n_states").loc[other]
    expected = -2 * log_likelihood + row["n_parameters"] * np.log(rows.sum())
    assert row["held_out_bic"] == pytest.approx(expected)


def test_paper_protocol_judges_both_covariance_types_on_the_same_runs(three_states):
    data, _ = three_states
    selection = select_n_states(data, [2, 3], protocol="paper", n_restarts=2, random_state=3)
    held = (data.runs["group"] + "/" + data.runs["run"]).isin(selection.held_out).to_numpy()
    split = split_runs(data, held)
    for covariance_type in ("diag", "full"):
        winners = sweep.sweep(
            split.fitted, [2, 3], covariance_type=covariance_type, n_restarts=2, random_state=3
        ).winners
        rows = selection.criteria[selection.criteria["covariance_type"] == covariance_type]
        for row in rows[rows["n_states"] > 1].itertuples():
            winner = winners[row.n_states]
            assert row.log_likelihood == pytest.approx(winner.log_likelihood)
            score = beliefs(winner.parameters, split.unseen).log_likelihood.sum()
            assert row.held_out_bic == pytest.approx(
                -2 * score + row.n_parameters * np.log(len(split.unseen.values))
            )
    # What the maps shown were fitted to: all runs.
    attempts = selection.attempts.set_index(["covariance_type", "n_states"])
    last = attempts[attempts["n_runs"] == 6]
    assert set(last.index) == {("diag", selection.n_states)}
    model = selection.models[selection.n_states]
    log_likelihood = beliefs(model, data).log_likelihood.sum()
    assert last.loc[last["valid"], "log_likelihood"].max() == pytest.approx(log_likelihood)
    assert set(attempts["n_runs"]) == {5, 6}


def test_the_recommended_map_has_seen_all_runs_under_the_papers_protocol(three_states):
    """Also where it is of the other covariance type."""
    data, _ = three_states
    settings = SweepSettings(2, 3, 1, PLAIN_MODEL)
    split = split_runs(data, np.arange(6) == 0)
    swept = settings.sweep(split.fitted, [3], "full")
    selection = select_n_states(data, [2], protocol="paper", n_restarts=2, quick=True)
    selection = replace(selection, recommendation=Recommendation(3, "full", 3, 3, "for this test"))
    recommended = _recommended(selection, swept, data, settings)
    model = recommended.models[3]
    assert model.covariance_type == "full"
    last = recommended.attempts.query("covariance_type == 'full' and n_runs == 6 and valid")
    log_likelihood = beliefs(model, data).log_likelihood.sum()
    assert last["log_likelihood"].max() == pytest.approx(log_likelihood)


def test_a_metric_that_only_held_out_runs_know_is_left_out_and_named(three_states):
    data, _ = three_states
    quick = {"protocol": "paper", "n_restarts": 2, "random_state": 3, "quick": True}
    selection = select_n_states(data, [2, 3], **quick)
    names = data.runs["group"] + "/" + data.runs["run"]
    held = np.repeat(names.isin(selection.held_out).to_numpy(), data.lengths)
    values = data.values.copy()
    values[~held, 2] = np.nan
    ours = select_n_states(replace(data, values=values), [2, 3], **quick)
    without = replace(data, values=values[:, :2], features=data.features[:2])
    theirs = select_n_states(without, [2, 3], **quick)
    assert ours.criteria.equals(theirs.criteria)
    assert ours.models[ours.n_states].means.shape[1] == 3
    assert any(n.subject == "metric m2" for n in ours.notices)


def test_long_gaps_are_named(three_states):
    data, _ = three_states
    steps = data.steps.copy()
    steps[30:60] += 10**6
    options = ModelOptions(clock="step")
    selection = select_n_states(
        replace(data, steps=steps), [2], options=options, n_restarts=2, quick=True
    )
    (notice,) = [n for n in selection.notices if n.subject.startswith("gaps")]
    assert "1 of them count as 100 times the median gap" in notice.message
    assert "seed0 before 1,000,300" in notice.message


def test_a_held_out_run_with_an_unseen_transition_has_a_finite_score():
    # Four runs go 0 -> 1; the fifth goes back. Whichever is held out, scores stay finite.
    rng = np.random.default_rng(0)
    runs = [np.r_[np.zeros(15), np.full(15, 5.0)] for _ in range(4)]
    runs.append(np.r_[np.zeros(10), np.full(10, 5.0), np.zeros(10)])
    values = np.concatenate(runs)[:, None] + rng.normal(scale=0.1, size=(150, 1))
    data = observations(values, [30] * 5)
    for seed in range(8):
        selection = select_n_states(
            data, [1, 2], protocol="paper", n_restarts=2, random_state=seed, quick=True
        )
        assert np.isfinite(selection.criteria["held_out_bic"]).all()


def test_paper_protocol_needs_two_runs():
    values = np.random.default_rng(0).normal(size=(20, 2))
    with pytest.raises(NotEnoughDataError, match="only one run"):
        select_n_states(observations(values, [20]), [1, 2], protocol="paper")


def test_largest_number_tried_is_said_to_be_a_limit():
    drift = np.linspace(0, 10, 60)[:, None] + np.zeros((1, 2))
    values = drift + np.random.default_rng(0).normal(scale=0.01, size=(60, 2))
    selection = select_n_states(observations(values, [60]), range(1, 4), n_restarts=4, quick=True)
    assert selection.n_states == 3
    assert any("largest number tried" in n.message for n in selection.notices)


def test_more_parameters_than_checkpoints_is_said():
    values = np.random.default_rng(0).normal(size=(12, 5))
    selection = select_n_states(observations(values, [6, 6]), [2], n_restarts=2, quick=True)
    assert any(n.subject == "number of parameters" for n in selection.notices)


def test_no_more_states_than_different_checkpoints():
    values = np.repeat([[0.0], [1.0], [5.0]], 4, axis=0)
    selection = select_n_states(observations(values, [12]), range(1, 9), n_restarts=2, quick=True)
    assert selection.criteria["n_states"].tolist() == [1, 2, 3]
    assert any("different checkpoints" in n.message for n in selection.notices)
    with pytest.raises(NotEnoughDataError, match="only 3 different"):
        select_n_states(observations(values, [12]), [4])


def test_no_valid_fit_counts_the_reasons(monkeypatch, three_states):
    monkeypatch.setattr(em, "TOLERANCE", -1.0)
    monkeypatch.setattr(sweep, "MAX_ITERATIONS", 1)
    data, _ = three_states
    with pytest.raises(NoValidFitError, match="× not converged after"):
        select_n_states(data, [3], n_restarts=3, quick=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"candidates": []},
        {"candidates": [0, 1]},
        {"covariance_type": "round"},
        {"protocol": "aic"},
        {"n_restarts": 0},
    ],
)
def test_wrong_options_are_named(three_states, wrong):
    data, _ = three_states
    with pytest.raises(UsageError, match="must be"):
        select_n_states(data, quick=True, **wrong)


def test_time_order_breaks_ties_and_puts_unvisited_states_last():
    states = np.array([2, 2, 0, 0, 2, 0, 0, 0])
    order = time_order(states, np.array([4, 4]), 3)
    assert order.tolist() == [2, 0, 1]


def test_reordering_keeps_the_model():
    parameters = random_parameters(3, 2, "full", seed=4)
    values, _ = sample(parameters, [30], seed=5)
    moved = reorder(parameters, np.array([2, 0, 1]))
    np.testing.assert_array_equal(moved.transmat[0, 1], parameters.transmat[2, 0])
    lengths = np.array([30])
    np.testing.assert_allclose(
        beliefs(moved, Sequences(values, lengths)).log_likelihood,
        beliefs(parameters, Sequences(values, lengths)).log_likelihood,
    )
