from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from hmmdyn.dynamics.outcomes.matching import match_transitions
from hmmdyn.simulate.outcomes import transitions_and_changes

NAN = np.nan


def events_and_changes(event, change, groups=None, every=100, known=10, last_step=10_000):
    """Runs of 10,000 steps whose outcome passes at ``event`` and whose state changes at ``change``.

    A change is dated half a checkpoint interval before its first checkpoint: none where NaN. The
    event is known to within ``known`` steps.
    """
    groups = groups or ["all"] * len(event)
    runs = pd.DataFrame({"group": groups, "run": [f"seed{i}" for i in range(len(event))]})
    events = runs.assign(
        outcome="eval_accuracy",
        role="generalisation",
        step=np.array(event, dtype=float),
        step_low=np.array(event, dtype=float) - known,
        step_high=np.array(event, dtype=float) + known,
        first_step=0,
        last_step=last_step,
    )
    step = np.array(change, dtype=float) + every / 2
    changes = runs.assign(
        previous_step=step - every,
        step=step,
        step_low=step - every,
        step_high=step,
        from_state=2,
        to_state=3,
    )
    return events, changes.dropna()


def matched(*args, **kwargs):
    return match_transitions(*events_and_changes(*args, **kwargs), logarithmic=False)


def test_lead_is_positive_where_the_state_changes_first():
    event = np.array([3000, 4000, 5000, 6000, 7000, 8000])
    lead = np.array([100, 150, 200, 250, 300, 2000])
    row = matched(event, event - lead).loc[0]
    # The last lies beyond a tenth of the run.
    assert (row["n_runs"], row["n_total"], row["lead"]) == (5, 6, 200)
    # Five runs cannot bound their median: all that evaluations leave open.
    assert (row["lead_low"], row["lead_high"]) == (100 - 10 - 50, 300 + 10 + 50)
    assert (row["from_state"], row["to_state"], row["role"]) == (2, 3, "generalisation")


@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (10, 2, 9), (40, 14, 27)])
def test_the_interval_of_a_lead_is_that_of_order_statistics(n, low, high):
    # Ranks of the shortest symmetric interval with 95 % for a median (Conover 1999, 3.2).
    assert binom.cdf(low - 1, n, 0.5) <= 0.025 < binom.cdf(low, n, 0.5)
    event = np.linspace(3000, 8000, n)
    leads = 10.0 * np.random.default_rng(0).permutation(np.arange(1, n + 1))
    row = matched(event, event - leads, every=0, known=0).loc[0]
    assert (row["lead_low"], row["lead_high"]) == pytest.approx((10 * low, 10 * high))
    # What is seen every 100 steps, to within 10, is known no better.
    row = matched(event, event - leads).loc[0]
    assert (row["lead_low"], row["lead_high"]) == pytest.approx((10 * low - 60, 10 * high + 60))


@pytest.mark.parametrize("n_runs", [1, 3, 5, 10, 40])
def test_leads_finer_than_evaluations_are_covered(n_runs):
    """A true lead of 20 steps, seen every 50: the interval must not be finer than that."""
    covered = []
    for seed in range(40):
        rng = np.random.default_rng([n_runs, seed])
        change = rng.uniform(3000, 8000, n_runs)
        event = change + 20
        first, seen = (50 * np.ceil(at / 50) for at in (event, change))
        events, changes = events_and_changes(first - 25, seen - 25, every=50, known=25)
        row = match_transitions(events, changes, logarithmic=False).loc[0]
        assert np.isfinite([row["lead_low"], row["lead_high"]]).all()
        covered.append(row["lead_low"] <= 20 <= row["lead_high"])
    assert np.mean(covered) >= 0.95


def test_schedules_relative_to_the_length_of_a_run_are_no_evidence():
    found = [
        match_transitions(
            *transitions_and_changes("relative schedule", 10, random_state=seed), logarithmic=False
        )["p"].min()
        < 0.05
        for seed in range(40)
    ]
    assert sum(found) <= binom.ppf(0.999, 40, 0.05)


def test_what_follows_run_by_run_is_told_of_runs_of_unlike_lengths_too():
    rng = np.random.default_rng(0)
    change = rng.uniform(3000, 8000, 10)
    last = rng.integers(90, 200, 10) * 100
    assert matched(change + 300, change, last_step=last).loc[0, "p"] < 0.05


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
        previous_step=events["step"] - 150,
        step=events["step"] - 50,
        step_low=events["step"] - 150,
        step_high=events["step"] - 50,
        from_state=0,
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
