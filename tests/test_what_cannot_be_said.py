"""Runs that allow few statements: the report says what it cannot say, and gives the rest."""

import numpy as np
import pandas as pd
import pytest

from hmmdyn import Analysis, analyze
from hmmdyn.errors import UsageError
from hmmdyn.report.page import render
from hmmdyn.report.report import Report
from hmmdyn.report.text import summary
from hmmdyn.results.verdicts import CONFIRMED, FLAG_ONLY
from tests.simulate import phased_table

DELAYING = {CONFIRMED, FLAG_ONLY}


def analysed(table: pd.DataFrame, **options: object) -> Analysis:
    given = {"outcome": "eval_accuracy", "threshold": 0.9, "n_states": 3} | options
    return analyze(table, quick=True, restarts=3, **given)


def text_of(analysis: Analysis) -> str:
    """Every sentence and notice of the report, whose page and terminal must stand it, too."""
    assert "<html" in render(Report(analysis))
    assert summary(Report(analysis))
    sentences = [statement.text for statement in Report(analysis).statements]
    notices = [f"{notice.subject}: {notice.message}" for notice in analysis.notices]
    return " ".join([*sentences, *notices])


def in_groups(*names: str) -> pd.DataFrame:
    """Runs dealt to groups in turn."""
    table = phased_table(n_runs=8)
    return table.assign(group=np.array(names)[table["seed"] % len(names)])


def test_no_run_converges():
    table = phased_table()
    table["eval_accuracy"] *= 0.95
    analysis = analysed(table, threshold=0.99)
    assert not analysis.convergence.table["converged"].any()
    text = text_of(analysis)
    assert "0 of 6 runs converged" in text
    assert "No run reaches the threshold 0.99" in text
    assert not DELAYING & set(analysis.detours["verdict"])
    assert len(analysis.transitions) == 2  # the map is whole


def test_all_runs_converge_at_once():
    table = phased_table()
    table["eval_accuracy"] = (table["step"] >= 1500) * 1.0
    analysis = analysed(table)
    assert analysis.regression is None
    text = text_of(analysis)
    assert "All runs converge" in text or "converge at once" in text
    assert not DELAYING & set(analysis.detours["verdict"])
    assert set(analysis.speed.ranking["rank"]) == {1}


def test_one_group_is_not_compared():
    analysis = analysed(phased_table())
    assert analysis.group_comparison is None
    assert analysis.speed.tests.empty
    assert "Groups compared" not in text_of(analysis)


def test_one_seed_per_group():
    table = phased_table(n_runs=3)
    analysis = analysed(table.assign(group="g" + table["run"]))
    assert set(analysis.speed.tests["verdict"]) == {"cannot tell"}
    assert analysis.speed.tests["p_corrected"].isna().all()
    compared = analysis.group_comparison
    assert compared.dissimilarities["p_corrected"].isna().all()
    assert compared.detours["p"].isna().all()
    assert (compared.regressions["why_not"] != "").all()
    assert "cannot" in text_of(analysis)


def test_outcomes_are_missing_in_some_runs():
    table = phased_table()
    table.loc[table["run"].isin(["seed0", "seed1"]), "eval_accuracy"] = np.nan
    analysis = analysed(table)
    assert set(analysis.convergence.table["run"]) == {"seed2", "seed3", "seed4", "seed5"}
    assert set(analysis.states["run"]) == {f"seed{i}" for i in range(6)}
    text = text_of(analysis)
    assert "4 of 4 runs converged" in text
    assert "seed0: eval_accuracy is known at none of its checkpoints" in text


@pytest.mark.parametrize(
    ("threshold", "words"), [(0.0, "at their first checkpoint"), (0.95, "No run reaches")]
)
def test_a_threshold_outside_the_range_seen(threshold, words):
    table = phased_table()
    table["eval_accuracy"] *= 0.9
    assert words in text_of(analysed(table, threshold=threshold))


def test_a_threshold_that_no_accuracy_can_be_is_refused_before_any_fit():
    with pytest.raises(UsageError, match=r"threshold=0\.95"):
        analysed(phased_table(), threshold=95.0)


def test_no_threshold_is_chosen_where_most_runs_fail():
    table = phased_table()
    table.loc[table["run"] != "seed0", "eval_accuracy"] = 0.1
    analysis = analysed(table, threshold=None)
    assert analysis.convergence is None
    assert "No threshold of eval_accuracy is chosen" in text_of(analysis)


def test_a_group_in_which_nothing_converges_beside_one_that_does():
    table = in_groups("fast", "never")
    table.loc[table["group"] == "never", "eval_accuracy"] = 0.5
    analysis = analysed(table)
    groups = analysis.speed.groups.set_index("group")
    assert groups.loc["never", "median_latest"] == np.inf
    assert groups["n_converged"].to_dict() == {"fast": 4, "never": 0}
    assert "never" in text_of(analysis)


def test_names_of_groups_may_be_anything():
    names = ("a b", "", "007", "<b>é</b>")
    analysis = analysed(in_groups(*names))
    assert set(analysis.group_comparison.groups["group"]) == set(names)
    text_of(analysis)


def test_one_run():
    text = text_of(analysed(phased_table(n_runs=1)))
    assert "There is one run" in text


def test_one_state():
    text = text_of(analysed(phased_table(), n_states=1, protocol="bic"))
    assert "There is one state" in text


def test_no_run_is_evaluated_often_enough():
    text = text_of(analysed(phased_table(), sustained=99))
    assert "No run reaches" in text


def test_an_outcome_that_is_known_nowhere_is_refused_before_the_fit():
    table = phased_table().assign(eval_loss=np.nan)
    with pytest.raises(UsageError, match="'eval_loss' is known at no checkpoint"):
        analysed(table, outcome="eval_loss")
