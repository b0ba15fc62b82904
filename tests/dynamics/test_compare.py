from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import linprog

from hmmdyn.dynamics.compare import dissimilarity

RNG = np.random.default_rng(0)
MEANS = RNG.normal(size=(4, 3))
BAGS = RNG.dirichlet(np.ones(4), size=5)


def occupancy(bags):
    frame = pd.DataFrame(bags, columns=[f"state_{k}" for k in range(bags.shape[1])])
    return frame.assign(group="all", run=[f"r{i}" for i in range(len(bags))])


def transport(p, q, cost):
    """W₁ as the linear program over transport plans that it is."""
    k = len(p)
    rows = np.kron(np.eye(k), np.ones(k))
    columns = np.kron(np.ones(k), np.eye(k))
    plan = linprog(cost.ravel(), A_eq=np.r_[rows, columns], b_eq=np.r_[p, q])
    return plan.fun


@pytest.mark.parametrize("kind", ["emission", "total_variation", "labels"])
def test_equals_the_transport_problem(kind):
    k = np.arange(4)
    cost = {
        "emission": np.linalg.norm(MEANS[:, None] - MEANS[None], axis=2),
        "total_variation": 1.0 - np.eye(4),
        "labels": np.abs(k[:, None] - k[None]).astype(float),
    }[kind]
    pairs = combinations(BAGS, 2)
    expected = np.mean([transport(p, q, cost) for p, q in pairs])
    ours = getattr(dissimilarity(occupancy(BAGS), MEANS), kind)
    assert ours == pytest.approx(expected, rel=1e-6)


def test_relabelling_moves_only_the_papers_own_number():
    order = [2, 0, 3, 1]
    a = dissimilarity(occupancy(BAGS), MEANS)
    b = dissimilarity(occupancy(BAGS[:, order]), MEANS[order])
    assert b.emission == pytest.approx(a.emission)
    assert b.total_variation == pytest.approx(a.total_variation)
    assert b.labels != pytest.approx(a.labels)


def test_equal_runs_have_no_distance_and_one_run_has_none_at_all():
    same = dissimilarity(occupancy(np.repeat(BAGS[:1], 3, axis=0)), MEANS)
    assert (same.emission, same.total_variation, same.labels) == (0, 0, 0)
    assert np.isnan(dissimilarity(occupancy(BAGS[:1]), MEANS).emission)
