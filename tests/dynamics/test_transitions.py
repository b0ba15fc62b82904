from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import approx_fprime

from hmmdyn.dynamics.transitions import (
    belief_gradient,
    change_points,
    influences,
    is_forking,
    training_map_edges,
    transition_times,
)
from hmmdyn.hmm import TrainingMap
from hmmdyn.hmm.model.inference import beliefs
from hmmdyn.results.boundaries import BOUNDARIES
from hmmdyn.results.convergence import Convergence
from hmmdyn.results.observations import Sequences, Standardisation
from hmmdyn.results.transitions import TRANSITION_TIMES
from tests.simulate import observations, random_parameters, sample

LENGTHS = [25, 18, 1]


@pytest.fixture(params=["diag", "full"])
def decoded(request):
    return decoding_of(request.param)


@pytest.fixture(params=["diag", "full"])
def decoded_with_holes(request):
    return decoding_of(request.param, share=0.3)


def decoding_of(covariance_type, share=0.0, autoregression=None):
    parameters = random_parameters(3, 3, covariance_type, seed=7)
    parameters = replace(parameters, autoregression=autoregression)
    values, _ = sample(parameters, LENGTHS, seed=8)
    values[np.random.default_rng(9).random(values.shape) < share] = np.nan
    data = observations(values, LENGTHS)
    training_map = TrainingMap(parameters, data.features, Standardisation("run"))
    return training_map.decode(data), parameters


def entries(path):
    """(row, from, to) of every change inside a run, the slow way."""
    found, start = [], 0
    for n in LENGTHS:
        found += [
            (t, path[t - 1], path[t]) for t in range(start + 1, start + n) if path[t] != path[t - 1]
        ]
        start += n
    return found


def test_change_points_never_cross_runs(decoded):
    decoding, parameters = decoded
    changes = change_points(decoding, parameters)
    expected = entries(decoding.states["state"].tolist())
    assert len(expected) > 5
    assert list(zip(changes["from_state"], changes["to_state"], strict=True)) == [
        (j, k) for _, j, k in expected
    ]
    assert (changes["step"] - changes["previous_step"] == 10).all()
    assert changes["probability"].between(0, 1).all()


@pytest.mark.parametrize("autoregression", [None, np.full((3, 3), 0.6)], ids=["plain", "remembers"])
@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_gradient_is_the_derivative_of_the_filtered_log_posterior(covariance_type, autoregression):
    """The closed form of Hu 2023, appendix A, against numerical differentiation."""
    decoding, parameters = decoding_of(covariance_type, autoregression=autoregression)
    values = decoding.observations.values
    for t, _, k in entries(decoding.states["state"].tolist())[:6]:
        start = 0 if t < LENGTHS[0] else LENGTHS[0]

        def log_posterior(z, t=t, k=k, start=start):
            run = values[start : t + 1].copy()
            run[-1] = z
            seen = beliefs(parameters, Sequences(run, np.array([len(run)])))
            return np.log(seen.filtered[-1, k])

        numerical = approx_fprime(values[t], log_posterior, 1e-7)
        ours = belief_gradient(decoding, parameters, np.array([t]), np.array([k]))[0]
        np.testing.assert_allclose(ours, numerical, rtol=1e-4, atol=1e-6)


def test_a_cycle_beside_a_lone_state_is_no_line():
    edges = pd.DataFrame({"from_state": [0, 1], "to_state": [1, 0]})
    assert is_forking(edges, 3)


def test_gradient_with_missing_metrics_is_the_derivative_by_the_known_ones(decoded_with_holes):
    decoding, parameters = decoded_with_holes
    values = decoding.observations.values
    rows = np.array([t for t, *_ in entries(decoding.states["state"].tolist())])
    path = decoding.states["state"].to_numpy()
    ours = belief_gradient(decoding, parameters, rows, path[rows])
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(values[rows]))
    assert 0 < np.isnan(ours).sum() < ours.size
    for gradient, t in zip(ours, rows, strict=True):
        known = np.flatnonzero(~np.isnan(values[t]))
        start = 0 if t < LENGTHS[0] else LENGTHS[0]

        def log_posterior(z, t=t, known=known, start=start):
            run = values[start : t + 1].copy()
            run[-1, known] = z
            seen = beliefs(parameters, Sequences(run, np.array([len(run)])))
            return np.log(seen.filtered[-1, path[t]])

        if len(known):
            numerical = approx_fprime(values[t, known], log_posterior, 1e-7)
            np.testing.assert_allclose(gradient[known], numerical, rtol=1e-4, atol=1e-6)


