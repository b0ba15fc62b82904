"""When runs are in which state, held against loops over runs and checkpoints."""

from collections import defaultdict
from itertools import pairwise
from statistics import median

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.map_in_time import find_map_in_time
from hmmdyn.results.boundaries import Level
from hmmdyn.results.model import HMMParameters


def parameters(n_states):
    return HMMParameters(
        startprob=np.eye(n_states)[0],
        transmat=np.full((n_states, n_states), 1 / n_states),
        means=np.arange(2.0 * n_states).reshape(n_states, 2),
        covariances=np.ones((n_states, 2)),
        covariance_type="diag",
    )


@pytest.fixture(scope="module")
def found():
    """Runs of two groups with steps of their own, at two levels."""
    rng = np.random.default_rng(3)
    parts = []
    for number in range(7):
        steps = np.cumsum(rng.integers(1, 50, rng.integers(1, 30)))
        parts.append(
            pd.DataFrame({"group": "ab"[number % 2], "run": f"r{number // 2}", "step": steps})
        )
    states = pd.concat(parts, ignore_index=True)
    fine = rng.integers(0, 4, len(states))
    states["state"] = fine // 2
    zoom = {4: Level(parameters(4), fine), 2: Level(parameters(2), fine // 2)}
    return states, fine, find_map_in_time(states, parameters(2), zoom)


def stays_by_hand(states, path):
    """(group, run) -> list of [state, start, end]."""
    result = {}
    for key, own in states.assign(state=path).groupby(["group", "run"]):
        steps, path_of_run = own["step"].tolist(), own["state"].tolist()
        borders = [steps[0], *((a + b) / 2 for a, b in pairwise(steps))]
        borders.append(steps[-1])
        stays = []
        for i, state in enumerate(path_of_run):
            if stays and stays[-1][0] == state:
                stays[-1][2] = borders[i + 1]
            else:
                stays.append([state, borders[i], borders[i + 1]])
        result[key] = stays
    return result


@pytest.mark.parametrize("level", [4, 2])
def test_states_and_changes_of_a_level_are_those_of_its_runs(found, level):
    states, fine, result = found
    by_hand = stays_by_hand(states, fine if level == 4 else fine // 2)
    entered, left, time = defaultdict(list), defaultdict(list), defaultdict(float)
    crossed = defaultdict(list)
    for stays in by_hand.values():
        for k in {stay[0] for stay in stays}:
            entered[k].append(min(start for state, start, _ in stays if state == k))
            left[k].append(max(end for state, _, end in stays if state == k))
        firsts = {}
        for (j, _, _), (k, start, _) in pairwise(stays):
            firsts.setdefault((j, k), start)
        for edge, start in firsts.items():
            crossed[edge].append(start)
        for state, start, end in stays:
            time[state] += end - start
    rows = result.states[result.states["level"] == level].set_index("state")
    for k in range(level):
        assert rows.loc[k, "n_runs"] == len(entered[k])
        assert rows.loc[k, "n_total"] == 7
        assert rows.loc[k, "entered"] == median(entered[k])
        assert rows.loc[k, "left"] == median(left[k])
        assert rows.loc[k, "share"] == pytest.approx(time[k] / sum(time.values()))
    edges = result.transitions[result.transitions["level"] == level]
    seen = {(e.from_state, e.to_state): (e.n_runs, e.crossed) for e in edges.itertuples()}
    assert seen == {edge: (len(steps), median(steps)) for edge, steps in crossed.items()}


def test_stays_are_those_of_each_run_in_order(found):
    states, fine, result = found
    stays = {
        key: own[["state", "start", "end"]].to_numpy().tolist()
        for key, own in result.stays[4].groupby(["group", "run"])
    }
    assert stays == stays_by_hand(states, fine)


def test_groups_have_their_own_rows(found):
    states, _, result = found
    alone = find_map_in_time(
        states[states["group"] == "b"].reset_index(drop=True), parameters(2), {}
    )
    of_b = result.group_states[result.group_states["group"] == "b"].drop(columns="group")
    assert of_b.reset_index(drop=True).equals(alone.states.drop(columns="level"))
    edges = result.group_transitions[result.group_transitions["group"] == "b"]
    assert (
        edges.drop(columns="group")
        .reset_index(drop=True)
        .equals(alone.transitions.drop(columns="level"))
    )


def test_a_state_no_run_is_in_has_no_place(found):
    states, _, _ = found
    result = find_map_in_time(states.assign(state=1), parameters(3), {})
    assert result.states["n_runs"].tolist() == [0, 7, 0]
    assert result.states["entered"].isna().tolist() == [True, False, True]
    assert result.transitions.empty
