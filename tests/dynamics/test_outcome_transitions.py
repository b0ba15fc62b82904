from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from hmmdyn.dynamics.outcomes.inflections import inflections, is_logarithmic, rise_from_start
from hmmdyn.dynamics.outcomes.matching import match_transitions
from hmmdyn.dynamics.outcomes.spikes import excursions
from hmmdyn.dynamics.outcomes.transitions import find_outcome_transitions
from hmmdyn.errors import UsageError
from hmmdyn.simulate.outcomes import (
    PHASE_FREE,
    phase_free_curve,
    transition_curve,
    transitions_and_changes,
)

NAN, INF = np.nan, np.inf
STEPS = 10.0 * np.arange(101)
WIDENING = np.r_[0, 2.0 ** np.arange(10), np.arange(1000, 143_001, 1000)]


def logistic(steps, centre, scale, before=0.0, after=1.0):
    return before + (after - before) / (1 + np.exp(-(steps - centre) / scale))


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


# --- spikes ---------------------------------------------------------------------------------------


def noisy_loss(n=200, seed=0):
    return 2.5 + 0.02 * np.random.default_rng(seed).normal(size=n)


def test_a_spike_is_over_and_a_divergence_is_not():
    loss = noisy_loss()
    assert excursions(loss) == []
    loss[50:53] += [0.5, 2, 0.4]
    loss[150:] += 3
    spike, divergence = excursions(loss)
    assert (spike.kind, spike.first, spike.after, spike.returned) == ("spike", 50, 53, True)
    assert spike.height == pytest.approx(2, abs=0.1)
    assert spike.level == pytest.approx(2.5, abs=0.05)
    assert (divergence.kind, divergence.first, divergence.after) == ("divergence", 150, 200)
    assert not divergence.returned


def test_one_that_comes_back_late_is_a_divergence_too():
    loss = noisy_loss()
    loss[50:90] += 3
    (long,) = excursions(loss)
    assert (long.kind, long.first, long.after, long.returned) == ("divergence", 50, 90, True)


def test_a_run_that_ends_in_a_spike_is_not_said_to_diverge():
    loss = noisy_loss()
    loss[-1] += 3
    (last,) = excursions(loss)
    assert (last.kind, last.returned) == ("spike", False)


def test_infinite_losses():
    loss = noisy_loss()
    loss[[0, 60, 61]] = INF
    first, spike = excursions(loss)
    assert (first.kind, first.first, first.after, first.height) == ("spike", 0, 1, INF)
    assert (spike.kind, spike.first, spike.after, spike.height) == ("spike", 60, 62, INF)
    loss[199] = INF
    assert excursions(loss)[-1].kind == "divergence"
    (early,) = excursions(np.r_[noisy_loss()[:5], np.full(20, INF)])
    assert (early.kind, early.first, early.after) == ("divergence", 5, 25)
    assert excursions(np.r_[noisy_loss()[:8], 100]) == []  # too little is known
    every_other = np.where(np.arange(40) % 2, INF, 1.0)
    assert len(excursions(every_other)) == 20


def test_a_steady_rise_is_no_excursion():
    assert excursions(1 + 0.01 * np.arange(200.0)) == []
    assert excursions(np.full(50, 2.0)) == []


def test_noise_rarely_looks_like_a_spike():
    n_found = sum(len(excursions(noisy_loss(1000, seed))) for seed in range(30))
    assert n_found == 0
    heavy = sum(
        len(excursions(2.5 + 0.02 * np.random.default_rng(seed).standard_t(5, size=1000)))
        for seed in range(30)
    )
    assert heavy <= binom.ppf(0.999, 30_000, 1.5e-4)  # the study gives 0.1 in a thousand


# --- matching -------------------------------------------------------------------------------------


def events_and_changes(event, change, groups=None, every=100):
    """Runs of 10,000 steps whose outcome passes at ``event`` and whose state changes at ``change``.

    A change is dated half a checkpoint interval before its first checkpoint: none where NaN.
    """
    groups = groups or ["all"] * len(event)
    runs = pd.DataFrame({"group": groups, "run": [f"seed{i}" for i in range(len(event))]})
    events = runs.assign(
        outcome="eval_accuracy",
        role="generalisation",
        step=np.array(event, dtype=float),
        first_step=0,
        last_step=10_000,
    )
    step = np.array(change, dtype=float) + every / 2
    changes = runs.assign(previous_step=step - every, step=step, from_state=2, to_state=3)
    return events, changes.dropna()


def matched(*args, **kwargs):
    return match_transitions(*events_and_changes(*args, **kwargs), logarithmic=False)


