"""Runs with an outcome whose curve is unlike the others'."""

import json

import numpy as np
import pandas as pd
import pytest

from hmmdyn import analyze
from hmmdyn.dynamics.outcomes.unlike import find_unlike_curves
from hmmdyn.results.outliers import OUTCOME_OUTLIERS

N = 120


def rises(speeds, outcome="accuracy", n=N, noise=0.02, group="all", random_state=0):
    """Accuracies that rise from 0 to 1, each at its own speed; losses fall from 1 to 0."""
    rng = np.random.default_rng(random_state)
    time = np.arange(n) / n
    pieces = []
    for seed, speed in enumerate(speeds):
        good = 1 / (1 + np.exp(-15 * (speed * time - 0.3))) + noise * rng.normal(size=n)
        pieces.append(
            pd.DataFrame(
                {
                    "group": group,
                    "run": f"seed{seed}",
                    "seed": seed,
                    "step": 10 * np.arange(n),
                    outcome: 1 - good if outcome == "loss" else good,
                }
            )
        )
    return pd.concat(pieces, ignore_index=True)


SPEEDS = np.linspace(0.8, 1.3, 10)


def change(table, run, outcome, first, after, to):
    mine = table.index[table["run"] == run][first:after]
    table.loc[mine, outcome] = to
    return table


def named(table, outcome="accuracy"):
    found = find_unlike_curves(table, [outcome])
    assert list(found.columns) == list(OUTCOME_OUTLIERS.frame().columns)
    return found.loc[found["outlier"], "run"].tolist()


@pytest.mark.parametrize("outcome", ["accuracy", "loss"])
def test_a_run_that_loses_what_it_had_reached_is_named(outcome):
    lost = 0.9 if outcome == "loss" else 0.1
    table = change(rises(SPEEDS, outcome), "seed3", outcome, 90, N, lost)
    (row,) = find_unlike_curves(table, [outcome]).query("outlier").to_dict("records")
    assert row["run"] == "seed3"
    assert row["lost"] == pytest.approx(0.9, abs=0.1)
    assert row["reason"].startswith(f"Its {outcome} goes back from ")
    assert row["p_corrected"] < 0.05


def test_slow_fast_and_stuck_runs_are_not_named():
    assert named(rises(SPEEDS)) == []
    assert named(rises([*SPEEDS, 0.3])) == []
    assert named(rises([*SPEEDS, 4.0])) == []
    assert named(rises([*SPEEDS, 0.0])) == []


def test_where_all_lose_again_none_is_unlike():
    table = rises(SPEEDS)
    for seed in range(10):
        table = change(table, f"seed{seed}", "accuracy", 70 + 2 * seed, 90 + 2 * seed, 0.2)
    assert named(table) == []


def test_one_evaluation_says_nothing():
    assert named(change(rises(SPEEDS), "seed3", "accuracy", 91, 92, 0.0)) == []


def test_a_run_that_diverged_and_was_stopped_is_named():
    table = change(rises(SPEEDS, "loss"), "seed3", "loss", 90, 99, np.inf)
    table = table[(table["run"] != "seed3") | (table["step"] < 990)]
    found = find_unlike_curves(table, ["loss"])
    assert found.loc[found["outlier"], "run"].tolist() == ["seed3"]
    assert found["lost"].max() == 10.0


def test_evaluating_more_often_changes_nothing():
    table = rises(SPEEDS, noise=0.1)
    rarely = (table["run"] != "seed3") & (table["step"] % 40 > 0)
    assert named(table[~rarely]) == []


def test_groups_and_outcomes_are_corrected_for():
    one = change(rises(SPEEDS), "seed3", "accuracy", 90, N, 0.6)
    alone = find_unlike_curves(one, ["accuracy"])["p_corrected"].min()
    other = rises(SPEEDS, group="other", random_state=1)
    both = find_unlike_curves(pd.concat([one, other]), ["accuracy"])
    assert both["p_corrected"].min() == pytest.approx(2 * alone)


def test_what_cannot_be_judged_has_no_row():
    assert find_unlike_curves(rises(SPEEDS[:3]), ["accuracy"]).empty
    assert find_unlike_curves(rises(SPEEDS, n=8), ["accuracy"]).empty
    policy = rises(SPEEDS).rename(columns={"accuracy": "policy_loss"})
    assert find_unlike_curves(policy, ["policy_loss"]).empty
    assert find_unlike_curves(rises(SPEEDS), []).empty


def test_the_report_says_so():
    table = change(rises(SPEEDS), "seed3", "accuracy", 90, N, 0.1)
    analysis = analyze(table, threshold=0.5)
    assert analysis.tables["outcome_outliers"]["outlier"].sum() == 1
    said = " ".join(s["text"] for s in json.loads(analysis.to_json())["statements"])
    assert "1 has a curve clearly unlike the others': seed3." in said
    assert "Time is counted in steps." in analysis.outcome_transitions.how
