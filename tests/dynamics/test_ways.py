from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.proportion import proportion_confint

from hmmdyn.dynamics.ways import (
    find_dead_ends,
    find_forks,
    find_paths,
    find_stays,
    find_ways,
    fork_choices,
    share_interval,
)
from tests.report.synthetic import make_findings


def states_of(paths):
    parts = [
        pd.DataFrame(
            {
                "group": group,
                "run": run,
                "seed": i,
                "step": 10 * np.arange(len(path)),
                "state": path,
            }
        )
        for i, (group, run, path) in enumerate(paths)
    ]
    return pd.concat(parts, ignore_index=True)


def test_fork_choices_name_every_run_that_goes_on_from_a_fork():
    states = states_of(
        [
            ("a", "run 1", [0, 0, 1, 3]),
            ("a", "run 2", [0, 2, 0, 3, 3]),  # going back to 0 is no other way
            ("b", "run 1", [0, 1, 1, 3]),  # the same name in another group is another run
            ("b", "7", [0, 0, 0]),  # goes nowhere
            ("b", "late", [1, 3]),
        ]
    )
    found = fork_choices(states)
    assert found.to_dict("split")["data"] == [
        ["a", "run 1", 0, 0, 1, 20],
        ["a", "run 2", 1, 0, 2, 10],
        ["b", "run 1", 2, 0, 1, 10],
    ]
    assert list(found) == ["group", "run", "seed", "state", "to_state", "step"]


def test_fork_choices_are_those_counted_run_by_run():
    rng = np.random.default_rng(0)
    paths = [rng.integers(0, 5, 30).tolist() for _ in range(12)]
    ways = {}
    for i, path in enumerate(paths):
        order = list(dict.fromkeys(path))
        for here, after in pairwise(order):
            ways.setdefault(here, []).append((i, after, 10 * path.index(after)))
    expected = [
        (i, here, after, step)
        for here, taken in sorted(ways.items())
        if len({after for _, after, _ in taken}) > 1
        for i, after, step in taken
    ]
    found = fork_choices(states_of([("a", f"seed{i}", path) for i, path in enumerate(paths)]))
    columns = ["seed", "state", "to_state", "step"]
    assert list(found[columns].itertuples(index=False, name=None)) == expected
    assert len(expected) > 30


@pytest.mark.parametrize("paths", [[[0, 0]], [[0, 1, 2], [0, 0, 1]], [[0, 1, 0, 2]]])
def test_where_all_runs_go_the_same_way_there_are_no_choices(paths):
    found = fork_choices(states_of([("a", f"seed{i}", path) for i, path in enumerate(paths)]))
    assert found.empty
    assert list(found) == ["group", "run", "seed", "state", "to_state", "step"]


def walks(*paths):
    """Decoded states of runs in the given states, one checkpoint per step."""
    states = states_of([("g", f"r{i}", path) for i, path in enumerate(paths)])
    return states.assign(step=states["step"] // 10, probability=1.0)


def forks_of(*paths):
    return find_forks(fork_choices(walks(*paths)))


def test_stays_meet_halfway_between_checkpoints_and_cover_the_run():
    stays = find_stays(walks([0, 0, 1, 1, 1, 0]))
    assert stays["state"].tolist() == [0, 1, 0]
    assert stays["start"].tolist() == [0, 1.5, 4.5]
    assert stays["end"].tolist() == [1.5, 4.5, 5]
    assert stays["n_checkpoints"].tolist() == [2, 3, 1]
    assert stays["left"].tolist() == [True, True, False]


def test_stays_never_cross_a_run_boundary():
    stays = find_stays(walks([0, 0], [0, 0]))
    assert len(stays) == 2
    assert not stays["left"].any()


def test_paths_count_runs_by_the_order_in_which_states_are_first_entered():
    paths = find_paths(walks([0, 1, 0, 1, 2], [0, 1, 2, 2, 2], [0, 2, 2, 2, 2]))
    assert list(paths.itertuples(index=False, name=None)) == [((0, 1, 2), 2, 0), ((0, 2), 1, 0)]


def test_a_run_that_ended_on_the_way_takes_no_way_of_its_own():
    line = find_paths(walks([0, 1, 2, 3], [0, 1, 2, 2], [0, 1, 1, 1], [0, 0, 0, 0]))
    assert list(line.itertuples(index=False, name=None)) == [((0, 1, 2, 3), 1, 3)]
    fork = find_paths(walks([0, 1, 3], [0, 2, 3], [0, 2, 2], [0, 0, 0]))
    assert list(fork.itertuples(index=False, name=None)) == [((0, 2, 3), 1, 2), ((0, 1, 3), 1, 1)]


def test_a_fork_needs_two_ways_out_and_falling_back_is_not_one():
    assert forks_of([0, 1, 0, 1, 2], [0, 1, 2]).empty
    forks = forks_of([0, 1, 3], [0, 2, 3], [0, 2, 3])
    counts = forks[["state", "to_state", "n_runs", "n_total"]]
    assert counts.to_numpy().tolist() == [[0, 2, 2, 3], [0, 1, 1, 3]]


def test_a_single_stray_run_of_many_is_not_a_fork():
    many = [[0, 1, 3]] * 20
    assert forks_of(*many, [0, 2, 3]).empty
    assert forks_of(*many, *[[0, 2, 3]] * 3)["state"].unique().tolist() == [0]


def test_shares_of_a_fork_carry_the_interval_of_wilson():
    forks = forks_of([0, 1, 3], [0, 2, 3], [0, 2, 3])
    np.testing.assert_allclose(forks["share"], [2 / 3, 1 / 3])
    for way in forks.itertuples():
        low, high = proportion_confint(way.n_runs, way.n_total, method="wilson")
        assert way.share_low == pytest.approx(low)
        assert way.share_high == pytest.approx(high)


def test_the_interval_of_a_share_is_the_published_one():
    # Newcombe (1998), Two-sided confidence intervals for the single proportion, Statistics in
    # Medicine 17, 857-872, table I, method 3 (score without continuity correction).
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0000, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (n, n_total), interval in published.items():
        assert share_interval(n, n_total) == pytest.approx(interval, abs=5e-5)


def test_a_dead_end_is_entered_never_left_and_not_where_training_leads():
    findings = make_findings()
    assert findings.ways.dead_ends == ()  # state 3 is where it leads
    stuck = findings.states.copy()
    stuck.loc[(stuck["run"] == "seed9") & (stuck["step"] >= 3000), "state"] = 2
    only_9 = findings.transitions[findings.transitions["from_state"] != 2]
    assert find_dead_ends(stuck, only_9, findings.runs) == (2,)


def test_a_state_in_which_a_run_converged_is_no_dead_end():
    findings = make_findings()
    stuck = findings.states.copy()
    stuck.loc[(stuck["run"] == "seed0") & (stuck["step"] >= 3000), "state"] = 2
    edges = findings.transitions[findings.transitions["from_state"] != 2]
    assert find_dead_ends(stuck, edges, findings.runs) == ()


def test_ways_are_found_together():
    findings = make_findings()
    ways = find_ways(findings.states, findings.fork_choices, findings.transitions, findings.runs)
    assert ways.stays["n_checkpoints"].sum() == len(findings.states)
    assert ways.paths["n_runs"].sum() == len(findings.runs) - 1  # one ended on the way
    assert ways.forks[["state", "to_state"]].to_numpy().tolist() == [[1, 3], [1, 2]]


def test_nothing_forks_in_a_table_with_all_its_columns():
    forks = forks_of([0, 1], [0, 1])
    assert forks.empty
    assert forks["share_low"].dtype == float
