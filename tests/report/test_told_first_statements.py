"""What is said of metrics that change before an outcome."""

import pytest

from hmmdyn.report.statements.told_first import say
from hmmdyn.results.told_first import AFTER, BEFORE, TOLD_FIRST
from hmmdyn.results.verdicts import CANNOT_TELL
from tests.report.synthetic import changed, make_findings, without_outcomes

NAN = float("nan")


def row(metric, when, lead, low, high, **further):
    return {
        "group": "adamw", "outcome": "val_accuracy", "metric": metric, "n_runs": 9, "n_total": 10,
        "lead": lead, "lead_low": low, "lead_high": high, "earlier_runs": 0, "later_runs": 0,
        "p": 0.001, "p_corrected": 0.002, "when": when, "done": 0.57, "done_low": 0.33,
        "done_high": 0.68,
    } | further  # fmt: skip


@pytest.fixture
def said():
    findings = make_findings()

    def of(*rows):
        return [s.text for s in say(changed(findings, told_first=TOLD_FIRST.frame(rows)))]

    return of


def test_the_first_are_named_with_their_leads(said):
    texts = said(
        row("l1", AFTER, -400, -500, -300, done=0.1),
        row("l2", BEFORE, 320, 160, 640),
        row("trace", BEFORE, 640, 0, 1280, n_runs=10),
    )
    assert texts == [
        "What told first: trace 640 steps before val_accuracy (0 to 1,280; 10 of 10 runs) and l2 "
        "320 steps before val_accuracy (160 to 640; 9 of 10 runs).",
        "What changes later: l1 400 steps after val_accuracy (300 to 500; 9 of 10 runs).",
        "When val_accuracy has gone a fifth of its way, trace has gone 57\u00a0% of its own "
        "(33\u00a0% to 68\u00a0%), the most of all metrics that go with it.",
    ]


def test_where_none_is_shown_the_closest_is_told(said):
    texts = said(
        row("l1", CANNOT_TELL, 0, -640, 320),
        row("l2", CANNOT_TELL, 0, -320, 320),
        row("trace", CANNOT_TELL, 900, 100, 1700, p_corrected=0.6),
    )
    assert texts[0] == (
        "No metric is shown to change before val_accuracy. The first of those that go with it is "
        "l2, with a lead of 0 steps (−320 to 320; 9 of 10 runs)."
    )


def test_why_none_can_be_told(said):
    few = {"lead_low": NAN, "lead_high": NAN, "n_total": 4}
    (text,) = said({**row("l1", CANNOT_TELL, 40, 0, 0, done_low=NAN), **few})
    assert text == (
        "No metric is shown to change before val_accuracy. 4 runs cannot tell of so many metrics "
        "at once."
    )
    (text,) = said(row("l1", CANNOT_TELL, 40, -20, 60, p_corrected=0.4))
    assert text.endswith("None is seen to go with it run by run.")


def test_many_are_counted_and_groups_named(said):
    rows = [row(f"m{i}", BEFORE, 100 + i, 50, 150) for i in range(6)]
    text = said(*rows, row("m0", CANNOT_TELL, 0, -9, 9, group="sgd"))[0]
    assert text.startswith("In adamw, what told first: m5 105 steps before")
    assert text.endswith("and 3 more.")


def test_nothing_is_said_where_there_is_nothing(said):
    assert said() == []
    assert list(say(without_outcomes(make_findings()))) == []
