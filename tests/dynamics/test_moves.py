"""When curves move from one level to another: dates that are known, and drifts that are none."""

import numpy as np
import pytest

from hmmdyn.dynamics.moves import crossings, median_between, pass_between_levels, way_done

STEPS = 10 * np.arange(60)


def course(name):
    t = np.linspace(0, 1, len(STEPS))
    return {
        "jump": (t > 0.4) * 1.0,
        "logistic": 1 / (1 + np.exp(-(t - 0.5) / 0.03)),
        "drift": t,
        "decay": np.exp(-3 * t),
        "drift until half": np.minimum(t, 0.5),
        "drift from half": np.maximum(t, 0.5),
    }[name]


def test_a_jump_is_dated_between_its_checkpoints_and_an_outlier_makes_no_date():
    values = np.where(STEPS >= 230, 5.0, 2.0)[:, None]
    values[10] = 9.0
    dates = crossings(STEPS, way_done(values, 15, 15))
    assert (dates.low[0], dates.high[0]) == (220, 230)


def test_shares_of_a_way_are_dated_in_their_order():
    rise = np.clip((STEPS - 200) / 200, 0, 1)[:, None]
    done = way_done(rise, 15, 15)
    assert [crossings(STEPS, done, share).high[0] for share in (0.2, 0.5, 0.8)] == [240, 300, 360]


def test_what_does_not_stand_out_from_its_noise_does_not_move():
    noise = np.random.default_rng(0).normal(size=(60, 1))
    assert np.isnan(way_done(noise, 15, 15)).all()
    assert np.isnan(crossings(STEPS, way_done(noise, 15, 15)).low).all()
    assert np.isnan(way_done(np.ones((60, 1)), 15, 15)).all()
    assert np.isnan(way_done(np.where(STEPS < 300, -1.5e308, 1.5e308)[:, None], 15, 15)).all()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", ["jump", "logistic"])
def test_a_change_of_level_is_faster_in_the_middle(name, sign):
    done = way_done(sign * course(name)[:, None], 15, 15)
    assert pass_between_levels(STEPS, done, 15, 15).all()


@pytest.mark.parametrize("name", ["drift", "decay", "drift until half", "drift from half"])
def test_a_drift_is_no_change_of_level(name):
    for values in (course(name), course(name)[::-1]):
        done = way_done(values[:, None], 15, 15)
        assert np.isfinite(done).all()
        assert not pass_between_levels(STEPS, done, 15, 15).any()


def test_a_median_of_too_few_runs_has_no_interval():
    low, high = np.arange(5.0), np.arange(5.0) + 2
    assert median_between(low, high).middle == 3
    assert np.isnan(median_between(low, high).low)
    six = median_between(np.arange(6.0), np.arange(6.0) + 2)
    assert (six.low, six.high) == (0, 7)
    assert np.isnan(median_between(np.arange(6.0), np.arange(6.0) + 2, n_compared=2).low)
