from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.report.statements.outliers import say
from tests.report.synthetic import HOSTILE_NAMES, make_findings, make_hostile_findings


def table(findings, **columns):
    runs = findings.occupancy[["group", "run", "seed"]]
    usual = {
        "score": -3.0,
        "typical": -3.0,
        "misfit": 1.0,
        "apart": 0.1,
        "returned": 0.0,
        "p": 0.5,
        "p_corrected": 1.0,
        "outlier": False,
        "reason": "",
    }
    return runs.assign(**usual | columns)


def said(findings, outliers):
    return " ".join(s.text for s in say(replace(findings, outliers=outliers))).replace(
        "\u00a0", " "
    )


def only(n, *positions, value=True, other=False):
    out = np.full(n, other, dtype=object)
    out[list(positions)] = value
    return list(out)


def test_usual_runs(findings):
    text = said(findings, table(findings))
    assert text == (
        "Of 10 runs that can be compared with their group, none is clearly unlike the others."
    )


def test_outliers_are_named_the_clearest_first_with_their_reason(findings):
    n = len(findings.occupancy)
    outliers = table(
        findings,
        outlier=only(n, 3, 5),
        p_corrected=pd.array(only(n, 3, value=0.04, other=1.0), dtype=float),
        reason=only(n, 3, value="It stays.", other=""),
    )
    outliers.loc[5, ["p_corrected", "reason"]] = 0.0002, "It goes back."
    text = said(findings, outliers)
    assert "2 are clearly unlike the others: seed5 and seed3." in text
    assert "Seed5 (corrected over runs, p < 0.001): It goes back." in text
    assert "Seed3 (corrected over runs, p = 0.04): It stays." in text
    assert text.index("goes back") < text.index("It stays")


def test_a_way_back_that_may_be_chance_is_said_as_that(findings):
    n = len(findings.occupancy)
    returned = [float(x) for x in only(n, 2, value=0.3, other=0.0)]
    text = said(findings, table(findings, returned=returned))
    assert "not for longer than may be chance: seed2 (30 % of its time)." in text
    everyone = said(findings, table(findings, returned=0.3))
    assert "leave for good" not in everyone


def test_too_few_runs_cannot_tell(findings):
    text = said(findings, table(findings, p=np.nan, p_corrected=np.nan, reason="Too few."))
    assert text.startswith("These runs cannot tell")
    assert "Too few." not in text


def test_groups_too_small_are_counted():
    findings = make_findings(6, groups=("a", "b"))
    outliers = table(findings)
    outliers.loc[outliers["group"] == "b", ["p", "p_corrected"]] = np.nan
    text = said(findings, outliers)
    assert "Of 6 runs that can be compared" in text
    assert "Of 6 runs in groups too small" in text


def test_one_run_says_nothing():
    findings = make_findings(1)
    assert said(findings, table(findings, p=np.nan)) == ""


def test_forty_outliers_stay_readable():
    findings = make_findings(40)
    odd = table(findings, outlier=True, p_corrected=0.01, reason="It is odd.")
    made = replace(findings, outliers=odd)
    assert len(list(say(made))) <= 8


@pytest.mark.parametrize("raw", HOSTILE_NAMES)
def test_odd_names_become_legible(raw):
    findings = make_hostile_findings()
    text = said(findings, table(findings, outlier=True, p_corrected=0.01, reason="It is odd."))
    assert "\n" not in text
    assert "It is odd." in text
