import numpy as np
import pytest

from hmmdyn.errors import UsageError
from hmmdyn.simulate.trajectories import KINDS, simulate


@pytest.mark.parametrize("kind", KINDS)
def test_runs_are_standardised_and_repeatable(kind):
    n_phases = 1 if "drift" in kind else 4
    one, two = (simulate(kind, n_phases, n_runs=3, random_state=5) for _ in range(2))
    np.testing.assert_array_equal(one.values, two.values)
    for run in np.split(one.values, 3):
        np.testing.assert_allclose(run.mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(run.std(axis=0), 1)
    other = simulate(kind, n_phases, n_runs=3, random_state=6)
    assert not np.allclose(one.values, other.values)


def test_phases_follow_each_other_and_jump():
    s = simulate("sharp", 3, n_runs=6, noise=0.01, random_state=1)
    for phases, run in zip(np.split(s.phases, 6), np.split(s.values, 6), strict=True):
        assert (np.diff(phases) >= 0).all()
        assert set(phases) == {0, 1, 2}
        jumps = np.linalg.norm(np.diff(run, axis=0), axis=1)
        assert jumps[np.diff(phases) == 1].min() > 5 * jumps[np.diff(phases) == 0].max()


def test_a_fork_has_runs_on_either_side():
    s = simulate("fork", 4, n_runs=6, random_state=1)
    paths = {tuple(np.unique(phases)) for phases in np.split(s.phases, 6)}
    assert paths == {(0, 1, 3), (0, 2, 3)}


def test_a_gradual_transition_takes_longer_than_a_sharp_one():
    largest = {
        kind: np.abs(
            np.diff(simulate(kind, 2, n_runs=1, n_checkpoints=400, random_state=2).values, axis=0)
        ).max()
        for kind in ("phases", "gradual")
    }
    assert largest["gradual"] < 0.5 * largest["phases"]


@pytest.mark.parametrize(
    ("kind", "n_phases"), [("other", 2), ("fork", 3), ("drift", 2), ("sharp", 0)]
)
def test_what_cannot_be_simulated_is_said(kind, n_phases):
    with pytest.raises(UsageError, match=kind):
        simulate(kind, n_phases)
