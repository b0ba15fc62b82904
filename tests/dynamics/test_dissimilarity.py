from itertools import combinations, permutations
from math import comb
from time import perf_counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import csr_array

from hmmdyn.dynamics.dissimilarity import compare_pair, compare_pairs, dissimilarity, distances

RNG = np.random.default_rng(0)
MEANS = RNG.normal(size=(4, 3))
BAGS = RNG.dirichlet(np.ones(4), size=5)


def occupancy(shares):
    frame = pd.DataFrame(shares, columns=[f"state_{k}" for k in range(shares.shape[1])])
    return frame.assign(group="all", run=[f"r{i}" for i in range(len(shares))])


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


@given(
    order=st.permutations(range(6)),
    seed=st.integers(0, 2**32 - 1),
    n_runs=st.integers(2, 6),
)
@settings(max_examples=40, deadline=None)
def test_relabelling_states_changes_no_distance(order, seed, n_runs):
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(6, 3))
    shares = rng.multinomial(8, np.full(6, 1 / 6), size=n_runs) / 8  # with empty states
    a = dissimilarity(occupancy(shares), means)
    b = dissimilarity(occupancy(shares[:, order]), means[order])
    assert b.emission == pytest.approx(a.emission, abs=1e-9)
    assert b.total_variation == pytest.approx(a.total_variation, abs=1e-12)


def test_relabelling_states_changes_the_papers_own_number():
    found = {
        round(dissimilarity(occupancy(BAGS[:, list(order)]), MEANS[list(order)]).labels, 9)
        for order in permutations(range(4))
    }
    assert len(found) == 12  # an order and its mirror image are alike


def test_equal_runs_have_no_distance_and_one_run_has_none_at_all():
    same = dissimilarity(occupancy(np.repeat(BAGS[:1], 3, axis=0)), MEANS)
    assert (same.emission, same.total_variation, same.labels) == (0, 0, 0)
    alone = dissimilarity(occupancy(BAGS[:1]), MEANS)
    assert np.isnan([alone.emission, alone.total_variation, alone.labels]).all()


def test_one_state_has_no_distances():
    one = dissimilarity(occupancy(np.ones((3, 1))), MEANS[:1])
    assert (one.emission, one.total_variation, one.labels) == (0, 0, 0)


def one_linear_program(shares, means):
    """All pairs of bags as the linear program of their surpluses, whose parts share nothing."""
    first, second = np.triu_indices(len(shares), 1)
    surplus = shares[first] - shares[second]
    pair, source, sink = np.nonzero((surplus[:, :, None] > 0) & (surplus[:, None, :] < 0))
    cost = np.linalg.norm(means[source] - means[sink], axis=1)
    ways = np.arange(len(pair))
    places = np.r_[pair * len(means) + source, pair * len(means) + sink]
    used, rows = np.unique(places, return_inverse=True)
    balance = csr_array((np.ones(len(places)), (rows, np.r_[ways, ways])))
    plan = linprog(cost, A_eq=balance, b_eq=np.abs(surplus).ravel()[used])
    return np.bincount(pair, weights=cost * plan.x, minlength=len(first))


@pytest.mark.parametrize("n_states", [2, 3, 5, 8, 12])
@pytest.mark.parametrize("kind", ["any shares", "counts", "on a line"])
def test_every_pair_costs_what_the_linear_program_says(n_states, kind):
    rng = np.random.default_rng(n_states)
    shares = rng.dirichlet(np.ones(n_states), size=14)
    means = rng.normal(size=(n_states, 3))
    if kind == "counts":  # empty states, and many ways that are equally long
        shares = rng.multinomial(10, np.full(n_states, 1 / n_states), size=14) / 10
    if kind == "on a line":
        means[:, 1:] = 0
    expected = one_linear_program(shares, means)
    ours = distances(shares, means)
    np.testing.assert_allclose(ours[np.triu_indices(14, 1)], expected, rtol=1e-9, atol=1e-12)
    assert (ours == ours.T).all()
    assert (np.diag(ours) == 0).all()


