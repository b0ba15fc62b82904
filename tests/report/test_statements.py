from dataclasses import replace

import numpy as np
import pytest

from hmmdyn.report import statements, words
from hmmdyn.report.report import Report
from hmmdyn.report.statements.figures import figure_summaries
from hmmdyn.results.notice import Notice, each_once
from tests.report.synthetic import changed, make_findings, without_outcomes


def said(findings, topic):
    return " ".join(s.text for s in Report(findings).statements if s.topic == topic).replace(
        "\u00a0", " "
    )


def test_what_was_analysed(findings):
    text = said(findings, "What was analysed")
    assert text.startswith(
        "10 runs, 42 checkpoints each (420 in all), steps 0 to 4,100. 8 metrics entered the model."
    )
    # The reader must know that levels are compared within runs only, and how to undo that.
    assert "standardised within its run" in text
    assert "--standardise pooled" in text
    pooled = replace(findings, standardisation="pooled")
    assert "standardised" not in said(pooled, "What was analysed")


def test_metrics_that_did_not_enter_the_model_are_counted(findings):
    fewer = replace(findings, features=findings.features[:6])
    assert "6 metrics entered the model; 2 did not" in said(fewer, "What was analysed")


def test_runs_of_different_length_and_groups_are_said():
    found = make_findings(2, groups=("adamw", "sgd"))
    found = replace(found, table=found.table.iloc[5:])
    assert "4 runs in 2 groups (adamw and sgd), 37 to 42 checkpoints each (163 in all)" in said(
        found, "What was analysed"
    )


def test_states_and_their_shares(findings):
    text = said(findings, "States")
    assert text.startswith("Training went through 4 states (the best of 1 to 8 by BIC).")
    shares = findings.states["state"].value_counts(normalize=True)
    for state in range(4):
        assert f"{shares[state]:.0%}".replace("%", " %") + f" in state {state}" in text


def test_forks_name_the_ways_and_their_runs(findings):
    text = said(findings, "Where runs fork")
    assert (
        "in 2 different orders; most often in 0 → 1 → 3 (8 of 10 runs, 1 of them part of the way)."
        in text
    )
    assert (
        "Runs fork after state 1: of the 9 runs that go on from there to a state new to them, "
        "7 to state 3 and 2 to state 2." in text
    )


def test_of_many_forks_the_later_ones_are_only_named():
    text = said(make_findings(40, 100, 12, wandering=0.2), "Where runs fork")
    assert text.count("Runs fork after state") == 4
    assert "They fork again after states 6, 7 and 9." in text


def test_a_line_is_called_a_line():
    text = said(make_findings(n_states=3, n_censored=0), "Where runs fork")
    assert "All 10 runs enter the states in the same order, 0 → 1 → 2." in text
    assert "The map is a line" in text


def test_a_map_that_neither_forks_nor_is_a_line_is_not_called_either(findings):
    straight = replace(make_findings(n_states=3), forking=True)
    assert "not a line, though no state is a fork: a few runs take a way of their own" in said(
        straight, "Where runs fork"
    )


def test_one_run_cannot_show_forks():
    assert said(make_findings(1, n_states=3), "Where runs fork") == (
        "The run goes 0 → 1 → 2. One run cannot show forks."
    )


def test_convergence_names_fastest_slowest_median_and_censored(findings):
    table = findings.convergence.table
    steps = table.loc[table["converged"]].set_index("run")["step"]
    text = said(findings, "Which runs converged when")
    assert "9 of 10 runs converged" in text
    first, last = (words.listing(steps.index[steps == s]) for s in (steps.min(), steps.max()))
    assert f"the first was seen at step {steps.min():,} ({first}), " in text
    assert f"the last at step {steps.max():,} ({last}). " in text
    # Of ten runs, the mean of the fifth and the sixth; runs are evaluated every hundred steps.
    latest = np.sort(steps)[4:6].mean()
    assert f"The median step of convergence is between {latest - 99:,.0f} and {latest:,.0f}" in text
    assert "1 run had not converged when it ended: seed9 (last step 4,100)." in text


def test_slow_runs_are_told_with_the_state_they_spent_their_time_in(findings):
    text = said(findings, "Which runs converged when")
    before = findings.states.merge(findings.convergence.table, on=["group", "run"])
    before = before[~before["converged"] | (before["step_x"] < before["step_y"])]
    n = int(((before["run"] == "seed7") & (before["state"] == 2)).sum())
    assert f"seed7: {100 * n:,} in state 2" in text  # steps


def test_no_runs_are_slow_where_all_are_alike():
    found = make_findings(8, n_censored=0)
    table = found.convergence.table.assign(step=1000)
    alike = changed(found, convergence=replace(found.convergence, table=table))
    assert "slowest" not in said(alike, "Which runs converged when").replace("the slowest (", "")


def test_runs_seen_to_converge_at_once_are_all_named():
    """Not one of them as the fastest."""
    found = make_findings(6, n_censored=0)
    table = found.convergence.table
    table = table.assign(step=[400, 400, 900, 400, 800, 400])
    tied = changed(found, convergence=replace(found.convergence, table=table))
    text = said(tied, "Which runs converged when")
    assert "6 of 6 runs converged: the first was seen at step 400 (seed0, seed1, seed3" in text
    assert "the last at step 900 (seed2)." in text


def test_why_no_threshold_was_chosen_is_said():
    found = make_findings(4)
    why = Notice("statements", "limit", "convergence", "No threshold of val_accuracy is chosen.")
    without = changed(found, convergence=None, speed=None, notices=(why,))
    assert said(without, "Which runs converged when") == "No threshold of val_accuracy is chosen."


