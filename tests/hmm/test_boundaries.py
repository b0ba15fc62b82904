"""The statistic δ against closed forms; the supported map against worlds whose phases are known."""

import numpy as np
import pandas as pd
import pytest

from hmmdyn.hmm.choose.boundaries import supported_map
from hmmdyn.hmm.choose.duration import measure_change
from hmmdyn.hmm.choose.passages import (
    Resampling,
    crossing_times,
    delta,
    find_passages,
    find_visits,
    interpolated,
    judge_boundaries,
    positions,
)
from hmmdyn.hmm.fit.sweep import sweep
from hmmdyn.results.observations import Sequences
from hmmdyn.simulate.worlds import World, simulate_world
from hmmdyn.tables.standardise import pooled_observations
from hmmdyn.tables.trajectories import Trajectories

N = 400


def alike(course, n_runs=4):
    """Runs that all take one course, cut into two states in its middle."""
    n = len(course)
    labels = np.tile((np.arange(n) >= n // 2).astype(int), n_runs)
    return np.tile(course, n_runs)[:, None], labels, np.full(n_runs, n)


def delta_of(course):
    values, labels, lengths = alike(course)
    return delta(crossing_times(values, find_passages(find_visits(labels, lengths))).sum(axis=0))


T = (np.arange(N) + 0.5) / N


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        (np.repeat([0.0, 1.0], N // 2), 0.0),
        (T, 1.0),
        ((1 - np.cos(np.pi * T)) / 2, 0.68),
    ],
    ids=["jump", "drift", "half cosine"],
)
def test_delta_has_its_closed_forms(course, expected):
    assert delta_of(course) == pytest.approx(expected, abs=0.01)


def test_half_cosine_by_hand():
    """Centres at the means of the halves, ½ ∓ 1/π, as METHOD has it."""
    centre = 0.5 - 1 / np.pi
    gap = 2 / np.pi

    def time_until(level):
        return np.arccos(1 - 2 * level) / np.pi

    around = time_until(centre + gap / 4) - time_until(max(centre - gap / 4, 0.0))
    middle = time_until(0.5 + gap / 4) - time_until(0.5 - gap / 4)
    assert middle / around == pytest.approx(0.68, abs=0.01)


@pytest.mark.parametrize(
    ("course", "kind", "movement"),
    [(np.repeat([0.0, 1.0], N // 2), "sharp", 0.0), (T, "slice", 0.5)],
    ids=["jump", "drift"],
)
def test_a_jump_is_sharp_and_drift_is_a_slice(course, kind, movement):
    judged = judge_boundaries(*alike(course), 3, Resampling(100, 0))
    (row,) = judged.itertuples()
    assert (row.from_state, row.to_state, row.kind) == (0, 1, kind)
    assert row.movement == pytest.approx(movement, abs=0.01)
    assert row.share == 1


def test_a_start_that_slows_settles():
    judged = judge_boundaries(*alike(1 - np.exp(-40 * T)), 3, Resampling(100, 0))
    assert judged["kind"].tolist() != ["sharp"]
    values, _, lengths = alike(1 - np.exp(-40 * T))
    labels = np.tile((np.arange(N) >= 8).astype(int), 4)
    assert judge_boundaries(values, labels, lengths, 3, Resampling(100, 0))["kind"].tolist() == [
        "settling"
    ]


def test_running_medians_leave_a_jump_and_take_an_outlier():
    course = np.repeat([0.0, 1.0], 20)
    course[5] = 0.9
    values, labels, lengths = alike(course)
    position, which = positions(values, find_passages(find_visits(labels, lengths)))
    assert len(np.unique(position[which == 0])) == 2  # two levels, the jump between them kept


def test_positions_are_running_medians_between_two_means():
    """Of random runs with visits of all lengths, worked out passage by passage."""
    rng = np.random.default_rng(0)
    lengths = np.array([60, 41, 83])
    labels = np.repeat(rng.permutation(np.arange(46) % 3), 4)
    values = rng.normal(size=(184, 3)) + 3 * labels[:, None]
    passages = find_passages(find_visits(labels, lengths))
    assert len(set(passages.end - passages.change)) > 3
    position, which = positions(values, passages)
    place = 0
    for p in range(len(passages)):
        begin, change, end = (int(x[p]) for x in (passages.begin, passages.change, passages.end))
        ways = {
            q: values[passages.change[q] : passages.end[q]].mean(axis=0)
            - values[passages.begin[q] : passages.change[q]].mean(axis=0)
            for q in range(len(passages))
            if passages.from_state[q] == passages.from_state[p]
            and passages.to_state[q] == passages.to_state[p]
        }
        others = [way for q, way in ways.items() if passages.run[q] != passages.run[p]]
        along = values[begin:end] @ np.mean(others if len(others) > 1 else [*ways.values()], axis=0)
        centre, target = along[: change - begin].mean(), along[change - begin :].mean()
        n, shorter = end - begin, min(change - begin, end - change)
        expected = np.full(n, np.nan)
        for i in range(n):
            room = min(i, n - 1 - i, min(max((shorter - 1) // 2, 1), 4))
            middle = np.median(along[i - room : i + room + 1])
            if target > centre:
                expected[i] = (middle - centre) / (target - centre)
        np.testing.assert_allclose(position[place : place + n], expected, atol=1e-9)
        assert set(which[place : place + n]) == {p}
        place += n
    assert place == len(position)


def test_a_run_against_the_others_supports_nothing():
    values, labels, lengths = alike(np.repeat([0.0, 1.0], 20), n_runs=5)
    values[:40] = -values[:40]
    times = crossing_times(values, find_passages(find_visits(labels, lengths)))
    np.testing.assert_array_equal(times[0], [0, 40, 0])
    np.testing.assert_array_equal(times[1:], np.tile([20, 0, 20], (4, 1)))


def test_few_runs_and_short_visits_are_not_judged():
    values, labels, lengths = alike(np.repeat([0.0, 1.0], 20), n_runs=2)
    assert judge_boundaries(values, labels, lengths, 3, Resampling(10, 0)).empty
    visits = find_visits(np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([5, 3]))
    np.testing.assert_array_equal(visits.length, [3, 2, 3])
    assert len(find_passages(visits)) == 0


@pytest.mark.parametrize("shape", ["logistic", "ramp"])
def test_date_and_duration_are_those_of_the_change(shape):
    t = np.arange(200)
    courses, labels = [], []
    for middle in (80.0, 95.5, 110.3, 120.7):
        since = (t - middle) / 20  # 10 to 90 % in twenty checkpoints
        ramp = np.clip(0.8 * since + 0.5, 0, 1)
        courses.append(1 / (1 + np.exp(-2 * np.log(9) * since)) if shape == "logistic" else ramp)
        labels.append((since >= 0).astype(int))
    values, labels, lengths = np.concatenate(courses)[:, None], np.concatenate(labels), [200] * 4
    lengths = np.array(lengths)
    change = measure_change(
        values,
        find_passages(find_visits(labels, lengths)),
        np.eye(1),
        np.tile(t * 10.0, 4),
        lengths,
        Resampling(100, 0),
    )
    assert change.duration == pytest.approx(200, rel=0.07)
    assert change.duration_low < 200 < change.duration_high
    np.testing.assert_allclose(change.dates, [800, 955, 1103, 1207], atol=5)
    assert change.date == pytest.approx((955 + 1103) / 2, abs=5)


def test_what_takes_no_longer_than_a_checkpoint_may_take_no_time():
    values, labels, lengths = alike(np.repeat([0.0, 1.0], 50))
    found = find_passages(find_visits(labels, lengths))
    steps = np.tile(np.arange(100.0), 4)
    change = measure_change(values, found, np.eye(1), steps, lengths, Resampling(100, 0))
    assert (change.duration, change.duration_low) == (0, 0)
    assert change.date == pytest.approx(49.5, abs=0.5)


# The map


def observed(world, random_state):
    runs = simulate_world(world, random_state)
    return runs, pooled_observations(Trajectories(runs.table, runs.metrics, ("accuracy",)))


def finest(values, lengths):
    """Decoded states of a model that has more of them than there are phases."""
    swept = sweep(
        Sequences(values, lengths), [7], covariance_type="diag", n_restarts=2, random_state=0
    )
    return swept.winners[7].states


@pytest.fixture(scope="module")
def path():
    world = World("path", 4, width=0.05, n_runs=12, n_checkpoints=120, n_metrics=8, noise=0.15)
    runs, seen = observed(world, 5)
    labels = finest(seen.values, seen.lengths)
    return runs, seen, supported_map(seen, labels)


def edges(found):
    b = found.boundaries
    return list(zip(b["from_state"], b["to_state"], strict=True))


def test_slices_are_merged_and_phases_stay(path):
    runs, _, found = path
    assert edges(found) == [(0, 1), (1, 2), (2, 3)]
    assert (found.labels == runs.phases).mean() > 0.95
    assert found.n_phases == 4
    assert set(found.boundaries["kind"]) <= {"sharp", "gradual"}


def test_dates_and_durations_are_in_steps(path):
    runs, _, found = path
    true = runs.changes.groupby(["from_phase", "to_phase"])["step"].median()
    np.testing.assert_allclose(found.boundaries["date"], true, atol=30)
    assert (found.boundaries["duration_low"] <= 60).all()
    assert (found.boundaries["duration_high"] >= 60).all()
    assert len(found.passages) == pytest.approx(len(runs.changes), abs=2)


def test_the_zoom_goes_from_the_finest_map_to_one_state(path):
    _, seen, found = path
    numbers = [level.n_states for level in found.levels]
    assert numbers == [7, 6, 5, 4, 3, 2, 1]
    np.testing.assert_array_equal(found.at(4).labels, found.labels)
    assert found.at(1).labels.max() == 0
    assert all(level.left_by for level in found.levels[:-1])
    assert len(found.log) == len(found.levels) - 1
    assert len(found.levels[0].labels) == len(seen.values)


def test_same_input_same_map(path):
    _, seen, found = path
    labels = found.levels[0].labels
    again = supported_map(seen, labels)
    np.testing.assert_array_equal(again.labels, found.labels)
    pd.testing.assert_frame_equal(again.boundaries, found.boundaries)
    pd.testing.assert_frame_equal(again.log, found.log)


def test_missing_values_and_unequal_lengths_change_little(path):
    runs, seen, _ = path
    keep = np.ones(len(seen.values), dtype=bool)
    keep[110:120] = False  # the first run ends sooner
    lengths = seen.lengths.copy()
    lengths[0] -= 10
    values = seen.values[keep].copy()
    values[np.random.default_rng(0).random(values.shape) < 0.05] = np.nan
    found = supported_map(Sequences(values, lengths), finest(values, lengths))
    assert found.n_phases == 4
    assert (found.labels == runs.phases[keep]).mean() > 0.95


def test_one_state_is_a_map_without_boundaries():
    values = np.random.default_rng(0).normal(size=(60, 2))
    found = supported_map(Sequences(values, np.array([20, 20, 20])), np.zeros(60, dtype=int))
    assert (found.n_states, found.n_phases, found.settling) == (1, 1, ())
    assert found.boundaries.empty
    assert found.log.empty


def test_drift_is_one_state():
    rng = np.random.default_rng(1)
    lengths = np.full(6, 100)
    values = np.tile(np.linspace(-1, 1, 100), 6)[:, None] * rng.normal(size=(1, 5))
    values = values + 0.05 * rng.normal(size=values.shape)
    found = supported_map(Sequences(values, lengths), np.tile(np.arange(100) // 20, 6))
    assert found.n_states == 1


def test_checkpoints_caught_midway_are_no_state():
    """An abrupt change that some checkpoint catches midway: a state to a model, none to us."""
    rng = np.random.default_rng(2)
    levels = rng.normal(size=(3, 6))
    values, labels = [], []
    for _ in range(20):
        share = rng.uniform(0.3, 0.7, size=(2, 1))
        midway = (1 - share) * levels[:-1] + share * levels[1:]
        first, second = rng.integers(20, 40, size=2)
        lasts = [first, 1, second, 1, 98 - first - second]
        values.append(np.repeat([levels[0], midway[0], levels[1], midway[1], levels[2]], lasts, 0))
        labels.append(np.repeat([0, 1, 2, 3, 4], lasts))
    values = np.concatenate(values) + 0.05 * rng.normal(size=(2000, 6))
    found = supported_map(Sequences(values, np.full(20, 100)), np.concatenate(labels))
    assert edges(found) == [(0, 1), (1, 2)]
    assert found.log["action"].tolist()[:2] == ["fleeting", "fleeting"]
    assert (found.boundaries["kind"] == "sharp").all()


def test_a_fork_needs_two_places():
    """Runs of two kinds go to places far apart, or to one place cut in two."""
    rng = np.random.default_rng(3)
    lengths = np.full(12, 60)
    first, one, other = np.zeros(4), np.array([3.0, 0, 0, 0]), np.array([0.0, 3, 0, 0])
    labels = np.concatenate([np.repeat([0, 1 + run % 2], 30) for run in range(12)])
    for places, n_states in (((one, other), 3), ((one, one), 2)):
        values = np.concatenate([np.repeat([first, places[r % 2]], 30, 0) for r in range(12)])
        values = values + 0.2 * rng.normal(size=values.shape)
        assert supported_map(Sequences(values, lengths), labels).n_states == n_states


def test_interpolation_is_in_time_and_within_runs():
    values = np.array([[0.0], [np.nan], [2.0], [np.nan], [5.0], [np.nan]])
    filled = interpolated(values, np.array([3, 3]))
    np.testing.assert_array_equal(filled[:, 0], [0, 1, 2, 5, 5, 5])


def test_a_run_that_is_in_one_state_only_does_not_stop_the_merging():
    """It has no state before or after to give its checkpoints to."""
    rng = np.random.default_rng(4)
    lengths = np.full(8, 60)
    course = np.clip((np.arange(60) - 25) / 10, 0, 1)
    labels = np.tile(np.repeat([0, 1, 2], [25, 10, 25]), 8)
    values = np.tile(course, 8)[:, None] + 0.02 * rng.normal(size=(480, 3))
    labels[-60:] = 1
    values[-60:] = 0.5 + 0.02 * rng.normal(size=(60, 3))
    found = supported_map(Sequences(values, lengths), labels)
    assert found.levels[-1].n_states == 1
