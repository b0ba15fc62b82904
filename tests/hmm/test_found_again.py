"""Whether maps come again from other runs, and whether the clock explains them."""

import numpy as np
import pytest

from hmmdyn.hmm.choose.boundaries import supported_map
from hmmdyn.hmm.choose.clock_or_seed import clock_or_seed
from hmmdyn.hmm.choose.found_again import found_again
from hmmdyn.results.observations import Sequences
from hmmdyn.simulate.worlds import World, simulate_world
from hmmdyn.tables.standardise import pooled_observations
from hmmdyn.tables.trajectories import Trajectories


@pytest.fixture(scope="module")
def path():
    world = World("path", 3, width=0.02, n_runs=12, n_checkpoints=60, noise=0.15)
    runs = simulate_world(world, 1)
    seen = pooled_observations(Trajectories(runs.table, runs.metrics, ("accuracy",)))
    found = supported_map(seen, runs.phases)
    return seen, found


def test_phases_are_found_in_other_runs(path):
    seen, found = path
    again = found_again(seen, found, n_splits=1)
    assert again.n_halves == 2
    assert again.states["found"].tolist() == ["yes"] * 3
    assert (again.states["strength"] > 0.9).all()
    assert again.boundaries[["from_state", "to_state"]].to_numpy().tolist() == [[0, 1], [1, 2]]
    assert (again.boundaries["apart"] <= 20).all()  # two checkpoints


def test_a_boundary_that_others_do_not_have_is_not_found(path):
    """Told of one state in two, other runs keep it together and have no change there."""
    seen, found = path
    labels = found.labels.copy()
    odd = np.repeat(np.arange(12) % 2 == 1, 60)
    labels[(labels == 2) & odd] = 3
    drawn = np.random.default_rng(0).normal(size=(720, 1)) * 0.01
    moved = seen.values + np.where(labels == 3, 1.0, 0.0)[:, None] + drawn
    forked = supported_map(Sequences(moved, seen.lengths, seen.steps), labels)
    again = found_again(seen, forked, n_splits=1)
    if forked.n_states == 4:
        lost = again.states.set_index("state")["found"]
        assert "no" in set(lost[[2, 3]])


def test_few_runs_cannot_tell(path):
    seen, found = path
    rows = slice(0, 5 * 60)
    data = Sequences(seen.values[rows], seen.lengths[:5])
    few = supported_map(data, found.labels[rows])
    again = found_again(data, few)
    assert set(again.states["found"]) == {"cannot tell"}
    assert again.n_halves == 0


@pytest.mark.parametrize("verdict", ["each seed in its own time", "shared by schedule"])
def test_clock_or_seed_tells_who_sets_the_time(verdict):
    """Jumps at steps of each run's own, or one smooth course of all runs."""
    rng = np.random.default_rng(0)
    steps = np.tile(np.arange(50), 15)
    if verdict == "shared by schedule":
        labels = steps // 17
        course = np.cos(np.pi * steps[:, None] / np.array([50, 40, 30, 25]))
        values = 3 * course + 0.1 * rng.normal(size=(750, 4))
    else:
        levels = 3 * rng.normal(size=(3, 4))
        changes = [np.array([15, 30]) * np.exp(0.4 * rng.normal()) for _ in range(15)]
        labels = np.concatenate([np.searchsorted(c, np.arange(50)) for c in changes])
        values = levels[labels] + 0.1 * rng.normal(size=(750, 4))
    answer = clock_or_seed(Sequences(values, np.full(15, 50), steps), labels)
    assert answer.verdict == verdict
    assert len(answer.runs) == 15
    assert answer.low < answer.difference < answer.high
    assert "held-out runs" in answer.reason


def test_clock_or_seed_says_what_it_cannot_tell():
    values = np.random.default_rng(0).normal(size=(80, 2))
    labels, steps = np.tile([0] * 5 + [1] * 5, 8), np.tile(np.arange(10), 8)
    few = clock_or_seed(Sequences(values[:30], np.full(3, 10), steps[:30]), labels[:30])
    assert (few.verdict, few.runs.empty) == ("cannot tell", True)
    assert "3 runs" in few.reason
    apart = clock_or_seed(Sequences(values, np.full(8, 10), np.arange(80)), labels)
    assert "same steps" in apart.reason


def test_clock_or_seed_takes_runs_of_few_checkpoints():
    """Fewer steps than the neighbours whose variance each borrows."""
    values = np.random.default_rng(0).normal(size=(30, 2))
    labels, steps = np.tile([0, 0, 0, 1, 1], 6), np.tile(np.arange(5), 6)
    answer = clock_or_seed(Sequences(values, np.full(6, 5), steps), labels)
    assert np.isfinite(answer.difference)
    assert len(answer.runs) == 6
