"""Sentences, tables and what they rest on are made once for all renderings."""

from collections import Counter
from dataclasses import replace

import pandas as pd
import pytest

from hmmdyn import analyze
from hmmdyn.dynamics import slowness, ways
from hmmdyn.messages import Message, Remedy
from hmmdyn.report import report, statements
from hmmdyn.report.report import Report
from tests.report.synthetic import analysis_of, make_findings
from tests.simulate import phased_table

MAKERS = (
    (ways, "find_stays"),
    (ways, "find_paths"),
    (ways, "find_forks"),
    (ways, "find_dead_ends"),
    (slowness, "time_before_convergence"),
)


@pytest.fixture
def calls(monkeypatch):
    """How often sentences and tables are made."""
    counted = Counter()
    for name in ("said", "sheets"):
        monkeypatch.setattr(report, name, counting(getattr(report, name), name, counted))
    return counted


def counting(function, name, counted):
    def counts(*given):
        counted[name] += 1
        return function(*given)

    return counts


def test_sentences_and_tables_are_made_once_for_all_renderings(findings, calls, tmp_path):
    analysis = analysis_of(findings)
    assert str(analysis) == analysis.summary()
    assert max(map(len, analysis.summary(60).splitlines())) <= 60
    assert analysis._repr_html_()
    assert analysis.tables
    assert analysis.to_json()
    analysis.export(tmp_path, ("html", "json", "csv"))
    assert calls == {"said": 1, "sheets": 1}


def test_captions_show_sentences_that_are_there_already(findings, monkeypatch, tmp_path):
    counted = Counter()
    for topic in statements._TOPICS:
        monkeypatch.setattr(topic, "say", counting(topic.say, topic.__name__, counted))
    analysis = analysis_of(findings)
    analysis.export(tmp_path, ("html", "json", "csv"))
    assert counted == {topic.__name__: 1 for topic in statements._TOPICS}


def test_what_they_rest_on_is_worked_out_once_per_analysis(monkeypatch, tmp_path):
    counted = Counter()
    for module, name in MAKERS:
        monkeypatch.setattr(module, name, counting(getattr(module, name), name, counted))
    analysis = analyze(phased_table(), quick=True, restarts=2, n_states=3)
    assert str(analysis)
    assert analysis.figure.timeline()
    analysis.export(tmp_path, ("html", "json", "csv"))
    assert counted == {name: 1 for _, name in MAKERS}


def test_what_is_not_rendered_is_not_made(findings, calls):
    assert str(analysis_of(findings))
    assert calls == {"said": 1}


def test_every_new_analysis_has_a_report_of_its_own(findings):
    assert analysis_of(findings)._report is not analysis_of(findings)._report


def test_why_a_group_has_no_regression_is_told_as_everything_else():
    made = make_findings(4, groups=("a", "b"))
    compared = made.group_comparison
    why = pd.Series([Message("Try ", Remedy("max_states"), "."), ""], dtype="object")
    compared = replace(compared, regressions=compared.regressions.assign(why_not=why))
    typed = replace(made, group_comparison=compared)
    called = replace(typed, command=())
    assert Report(typed).sheets["group_regressions"].frame["why_not"][0] == "Try --max-states."
    assert Report(called).sheets["group_regressions"].frame["why_not"][0] == "Try max_states=…."


def test_findings_worked_out_elsewhere_are_tables_here(findings):
    tables = Report(findings).sheets
    assert tables["stays"].frame is findings.ways.stays
    assert tables["ways"].frame["path"].tolist()[0] == "0 → 1 → 3"
    assert tables["forks"].frame is findings.ways.forks
    assert tables["runs"].frame is findings.runs
    assert tables["extremes"].frame is findings.slowness.extremes
    assert tables["slow_runs"].frame is findings.slowness.slowest_quarter.runs
    assert tables["transition_times"].frame is findings.transition_times
