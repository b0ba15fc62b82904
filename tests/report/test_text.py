import subprocess
import sys
from dataclasses import replace

import pytest

from hmmdyn.report.report import Report
from hmmdyn.report.text import headlines, summary
from hmmdyn.results.notice import Notice
from tests.report.synthetic import make_findings, without_outcomes


def right_of_the_topics(text):
    """The sentences as one line, without the column of topics."""
    return " ".join(line[18:] for line in text.splitlines()[2:-2])


def test_the_summary_has_every_brief_of_the_report_in_order(findings):
    said = [s.brief.replace("\u00a0", " ") for s in Report(findings).statements if s.brief]
    shown = right_of_the_topics(summary(Report(findings)))
    places = [shown.index(brief) for brief in said]
    assert places == sorted(places)
    assert len(said) >= 10


def test_a_brief_says_nothing_that_the_report_does_not(findings):
    """All its numbers are in the sentence it stands for."""
    for statement in Report(findings).statements:
        numbers = {w.strip("().,;:%") for w in statement.brief.split() if w[0].isdigit()}
        known = statement.text + str(findings.convergence.threshold)
        assert all(number in known for number in numbers), statement


@pytest.mark.parametrize(
    "made",
    [
        make_findings(),
        make_findings(40, n_states=12, wandering=0.2),
        make_findings(groups=("adamw", "sgd", "muon")),
        without_outcomes(make_findings()),
        make_findings(1, n_censored=0),
    ],
    ids=["10 runs", "40 runs", "groups", "no outcome", "1 run"],
)
def test_the_summary_fits_on_a_screen(made):
    lines = summary(Report(made)).splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 45
    assert max(map(len, summary(Report(made), width=60).splitlines())) <= 60
    assert max(map(len, summary(Report(made), width=300).splitlines())) <= 100
    assert summary(Report(made), width=5)  # however narrow


def test_the_summary_answers_what_is_asked_first(findings):
    text = " ".join(right_of_the_topics(summary(Report(findings))).split())
    for answer in (
        "10 runs, 42 checkpoints each",
        "Training went through 4 states",
        "Runs fork after state 1: 7 to state 3 and 2 to state 2.",
        "9 of 10 runs converged (val_accuracy ≥ 0.9): the first was seen at step 2,200 (seed2)",
        "1 run had not converged when it ended: seed9 (last step 4,100).",
        "stayed longer above all in state",
        "State 2 is a confirmed detour.",
        "find nearly the same map",
    ):
        assert answer in text


def test_the_summary_says_how_much_more_the_report_has(findings):
    """The rest are statements of which the summary has nothing, or a part."""
    further = [s for s in Report(findings).statements if s.brief != s.text]
    assert f"The report says more on {len(further)} points" in summary(Report(findings))


def test_what_was_left_out_is_named(findings):
    assert dict(headlines(Report(findings)))["Left out"] == [
        "metric mean_b and seed4/last.safetensors."
    ]


def test_limits_of_the_model_are_in_the_summary(findings):
    message = "It gives 4 on data without phases: no evidence. Another sentence."
    limit = Notice("model", "limit", "number of states", message)
    text = right_of_the_topics(summary(Report(replace(findings, notices=(limit,)))))
    assert "Number of states: It gives 4 on data without phases: no evidence." in text
    assert "Another" not in text


def test_the_text_is_plain(hostile):
    text = summary(Report(hostile))
    assert all(c == "\n" or c.isprintable() for c in text)
    assert "\x1b" not in text


def test_the_terminal_does_not_wait_for_plotly():
    code = "import sys, hmmdyn.report.text; assert 'plotly' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