def test_lead_is_positive_where_the_state_changes_first():
    event = np.array([3000, 4000, 5000, 6000, 7000, 8000])
    lead = np.array([100, 150, 200, 250, 300, 2000])
    row = matched(event, event - lead).loc[0]
    # The last lies beyond a tenth of the run.
    assert (row["n_runs"], row["n_total"], row["lead"]) == (5, 6, 200)
    assert np.isnan([row["lead_low"], row["lead_high"]]).all()
    assert (row["from_state"], row["to_state"], row["role"]) == (2, 3, "generalisation")


@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (10, 2, 9), (40, 14, 27)])
def test_the_interval_of_a_lead_is_that_of_order_statistics(n, low, high):
    # Ranks of the shortest symmetric interval with 95 % for a median (Conover 1999, 3.2).
    assert binom.cdf(low - 1, n, 0.5) <= 0.025 < binom.cdf(low, n, 0.5)
    event = np.linspace(3000, 8000, n)
    leads = 10.0 * np.random.default_rng(0).permutation(np.arange(1, n + 1))
    row = matched(event, event - leads).loc[0]
    assert (row["lead_low"], row["lead_high"]) == pytest.approx((10 * low, 10 * high))


@pytest.mark.parametrize("seed", range(4))
def test_p_is_that_of_all_pairings_within_groups(seed):
    rng = np.random.default_rng(seed)
    groups = ["a", "b", "a", "b", "a", "b", "a"]
    event = rng.uniform(3000, 6000, 7)
    change = event - rng.normal(200, 600, 7)
    change[2] = NAN
    (row,) = matched(event, change, groups).itertuples()
    leads = [[(e - c) / 1000 for c in change] for e in event]
    typical = np.nanmedian(leads)

    def total(pairing):
        apart = [abs(leads[i][j] - typical) for i, j in enumerate(pairing)]
        return sum(1.0 if np.isnan(x) else min(x, 1.0) for x in apart)

    allowed = [
        p for p in permutations(range(7)) if all(groups[i] == groups[j] for i, j in enumerate(p))
    ]
    assert len(allowed) == 24 * 6
    closer = [total(p) <= total(range(7)) + 1e-9 for p in allowed]
    assert row.p == pytest.approx(np.mean(closer))
    assert row.p_corrected == row.p


def test_groups_with_schedules_of_their_own_are_no_evidence():
    rng = np.random.default_rng(0)
    own = np.repeat([3000, 7000], 10)
    event, change = (own + rng.normal(0, 100, 20) for _ in range(2))
    assert matched(event, change).loc[0, "p"] < 0.01
    assert matched(event, change, ["a"] * 10 + ["b"] * 10).loc[0, "p"] > 0.05


def test_runs_that_are_all_alike_or_few_cannot_tell():
    assert matched([5000] * 10, [4800] * 10).loc[0, "p"] == 1
    assert np.isnan(matched([3000, 5000, 7000], [2900, 4900, 6900]).loc[0, "p"])
    one = matched([3000], [2900])
    assert one.loc[0, ["n_runs", "n_total"]].tolist() == [1, 1]


def test_nothing_to_match():
    events, changes = events_and_changes([3000, 4000], [3000, 4000])
    assert match_transitions(events, changes.iloc[:0], logarithmic=False).empty
    empty = match_transitions(events.iloc[:0], changes, logarithmic=False)
    assert "p_corrected" in empty
    assert empty.empty
    assert matched([1000, 1000], [9000, 9000]).empty


def test_the_nearest_change_counts_and_corrections_run_over_all_pairs():
    events, changes = events_and_changes([3000, 5000, 7000, 4000, 6000], [2900] * 5)
    far = changes.assign(previous_step=8950, step=9050)
    near = changes.assign(
        previous_step=events["step"] - 150, step=events["step"] - 50, from_state=0
    )
    matches = match_transitions(events, pd.concat([near, far, changes, near.assign(
        previous_step=0, step=100)]), logarithmic=False)  # fmt: skip
    row = matches.set_index("from_state").loc[0]
    assert row["lead"] == 100
    assert row["p"] == pytest.approx(1 / 120)
    assert row["p_corrected"] == pytest.approx(2 / 120)


def test_a_common_schedule_is_not_taken_for_a_match():
    found = {
        schedule: [
            match_transitions(*transitions_and_changes(schedule, 10, random_state=s),
                              logarithmic=False)["p"].min() < 0.05
            for s in range(30)
        ]
        for schedule in ("follows", "common schedule")
    }  # fmt: skip
    assert sum(found["common schedule"]) <= binom.ppf(0.999, 30, 0.05)
    assert all(found["follows"])


# --- runs -----------------------------------------------------------------------------------------


