from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.change_points import (
    LEVEL,
    Places,
    change_places,
    evidence_weight,
    intervals,
)
from hmmdyn.dynamics.transitions import change_points
from hmmdyn.hmm import TrainingMap
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.hmm.model.chain import first_stages, propagators
from hmmdyn.hmm.model.inference import log_emission
from hmmdyn.hmm.model.parts import transitions_of
from hmmdyn.results.model import HMMParameters
from hmmdyn.results.observations import Sequences, Standardisation
from hmmdyn.simulate.trajectories import simulate
from tests.simulate import observations, random_parameters, sample

LENGTHS = [9, 6, 1]


def of_kind(kind, lengths=LENGTHS, seed=3):
    """A tiny model of every kind, its observations (uneven steps), decoded."""
    parameters = random_parameters(2, 2, "full", seed=seed)
    values, _ = sample(parameters, lengths, seed=seed + 1)
    data = observations(values, lengths)
    data = replace(data, steps=np.concatenate([np.arange(n) ** 2 + 1 for n in lengths]))
    if kind == "missing":
        values[np.random.default_rng(seed).random(values.shape) < 0.3] = np.nan
        values[4] = np.nan
    elif kind == "dwell":
        parameters = replace(parameters, minimum_dwell=2)
    elif kind == "clock":
        generator = np.array([[-0.3, 0.3], [0.2, -0.2]])
        parameters = replace(
            parameters,
            generator=generator,
            transmat=propagators(generator, np.ones(1))[0],
            clock="log-step",
            unit=0.5,
        )
    elif kind == "autoregressive":
        parameters = replace(parameters, autoregression=np.full((2, 2), 0.6))
    training_map = TrainingMap(parameters, data.features, Standardisation("run"))
    return training_map.decode(data), parameters


def entries(decoding):
    states = decoding.states
    same_run = states["run"] == states["run"].shift()
    return np.flatnonzero((states["state"] != states["state"].shift()) & same_run)


def posterior_by_enumeration(decoding, parameters, t):
    """p(place of the change decoded at t | all else decoded), over every path of its run."""
    lengths = decoding.observations.lengths
    path = decoding.states["state"].to_numpy()
    end = int(np.cumsum(lengths)[np.searchsorted(np.cumsum(lengths), t, side="right")])
    begin = end - int(lengths[np.searchsorted(np.cumsum(lengths), t, side="right")])
    mine = [row for row in entries(decoding) if begin <= row < end]
    a = max([row for row in mine if row < t], default=begin)
    b = min([row for row in mine if row > t], default=end)
    dwell = parameters.minimum_dwell
    start = first_stages(parameters.startprob, dwell)
    matrices, which = transitions_of(parameters).between_stages(decoding.beliefs.gaps)
    log_b = log_emission(parameters, Sequences(decoding.observations.values, lengths))
    weights = dict.fromkeys(range(a + 1, b), 0.0)
    for tau in weights:
        states = path[begin:end].copy()
        states[a - begin : tau - begin] = path[t - 1]
        states[tau - begin : b - begin] = path[t]
        for stages in product(range(dwell), repeat=len(states)):
            hidden = states * dwell + np.array(stages)
            p = start[hidden[0]]
            for s in range(1, len(hidden)):
                p *= matrices[which[begin + s], hidden[s - 1], hidden[s]]
            weights[tau] += p * np.exp(log_b[np.arange(begin, end), states].sum())
    total = sum(weights.values())
    return {tau: weight / total for tau, weight in weights.items()}


@pytest.mark.parametrize("kind", ["plain", "missing", "dwell", "clock", "autoregressive"])
def test_places_are_those_of_every_path_enumerated(kind):
    n_wide = 0
    for seed in range(3):
        decoding, parameters = of_kind(kind, seed=seed)
        rows = entries(decoding)
        for t, places in zip(
            rows, change_places(decoding, parameters, rows, weight=1.0), strict=True
        ):
            expected = posterior_by_enumeration(decoding, parameters, t)
            found = dict(zip(places.rows.tolist(), places.posterior, strict=True))
            assert set(found) <= set(expected)
            for tau, p in expected.items():
                assert found.get(tau, 0.0) == pytest.approx(p, abs=1e-12)
            n_wide += len(found) > 1
    assert n_wide >= 3


