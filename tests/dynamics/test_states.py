from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.states import expected_dwell, metric_levels, summarise_states, sure_share
from hmmdyn.dynamics.ways import find_stays
from hmmdyn.hmm import Decoding, fit_training_map
from hmmdyn.hmm.model.chain import between_stages, propagators
from hmmdyn.hmm.model.inference import Beliefs
from hmmdyn.tables.metric_table import from_frame
from tests.simulate import observations, phased_table, random_parameters


def summarised(decoding, table, outcomes, parameters):
    return summarise_states(decoding, find_stays(decoding.states), table, outcomes, parameters)


@pytest.fixture(scope="module")
def summary():
    trajectories = from_frame(phased_table())
    fitted = fit_training_map(trajectories, [3], n_restarts=4)
    return summarised(
        fitted.decoding, trajectories.table, trajectories.outcomes, fitted.training_map.parameters
    )


def test_summary_counts_what_the_runs_do(summary):
    # Run i is in state 0 for 5 + i//2 checkpoints and in state 2 from 12 + i on (see simulate).
    in_first = np.array([5 + i // 2 for i in range(6)])
    in_last = np.array([30 - 12 - i for i in range(6)])
    assert summary["n_checkpoints"].tolist() == [
        in_first.sum(),
        180 - in_first.sum() - in_last.sum(),
        in_last.sum(),
    ]
    assert summary["share"].sum() == pytest.approx(1)
    assert summary["n_runs"].tolist() == [6, 6, 6]
    assert summary["dwell"].iloc[0] == pytest.approx(in_first.mean())
    assert summary["first_step"].tolist() == [0, 600, 1450]
    assert summary["median_time"].is_monotonic_increasing


def test_memorisation_and_generalisation_are_told_apart(summary):
    assert summary["phase"].tolist() == ["", "memorisation", "generalisation"]
    assert summary["mean_train_accuracy"].tolist() == [0.5, 1.0, 1.0]
    assert summary["mean_eval_accuracy"].tolist() == [0.5, 0.5, 1.0]


def test_no_phase_is_named_without_training_and_held_out_outcomes():
    table = phased_table().drop(columns="train_accuracy")
    trajectories = from_frame(table)
    fitted = fit_training_map(trajectories, [2], n_restarts=2)
    parameters = fitted.training_map.parameters
    summary = summarised(fitted.decoding, trajectories.table, trajectories.outcomes, parameters)
    assert summary["phase"].tolist() == ["", ""]
    assert isinstance(summary, pd.DataFrame)


def by_iteration(transmat, dwell):
    """Mean length of a visit from how much of it is left after n checkpoints, n = 0, 1, …"""
    staged = between_stages(transmat, dwell)
    means = []
    for k in range(len(transmat)):
        own = slice(k * dwell, (k + 1) * dwell)
        inside, left = staged[own, own], np.eye(dwell)[0]
        mean = 0.0
        for _ in range(20_000):
            mean += left.sum()
            left = left @ inside
        means.append(mean)
    return means


@pytest.mark.parametrize("dwell", [1, 2, 5])
def test_expected_dwell_is_that_of_the_chain(dwell):
    parameters = replace(random_parameters(3, 1, "diag", seed=2), minimum_dwell=dwell)
    expected = by_iteration(parameters.transmat, dwell)
    np.testing.assert_allclose(expected_dwell(parameters), expected, rtol=1e-9)


def test_expected_dwell_of_a_chain_that_knows_gaps_is_that_at_its_unit():
    generator = np.array([[-0.02, 0.02], [0.0, 0.0]])
    parameters = replace(
        random_parameters(2, 1, "diag"),
        generator=generator,
        transmat=propagators(generator, np.ones(1))[0],
        clock="step",
        unit=10.0,
    )
    # Left within a gap with probability 1 − exp(−0.02); the other state is never left.
    np.testing.assert_allclose(expected_dwell(parameters), [1 / -np.expm1(-0.02), np.inf])


def test_a_state_hardly_ever_left_has_a_dwell_of_its_own():
    parameters = random_parameters(2, 1, "diag")
    transmat = np.array([[1.0, 1e-20], [0.5, 0.5]])
    assert expected_dwell(replace(parameters, transmat=transmat))[0] == pytest.approx(1e20)


def test_a_state_that_no_fitted_run_leaves_is_expected_to_last(summary):
    assert summary["dwell_expected"].iloc[2] == np.inf
    np.testing.assert_allclose(
        summary["dwell_expected"].iloc[:2], summary["dwell"].iloc[:2], rtol=0.01
    )
    assert np.isnan(summary["dwell_steps"].iloc[2])


def decoded_as(paths, steps):
    """A decoding with given paths, and nothing else known."""
    data = observations(np.zeros((sum(map(len, paths)), 1)), [len(path) for path in paths])
    data = replace(data, steps=np.concatenate(steps))
    states = data.runs.loc[np.repeat(np.arange(len(paths)), data.lengths)].reset_index(drop=True)
    states = states.assign(step=data.steps, state=np.concatenate(paths), probability=1.0)
    empty = np.empty(0)
    return Decoding(states, Beliefs(*[empty] * 7), data)


def test_a_visit_cut_off_by_the_end_is_known_to_last_at_least_so_long():
    decoding = decoded_as(
        [[0, 0, 1, 1, 0], [0, 1, 1]], [np.array([0, 10, 20, 40, 100]), np.array([0, 10, 30])]
    )
    parameters = random_parameters(3, 1, "diag")
    table = decoding.states[["group", "run", "seed", "step"]]
    summary = summarised(decoding, table, (), parameters)
    # State 0: 0–15, then 70–100 cut off; 0–5. State 1: 15–70, then 5–30 cut off.
    assert summary["dwell_steps"].tolist()[:2] == [15, 55]
    assert np.isnan(summary["dwell_steps"].iloc[2])
    assert summary["dwell_at_least"].isna().all()
    # Ends reach outward no further than half the usual gap, 15: 10 + 10 + 37.5, and 10.
    assert summary["share"].tolist()[:2] == pytest.approx([67.5 / 155, 87.5 / 155])
    assert summary["dwell"].tolist()[:2] == pytest.approx([(2 + 1 + 1) / 3, 2])
    assert np.isnan(summary["dwell"].iloc[2])


def test_steps_per_visit_are_those_of_the_chain_however_early_runs_end():
    """A state left with probability 0.1 per checkpoint: half of the visits last 7 or more."""
    rng = np.random.default_rng(0)
    paths = []
    for _ in range(10_000):
        path = [0] * min(int(rng.geometric(0.1)), 8)  # about half of the runs end in the state
        paths.append(path if len(path) == 8 else [*path, 1])
    decoding = decoded_as(paths, [10 * np.arange(len(path)) for path in paths])
    table = decoding.states[["group", "run", "seed", "step"]]
    summary = summarised(decoding, table, (), random_parameters(2, 1, "diag"))
    # Half a gap less: a run that starts in a state was not in it before its first checkpoint.
    assert summary["dwell_steps"].iloc[0] == 65
    assert summary["dwell"].iloc[0] < 7


def test_where_nine_of_ten_visits_are_cut_off_only_a_lower_bound_is_known():
    """Runs of 990 steps do not make visits of 4,555 steps on average."""
    paths = [[0] * 100] * 9 + [[0] * 46 + [1] * 54]
    decoding = decoded_as(paths, [10 * np.arange(100)] * 10)
    table = decoding.states[["group", "run", "seed", "step"]]
    summary = summarised(decoding, table, (), random_parameters(2, 1, "diag"))
    assert summary["dwell_steps"].isna().all()
    assert summary["dwell_at_least"].tolist() == [990, 535]


def test_no_state_in_which_runs_converge_is_called_memorisation():
    trajectories = from_frame(phased_table())
    fitted = fit_training_map(trajectories, [3], n_restarts=2)
    stays = find_stays(fitted.decoding.states)

    def phases(threshold):
        return summarise_states(
            fitted.decoding,
            stays,
            trajectories.table,
            trajectories.outcomes,
            fitted.training_map.parameters,
            measure_convergence(
                trajectories.table,
                trajectories.outcomes,
                outcome="eval_accuracy",
                threshold=threshold,
                direction="above",
            ),
        )["phase"].tolist()

    assert phases(0.9) == ["", "memorisation", "generalisation"]
    late = trajectories.table["eval_accuracy"].where(trajectories.table["step"] > 2800, 0.6)
    trajectories.table.loc[trajectories.table["eval_accuracy"] == 1, "eval_accuracy"] = late
    assert phases(0.9)[2] != "generalisation"
    entered = fitted.decoding.states["step"].between(1000, 1200).to_numpy()
    trajectories.table.loc[entered, "eval_accuracy"] = 0.95
    assert phases(0.9)[1] != "memorisation"


def test_a_checkpoint_is_sure_of_its_state_from_nine_tenths_on():
    states = pd.DataFrame({"probability": [1.0, 0.9, 0.89, 0.95]})
    assert sure_share(states) == 0.75


@pytest.mark.parametrize("kind", ["pooled", "log-start", "run"])
def test_levels_in_own_units_are_what_the_runs_have_in_the_state(kind):
    """The model's mean of a state, undone, is the mean of raw values there; geometric of logs."""
    table = phased_table()
    metrics = ["m0", "m1", "m2"]
    own_level = table["seed"].to_numpy()[:, None] if kind == "log-start" else 0
    table[metrics] += 30 + own_level  # positive
    table["m2"] -= 40  # not all positive
    fitted = fit_training_map(from_frame(table), [3], standardise=kind, n_restarts=4, quick=True)
    seen = fitted.decoding.observations
    levels = metric_levels(fitted.training_map.parameters, seen.features, seen.standardisation)
    state = fitted.decoding.states["state"].to_numpy()
    raw = table.sort_values(["seed", "step"]).reset_index(drop=True)
    if kind == "run":
        assert levels["own"].isna().all()
        assert set(levels["own_is"]) == {"each run's own"}
        return
    for row in levels.itertuples():
        values, inside = raw[row.feature], state == row.state
        start = values.groupby(raw["seed"]).transform("first")
        expected = values[inside].mean()
        if row.own_is == "times the start":
            expected = np.exp(np.log(values / start)[inside].mean())
        elif row.own_is == "since the start":
            expected = (values - start)[inside].mean()
        assert row.own == pytest.approx(expected, rel=0.02, abs=0.05)
    expected = (
        ["times the start"] * 2 + ["since the start"] if kind == "log-start" else ["level"] * 3
    )
    assert levels["own_is"].tolist()[:3] == expected