def grokking_table(generalise=(400, 500, 600, 700), n=101, **columns):
    """Runs that memorise from the start and generalise at a step (never, where it is None)."""
    rng = np.random.default_rng(0)
    steps = 10 * np.arange(n)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "group": "all",
                    "run": f"seed{i}",
                    "seed": pd.array([i] * n, dtype="Int64"),
                    "step": steps,
                    "train_accuracy": 1 - 0.5 * np.exp(-steps / 20),
                    "eval_accuracy": 0.5
                    + (0 if at is None else logistic(steps, at, 20, after=0.5))
                    + 0.01 * rng.normal(size=n),
                    **columns,
                }
            )
            for i, at in enumerate(generalise)
        ],
        ignore_index=True,
    )


NO_CHANGES = pd.DataFrame(
    columns=["group", "run", "seed", "previous_step", "step", "from_state", "to_state"]
)
BOTH = ("train_accuracy", "eval_accuracy")


def test_grokking_and_its_delay():
    found = find_outcome_transitions(grokking_table(), BOTH, NO_CHANGES)
    assert (found.training, found.held_out) == BOTH
    delays = found.delays
    assert delays["grokking"].all()
    assert not delays["censored"].any()
    assert delays["generalisation"].to_numpy() == pytest.approx([400, 500, 600, 700], abs=10)
    assert delays["memorisation"].to_numpy() == pytest.approx(20 * np.log(2), abs=2)
    assert (delays["delay"] == delays["generalisation"] - delays["memorisation"]).all()
    roles = found.transitions.groupby("role")["from_start"].agg(["size", "all"])
    assert roles.loc["memorisation"].tolist() == [4, True]
    assert roles.loc["generalisation"].tolist() == [4, False]
    assert str(found.transitions["seed"].dtype) == "Int64"


def test_improvements_and_delays_are_summarised_over_runs():
    found = find_outcome_transitions(grokking_table(), BOTH, NO_CHANGES)
    own = found.transitions[found.transitions["outcome"] == "eval_accuracy"]
    (row,) = found.improvements[found.improvements["outcome"] == "eval_accuracy"].itertuples()
    assert row.n_runs == 4
    assert [row.first_step, row.median_step, row.last_step] == [
        own["step"].min(), own["step"].median(), own["step"].max(),
    ]  # fmt: skip
    assert row.duration == (own["end"] - own["start"]).median()
    assert found.grokking_delay == found.delays["delay"].median()


def test_what_never_improves_is_in_no_summary():
    table = grokking_table()
    table["eval_accuracy"] = 1 - table["eval_accuracy"]  # it collapses
    found = find_outcome_transitions(table, BOTH, NO_CHANGES)
    assert "eval_accuracy" in set(found.transitions["outcome"])
    assert "eval_accuracy" not in set(found.improvements["outcome"])
    assert np.isnan(found.grokking_delay)


def test_a_run_that_does_not_generalise_is_censored_at_its_end():
    found = find_outcome_transitions(grokking_table((400, 500, None)), BOTH, NO_CHANGES)
    last = found.delays.iloc[-1]
    assert last["censored"]
    assert not last["grokking"]
    assert np.isnan(last["generalisation"])
    assert last["delay"] == 1000 - last["memorisation"]


def test_where_no_run_generalises_nothing_is_said_of_delays():
    found = find_outcome_transitions(grokking_table((None, None)), BOTH, NO_CHANGES)
    assert found.delays.empty
    assert found.transitions.empty
    assert found.matches.empty


def test_what_comes_together_is_not_called_grokking():
    table = grokking_table()
    table["train_accuracy"] = table["eval_accuracy"]
    found = find_outcome_transitions(table, BOTH, NO_CHANGES)
    assert found.delays["delay"].abs().max() == 0
    assert not found.delays["grokking"].any()


def test_a_held_out_outcome_that_improves_from_the_start_has_no_transition():
    table = grokking_table()
    table["eval_accuracy"] = table["train_accuracy"]
    found = find_outcome_transitions(table, BOTH, NO_CHANGES)
    assert found.transitions.empty
    assert found.delays.empty


def test_an_accuracy_that_collapses_is_a_transition_without_a_role():
    table = grokking_table((500,))
    table["eval_accuracy"] = 1.5 - table["eval_accuracy"]
    (row,) = find_outcome_transitions(table, BOTH, NO_CHANGES).transitions.itertuples()
    assert row.role == ""
    assert row.change < 0


def test_states_are_matched_to_generalisation():
    table = grokking_table((300, 400, 500, 600, 700, 450))
    runs = table.drop_duplicates("run")[["group", "run", "seed"]].reset_index(drop=True)
    seen = np.array([280, 380, 480, 580, 680, 430])
    changes = runs.assign(previous_step=seen - 10, step=seen, from_state=1, to_state=2)
    matches = find_outcome_transitions(table, BOTH, changes).matches
    row = matches[matches["role"] == "generalisation"].iloc[0]
    assert (row["n_runs"], row["n_total"]) == (6, 6)
    assert row["lead"] == pytest.approx(25, abs=5)
    assert row["lead_low"] <= row["lead"] <= row["lead_high"]
    assert row["p_corrected"] < 0.05


