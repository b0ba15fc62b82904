"""Which metrics change before an outcome: exact dates, worlds without order, and drifts."""

import numpy as np
import pandas as pd
import pytest

import hmmdyn
from hmmdyn.dynamics.outcomes.told_first import told_first
from hmmdyn.dynamics.outcomes.transitions import find_outcome_transitions
from hmmdyn.results.told_first import AFTER, BEFORE, TOLD_FIRST
from hmmdyn.results.verdicts import CANNOT_TELL
from hmmdyn.simulate.leads import DRIFTING, MOVING, UNRELATED, simulate_leads

EVERY = 20


def told(table, metrics, **options):
    transitions = find_outcome_transitions(table, ["eval_accuracy"], None).transitions
    found = told_first(table, metrics, transitions, **options)
    TOLD_FIRST.check(found)
    return found


def jumps(leads, n_runs=12, n=80, group="g", seed=0):
    """Runs whose accuracy jumps at a step of their own, and metrics so many checkpoints earlier."""
    rng = np.random.default_rng(seed)
    steps = EVERY * np.arange(n)
    runs = []
    for r in range(n_runs):
        at = int(rng.integers(30, 50))
        columns = {name: 1.0 * (np.arange(n) >= at - lead) for name, lead in leads.items()}
        runs.append(
            pd.DataFrame(
                {"group": group, "run": f"seed{r}", "seed": r, "step": steps, **columns}
            ).assign(eval_accuracy=0.5 + 0.5 * (np.arange(n) >= at))
        )
    return pd.concat(runs, ignore_index=True)


def test_leads_of_jumps_are_exact_up_to_the_checkpoints():
    table = told(jumps({"a": 3, "b": 0, "c": -5}), ["a", "b", "c"]).set_index("metric")
    assert table["when"].to_dict() == {"a": BEFORE, "b": CANNOT_TELL, "c": AFTER}
    assert table["lead"].to_dict() == {"a": 60, "b": 0, "c": -100}
    assert (table["lead_low"] == table["lead"] - EVERY).all()
    assert (table["lead_high"] == table["lead"] + EVERY).all()
    assert (table[["n_runs", "n_total"]] == 12).all(axis=None)
    assert table["earlier_runs"].to_dict() == {"a": 12, "b": 0, "c": 0}
    assert table["later_runs"].to_dict() == {"a": 0, "b": 0, "c": 12}
    # At the checkpoints around the jump of the accuracy: before it, and after it.
    assert table["done"].to_dict() == {"a": 1.0, "b": 0.5, "c": 0.0}


def test_levels_units_and_direction_of_a_metric_do_not_matter():
    table = jumps({"a": 3})
    other = table.assign(a=7e5 - 3e4 * table["a"])
    pd.testing.assert_frame_equal(told(table, ["a"]), told(other, ["a"]))


def test_a_metric_known_at_every_second_checkpoint_has_wider_bounds():
    table = jumps({"a": 6})
    table.loc[table["step"] % (2 * EVERY) > 0, "a"] = np.nan
    (row,) = told(table, ["a"]).itertuples()
    assert row.when == BEFORE
    assert row.lead_low <= 120 <= row.lead_high
    assert row.lead_high - row.lead_low > 2 * EVERY


def test_a_metric_that_does_not_move_has_no_date():
    table = jumps({"a": 3}).assign(still=1.0, unknown=np.nan)
    found = told(table, ["a", "still", "unknown"]).set_index("metric")
    assert found["n_runs"].to_dict() == {"a": 12, "still": 0, "unknown": 0}
    assert found.loc["a", "when"] == BEFORE
    assert found.loc[["still", "unknown"], "lead"].isna().all()


def test_few_runs_cannot_tell():
    (row,) = told(jumps({"a": 3}, n_runs=5), ["a"]).itertuples()
    assert (row.when, row.lead) == (CANNOT_TELL, 60)
    assert np.isnan(row.lead_low)


def test_groups_are_told_apart():
    table = pd.concat([jumps({"a": 4}, group="x"), jumps({"a": -4}, group="y")], ignore_index=True)
    found = told(table, ["a"]).set_index("group")
    assert found["when"].to_dict() == {"x": BEFORE, "y": AFTER}


def test_without_a_transition_there_is_nothing_to_say():
    table = jumps({"a": 3}).assign(eval_accuracy=0.5)
    assert told(table, ["a"]).empty
    assert told(jumps({"a": 3}), []).empty


def test_a_schedule_that_all_runs_keep_is_not_told():
    """Metric and outcome jump at one step in all runs: the outcome has the same date in each."""
    one = jumps({"a": 3}, n_runs=1)
    table = pd.concat([one.assign(run=f"seed{r}", seed=r) for r in range(12)], ignore_index=True)
    (row,) = told(table, ["a"]).itertuples()
    assert (row.lead_low, row.lead_high) == (40, 80)
    assert (row.p, row.when) == (1.0, CANNOT_TELL)


def test_nor_is_one_at_one_share_of_runs_of_many_lengths():
    """The pairings of runs brought to one length are all alike."""
    tables = []
    for r, n in enumerate(range(60, 120, 5)):
        one = jumps({"a": 0}, n_runs=1, n=n).assign(run=f"seed{r}", seed=r)
        share = np.linspace(0, 1, n)
        tables.append(one.assign(a=1.0 * (share > 0.45), eval_accuracy=1.0 * (share > 0.52)))
    (row,) = told(pd.concat(tables, ignore_index=True), ["a"]).itertuples()
    assert row.lead_low > 0
    assert row.when == CANNOT_TELL


@pytest.mark.parametrize("spacing", ["even", "widening"])
def test_what_comes_first_is_told_and_what_does_not_is_not(spacing):
    """Of fourteen metrics three have an order; benchmarks/told_first.md has the rates."""
    table, leads = simulate_leads(14, 100, spacing=spacing, random_state=7)
    found = told(table, [*MOVING, *DRIFTING, *UNRELATED]).set_index("metric")
    expected = dict.fromkeys(found.index, CANNOT_TELL) | {"before": BEFORE, "after": AFTER}
    expected["before_noisy"] = found.loc["before_noisy", "when"]  # noise may hide it
    assert found["when"].to_dict() == expected
    assert found.loc["before_noisy", "when"] != AFTER
    known = found.loc[list(MOVING)]
    assert leads.between(known["lead_low"], known["lead_high"]).all()


def test_unrelated_metrics_are_rarely_said_to_come_before_or_after():
    wrong = 0
    for seed in range(12):
        table, _ = simulate_leads(12, 60, random_state=seed)
        wrong += int((told(table, [*UNRELATED, *DRIFTING])["when"] != CANNOT_TELL).sum())
    assert wrong <= 1


def test_an_analysis_asks_of_the_metrics_that_entered_its_model():
    table = jumps({"a": 3, "b": -5}).assign(still=1.0)
    rng = np.random.default_rng(0)
    table[["a", "b"]] += 0.01 * rng.normal(size=(len(table), 2))
    analysis = hmmdyn.analyze(table, protocol="bic", n_states=2, restarts=2, quick=True)
    assert set(analysis.told_first["metric"]) == set(analysis.features) == {"a", "b"}
    asked = told(table, list(analysis.features))
    pd.testing.assert_frame_equal(analysis.told_first, asked)
    assert list(analysis.told_first["when"]) == [BEFORE, AFTER]
