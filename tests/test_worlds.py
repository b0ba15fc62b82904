"""Worlds of simulated runs: what they promise, and that pooled standardisation sees it."""

import numpy as np
import pandas as pd
import pytest

from hmmdyn.errors import NotEnoughDataError, UsageError
from hmmdyn.simulate.worlds import (
    WITH_OPTIONAL,
    WITH_PHASES,
    WITHOUT_PHASES,
    World,
    simulate_world,
)
from hmmdyn.tables.standardise import pooled_observations, spread_between_seeds
from hmmdyn.tables.trajectories import Trajectories

SMALL = {"n_runs": 6, "n_checkpoints": 40, "n_metrics": 4}


def trajectories(runs):
    return Trajectories(runs.table, runs.metrics, ("accuracy",))


@pytest.mark.parametrize("design", [*WITH_PHASES, *WITH_OPTIONAL, *WITHOUT_PHASES])
def test_every_design_gives_a_table_and_its_truth(design):
    n_phases = 1 if design in WITHOUT_PHASES else 4
    runs = simulate_world(World(design, n_phases, width=0.05, **SMALL), 1)
    assert len(runs.table) == len(runs.phases) == 240
    assert np.isfinite(runs.table[list(runs.metrics)]).all(axis=None)
    assert runs.table["accuracy"].between(0, 1).all()
    assert runs.n_phases == n_phases
    assert set(np.unique(runs.phases)) <= set(range(n_phases))
    assert len(runs.paths) == 6
    assert len(runs.changes) == sum(len(path) - 1 for path in runs.paths)
    assert runs.changes["width"].gt(0).mean() > 0.5 if len(runs.changes) else n_phases == 1


def test_same_seed_same_runs():
    world = World("detour", 4, autocorrelation=0.9, **SMALL)
    one, two, other = (simulate_world(world, seed).table for seed in (3, 3, 4))
    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(other)


def test_ways_are_what_designs_say():
    many = {"n_runs": 30, "n_checkpoints": 50, "speeds": 0.0}
    assert simulate_world(World("path", 3, **many)).n_ways == 1
    fork = simulate_world(World("fork", 4, **many))
    assert {(0, 1, 3), (0, 2, 3)} <= set(fork.paths)
    detour = simulate_world(World("detour", 4, **many))
    assert {(0, 1, 3), (0, 1, 2, 3)} <= set(detour.paths)
    back = simulate_world(World("return", 3, **many))
    assert (0, 1, 2, 1) in back.paths
    spike = simulate_world(World("spike", 2, **many))
    assert {(0,), (0, 1, 0)} == set(spike.paths)


def test_a_phase_that_only_some_runs_visit_is_where_its_design_says():
    many = {"n_runs": 60, "n_checkpoints": 50}
    early = simulate_world(World("early detour", 4, **many))
    assert {(0, 2, 3), (0, 1, 2, 3)} <= set(early.paths)
    ways = simulate_world(World("equal fork", 4, **many), 1)
    assert {(0, 1, 3), (0, 2, 3)} <= set(ways.paths)
    late = simulate_world(World("late stage", 4, **many), 2)
    assert {(0, 1, 3), (0, 1, 2, 3)} <= set(late.paths)
    there_and_back = simulate_world(World("excursion", 4, **many), 3)
    ended = [path for path in there_and_back.paths if path[-1] == 2]
    assert {(0, 1, 2), (0, 3, 0, 1, 2)} <= set(ended)


def test_a_harmless_late_stage_is_visited_by_runs_that_had_longer_to():
    runs = simulate_world(World("late stage", 3, n_runs=400, n_checkpoints=2, speeds=0.4), 5)
    last = runs.changes.groupby("run")["step"].max()
    took = np.array([1 in path for path in runs.paths])[last.index]
    assert last[took].median() > 1.2 * last[~took].median()


@pytest.mark.parametrize(
    ("design", "n_phases"), [("detour", 3), ("detour", 4), ("early detour", 4)]
)
def test_a_detour_takes_as_much_longer_as_asked(design, n_phases):
    world = World(design, n_phases, n_runs=600, n_checkpoints=2, speeds=0.0, delay=1.0)
    runs = simulate_world(world, 7)
    reached = runs.changes[runs.changes["to_phase"] == n_phases - 1].set_index("run")["step"]
    took = np.array([len(path) == n_phases for path in runs.paths])[reached.index]
    # The step of the first checkpoint is half a checkpoint in.
    assert (reached[took].mean() + 5) / (reached[~took].mean() + 5) == pytest.approx(2, rel=0.1)


