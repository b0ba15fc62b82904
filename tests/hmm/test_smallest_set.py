"""The smallest set of metrics with which a map has the same states."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

import hmmdyn
from hmmdyn.errors import NotEnoughDataError, UsageError
from hmmdyn.hmm.choose.smallest_set import smallest_set
from hmmdyn.results.observations import Observations, Standardisation
from hmmdyn.results.smallest_set import METRIC_SETS

N_RUNS, N = 6, 90
STATES = np.tile(np.repeat([0, 1, 2], N // 3), N_RUNS)


def observed(**levels):
    """Metrics that have a level in each of three states, and noise."""
    rng = np.random.default_rng(0)
    values = np.column_stack([np.array(of_states)[STATES] for of_states in levels.values()])
    values = values + 0.3 * rng.normal(size=values.shape)
    return Observations(
        (values - values.mean(axis=0)) / values.std(axis=0),
        np.full(N_RUNS, N),
        np.tile(np.arange(N), N_RUNS),
        pd.DataFrame({"group": "g", "run": [f"r{i}" for i in range(N_RUNS)], "seed": 0}),
        tuple(levels),
        Standardisation("pooled", None, np.zeros(len(levels)), np.ones(len(levels))),
    )


def test_one_metric_that_tells_all_states_is_enough():
    found = smallest_set(observed(noise=(0, 0, 0), early=(0, 5, 5), all=(0, 5, 10)), STATES)
    assert found.metrics == ("all",)
    assert found.least_overlap == 1.0
    assert set(found.tried["n_metrics"]) == {1}
    METRIC_SETS.check(found.tried)


def test_two_that_tell_a_boundary_each_are_needed_together():
    found = smallest_set(
        observed(noise=(0, 0, 0), early=(0, 5, 5), late=(0, 0, 5), other=(0, 0, 0)), STATES
    )
    assert found.metrics == ("early", "late")
    tried = found.tried[found.tried["n_metrics"] == 2]
    assert len(tried) == len(list(combinations(range(4), 2)))
    assert tried["suffices"].tolist() == [True, *[False] * 5]
    singles = found.tried[found.tried["n_metrics"] == 1]
    assert not singles["suffices"].any()


def test_larger_sets_grow_from_the_best_smaller_ones():
    """Eight states that three metrics tell by their signs; each of them is needed."""
    rng = np.random.default_rng(1)
    # Each run has them in an order of its own, or their order would tell some apart.
    states = np.concatenate([np.repeat(rng.permutation(8), 15) for _ in range(N_RUNS)])
    signs = ((states[:, None] >> np.arange(3)) & 1) * 2.0 - 1
    values = np.column_stack([signs, np.zeros((len(states), 2))])
    values += 0.1 * rng.normal(size=values.shape)
    data = Observations(
        values,
        np.full(N_RUNS, 120),
        np.tile(np.arange(120), N_RUNS),
        pd.DataFrame({"group": "g", "run": [f"r{i}" for i in range(N_RUNS)], "seed": 0}),
        ("a", "b", "c", "d", "e"),
        Standardisation("pooled", None, np.zeros(5), np.ones(5)),
    )
    assert smallest_set(data, states).metrics == ("a", "b", "c")


def test_where_none_suffices_all_metrics_are_the_set():
    found = smallest_set(observed(one=(0, 0.3, 0), two=(0, 0, 0.2)), STATES, least_overlap=1.0)
    assert found.metrics == ("one", "two")
    assert found.least_overlap < 1
    assert not found.tried["suffices"].any()


def test_missing_values_are_no_hindrance():
    data = observed(all=(0, 5, 10), noise=(0, 0, 0))
    data.values[::7, 0] = np.nan
    assert smallest_set(data, STATES).metrics == ("all",)


def test_what_cannot_be_asked():
    data = observed(all=(0, 5, 10))
    with pytest.raises(NotEnoughDataError, match="single state"):
        smallest_set(data, np.zeros_like(STATES))
    for wrong in (0, 1.5):
        with pytest.raises(UsageError, match="least_overlap"):
            smallest_set(data, STATES, least_overlap=wrong)


def test_an_analysis_is_asked_for_it():
    data = observed(early=(0, 5, 5), late=(0, 0, 5), noise=(0, 0, 0))
    table = pd.DataFrame(data.values, columns=list(data.features)).assign(
        run=np.repeat(data.runs["run"].to_numpy(), N), step=data.steps
    )
    analysis = hmmdyn.analyze(table, protocol="bic", n_states=3, restarts=3, quick=True)
    found = analysis.smallest_set()
    assert found.metrics == ("early", "late")
    assert found.least_overlap > 0.95
