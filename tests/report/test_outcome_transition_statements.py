import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.outcomes.transitions import find_outcome_transitions
from hmmdyn.report.statements.outcome_transitions import say
from tests.dynamics.outcomes.test_transitions import BOTH, NO_CHANGES, grokking_table, late_jump


def found(table, outcomes=BOTH, lead=None, unit="step"):
    """What the sentences read of findings; a state changes ``lead`` steps before each run's rise.

    Given one lead per run, these are what differs between runs whose rise is the same.
    """
    changes = NO_CHANGES
    if lead is not None:
        runs = table.drop_duplicates("run")[["group", "run", "seed"]].reset_index(drop=True)
        steps = find_outcome_transitions(table, outcomes, NO_CHANGES).transitions
        rises = steps.loc[steps["outcome"] == "eval_accuracy", "step"].to_numpy()
        at = rises - np.array(lead)
        changes = runs.assign(
            previous_step=at - 5,
            step=at + 5,
            step_low=at - 5,
            step_high=at + 5,
            from_state=2,
            to_state=3,
        )
    runs = table[["group", "run", "seed"]].drop_duplicates(ignore_index=True)
    return SimpleNamespace(
        outcome_transitions=find_outcome_transitions(table, outcomes, changes),
        table=table,
        runs=runs,
        runs_of_table=runs,
        outcomes=outcomes,
        step_unit=unit,
    )


def said(*args, **kwargs):
    return [statement.text for statement in say(found(*args, **kwargs))]


def test_grokking_is_said_with_its_delay():
    when, grokking = said(grokking_table((400, 500, 700)), unit="epoch")
    assert when.startswith("eval_accuracy has a transition in 3 of 3 runs, at epoch 499 (median; ")
    assert "(10 % to 90 % of its change, median)" in when
    assert grokking.startswith(
        "In all of the 3 runs that generalised, train_accuracy had levelled off while "
        "eval_accuracy was about where it started: grokking. The delay between the two is 48"
    )
    assert " epochs in median (evaluations leave open 3" in grokking
    assert "(seed0) to 68" in grokking
    assert grokking.endswith("(seed2).")


def test_one_run():
    when, grokking = said(grokking_table((500,)))
    assert "has a transition in the run, at step 499; it takes" in when
    assert "In the one run that generalised" in grokking
    assert "median" not in grokking


def test_runs_that_have_not_generalised_are_named():
    *_, waiting = said(grokking_table((400, 500, None)))
    assert waiting == (
        "1 run had memorised but not generalised when it ended: seed2 (after 986 steps)."
    )


def test_no_transition_and_no_grokking():
    (none,) = said(grokking_table((None, None)))
    assert none.startswith("eval_accuracy has no transition in any run: ")
    table = grokking_table()
    table["train_accuracy"] = table["eval_accuracy"]
    assert said(table)[1] == (
        "In none of the 4 runs in which both can be dated had train_accuracy levelled off before "
        "eval_accuracy began to improve: no grokking."
    )


@pytest.mark.parametrize(("lead", "side"), [(85, "leading"), (-85, "following")])
def test_a_state_that_goes_with_generalisation(lead, side):
    text = said(grokking_table((300, 400, 500, 600, 700, 450)), lead=lead)[-1]
    assert re.match(
        "State transition 2 → 3 accompanies the generalisation transition of eval_accuracy in 6 of "
        rf"6 runs, {side} it by 85 steps \(\d\d to \d{{3}}\). ",
        text,
    )
    assert "They go together run by run, more closely than a common schedule gives" in text


def test_a_lead_within_what_evaluations_leave_open_is_none():
    text = said(grokking_table((300, 400, 500, 600, 700, 450)), lead=1)[-1]
    assert re.search(
        r"in 6 of 6 runs, as far as evaluations tell at the same time \(lead −\d", text
    )


def test_an_early_held_out_outcome_is_no_grokking():
    text = said(late_jump(0.6))[1]
    assert re.fullmatch(
        r"When train_accuracy had levelled off, eval_accuracy had done 5\d\s% (to 5\d\s% )?of its "
        r"way already, in 4 of 4 runs: no grokking\.",
        text,
    )


def test_few_or_equal_runs_cannot_tell():
    few = said(grokking_table((300, 500)), lead=30)[-1]
    assert "leading it by 30 steps (" in few
    assert few.endswith("So few runs cannot tell that from a common schedule.")
    alike = said(grokking_table((500,) * 6), lead=[10, 60, 20, 50, 30, 40])[-1]
    assert "it by 35 steps (" in alike or "(lead " in alike
    assert "cannot be told from a common schedule of all runs (p = " in alike


def test_spikes_and_divergences_are_named_with_their_runs():
    table = grokking_table((500, 600))
    table["eval_loss"] = 2 + 0.01 * np.random.default_rng(0).normal(size=len(table))
    outcomes = (*BOTH, "eval_loss")
    assert said(table, outcomes)[-1] == "No loss is seen to spike or diverge."
    table.loc[[50, 70], "eval_loss"] = [9.0, 5.0]
    table.loc[180:, "eval_loss"] = np.inf
    spikes, divergence = said(table, outcomes)[-2:]
    assert spikes == (
        "eval_loss spikes 2 times: seed0 (2 times). The highest is 6.99 above its level, in seed0 "
        "at step 500."
    )
    assert divergence == (
        "eval_loss diverges once: seed1. The highest is ∞ above its level, in seed1 at step 790."
    )


def test_outcomes_of_unknown_data_are_said_one_by_one():
    table = grokking_table().rename(columns={"eval_accuracy": "accuracy", "train_accuracy": "f1"})
    table["score"] = np.nan
    texts = said(table, ("accuracy", "f1", "score"))
    assert [text.split(" has ")[0] for text in texts] == ["accuracy", "f1"]


def test_nothing_is_said_where_nothing_was_looked_for():
    assert list(say(SimpleNamespace(outcome_transitions=None))) == []
    assert said(grokking_table(), ()) == []


def test_terms_are_explained_where_they_occur_first():
    statements = list(say(found(grokking_table((300, 400, 500, 600, 700)), lead=30)))
    assert all(statement.explanation for statement in statements)
    assert len({statement.topic for statement in statements}) == 1
    assert isinstance(statements[0].explanation, str)
    assert pd.notna(statements[0].text)
