import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.occupancy import (
    CHECKPOINTS,
    bag_of_states,
    bags,
    share_before_convergence,
    time_of_checkpoints,
    uneven_lengths,
)
from tests.dynamics.paths import runs_of


def test_bags_are_fractions_of_each_run(world):
    data, occupancy, _ = world
    np.testing.assert_allclose(occupancy.filter(like="state_").sum(axis=1), 1)
    path = data.loc[data["run"] == "r1", "state"]
    assert occupancy.loc[1, "state_1"] == (path == 1).mean()


def test_bags_are_the_columns_of_states():
    shares = np.random.default_rng(0).dirichlet(np.ones(4), size=5)
    table = pd.DataFrame(shares, columns=[f"state_{k}" for k in range(4)])
    np.testing.assert_array_equal(bags(table.assign(group="all", run="r")), shares)


def test_the_checkpoint_of_convergence_itself_is_not_before_it():
    data = runs_of([np.repeat([0, 1], 5)] * 3, [(np.arange(10) >= 5) * 1.0] * 3)
    convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    share = share_before_convergence(data, convergence)
    assert share.to_dict() == {0: 1.0, 1: 0.0}


def at_steps(*steps):
    return pd.concat(
        [
            pd.DataFrame({"group": "g", "run": f"r{i}", "seed": i, "step": own, "state": 0})
            for i, own in enumerate(steps)
        ],
        ignore_index=True,
    )


def test_a_checkpoint_stands_for_the_steps_nearest_to_it():
    time = time_of_checkpoints(at_steps([0, 10, 40, 100], [5], [7, 9]))
    # Ends reach outward as inward, but no further than half the usual gap, 30.
    assert time.tolist() == [5 + 5, 5 + 15, 15 + 30, 30 + 15, 1, 2, 2]


def test_where_checkpoints_are_evenly_spaced_time_is_checkpoints():
    states = at_steps(np.arange(3, 400, 7), np.arange(20)).assign(
        state=np.random.default_rng(0).integers(0, 3, 77)
    )
    ours, papers = (bags(bag_of_states(states, 3, *c)) for c in ((), (CHECKPOINTS,)))
    np.testing.assert_allclose(ours, papers, rtol=1e-12)


def test_on_logarithmic_steps_the_paper_counts_checkpoints_and_we_count_steps():
    steps = np.r_[0, 2 ** np.arange(11)]  # to 1024
    states = at_steps(steps).assign(state=(steps >= 512).astype(int))
    assert bags(bag_of_states(states, 2, CHECKPOINTS))[0].tolist() == [10 / 12, 2 / 12]
    assert bags(bag_of_states(states, 2))[0, 1] == pytest.approx(1 - 384 / 1024, abs=0.02)


def test_what_unequal_lengths_do_is_said():
    (notice,) = uneven_lengths(at_steps(np.arange(1000), np.arange(2001)))
    assert notice.message.startswith("Runs end at 999 to 2,000.")
    assert uneven_lengths(at_steps(np.arange(1000), np.arange(1100))) == ()
