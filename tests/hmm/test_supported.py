"""The supported states as a map: what an analysis opens with."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

from hmmdyn import Options, TrainingMap, analyze, fit
from hmmdyn.errors import UsageError
from hmmdyn.hmm.choose.boundaries import supported_map
from hmmdyn.hmm.choose.found_again import found_again
from hmmdyn.hmm.choose.supported import _about_returns
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.results.model import ModelOptions
from hmmdyn.simulate.worlds import World, simulate_world
from hmmdyn.tables.metric_table import from_frame
from hmmdyn.tables.standardise import standardised


@pytest.fixture(scope="module")
def world():
    """One of the worlds in which the rule is right; how often it is, says its study."""
    path = World(
        "path", 3, width=0.02, n_runs=12, n_checkpoints=100, n_metrics=6, noise=0.15, seed_metrics=0
    )
    return simulate_world(path, random_state=0)


@pytest.fixture(scope="module")
def analysis(world):
    return analyze(from_frame(world.table[["run", "step", *world.metrics]]), restarts=2)


def test_phases_of_unequal_length_come_out_on_one_line(analysis, world):
    assert analysis.parameters.n_states == 3
    assert not analysis.forking
    assert (analysis.states["state"].to_numpy() == world.phases).mean() > 0.95
    assert analysis.selection.criterion == "supported"


def test_every_boundary_has_kind_date_and_duration(analysis):
    boundaries = analysis.tables["boundaries"]
    assert boundaries[["from_state", "to_state"]].to_numpy().tolist() == [[0, 1], [1, 2]]
    assert boundaries["kind"].isin(["sharp", "gradual"]).all()
    assert (boundaries["date_low"] <= boundaries["date"]).all()
    assert (boundaries["found"] == "yes").all()
    assert analysis.selection.evidence.founded == {0, 1, 2}


def test_the_states_told_are_those_of_the_map(analysis, tmp_path):
    analysis.training_map.save(tmp_path / "map.json")
    again = TrainingMap.load(tmp_path / "map.json").apply(analysis.trajectories)
    pd.testing.assert_frame_equal(again.states, analysis.states)


def test_half_of_a_run_is_decoded_as_the_whole_is(analysis):
    """Pooled values do not know a run's future."""
    whole = analysis.states
    table = analysis.trajectories.table
    early = table["step"] < table["step"].median()
    half = analysis.training_map.apply(from_frame(table[early]))
    same = half.states.merge(whole, on=["run", "step"], suffixes=("", "_whole"))
    assert (same["state"] == same["state_whole"]).mean() > 0.98


def test_the_summary_speaks_of_boundaries(analysis):
    text = " ".join(str(analysis).split())
    assert "merged from 8 by evidence" in text
    assert "The change from state 0 to state 1 is" in text


def test_a_state_may_be_confirmed_that_has_a_boundary_and_is_found_again(analysis):
    evidence = analysis.selection.evidence
    assert evidence.confirmable == {0, 1, 2}
    assert (evidence.states["overlap"] > 0.9).all()
    drift = replace(evidence, boundaries=evidence.boundaries.assign(date=np.nan))
    assert (drift.states["found"] == "yes").all()
    assert drift.confirmable == frozenset()
    elsewhere = evidence.states.assign(overlap=[0.95, 0.5, np.nan])
    assert replace(evidence, states=elsewhere).confirmable == {0}


def test_a_state_of_few_runs_is_asked_of_maps_that_could_have_it():
    """Two runs in five take a detour: a half with fewer than three of them is not asked for it."""
    world = World("early detour", 4, width=0.02, n_runs=20, n_checkpoints=60, delay=1.0)
    runs = simulate_world(world, random_state=11_000_007)
    data = standardised(from_frame(runs.table), "pooled")
    found = supported_map(data, runs.phases)
    again = found_again(data, found)
    assert found.n_states == 4
    assert (again.states["overlap"] > 0.8).all()


def test_drift_has_no_phases():
    drift = World("shared drift", 1, n_runs=10, n_checkpoints=100, n_metrics=6, seed_metrics=0)
    runs = simulate_world(drift, random_state=1)
    found = analyze(from_frame(runs.table[["run", "step", *runs.metrics]]), restarts=2)
    assert found.selection.evidence.supported.empty
    assert "No boundary has evidence" in " ".join(str(found).split())


def test_metrics_that_tell_seeds_apart_are_left_out_by_name_and_can_come_back(world):
    table = world.table[["run", "step", *world.metrics]].copy()
    seeds = table["run"].astype("category").cat.codes
    table["offset"] = 100.0 * seeds + np.sin(table["step"] / 50)
    trajectories = from_frame(table)
    left = standardised(trajectories)
    assert "offset" not in left.features
    notice = next(n for n in left.notices if n.subject == "metric offset")
    assert "keep_metrics=('offset',)" in notice.message
    assert "offset" in standardised(trajectories, keep_metrics=("offset",)).features


@pytest.mark.parametrize("option", [{"standardise": "run"}, {"minimum_dwell": 2}], ids=str)
def test_what_evidence_cannot_be_had_for_is_refused_with_a_remedy(option):
    with pytest.raises(UsageError, match="protocol='bic'"):
        Options(**option)
    assert Options(**option, protocol="bic")
    with pytest.raises(UsageError, match="protocol='bic'"):  # a number of states is a level of it
        Options(**option, n_states=3)


# --- the zoom ---


