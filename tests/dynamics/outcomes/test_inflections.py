import numpy as np
import pytest
from scipy.stats import binom

from hmmdyn.dynamics.outcomes.inflections import inflections, is_logarithmic, rise_from_start
from hmmdyn.errors import UsageError
from hmmdyn.simulate.outcomes import (
    PHASE_FREE,
    phase_free_curve,
    transition_curve,
    transitions_and_changes,
)
from tests.dynamics.outcomes.curves import WIDENING, logistic

STEPS = 10.0 * np.arange(101)


def the_one(steps, values, logarithmic=False):
    (found,) = inflections(np.asarray(steps, dtype=float), values, logarithmic)
    return found


# --- transitions of one curve ---------------------------------------------------------------------


@pytest.mark.parametrize("centre", [300.0, 487.0, 705.0])
def test_a_logistic_is_dated_as_its_formula_says(centre):
    found = the_one(STEPS, logistic(STEPS, centre, 30))
    # 10 % and 90 % of a logistic lie ln 9 scales from its inflection.
    assert found.step == pytest.approx(centre, abs=2)
    assert found.start == pytest.approx(centre - 30 * np.log(9), abs=10)
    assert found.end == pytest.approx(centre + 30 * np.log(9), abs=10)
    # Where its slope is a tenth of the steepest, it is sqrt(0.9) of the whole way apart.
    assert found.change == pytest.approx(np.sqrt(0.9), abs=0.02)
    assert found.step_low <= centre <= found.step_high


def test_a_jump_lies_between_its_two_checkpoints():
    found = the_one(STEPS, np.where(STEPS >= 500, 1.0, 0.5))
    assert found.step == pytest.approx(495)
    assert (found.from_value, found.to_value) == pytest.approx((0.5, 1.0))
    assert found.step_low <= 490
    assert found.step_high >= 500


def test_units_and_direction_do_not_matter():
    values = logistic(STEPS, 420, 40) + 0.02 * np.random.default_rng(0).normal(size=101)
    found = the_one(STEPS, values)
    fallen = the_one(STEPS, 7 - 1000 * values)
    assert fallen.change == pytest.approx(-1000 * found.change)
    assert (fallen.start, fallen.step, fallen.end) == pytest.approx(
        (found.start, found.step, found.end)
    )
    stretched = the_one(1000 * STEPS + 500, values)
    assert stretched.step == pytest.approx(1000 * found.step + 500)


def test_outliers_of_one_or_two_checkpoints_make_no_difference():
    values = logistic(STEPS, 500, 30)
    spiked = values.copy()
    spiked[[5, 6, 25, 80, 81]] += [9, -7, 30, 4, 4]
    clean, found = the_one(STEPS, values), the_one(STEPS, spiked)
    assert found.step == pytest.approx(clean.step, abs=1)
    assert (found.start, found.end) == pytest.approx((clean.start, clean.end), abs=1)


@pytest.mark.parametrize("unit", [1e300, 1e-300])
def test_no_unit_is_too_large_or_small(unit):
    values = logistic(STEPS, 500, 30)
    found = the_one(STEPS, unit * values)
    assert found.step == pytest.approx(the_one(STEPS, values).step)
    assert found.change == pytest.approx(unit * the_one(STEPS, values).change)


def test_two_steps_are_two_transitions():
    two = logistic(STEPS, 250, 10) + logistic(STEPS, 750, 10)
    found = inflections(STEPS, two, False)
    assert [round(one.step) for one in found] == [250, 750]
    assert [one.change for one in found] == pytest.approx([1, 1], abs=0.06)
    # Up and down again is a transition each way.
    hump = logistic(STEPS, 250, 10) - logistic(STEPS, 750, 10)
    assert [round(one.change) for one in inflections(STEPS, hump, False)] == [1, -1]


@pytest.mark.parametrize(
    "values",
    [
        np.full(101, 0.7),
        0.1 + 0.2 * np.ones(101),
        np.full(101, 1.0) - 0.01 * (np.arange(101) % 17 == 0),
        1 - STEPS / 1000,
        (1 + STEPS) ** -0.5,
        np.exp(-STEPS / 300),
        logistic(STEPS, 500, 150),  # as wide as the run
        logistic(STEPS, 1000, 20),  # cut off by its end
        logistic(STEPS, 0, 20),  # and by its start
    ],
    ids=["flat", "rounding", "quantised", "linear", "power", "exp", "wide", "late", "early"],
)
def test_what_has_no_calm_around_a_fast_change_has_no_transition(values):
    assert inflections(STEPS, values, False) == []


def test_few_evaluations_say_nothing():
    assert inflections(STEPS[:9], np.r_[np.zeros(5), np.ones(4)], False) == []