def test_a_detour_delays_convergence():
    runs = simulate_world(World("detour", 4, n_runs=60, speeds=0.0), 2)
    reached = runs.table[runs.table["accuracy"] > 0.9].groupby("seed")["step"].min()
    took = np.array([2 in path for path in runs.paths])[reached.index]
    assert reached[took].mean() > reached[~took].mean() + 50


def test_noise_is_as_autocorrelated_as_asked():
    for coefficient in (0.0, 0.9):
        world = World("path", 1, noise=5.0, autocorrelation=coefficient, n_checkpoints=400)
        runs = simulate_world(world, 0).table.groupby("run")["metric_0"]
        assert runs.apply(lambda x: x.autocorr()).mean() == pytest.approx(coefficient, abs=0.07)


@pytest.mark.parametrize(
    "world",
    [
        World("maze", 2),
        World("fork", 2),
        World("own drift", 2),
        World("path", 2, shape="cubic"),
    ],
    ids=lambda world: world.design,
)
def test_worlds_that_cannot_be_are_refused(world):
    with pytest.raises(UsageError):
        simulate_world(world)


# Pooled standardisation


def test_metrics_that_tell_seeds_apart_are_left_out_by_name():
    runs = simulate_world(World("path", 3, noise=0.15, seed_metrics=0.5, **SMALL), 3)
    spread = spread_between_seeds(trajectories(runs)).set_index("metric")
    assert spread["left_out"].tolist() == [True, True, False, False]
    observed = pooled_observations(trajectories(runs))
    assert observed.features == runs.metrics[2:]
    assert observed.standardisation.kind == "pooled"
    np.testing.assert_allclose(observed.values.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(observed.values.std(axis=0), 1)
    assert [n.subject for n in observed.notices] == ["metric metric_0", "metric metric_1"]
    assert "before training has begun" in observed.notices[0].message


def test_a_metric_can_be_kept():
    runs = simulate_world(World("path", 3, noise=0.15, seed_metrics=0.5, **SMALL), 3)
    observed = pooled_observations(trajectories(runs), keep_metrics=("metric_0",))
    assert observed.features == ("metric_0", "metric_2", "metric_3")


def test_nothing_is_left_out_where_seeds_begin_alike_or_at_no_common_step():
    runs = simulate_world(World("path", 3, noise=0.15, **SMALL), 3)
    assert not spread_between_seeds(trajectories(runs))["left_out"].any()
    apart = runs.table.assign(step=runs.table["step"] + 1000 * runs.table["seed"])
    spread = spread_between_seeds(Trajectories(apart, runs.metrics, ()))
    assert spread["between"].isna().all()
    assert not spread["left_out"].any()


def test_groups_may_begin_apart():
    """What tells groups apart is not what tells seeds apart."""
    runs = simulate_world(World("path", 3, noise=0.15, **SMALL), 3)
    other = runs.table.assign(group="other")
    other[list(runs.metrics)] += 100 * runs.table[list(runs.metrics)].std()
    both = pd.concat([runs.table, other], ignore_index=True)
    assert not spread_between_seeds(Trajectories(both, runs.metrics, ()))["left_out"].any()


def test_if_every_metric_tells_seeds_apart_it_is_said():
    runs = simulate_world(World("path", 1, noise=0.05, seed_metrics=1.0, **SMALL), 3)
    with pytest.raises(NotEnoughDataError, match="Every metric tells seeds apart"):
        pooled_observations(trajectories(runs))


def test_white_noise_at_the_first_checkpoint_is_no_difference_between_seeds():
    table = pd.DataFrame(
        {"group": "g", "run": np.repeat(list("abcdefghij"), 60), "seed": 0},
    )
    table["step"] = np.tile(np.arange(60), 10)
    rng = np.random.default_rng(0)
    table["m"] = np.tile(np.repeat([0.0, 1.0], 30), 10) + 0.5 * rng.normal(size=600)
    assert not spread_between_seeds(Trajectories(table, ("m",), ()))["left_out"].any()