def test_hundreds_of_runs_take_seconds():
    rng = np.random.default_rng(1)
    shares = rng.dirichlet(np.ones(8), size=300)
    means = rng.normal(size=(8, 14))
    distances(shares[:2], means)  # compiled at first use
    began = perf_counter()
    matrix = distances(shares, means)
    assert perf_counter() - began < 20.0  # 1.5 s on a busy core; a thousand runs take 16 s
    cost = np.linalg.norm(means[:, None] - means, axis=2)
    for i, j in [(0, 1), (3, 299), (20, 121)]:
        assert matrix[i, j] == pytest.approx(transport(shares[i], shares[j], cost), rel=1e-9)


def energy(matrix, a, b):
    def mean(x, y):
        return np.mean([matrix[i, j] for i in x for j in y])

    return 2 * mean(a, b) - mean(a, a) - mean(b, b)


def test_p_counts_the_divisions_that_are_at_least_as_far_apart():
    shares = np.random.default_rng(2).dirichlet(np.ones(4), size=9)
    shares[:4] = 0.5 * shares[:4] + 0.5 * np.eye(4)[0]
    matrix = distances(shares, MEANS)
    divisions = [
        energy(matrix, a, [i for i in range(9) if i not in a]) for a in combinations(range(9), 4)
    ]
    seen = energy(matrix, range(4), range(4, 9))
    row = compare_pair(matrix, 4)
    assert row["p"] == pytest.approx(np.mean(np.array(divisions) >= seen - 1e-12))
    assert 0.01 < row["p"] < 0.5
    assert row["excess"] == pytest.approx(seen)
    assert row["least_p"] == 1 / comb(9, 4)
    assert row["between"] == pytest.approx(matrix[:4, 4:].mean())
    within = [matrix[i, j] for i, j in combinations(range(4, 9), 2)]
    assert row["within_b"] == pytest.approx(np.mean(within))


def test_groups_of_many_runs_are_told_apart_and_the_same_every_time():
    rng = np.random.default_rng(3)
    shares = np.r_[rng.dirichlet([8, 1, 1, 1], 15), rng.dirichlet([1, 1, 1, 8], 15)]
    matrix = distances(shares, MEANS)
    row = compare_pair(matrix, 15)
    assert row["p"] == 1e-4  # of 9,999 divisions drawn and the one seen
    assert row == compare_pair(matrix, 15)


def test_groups_that_differ_in_spread_alone_are_told_apart():
    rng = np.random.default_rng(4)
    shares = np.r_[rng.dirichlet(np.full(4, 200), 12), rng.dirichlet(np.full(4, 0.5), 12)]
    row = compare_pair(distances(shares, MEANS), 12)
    assert row["p"] < 0.01
    assert row["within_a"] < row["within_b"]


def test_false_alarms_are_at_most_nominal():
    alarms = []
    for seed in range(200):
        shares = np.random.default_rng(seed).dirichlet(np.ones(4), size=9)
        matrix = distances(shares, MEANS)
        alarms.append(compare_pair(matrix, 4)["p"] < 0.05)
    assert np.mean(alarms) <= 0.08  # nominal 0.05, and two standard errors


@pytest.mark.parametrize(("sizes", "tells"), [((1, 1), False), ((1, 20), False),
                                              ((3, 3), False), ((3, 4), True)])  # fmt: skip
def test_groups_too_small_to_tell_have_no_p(sizes, tells):
    shares = np.random.default_rng(5).dirichlet(np.ones(4), size=sum(sizes))
    matrix = distances(shares, MEANS)
    row = compare_pair(matrix, sizes[0])
    assert np.isfinite(row["p"]) == tells
    assert (row["least_p"] < 0.05) == tells
    assert np.isnan(row["within_a"]) == (sizes[0] == 1)


