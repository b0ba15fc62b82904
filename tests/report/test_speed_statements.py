from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.speed import compare_speed
from hmmdyn.report.statements import speed
from tests.dynamics.test_speed import convergence


def said(unit="step", margin=None, **options):
    found = convergence(**options)
    compared = compare_speed(found, margin=margin)
    findings = SimpleNamespace(
        speed=compared, step_unit=unit, table=found.table, runs_of_table=found.table
    )
    return [statement.text for statement in speed.say(findings)]


def test_one_group():
    median, fastest, planning = said(a=[10, 30, 50, 70, 90, 110, 2000], unit="epoch")
    assert median == "The median epoch of convergence is 70 (95 % interval 10 to 2,000)."
    assert fastest == (
        "Convergence was first seen at epoch 10; by twice that epoch, 1 of 7 runs had been seen to "
        "converge."
    )
    assert planning.startswith(
        "Two groups of 7 runs like these tell, with power 0.8, a difference of "
    )
    assert "; runs that each of the two needs: " in planning


def test_a_median_between_two_evaluations_is_said_as_that():
    """True steps 205 to 295, evaluated every 100."""
    data = pd.DataFrame(
        {"group": "a", "run": np.repeat([f"seed{i}" for i in range(10)], 5), "seed": 0}
    ).assign(step=np.tile(100 * np.arange(5), 10))
    needed = np.repeat(np.linspace(205, 295, 10), 5)
    data["acc"] = np.where(data["step"] >= needed, 0.95, 0.1)
    found = measure_convergence(data, ("acc",), threshold=0.9)
    findings = SimpleNamespace(speed=compare_speed(found), step_unit="step", table=data)
    assert next(speed.say(findings)).text == (
        "The median step of convergence is between 201 and 300 (95 % interval 201 to 300)."
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
        "The median step of convergence is 15 (95 % interval 10 to 20) in fast and 55 (95 % "
        "interval 50 to 60) in slow."
    )
    assert text[1] == (
        "Mean step of convergence up to step 100, ± its standard error: fast 15 ± 2 (6 runs, 6 "
        "converged, 0 censored) and slow 55 ± 2 (6 runs, 6 converged, 0 censored)."
    )
    assert text[2].endswith(
        "6 of 6 runs in fast and 0 of 6 runs in slow had been seen to converge."
    )
    assert text[3].startswith("fast converges faster than slow (40 steps sooner on average up to ")
    assert text[3].endswith("95 % interval 35.2 to 44.8; p = 0.0022).")
    turned = said(slow=[50, 52, 54, 56, 58, 60], fast=[10, 12, 14, 16, 18, 20], last_step=100)
    assert turned[3] == text[3]


def test_what_cannot_be_told_says_why():
    assert _untold(said(a=[10, 20, 30], b=[100, 200, 300])) == (
        "These runs cannot tell which converges faster of a and b (however their results had "
        "fallen to the two, p would be at least 0.1)."
    )
    assert _untold(said(a=[10], b=[20])).endswith("(one run does not show how much seeds differ).")
    at_once = _untold(said(a=[10, 10, 10], b=[10, 10, 10]))
    assert at_once.endswith("(none converges while both are watched, or all do at once).")


def _untold(texts):
    return next(text for text in texts if text.startswith("These runs cannot tell"))


def test_no_evidence_is_said_with_p_and_with_what_may_be_missed():
    texts = said(a=[10, 20, 30, 40, 50], b=[11, 21, 31, 41, 51])
    (text,) = (text for text in texts if text.startswith("There is no evidence that one converges"))
    assert "faster than the other of a and b (p = " in text
    assert "\u00a0% would often be missed)." in text


def test_groups_alike_within_a_margin_are_said_to_be():
    runs = {"a": [400, 410, 420, 430, 440, 450], "b": [402, 411, 422, 431, 442, 451]}
    (text,) = (t for t in said(margin=0.25, **runs) if "alike" in t)
    assert text == "a and b are alike within 25\u00a0%."
    (text,) = (t for t in said(margin=0.001, **runs) if "not shown" in t)
    assert text.endswith("of a and b: that is no sign that one is.")
    slower = [1.3 * step // 1 for step in runs["b"]]
    texts = said(margin=0.25, a=runs["a"], b=[int(step) for step in slower])
    assert any(t.startswith("a is not slower than b by 25\u00a0% or more (p = ") for t in texts)
    assert not any("alike" in t or "margin" in t for t in said(**runs))


def test_curves_that_cross_are_said_to():
    texts = said(a=[*[10] * 13, *[-9000] * 3], b=[200] * 16)
    (text,) = (text for text in texts if "curves cross" in text)
    assert text.startswith(
        "a converges faster than b (though not on average up to step 9,000, as the curves cross; p"
    )


def test_open_ranks_are_said():
    (text,) = (t for t in said(every=100, a=[200, 240, 900, 1000]) if "ranks" in t)
    assert text == (
        "Convergence is only seen at evaluations, so ranks stay open: any of seed0 and seed1 may "
        "be the fastest, and the rank of 2 of the 4 runs that converged is certain."
    )
    (mostly,) = (t for t in said(every=100, a=[200, 400, 440, 480]) if "ranks" in t)
    assert "seed0 is the fastest, and the rank of 1 of the 4 runs" in mostly
    assert not any("ranks" in t for t in said(a=[200, 240, 240, 900, 1000, -1950, -1950]))


def test_many_groups_stay_readable():
    rng = np.random.default_rng(0)
    groups = {f"g{i}": (2**i * rng.integers(50, 99, 6)).tolist() for i in range(8)}
    text = said(**groups, last_step=20_000)
    assert len(text) <= 11
    assert sum(map(len, text)) < 4000
    assert text[3] == "Over all groups, the speed of convergence differs (p < 0.001)."
    assert "further pairs differ." in text[4]


def test_nothing_is_said_where_nothing_is_known():
    assert said(a=[-10, -20], b=[-10, -30]) == []
    assert said(a=[10]) == []
    assert list(speed.say(SimpleNamespace(speed=None))) == []


def test_names_that_are_odd_become_legible():
    text = said(**{"line\nbreak": [10, 20, 30], "x" * 80: [100, 200, 300]})
    assert "line break" in text[0]
    assert "x" * 40 not in " ".join(text)
    assert not pd.Series(text).str.contains("\n").any()
