from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.ways import fork_choices


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