def test_any_level_of_the_zoom_is_an_analysis_of_its_own(analysis, world):
    """The example of the documentation: more states than have evidence, and one less."""
    finer, coarser = analysis.at(6), analysis.at(2)
    assert [a.states["state"].nunique() for a in (finer, analysis, coarser)] == [6, 3, 2]
    assert analysis.at(3) is analysis
    assert "the supported map has 3 states" in " ".join(str(finer).split())
    assert "a coarser level" in " ".join(str(coarser).split())
    assert "No evidence supports the changes from 1 to 2" in finer.to_json()
    # What is cut through drift is told as that; no state of another level is confirmed.
    assert set(finer.tables["boundaries"]["found"]) <= {"", "not asked"}
    assert not finer.selection.evidence.confirmable
    back = coarser.at(3)
    pd.testing.assert_frame_equal(back.states, analysis.states)
    for name in ("boundaries", "states_found_again", "detours"):
        pd.testing.assert_frame_equal(back.tables[name], analysis.tables[name])


def test_a_number_of_states_asked_for_is_a_level_of_the_zoom(analysis, world):
    table = from_frame(world.table[["run", "step", *world.metrics]])
    asked = analyze(table, restarts=2, n_states=4)
    assert asked.to_json() == analysis.at(4).to_json()
    assert asked.at(6).to_json() == analysis.at(6).to_json()


def test_every_level_says_its_states_boundaries_and_what_becomes_of_them(analysis, world):
    evidence = analysis.selection.evidence
    levels, boundaries = analysis.tables["levels"], analysis.tables["level_boundaries"]
    assert levels["level"].drop_duplicates().tolist() == list(evidence.zoom)
    assert list(evidence.zoom) == sorted(evidence.zoom, reverse=True)
    assert levels.loc[levels["supported"], "level"].unique().tolist() == [3]
    for n_states, level in evidence.zoom.items():
        own = levels[levels["level"] == n_states]
        assert own["n_checkpoints"].tolist() == np.bincount(level.states).tolist()
    told = analysis.at(5)
    assert told.states["state"].tolist() == evidence.zoom[5].states.tolist()
    of_level = boundaries[boundaries["level"] == 5].drop(columns="level")
    pd.testing.assert_frame_equal(told.tables["boundaries"], of_level.reset_index(drop=True))
    # Of the supported map, the boundary with the greater delta goes first.
    merged = levels[levels["level"] == 3]["into"].tolist()
    assert sorted(merged) in ([0, 0, 1], [0, 1, 1])
    assert levels["into"].isna().tolist() == (levels["level"] == 1).tolist()


def test_levels_that_are_not_there_are_refused_with_those_that_are(analysis):
    with pytest.raises(UsageError, match=r"levels with 8, .*3, 2, 1\. .*protocol='bic'"):
        analysis.at(9)
    with pytest.raises(UsageError, match=r"no zoom to 2 states.*protocol='supported'"):
        analyze(analysis.trajectories, protocol="bic", n_states=3, quick=True, restarts=2).at(2)


# --- the order of time ---


def ordered(n_phases, design, options, random_state=0):
    """Labels of the supported map of a world, and what its runs go through."""
    made = World(design, n_phases, width=0.02, n_runs=12, n_metrics=6, noise=0.15, seed_metrics=0.0)
    runs = simulate_world(made, random_state)
    observed = standardised(from_frame(runs.table[["run", "step", *runs.metrics]]))
    finest = sweep(
        observed, [7, 8], options=options, covariance_type="diag", n_restarts=2, random_state=0
    )
    found = supported_map(observed, finest.winners[8].states, options=options)
    walks = [
        tuple(int(k) for k in run[np.r_[True, run[1:] != run[:-1]]])
        for run in np.split(found.labels, np.cumsum(observed.lengths)[:-1])
    ]
    return found, walks, runs


@pytest.mark.parametrize("random_state", [4, 5])
def test_in_order_of_time_a_level_passed_twice_is_two_stages(random_state):
    free, walks, runs = ordered(3, "return", ModelOptions(), random_state)
    assert free.n_states == 3
    assert any(len(set(walk)) < len(walk) for walk in walks)
    found, walks, _ = ordered(3, "return", ModelOptions(left_right=True), random_state)
    assert found.n_states == 4
    whole = [path for path in runs.paths if len(path) == 4]
    assert sum(walk == (0, 1, 2, 3) for walk in walks) >= 0.8 * len(whole)


@pytest.mark.parametrize("design", ["path", "fork"])
def test_in_order_of_time_paths_and_forks_stay_as_they_are(design):
    free, _, _ = ordered(3, design, ModelOptions())
    found, _, _ = ordered(3, design, ModelOptions(left_right=True))
    assert adjusted_rand_score(free.labels, found.labels) > 0.97


def test_runs_that_come_back_are_told_with_the_way_to_tell_stages_apart():
    _, _, runs = ordered(3, "return", ModelOptions(), 4)
    observed = standardised(from_frame(runs.table[["run", "step", *runs.metrics]]))
    (notice,) = _about_returns(runs.phases, observed)
    assert "12 of 12 runs come back" in notice.message
    assert "left_right=True" in notice.message
    assert not _about_returns(np.zeros_like(runs.phases), observed)


def test_the_option_goes_all_the_way():
    _, _, runs = ordered(3, "return", ModelOptions(), 4)
    table = from_frame(runs.table[["run", "step", *runs.metrics]])
    made = fit(table, Options(restarts=2, max_states=6, left_right=True))
    parameters = made.training_map.parameters
    assert parameters.n_states == 4
    assert (parameters.transmat[np.tril_indices(4, -1)] == 0).all()
    assert made.selection.evidence.founded == {0, 1, 2, 3}
    assert (made.decoding.states.groupby("run")["state"].diff().dropna() >= 0).all()
