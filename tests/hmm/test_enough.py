"""Very many checkpoints: enough of the runs are looked at, and what is found is the same."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from hmmdyn.hmm.choose import clock_or_seed as clocks
from hmmdyn.hmm.choose.boundaries import supported_map
from hmmdyn.hmm.choose.found_again import found_again
from hmmdyn.hmm.choose.refit import refit_without
from hmmdyn.hmm.choose.select import select_n_states
from hmmdyn.hmm.fit import em, enough
from hmmdyn.hmm.fit.enough import enough_runs
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.simulate.worlds import World, simulate_world
from hmmdyn.tables.standardise import pooled_observations
from hmmdyn.tables.trajectories import Trajectories


@pytest.fixture(scope="module")
def path():
    world = World("path", 3, width=0.02, n_runs=40, n_checkpoints=40, noise=0.15)
    runs = simulate_world(world, 1)
    return pooled_observations(Trajectories(runs.table, runs.metrics, ())), runs.phases


@pytest.fixture
def ten_are_enough(monkeypatch):
    monkeypatch.setattr(enough, "_CHECKPOINTS", 200)
    monkeypatch.setattr(enough, "_RUNS", 10)


def test_runs_are_drawn_until_there_are_checkpoints_and_runs_enough():
    assert enough_runs(np.full(1000, 100), 0).all()
    drawn = enough_runs(np.full(1000, 1000), 0)
    assert drawn.sum() == 100
    assert (drawn == enough_runs(np.full(1000, 1000), 0)).all()
    assert (drawn != enough_runs(np.full(1000, 1000), 1)).any()
    assert enough_runs(np.full(80, 100_000), 0).sum() == 50
    assert enough_runs(np.full(5, 100_000), 0).all()


def test_a_map_sought_in_some_runs_is_fitted_to_all(path, ten_are_enough):
    """To where EM leads from the truth, of which the search has seen ten runs of forty."""
    data, phases = path
    settings = {"covariance_type": "diag", "n_restarts": 3, "random_state": 0}
    swept = sweep(data, [2, 3, 4], **settings)
    assert swept.n_runs_seen == 10
    winner = swept.winners[3]
    assert adjusted_rand_score(winner.states, phases) > 0.95
    (again,) = em.fit(data, [winner.parameters])
    assert winner.log_likelihood == pytest.approx(again.log_likelihood, abs=1e-2)
    assert (np.diff(winner.objective) > -1e-9 * np.abs(winner.objective[1:])).all()


def test_what_a_search_did_not_see_is_said(path, ten_are_enough):
    selection = select_n_states(path[0], range(1, 5), n_restarts=2, protocol="supported")
    (said,) = [str(n.message) for n in selection.notices if n.subject == "search"]
    assert "10 of 40 runs" in said
    assert len(selection.evidence.zoom[3].states) == len(path[0].values)
    assert selection.n_states == 3


def test_halves_are_told_by_enough_of_their_runs(path, ten_are_enough):
    data, phases = path
    again = found_again(data, supported_map(data, phases), n_splits=1)
    assert again.boundaries["found"].tolist() == ["yes", "yes"]


def test_a_map_without_some_runs_is_that_of_enough_others(path, ten_are_enough, monkeypatch):
    data, _ = path
    best = sweep(data, [3], covariance_type="diag", n_restarts=2, random_state=0).winners[3]
    held = np.arange(40) < 2
    without = refit_without(best.parameters, data, best.states, held)
    kept = held.copy()
    kept[~held] = enough_runs(data.lengths[~held], 0)
    assert kept.sum() == 12
    monkeypatch.setattr(enough, "_RUNS", 40)
    states = best.states[kept[data.run_of_row]]
    alone = refit_without(best.parameters, data.of(kept), states, held[kept])
    np.testing.assert_array_equal(without.means, alone.means)


def test_of_many_runs_some_say_whose_time_it_is(monkeypatch):
    world = World("path", 3, width=0.02, n_runs=40, n_checkpoints=60, noise=0.15)
    runs = simulate_world(world, 3)
    data = pooled_observations(Trajectories(runs.table, runs.metrics, ()))
    monkeypatch.setattr(clocks, "_MOST_RUNS", 20)
    answer = clocks.clock_or_seed(data, runs.phases)
    assert len(answer.runs) == 20
    assert answer.verdict == "each seed in its own time"
