import numpy as np
import pandas as pd

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.occupancy import bags, share_before_convergence
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