@pytest.mark.parametrize(
    ("posterior", "interval"),
    [
        ([0.04, 0.92, 0.04], (11, 11)),
        ([0.06, 0.9, 0.04], (10, 11)),
        ([0.25, 0.25, 0.25, 0.25], (10, 13)),
        ([0.05, 0.9, 0.05], (11, 11)),
        ([1.0], (10, 10)),
    ],
)
def test_an_interval_leaves_out_at_most_a_twentieth_on_either_side(posterior, interval):
    places = Places(np.arange(10, 10 + len(posterior)), np.array(posterior))
    assert places.interval() == interval


@pytest.mark.parametrize("kind", ["plain", "missing", "dwell", "clock", "autoregressive"])
def test_intervals_hold_the_decoded_change_and_stay_between_its_neighbours(kind):
    n_changes = 0
    for seed in range(8):
        decoding, parameters = of_kind(kind, lengths=[60, 40, 1], seed=seed)
        changes = change_points(decoding, parameters)
        n_changes += len(changes)
        assert (changes["step_low"] <= changes["previous_step"]).all()
        assert (changes["step_high"] >= changes["step"]).all()
        for _, mine in changes.groupby("run"):
            low, high, step = (mine[c].to_numpy() for c in ("step_low", "step_high", "step"))
            assert (low[1:] >= step[:-1]).all()
            assert (high[:-1] < step[1:]).all()
            assert set(low) | set(high) <= set(decoding.observations.steps)
    assert n_changes > 20


def test_a_certain_change_lies_between_two_checkpoints():
    values = np.repeat([[-50.0], [50.0]], 10, axis=0)
    parameters = replace(
        random_parameters(2, 1, "diag"),
        startprob=np.array([1.0, 0.0]),
        transmat=np.array([[0.9, 0.1], [0.0, 1.0]]),
        means=np.array([[-50.0], [50.0]]),
    )
    data = observations(values, [20])
    decoding = TrainingMap(parameters, data.features, Standardisation("run")).decode(data)
    change = change_points(decoding, parameters).iloc[0]
    assert (change["step_low"], change["step_high"]) == (90, 100)


def test_evidence_counts_as_much_as_independent_checkpoints_would():
    """White residuals count whole; those of a first-order autoregression as (1 - ρ)/(1 + ρ)."""
    rng = np.random.default_rng(0)
    n = 20_000
    parameters = random_parameters(1, 1, "diag")
    white = rng.normal(size=n)
    remembers = np.empty(n)
    remembers[0] = white[0]
    for t in range(1, n):
        remembers[t] = 0.8 * remembers[t - 1] + 0.6 * white[t]
    for noise, expected in ((white, 1.0), (remembers, 0.2 / 1.8)):
        values = parameters.means[0] + np.sqrt(parameters.covariances[0]) * noise[:, None]
        data = observations(values, [n])
        decoding = TrainingMap(parameters, data.features, Standardisation("run")).decode(data)
        assert evidence_weight(decoding, parameters) == pytest.approx(expected, abs=0.02)


def test_negative_or_unknown_autocorrelation_leaves_the_evidence_as_it_is():
    parameters = random_parameters(1, 1, "diag")
    training_map = TrainingMap(parameters, ("m0",), Standardisation("run"))
    alternating = observations(parameters.means[0] + np.array([[1.0], [-1.0]] * 5), [10])
    alone = observations(np.zeros((3, 1)), [1, 1, 1])
    for data in (alternating, alone):
        assert evidence_weight(training_map.decode(data), parameters) == 1.0


def test_without_changes_there_are_no_intervals():
    parameters = random_parameters(1, 2, "diag")
    data = observations(np.zeros((4, 2)), [2, 2])
    decoding = TrainingMap(parameters, data.features, Standardisation("run")).decode(data)
    low, high = intervals(decoding, parameters, np.empty(0, dtype=np.int64))
    assert len(low) == len(high) == 0
    assert LEVEL == 0.9
    changes = change_points(decoding, parameters)
    assert isinstance(changes, pd.DataFrame)
    assert {"step_low", "step_high"} <= set(changes)