def walked(group, changes, schedule):
    """States of runs that enter states 1, 2, 3 at given steps, seen at the steps of a schedule."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "group": group,
                    "run": f"seed{i}",
                    "seed": i,
                    "step": schedule,
                    "state": np.searchsorted(at, schedule, side="right"),
                }
            )
            for i, at in enumerate(changes)
        ],
        ignore_index=True,
    )


def changes(n_runs, seed):
    """Three changes of state in each run, at steps that seeds differ in."""
    slowness = np.random.default_rng(seed).lognormal(0, 0.25, size=(n_runs, 1))
    return slowness * np.array([100, 300, 600])


def test_pairs_of_three_groups_are_corrected_together():
    schedule = np.arange(0, 1001, 10)
    states = pd.concat(
        [
            walked("a", changes(6, 0), schedule),
            walked("b", 0.3 * changes(6, 1), schedule),
            walked("one run", changes(1, 2), schedule),
        ]
    )
    pairs = compare_pairs(states, MEANS)
    assert pairs[["group_a", "group_b"]].to_numpy().tolist() == [
        ["a", "b"], ["a", "one run"], ["b", "one run"],
    ]  # fmt: skip
    assert pairs["p"].notna().tolist() == [True, False, False]
    assert pairs["p"][0] < 0.01
    assert pairs["p_corrected"][0] == pairs["p"][0]  # the only one tested
    assert pairs["last_step"].tolist() == [1000] * 3
    assert not pairs["cut"].any()


DENSE_AT_FIRST = np.r_[np.arange(0, 200, 2), np.arange(200, 1001, 10)]


@pytest.mark.parametrize(
    ("schedule", "cut"),
    [
        (np.arange(0, 2001, 10), True),  # ran twice as long
        (DENSE_AT_FIRST, False),  # saved more often at first
        (np.r_[0, 2 ** np.arange(10), 1000], False),  # spaced by logarithms
        (np.arange(0, 1001, 20), False),
        (np.arange(0, 1001, 17), True),  # has hardly a step in common
        (1000 - DENSE_AT_FIRST[::-1], False),
    ],
)
def test_a_recipe_is_not_unlike_itself_on_another_schedule(schedule, cut):
    """Seeds walk alike in both groups; counted by checkpoints p was 0.0079 for the first two."""
    usual = np.arange(0, 1001, 10)
    p = []
    for seed in range(4):
        one = walked("a", changes(5, 2 * seed), usual)
        other = walked("b", changes(5, 2 * seed + 1), schedule)
        p.append(compare_pairs(pd.concat([one, other]), MEANS).iloc[0])
    p = pd.DataFrame(p)
    assert p["p"].min() > 0.05
    assert p["p"].median() > 0.2
    assert (p["cut"] == cut).all()
    assert (p["last_step"] <= 1000).all()


def test_on_another_schedule_false_alarms_are_nominal():
    usual, dense = np.arange(0, 1001, 20), np.r_[np.arange(0, 200, 5), np.arange(200, 1401, 20)]
    alarms = [
        compare_pairs(
            pd.concat(
                [
                    walked("a", changes(5, 2 * seed), usual),
                    walked("b", changes(5, 2 * seed + 1), dense),
                ]
            ),
            MEANS,
        )["p"][0]
        < 0.05
        for seed in range(40)
    ]
    assert np.mean(alarms) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 40)


def test_runs_that_end_too_early_are_left_out_of_the_comparison():
    states = pd.concat(
        [
            walked("a", changes(6, 0), np.arange(0, 1001, 10)),
            walked("b", changes(6, 1), np.arange(0, 1001, 10)),
            walked("b", changes(1, 2), np.arange(0, 201, 10)).assign(run="crashed"),
        ]
    )
    pair = compare_pairs(states, MEANS).iloc[0]
    assert pair[["n_a", "n_b", "n_left_out", "last_step"]].tolist() == [6, 6, 1, 1000]
    apart = pd.concat(
        [walked("a", changes(6, 0), np.arange(100)), walked("b", changes(6, 0), 500 + np.arange(9))]
    )
    nothing = compare_pairs(apart, MEANS).iloc[0]
    assert np.isnan(nothing["p"])
    assert nothing["n_left_out"] == 12