def test_groups_are_compared_by_how_many_converged():
    text = said(make_findings(5, groups=("a", "b")), "Which runs converged when")
    assert "Converged by group: a: 4 of 5 (1 censored) and b: 4 of 5 (1 censored)." in text
    assert "a / seed4" in text


def test_nothing_is_said_of_convergence_without_outcomes(bare):
    text = said(bare, "Which runs converged when")
    assert "nothing can be said about convergence" in text
    assert "--outcomes" in text
    assert "No state is shown to be a detour." in said(bare, "Detour states")
    assert "cannot tell whether entering any of states 0, 1, 2 and 3" in said(bare, "Detour states")


def test_a_detour_comes_with_its_definition_and_the_warning(findings):
    topic = [s for s in Report(findings).statements if s.topic == "Detour states"]
    assert topic[0].text == "State 2 is a confirmed detour. Entered, it delays."
    assert "some runs converge without visiting" in topic[0].explanation
    assert "whether entering any of states 0, 1 and 3 delays convergence." in topic[1].text
    assert findings.regression.warning in topic[-1].text
    assert "p < 0.001" in topic[-1].text
    assert f"R² = {findings.regression.r_squared:.3f}" in topic[-1].text
    loo = f"R² = {findings.regression.r_squared_loo:.3f} where every run is predicted"
    assert loo in topic[-1].text


@pytest.mark.parametrize(
    ("verdict", "flag", "sentence"),
    [
        ("paper's flag only", True, "State 2 meets the paper's definition of a detour, which is"),
        ("confirmed detour", False, "State 2 is a confirmed detour."),
        ("slows", False, "State 2 goes with slower convergence, but too little supports it"),
        ("on everyone's way", False, "State 2 lies on the way of every run that converged: noth"),
        ("after convergence", False, "Runs enter state 2 only after convergence, which it cannot"),
        ("no evidence", False, "There is no evidence that entering state 2 delays convergence."),
        (
            "cannot tell",
            False,
            "These runs cannot tell whether entering any of states 0, 1, 2 and 3",
        ),
    ],
)
def test_every_verdict_has_its_sentence(findings, verdict, flag, sentence):
    detours = findings.detours.copy()
    detours.loc[2, ["verdict", "flag"]] = verdict, flag
    text = said(replace(findings, detours=detours), "Detour states")
    assert sentence in text
    told = ("confirmed detour", "paper's flag only", "slows")
    assert ("No state is shown to be a detour." in text) == (verdict not in told)


@pytest.mark.parametrize(
    ("r_squared", "words"),
    [(np.nan, "because one visits a state alone"), (-0.3, "no better than the mean of the others")],
)
def test_a_regression_that_predicts_nothing_says_so(findings, r_squared, words):
    regression = replace(findings.regression, r_squared_loo=r_squared)
    assert words in said(replace(findings, regression=regression), "Detour states")


def test_criteria_that_disagree_are_said(findings):
    criteria = findings.selection.criteria
    criteria = criteria.assign(aic=-criteria["n_states"].astype(float))
    other = replace(findings, selection=replace(findings.selection, criteria=criteria))
    assert "has the lowest BIC; AIC would choose 8; ICL agrees (diag covariance)." in said(
        other, "How sure this is"
    )
    assert "has the lowest BIC; AIC agrees; ICL agrees (diag covariance)." in said(
        findings, "How sure this is"
    )


@pytest.mark.parametrize(
    ("agreement", "words"), [(0.97, "find nearly the same map"), (0.5, "do not find the same map")]
)
def test_stability_of_the_map(findings, agreement, words):
    stability = replace(findings.selection.stability, agreement=agreement)
    other = replace(findings, selection=replace(findings.selection, stability=stability))
    text = said(other, "How sure this is")
    assert f"10 searches with other seeds {words} (mean adjusted Rand index {agreement:.2f}" in text


def test_small_shares_carry_an_interval(findings):
    # Wilson's interval for 2 of 9 (Brown, Cai, DasGupta 2001, eq. 4), by hand.
    z, n, p = 1.959964, 9, 2 / 9
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = ((p + z**2 / (2 * n) + s * half) / (1 + z**2 / n) for s in (-1, 1))
    text = said(findings, "How sure this is")
    assert (
        f"the 2 of 9 that take the rarer way after state 1 are compatible with {low:.0%}".replace(
            "%", " %"
        )
        in text
    )
    assert f"to {high:.0%} of all seeds".replace("%", " %") in text


def test_limits_are_among_what_is_not_sure(findings):
    limit = Notice("model", "limit", "number of states", "It may be more.")
    assert "Number of states: It may be more." in said(
        replace(findings, notices=(limit,)), "How sure this is"
    )


def test_notices_of_all_stages_are_collected_once():
    notice = Notice("model", "limit", "a", "b")
    own = Notice("statements", "limit", "c", "d")
    assert each_once((notice,), (notice,), (), (own,)) == (notice, own)


def test_the_map_in_words_names_every_transition(findings):
    text = figure_summaries(findings, statements.said(findings))["training_map"]
    for edge in findings.transitions.itertuples():
        assert f"{edge.from_state} → {edge.to_state}: {edge.n_runs} of 10 runs" in text


@pytest.mark.parametrize(
    "made",
    [
        make_findings(n_states=2),
        make_findings(40, 60, 12, wandering=0.3),
        without_outcomes(make_findings(1, n_states=1)),
        make_findings(2, n_states=1),
        make_findings(3, groups=("a", "b", "c")),
    ],
    ids=["K=2", "K=12", "bare", "K=1", "groups"],
)
def test_sentences_hold_for_every_shape_of_findings(made):
    texts = [s.text for s in Report(made).statements]
    assert all(text == text.strip() and text.endswith((".", "?")) for text in texts)
    assert not [text for text in texts if "nan" in text.lower().split()]