def test_influence_averages_over_the_entries_at_which_the_feature_is_known(decoded_with_holes):
    decoding, parameters = decoded_with_holes
    table = influences(decoding, parameters)
    found = entries(decoding.states["state"].tolist())
    n_rows = 0
    for j, k in {(a, b) for _, a, b in found}:
        rows = np.array([t for t, a, b in found if (a, b) == (j, k)])
        gradients = np.abs(belief_gradient(decoding, parameters, rows, np.full(len(rows), k)))
        edge = table.query("from_state == @j and to_state == @k")
        assert edge["rank"].tolist() == list(range(1, len(edge) + 1))
        assert (edge["influence"].diff().dropna() <= 0).all()
        influence = edge.set_index("feature")["influence"]
        for feature, of_feature in zip(decoding.observations.features, gradients.T, strict=True):
            known = of_feature[~np.isnan(of_feature)]
            assert (feature in influence) == bool(len(known))
            if len(known):
                n_rows += 1
                assert influence[feature] == pytest.approx(known.mean())
    assert n_rows == len(table)


def test_a_feature_never_known_at_a_transition_has_no_row_there(decoded):
    decoding, parameters = decoded
    _, j, k = entries(decoding.states["state"].tolist())[0]
    rows = [t for t, a, b in entries(decoding.states["state"].tolist()) if (a, b) == (j, k)]
    values = decoding.observations.values.copy()
    values[rows, 1] = np.nan
    holed = replace(decoding, observations=replace(decoding.observations, values=values))
    edge = influences(holed, parameters).query("from_state == @j and to_state == @k")
    assert sorted(edge["feature"]) == ["m0", "m2"]


def test_influence_is_the_mean_absolute_gradient_at_the_entries(decoded):
    decoding, parameters = decoded
    found = entries(decoding.states["state"].tolist())
    table = influences(decoding, parameters)
    j, k = found[0][1:]
    rows = np.array([t for t, a, b in found if (a, b) == (j, k)])
    gradients = np.abs(belief_gradient(decoding, parameters, rows, np.full(len(rows), k)))
    edge = table.query("from_state == @j and to_state == @k").set_index("feature")
    for i, feature in enumerate(decoding.observations.features):
        assert edge.loc[feature, "influence"] == pytest.approx(gradients[:, i].mean())
        expected = parameters.means[k, i] - parameters.means[j, i]
        assert edge.loc[feature, "movement"] == pytest.approx(expected)
    assert (edge.sort_values("rank")["influence"].diff().dropna() <= 0).all()


def test_influence_comes_with_its_spread_over_runs(decoded_with_holes):
    decoding, parameters = decoded_with_holes
    table = influences(decoding, parameters)
    found = entries(decoding.states["state"].tolist())
    n_compared = 0
    for j, k in {(a, b) for _, a, b in found}:
        means = []  # one row per run that makes this transition
        for begin, end in ((0, 25), (25, 43)):
            rows = np.array([t for t, a, b in found if (a, b) == (j, k) and begin <= t < end])
            if len(rows):
                gradients = belief_gradient(decoding, parameters, rows, np.full(len(rows), k))
                of_run = [np.abs(g[~np.isnan(g)]) for g in gradients.T]
                means.append([g.mean() if len(g) else np.nan for g in of_run])
        edge = table.query("from_state == @j and to_state == @k").set_index("feature")
        for i, feature in enumerate(decoding.observations.features):
            known = [row[i] for row in means if not np.isnan(row[i])]
            if not known:
                continue
            assert edge.loc[feature, "n_runs"] == len(known)
            assert edge.loc[feature, "n_top"] == len(known)  # three features are all in the top
            if len(known) > 1:
                n_compared += 1
                assert edge.loc[feature, "influence_sd"] == pytest.approx(np.std(known, ddof=1))
            else:
                assert np.isnan(edge.loc[feature, "influence_sd"])
    assert n_compared > 3


def test_the_top_three_are_counted_run_by_run():
    """One run with a wild sixth feature makes it lead; the runs themselves say otherwise."""
    parameters = random_parameters(2, 6, "diag")
    means = np.array([[0.0] * 6, [6.0, 5.0, 4.0, 1.0, 1.0, 0.1]])
    parameters = replace(
        parameters,
        startprob=np.array([1.0, 0.0]),
        transmat=np.array([[0.9, 0.1], [0.1, 0.9]]),
        means=means,
        covariances=np.array([np.ones(6), [1.0] * 5 + [0.01]]),
    )
    runs = [np.repeat(means, 5, axis=0) for _ in range(4)]
    runs[3][5, 5] = 0.9  # far from its mean, where it varies little
    data = observations(np.concatenate(runs), [10] * 4)
    decoding = TrainingMap(parameters, data.features, Standardisation("run")).decode(data)
    edge = influences(decoding, parameters).set_index("feature")
    assert edge["n_runs"].tolist() == [4] * 6
    assert edge["n_top"].sum() == 3 * 4
    assert edge.loc["m5", "rank"] == 1
    assert edge.loc["m5", "n_top"] == 1
    assert edge.loc["m5", "influence_sd"] > edge.loc["m5", "influence"]