def known_map(s):
    """The map that knows the phases of a simulation: their moments and how they follow."""
    inside = np.setdiff1d(np.arange(len(s.phases)), np.cumsum(s.lengths) - s.lengths)
    transmat = np.full((s.n_phases, s.n_phases), 1e-10)
    np.add.at(transmat, (s.phases[inside - 1], s.phases[inside]), 1)
    of_phase = [s.values[s.phases == k] for k in range(s.n_phases)]
    return HMMParameters(
        np.full(s.n_phases, 1 / s.n_phases),
        transmat / transmat.sum(axis=1, keepdims=True),
        np.stack([z.mean(axis=0) for z in of_phase]),
        np.stack([np.cov(z.T) for z in of_phase]),
        "full",
    )


def fitted_map(s):
    best = sweep(
        Sequences(s.values, s.lengths),
        [s.n_phases],
        covariance_type="full",
        n_restarts=4,
        random_state=0,
    ).winners[s.n_phases]
    return best.in_time_order(s.lengths)


def coverage(kind, map_of, n_simulations, **world):
    """Share of true changes held by the interval, tempered and not, and of those decoded exactly.

    A true change is held against the nearest decoded one between the same two phases of its run.
    """
    held, naive, exact = [], [], []
    for seed in range(n_simulations):
        s = simulate(kind, 4, random_state=seed, **world)
        parameters = map_of(s)
        data = observations(s.values, s.lengths.tolist())
        training_map = TrainingMap(parameters, data.features, Standardisation("run"))
        decoding = training_map.decode(data)
        rows, path = entries(decoding), decoding.states["state"].to_numpy()
        run = np.repeat(np.arange(len(s.lengths)), s.lengths)
        phase = [np.bincount(s.phases[path == k], minlength=4).argmax() for k in range(4)]
        low, high = intervals(decoding, parameters, rows)
        untempered = [p.interval() for p in change_places(decoding, parameters, rows, weight=1.0)]
        inside = np.flatnonzero(run[1:] == run[:-1]) + 1
        for t in inside[s.phases[inside] != s.phases[inside - 1]]:
            same = [
                i
                for i, row in enumerate(rows)
                if (run[row], phase[path[row - 1]], phase[path[row]])
                == (run[t], s.phases[t - 1], s.phases[t])
            ]
            if same:
                i = min(same, key=lambda i: abs(rows[i] - t))
                held.append(low[i] < data.steps[t] <= high[i])
                naive.append(untempered[i][0] <= t <= untempered[i][1])
                exact.append(rows[i] == t)
    assert len(held) > 100
    return np.mean(held), np.mean(naive), np.mean(exact)


@pytest.mark.parametrize("kind", ["phases", "fork"])
def test_intervals_cover_changes_in_drift_and_autocorrelated_noise(kind):
    """Where noise makes changes hard to place, and the map is right."""
    held, naive, exact = coverage(kind, known_map, 10, noise=2.0, n_metrics=2)
    assert exact < 0.6
    assert 0.85 <= held <= 0.97
    assert naive < 0.75


def test_intervals_cover_changes_in_white_noise():
    held, naive, exact = coverage("sharp", known_map, 10, noise=2.0, n_metrics=2)
    assert exact < 0.6
    assert 0.85 <= held <= 0.97
    assert naive == pytest.approx(held, abs=0.02)  # nothing to temper


def test_intervals_of_fitted_maps_cover_gradual_changes():
    held, naive, _ = coverage("gradual", fitted_map, 8)
    assert held >= 0.85
    assert naive < 0.7


@pytest.mark.parametrize("kind", ["phases", "fork"])
def test_changes_decoded_exactly_are_covered(kind):
    """With the usual noise the decoded change is the true one, and an interval cannot miss it."""
    held, _, exact = coverage(kind, fitted_map, 8)
    assert exact > 0.95
    assert held >= exact
