"""The few lines that an analysis ends with."""

from dataclasses import fields, replace

import pytest

from hmmdyn.report.answers import answers, slow_runs
from hmmdyn.report.report import Report
from hmmdyn.report.statements.statement import Statement
from hmmdyn.report.text import answer
from hmmdyn.results.findings import OutcomeFindings
from hmmdyn.results.outcomes import DELAYS
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


def test_runs_that_did_not_converge_are_named_beside_the_slow_ones():
    marks = {t.topic: t.marks for t in answers(Report(SHAPES["10 runs"]))}["Slow"]
    assert "seed9 not converged when it ended" in marks
    marks = {t.topic: t.marks for t in answers(Report(make_findings(n_censored=3)))}["Slow"]
    assert "3 not converged when they ended" in marks


def test_of_outcomes_alone_it_is_told_in_how_many_runs_they_have_a_transition():
    findings = SHAPES["10 runs"]
    alone = OutcomeFindings(**{f.name: getattr(findings, f.name) for f in fields(OutcomeFindings)})
    found = alone.outcome_transitions
    brief = Statement("Outcome transitions", "It has.", brief="It has.")

    def short(found):
        said = Report(replace(alone, outcome_transitions=found))
        said.said["outcome_transitions"] = (brief,)
        return {told.topic: told.short for told in answers(said)}["Outcomes"]

    n_most = found.improvements["n_runs"].max()
    assert short(found).endswith(f"in {n_most} of 10 runs")
    none = replace(found, improvements=found.improvements.iloc[:0])
    assert short(none) == "None that stands out"
    delays = DELAYS.frame(
        {"group": "adamw", "run": f"seed{i}", "censored": i > 2, "grokking": i < 2, "dated": i < 3}
        for i in range(4)
    )
    assert short(replace(found, delays=delays)) == "Grokking in 2 of 10 runs"


def test_a_confirmed_detour_is_more_than_chance():
    findings = SHAPES["10 runs"]
    assert "Confirmed detour: state 2" in by_topic(findings)["Chance"]
    without = replace(findings, detours=findings.detours.assign(verdict="no evidence"))
    assert "No state is shown to delay runs." in by_topic(without)["Chance"]