def test_edges_count_runs_and_average_converged_ones(decoded):
    _decoding, parameters = decoded
    changes = pd.DataFrame(
        {
            "group": "all",
            "run": ["a", "a", "b", "c", "c"],
            "from_state": [0, 0, 0, 0, 1],
            "to_state": [1, 1, 1, 1, 2],
        }
    )
    convergence = Convergence(
        "accuracy", 0.9, "above", 1, "",
        pd.DataFrame(
            {
                "group": "all", "run": ["a", "b", "c"], "seed": [0, 1, 2],
                "converged": [True, True, False], "step": [100, 300, 500],
                "last_step": [500] * 3, "time": [0.2, 0.6, 1.0],
            }
        ),
    )  # fmt: skip
    edges = training_map_edges(changes, parameters, 4, convergence).set_index("to_state")
    first, second = edges.loc[1], edges.loc[2]
    assert (first["n_taken"], first["n_runs"], first["n_total"]) == (4, 3, 4)
    assert first["n_converged"] == 2
    assert first["convergence_mean"] == 200
    assert first["convergence_se"] == pytest.approx(100)  # deviation 141.4 over root 2
    assert first["probability"] == parameters.transmat[0, 1]
    assert second["n_converged"] == 0
    assert np.isnan(second["convergence_mean"])


def test_times_are_those_of_the_first_change_of_every_run_and_the_date_is_the_boundarys():
    changes = pd.DataFrame(
        {
            "group": "all",
            "run": ["a", "a", "b", "c", "c"],
            "step": [100, 900, 300, 400, 600],
            "step_low": [90, 890, 250, 395, 550],
            "step_high": [100, 900, 310, 400, 650],
            "from_state": [0, 0, 0, 0, 1],
            "to_state": [1, 1, 1, 1, 2],
        }
    )
    times = transition_times(changes, BOUNDARIES.frame())
    assert list(times) == TRANSITION_TIMES.names
    assert times.drop(columns=["date_low", "date_high"]).to_dict("split")["data"] == [
        [0, 1, 3, 300.0, 100, 400, 90, 400, 10.0],
        [1, 2, 1, 600.0, 600, 600, 550, 650, 100.0],
    ]
    assert times[["date_low", "date_high"]].isna().all(axis=None)
    supported = pd.DataFrame(
        [{"from_state": 0, "to_state": 1, "date": 280.0, "date_low": 240.0, "date_high": 310.0}]
    )
    dated = transition_times(changes, supported)
    assert dated["date"].tolist() == [280.0, 600.0]
    assert dated["date_low"].tolist()[0] == 240.0


def test_no_change_makes_empty_tables_with_their_columns(decoded):
    _, parameters = decoded
    data = observations(np.zeros((4, 3)), [2, 2])
    still = TrainingMap(parameters, data.features, Standardisation("run")).decode(data)
    changes = change_points(still, parameters)
    edges = training_map_edges(changes, parameters, 2, None)
    assert changes.empty
    assert edges.empty
    assert "convergence_se" in edges
    assert influences(still, parameters).empty
    times = transition_times(changes, BOUNDARIES.frame())
    assert times.empty
    assert "width" in times
    assert not is_forking(edges, 1)


@pytest.mark.parametrize(
    ("pairs", "forks"),
    [
        ([(0, 1)], False),
        ([(0, 1), (1, 2), (2, 3)], False),
        ([(0, 1), (0, 2)], True),
        ([(0, 2), (1, 2)], True),
        ([(0, 1), (1, 2), (2, 0)], True),
        ([(0, 1), (1, 0)], True),
        ([(0, 1), (2, 3)], True),
        ([(0, 1), (1, 2), (0, 2)], True),
    ],
)
def test_a_map_forks_unless_it_is_a_line(pairs, forks):
    edges = pd.DataFrame(pairs, columns=["from_state", "to_state"])
    assert is_forking(edges, len(edges.stack().unique())) is forks


def test_a_state_that_no_run_leaves_or_enters_is_no_line():
    edges = pd.DataFrame([(0, 1)], columns=["from_state", "to_state"])
    assert is_forking(edges, 3)
    assert is_forking(edges.iloc[:0], 2)
    assert not is_forking(edges.iloc[:0], 1)
