"""The few lines that an analysis ends with."""

from dataclasses import replace

import pytest

from hmmdyn.report.answers import answers, slow_runs
from hmmdyn.report.report import Report
from hmmdyn.report.text import answer
from tests.report.synthetic import make_findings, without_outcomes

SHAPES = {
    "10 runs": make_findings(),
    "40 runs": make_findings(40, n_states=12, wandering=0.2),
    "groups": make_findings(groups=("adamw", "sgd", "muon")),
    "no outcome": without_outcomes(make_findings()),
    "1 run": make_findings(1, n_censored=0),
}


def by_topic(findings):
    return {told.topic: " ".join(told.sentences) for told in answers(Report(findings))}


@pytest.mark.parametrize("shape", SHAPES)
def test_twelve_lines_are_enough(shape):
    for width in (60, 80, 300):
        text = answer(Report(SHAPES[shape]), width)
        told = text.split("\n\n")[0].splitlines()
        assert len(told) <= 12 or width < 80
        assert max(map(len, text.splitlines())) <= max(60, min(width, 100))


@pytest.mark.parametrize("shape", SHAPES)
def test_answers_about_runs_are_sentences_of_the_report(shape):
    findings = SHAPES[shape]
    briefs = {statement.brief for statement in Report(findings).statements}
    for told in answers(Report(findings)):
        if told.topic in ("Runs", "Slow"):
            assert set(told.sentences) <= briefs


def test_without_evidence_states_are_told_as_chosen():
    assert "was not asked" in by_topic(SHAPES["10 runs"])["Phases"]


def test_slow_runs_are_told_beside_the_first():
    findings = SHAPES["10 runs"]
    slow = slow_runs(findings)
    converged = findings.runs[findings.runs["converged"]]["step"]
    assert [run.step for run in slow] == sorted((run.step for run in slow), reverse=True)
    assert slow[-1].times == slow[-1].step / converged.min()
    text = answer(Report(findings))
    assert all(run.name in text for run in slow)
    assert not slow[0].converged
    assert f"> {slow[0].step:,}" in text  # it had not converged when it ended


def test_seeds_of_several_recipes_have_no_table_of_slow_ones():
    assert slow_runs(SHAPES["groups"]) == ()
    assert "Slowest run" not in answer(Report(SHAPES["groups"]))


def test_a_confirmed_detour_is_more_than_chance():
    findings = SHAPES["10 runs"]
    assert "Confirmed detour: state 2" in by_topic(findings)["Chance"]
    without = replace(findings, detours=findings.detours.assign(verdict="no evidence"))
    assert "No state is shown to delay runs." in by_topic(without)["Chance"]
