from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.speed import compare_speed
from hmmdyn.report.statements import speed
from tests.dynamics.test_speed import convergence


def said(unit="step", **options):
    found = convergence(**options)
    findings = SimpleNamespace(speed=compare_speed(found), step_unit=unit, table=found.table)
    return [statement.text for statement in speed.say(findings)]


def test_one_group():
    median, fastest = said(a=[10, 30, 50, 70, 90, 110, 2000], unit="epoch")
    assert median == "The median epoch of convergence is 70 (95 % interval 10 to 2,000)."
    assert fastest == (
        "The fastest run took 10 epochs; within twice as many, 1 of 7 runs converged."
    )


@pytest.mark.parametrize(
    ("runs", "median"),
    [
        ([10, 20, 30], "20 (3 runs cannot bound it)"),
        ([10, -20, -20], "not reached (3 runs cannot bound it)"),
        ([10, 20, 30, 40, 50, *[-60] * 6], "not reached (95 % interval 20 or more)"),
    ],
)
def test_a_median_is_said_as_far_as_it_is_known(runs, median):
    assert said(a=runs)[0] == f"The median step of convergence is {median}."


def test_groups_are_compared():
    text = said(fast=[10, 12, 14, 16, 18, 20], slow=[50, 52, 54, 56, 58, 60], last_step=100)
    assert text[0] == (
        "The median step of convergence is 14 (95 % interval 10 to 20) in fast and 54 (95 % "
        "interval 50 to 60) in slow."
    )
    assert text[1].endswith("6 of 6 runs in fast and 0 of 6 runs in slow converged.")
    assert text[2].startswith("fast converges faster than slow (40 steps sooner on average up to ")
    assert text[2].endswith("95 % interval 35.2 to 44.8; p = 0.0022).")
    turned = said(slow=[50, 52, 54, 56, 58, 60], fast=[10, 12, 14, 16, 18, 20], last_step=100)
    assert turned[2] == text[2]


def test_what_cannot_be_told_says_why():
    assert said(a=[10, 20, 30], b=[100, 200, 300])[-1] == (
        "These runs cannot tell which converges faster of a and b (however their results had "
        "fallen to the two, p would be at least 0.1)."
    )
    assert said(a=[10], b=[20])[-1].endswith("(one run does not show how much seeds differ).")
    at_once = said(a=[10, 10, 10], b=[10, 10, 10])[-1]
    assert at_once.endswith("(none converges while both are watched, or all do at once).")


def test_no_evidence_is_said_with_p():
    text = said(a=[10, 20, 30, 40, 50], b=[11, 21, 31, 41, 51])[-1]
    assert text.startswith("There is no evidence that one converges faster than the other of a and")


def test_curves_that_cross_are_said_to():
    text = said(a=[*[10] * 13, *[-9000] * 3], b=[200] * 16)[-1]
    assert text.startswith(
        "a converges faster than b (though not on average up to step 9,000, as the curves cross; p"
    )


def test_open_ranks_are_said():
    text = said(every=100, a=[200, 240, 900, 1000])[-1]
    assert text == (
        "Convergence is only seen at evaluations, so ranks stay open: any of seed0 and seed1 may "
        "be the fastest, and the rank of 2 of the 4 runs that converged is certain."
    )
    mostly = said(every=100, a=[200, 400, 440, 480])[-1]
    assert "seed0 is the fastest, and the rank of 1 of the 4 runs" in mostly
    assert not any("ranks" in t for t in said(a=[200, 240, 240, 900, 1000, -1950, -1950]))


def test_many_groups_stay_readable():
    rng = np.random.default_rng(0)
    groups = {f"g{i}": (2**i * rng.integers(50, 99, 6)).tolist() for i in range(8)}
    text = said(**groups, last_step=20_000)
    assert len(text) <= 6
    assert sum(map(len, text)) < 2500
    assert text[2] == "Over all groups, the speed of convergence differs (p < 0.001)."
    assert "further pairs differ." in text[3]


def test_nothing_is_said_where_nothing_is_known():
    assert said(a=[-10, -20], b=[-10, -30]) == []
    assert said(a=[10]) == []
    assert list(speed.say(SimpleNamespace(speed=None))) == []


def test_names_that_are_odd_become_legible():
    text = said(**{"line\nbreak": [10, 20, 30], "x" * 80: [100, 200, 300]})
    assert "line break" in text[0]
    assert "x" * 40 not in " ".join(text)
    assert not pd.Series(text).str.contains("\n").any()