def test_spikes_are_listed_by_run_and_only_of_losses():
    table = grokking_table((500, 600))
    table["eval_loss"] = 2 + 0.01 * np.random.default_rng(0).normal(size=len(table))
    table.loc[150, ["eval_loss", "eval_accuracy"]] = [9.0, 9.0]
    table.loc[60:, "eval_loss"] = table.loc[60:, "eval_loss"].where(table["step"] != 700, INF)
    spikes = find_outcome_transitions(table, (*BOTH, "eval_loss"), NO_CHANGES).spikes
    assert set(spikes["outcome"]) == {"eval_loss"}
    assert spikes[["run", "kind", "step", "end_step", "n_checkpoints"]].to_numpy().tolist() == [
        ["seed0", "spike", 700, 710, 1],
        ["seed1", "spike", 490, 500, 1],
        ["seed1", "spike", 700, 710, 1],
    ]
    assert spikes["height"].tolist() == pytest.approx([INF, 7, INF], abs=0.1)


def test_sparse_missing_and_oddly_named_outcomes():
    table = grokking_table((500, 600), state=1.0).rename(columns={"eval_accuracy": "eval acc @1"})
    table.loc[table["run"] == "seed1", "eval acc @1"] = NAN
    table.loc[::2, "eval acc @1"] = NAN
    table["never_loss"] = NAN
    outcomes = ("train_accuracy", "eval acc @1", "state", "never_loss")
    found = find_outcome_transitions(table, outcomes, NO_CHANGES)
    assert found.delays["run"].tolist() == ["seed0"]
    assert found.delays["generalisation"].iloc[0] == pytest.approx(500, abs=15)
    limits = {n.subject: n.message for n in found.notices}
    assert "of seed1:" in limits["outcome eval acc @1"]
    assert "of seed0, seed1:" in limits["outcome never_loss"]
    assert len(limits) == 2


def test_infinity_the_good_way_is_no_value_and_said():
    table = grokking_table((500,)).assign(eval_loss=2.0)
    table.loc[[30, 31], "eval_loss"] = -INF
    table.loc[40, "eval_accuracy"] = INF
    found = find_outcome_transitions(table, (*BOTH, "eval_loss"), NO_CHANGES)
    assert found.spikes.empty
    assert found.delays["generalisation"].iloc[0] == pytest.approx(500, abs=10)
    said = {n.subject: n.message for n in found.notices}
    assert "at which it is inf: 1." in said["outcome eval_accuracy"]
    assert "at which it is -inf: 2." in said["outcome eval_loss"]


def test_one_run_no_outcomes_and_too_few_checkpoints():
    one = find_outcome_transitions(grokking_table((500,)), BOTH, NO_CHANGES)
    assert one.delays["grokking"].tolist() == [True]
    none = find_outcome_transitions(grokking_table((500,)), (), NO_CHANGES)
    assert none.transitions.empty
    assert (none.training, none.held_out, none.notices) == ("", "", ())
    short = find_outcome_transitions(grokking_table((500,), n=5), BOTH, NO_CHANGES)
    assert short.transitions.empty
    assert len(short.notices) == 2


def test_the_same_names_in_two_groups_stay_apart():
    table = pd.concat([grokking_table((400,)), grokking_table((700,)).assign(group="other")])
    found = find_outcome_transitions(table, BOTH, NO_CHANGES)
    assert found.delays["group"].tolist() == ["all", "other"]
    assert found.delays["generalisation"].to_numpy() == pytest.approx([400, 700], abs=10)


def test_the_account_names_clock_and_bandwidth():
    found = find_outcome_transitions(grokking_table((500,)), BOTH, NO_CHANGES)
    assert found.how.startswith("Time is counted in steps. ")
    assert "windows of 5% of its evaluations" in found.how
    wide = pd.DataFrame(
        {"group": "all", "run": "a", "seed": pd.NA, "step": WIDENING.astype(int), "loss": 1.0}
    ).astype({"seed": "Int64"})
    assert "logarithm of 1 + step" in find_outcome_transitions(wide, ("loss",), NO_CHANGES).how


def test_the_same_input_gives_the_same_result():
    table = grokking_table(tuple(range(300, 700, 40)))
    runs = table.drop_duplicates("run")[["group", "run", "seed"]]
    changes = runs.assign(previous_step=300, step=310, from_state=0, to_state=1)
    first, second = (find_outcome_transitions(table, BOTH, changes).matches for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