@pytest.mark.parametrize("kind", PHASE_FREE)
def test_false_alarms_are_rare(kind):
    alarms = [
        bool(inflections(np.arange(1.0 * n), phase_free_curve(kind, n, random_state=s), False))
        for n in (40, 150)
        for s in range(100)
    ]  # fmt: skip
    # The study gives at most 0.02, and for random walks 0.1: binomial bounds for 200 curves.
    rate = 0.1 if kind.startswith("random walk") else 0.02
    assert sum(alarms) <= binom.ppf(0.999, len(alarms), rate)


def test_transitions_are_found_and_their_intervals_hold_the_truth():
    found, covered = 0, 0
    for seed in range(100):
        values, centre = transition_curve(
            150, width=0.03, noise=0.1, spikes=True, random_state=seed
        )
        near = [
            one
            for one in inflections(np.arange(150.0), values, False)
            if one.change > 0 and abs(one.step - centre) < 15
        ]
        found += bool(near)
        covered += any(one.step_low <= centre <= one.step_high for one in near)
    assert found >= 90
    assert covered >= 0.9 * found


def test_simulations_know_their_worlds():
    with pytest.raises(UsageError, match="'kind' must be one of"):
        phase_free_curve("sigmoid", 10)
    with pytest.raises(UsageError, match="'schedule' must be one of"):
        transitions_and_changes("never", 10)


# --- uneven steps ---------------------------------------------------------------------------------


def test_the_clock_follows_the_schedule():
    assert not is_logarithmic(np.arange(0, 1000, 10))
    assert not is_logarithmic(np.array([0]))
    assert is_logarithmic(WIDENING.astype(int))


@pytest.mark.parametrize(("centre", "scale"), [(100, 0.3), (3000, 0.3)])
def test_an_early_fall_is_found_on_a_clock_of_log_steps(centre, scale):
    values = 3 + 8 * logistic(-np.log1p(WIDENING), -np.log(centre), scale)
    found = the_one(WIDENING, values, logarithmic=True)
    assert found.step == pytest.approx(centre, rel=0.15)
    assert found.step_low <= centre <= found.step_high


@pytest.mark.parametrize("centre", [20_000, 70_000, 120_000])
def test_a_late_transition_is_found_as_well(centre):
    found = the_one(WIDENING, logistic(WIDENING, centre, 2000), logarithmic=True)
    assert found.step == pytest.approx(centre, rel=0.05)


@pytest.mark.parametrize("exponent", [0.05, 0.1, 0.3, 0.5])
def test_a_power_law_has_none_on_either_clock(exponent):
    noise = 0.02 * np.random.default_rng(1).normal(size=len(WIDENING))
    assert inflections(WIDENING, (1 + WIDENING) ** -exponent + noise, True) == []


SCHEDULES = {
    "Pythia's": WIDENING,
    "geometric": np.r_[0, np.unique(np.round(np.geomspace(1, 143_000, 60)))],
    "powers of two": np.r_[0, 2.0 ** np.arange(0, 17.5, 0.5)],
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("constant", [100, 400, 4000, 40_000])
def test_plain_decays_have_none_on_steps_that_widen(schedule, constant):
    """An exponential, and a power law with an offset, bend one way only: that is no phase.

    Against log steps both are sigmoids: calm before their time constant, and after it.
    """
    steps = SCHEDULES[schedule]
    curves = [np.exp(-steps / constant)]
    curves += [(1 + steps / constant) ** -exponent for exponent in (0.5, 1, 2)]
    assert all(inflections(steps, curve, True) == [] for curve in curves)
    found = [
        inflections(
            steps, curve + noise * np.random.default_rng(seed).normal(size=len(steps)), True
        )
        != []
        for curve in curves
        for noise in (0.01, 0.05)
        for seed in range(8)
    ]
    # The study has the rates: of the worst curve and schedule 0.03.
    assert sum(found) <= binom.ppf(0.999, len(found), 0.03)


def test_a_gap_in_the_evaluations_makes_no_transition():
    steps = np.r_[STEPS[:30], STEPS[60:]]
    assert inflections(steps, 1 - steps / 1000, False) == []


# --- from the first checkpoint on -----------------------------------------------------------------


def test_a_rise_from_the_start_is_measured_against_the_level_it_keeps():
    values = 1 - 0.5 * np.exp(-STEPS / 50)
    rise = rise_from_start(STEPS, values, falling=False)
    # Of an exponential, a share q is done after -log(1 - q) time constants.
    assert (rise.start, rise.step, rise.end) == pytest.approx(
        tuple(-50 * np.log([0.9, 0.5, 0.1])), abs=1
    )
    assert rise_from_start(STEPS, -values, falling=True).change == pytest.approx(-0.5, abs=1e-3)
    assert rise_from_start(STEPS, values, falling=True) is None


@pytest.mark.parametrize(
    "values", [STEPS, np.zeros(101), np.random.default_rng(0).normal(size=101)]
)
def test_what_does_not_level_off_or_rise_is_no_rise(values):
    assert rise_from_start(STEPS, values, falling=False) is None
    assert rise_from_start(STEPS[:5], values[:5], falling=False) is None
