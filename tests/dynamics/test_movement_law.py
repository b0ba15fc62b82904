"""By which law of time weights move from where they began: exact, then by simulation."""

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.movement_law import fit_exponent, movement_laws
from hmmdyn.report.statements.movement import say
from hmmdyn.results.movement import LOGARITHM, MOVEMENT_LAWS, NO_LAW, POWER, SATURATING
from hmmdyn.results.verdicts import CANNOT_TELL
from tests.report.synthetic import changed, make_findings

TIME = 100.0 * np.arange(1, 51)


def law(exponent, time=TIME):
    return 2 + 3 * (np.log(time) if exponent == 0 else (time**exponent - 1) / exponent)


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 0.3, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("unit", [1.0, 1e-3])
def test_the_exponent_of_a_law_is_found_in_any_unit_of_time(exponent, unit):
    found = fit_exponent(unit * TIME, law(exponent))
    assert found.exponent == pytest.approx(exponent, abs=1e-3)
    assert found.misfit == pytest.approx(0, abs=1e-4)


def test_the_fit_is_that_of_least_squares_over_all_three_numbers():
    rng = np.random.default_rng(0)
    distance = law(0.4) + rng.normal(scale=2, size=50)
    found = fit_exponent(TIME, distance)

    def left(exponent):
        shapes = np.column_stack([np.ones(50), TIME**exponent])
        return np.linalg.lstsq(shapes, distance, rcond=None)[1][0]

    around = [left(found.exponent + d) for d in (-1e-3, 0, 1e-3)]
    assert around[1] == min(around)
    assert found.misfit == pytest.approx(np.sqrt(around[1] / 50) / distance.std(), rel=1e-6)


@pytest.mark.parametrize(
    "distance", [np.full(50, 3.0), np.full(50, np.nan), law(0.5)[:7], np.exp(TIME / 500)]
)
def test_what_follows_no_such_law_has_no_exponent(distance):
    assert np.isnan(fit_exponent(TIME[: len(distance)], distance).exponent)


def table(draw, n_runs, group="g"):
    time = np.array([0, *TIME])
    return pd.concat(
        pd.DataFrame({"group": group, "run": f"r{r}", "step": 5 + time, "distance_l2": draw(r)})
        for r in range(n_runs)
    )


def noisy(exponent, rng, scale=1.0):
    return lambda _: np.array([0, *(law(exponent) + scale * rng.normal(size=50))])


@pytest.mark.parametrize(
    ("exponent", "n_runs", "scale", "expected"),
    [
        (0.5, 5, 0.1, POWER),
        (0.0, 5, 0.1, LOGARITHM),
        (-0.7, 5, 0.0005, SATURATING),
        (0.0, 2, 0.1, CANNOT_TELL),
        (0.0, 5, 3.0, NO_LAW),
    ],
)
def test_the_law_that_is_told(exponent, n_runs, scale, expected):
    (found,) = movement_laws(
        table(noisy(exponent, np.random.default_rng(0), scale), n_runs)
    ).itertuples()
    assert found.law == expected
    assert found.n_runs == n_runs
    assert np.isnan(found.exponent_low) == (n_runs < 3)


def test_the_interval_is_students_over_runs():
    runs = table(noisy(0.3, np.random.default_rng(1)), 4)
    single = [
        fit_exponent(run["step"].to_numpy() - 5, run["distance_l2"].to_numpy()).exponent
        for _, run in runs.groupby("run")
    ]
    (found,) = movement_laws(runs).itertuples()
    half = 3.182446 * np.std(single, ddof=1) / 2  # Student's, three degrees of freedom
    assert found.exponent == pytest.approx(np.mean(single))
    assert found.exponent_low == pytest.approx(np.mean(single) - half, rel=1e-5)
    assert found.exponent_high == pytest.approx(np.mean(single) + half, rel=1e-5)


def test_groups_have_laws_of_their_own():
    rng = np.random.default_rng(2)
    both = pd.concat([table(noisy(0.0, rng, 0.1), 4, "a"), table(noisy(0.5, rng, 0.1), 4, "b")])
    assert movement_laws(both).set_index("group")["law"].to_dict() == {"a": LOGARITHM, "b": POWER}
    assert movement_laws(both.drop(columns="distance_l2")).empty


def test_weights_that_walk_at_random_have_an_exponent_of_a_half():
    """From raw weights: the 95 % interval holds ½ in 90 % of simulations or more."""
    rng = np.random.default_rng(3)

    def walk(_):
        weights = np.cumsum(rng.normal(size=(50, 300)), axis=0)
        return np.array([0, *np.linalg.norm(weights, axis=1)])

    found = pd.concat(movement_laws(table(walk, 5)) for _ in range(60))
    holds = (found["exponent_low"] <= 0.5) & (found["exponent_high"] >= 0.5)
    assert holds.mean() >= 0.9
    assert (found["law"] == POWER).mean() >= 0.9


def row(law, n_runs=5, exponent=0.0, half=0.1, misfit=0.01):
    return {
        "group": "g",
        "n_runs": n_runs,
        "exponent": exponent,
        "exponent_low": exponent - half,
        "exponent_high": exponent + half,
        "misfit": misfit,
        "law": law,
    }


@pytest.mark.parametrize(
    ("told", "sentence"),
    [
        (
            row(POWER, exponent=0.5),
            "The distance of weights from where they began grows as a power of time: γ = 0.50 "
            "(0.40 to 0.60), 5 runs.",
        ),
        (
            row(SATURATING, exponent=-0.5),
            "The distance of weights from where they began grows ever less, and more slowly than "
            "the logarithm of time: γ = −0.50 (−0.60 to −0.40), 5 runs.",
        ),
        (
            row(CANNOT_TELL, n_runs=1, exponent=0.2, half=np.nan),
            "Whether the distance of weights from where they began grows as a power or as the "
            "logarithm of time cannot be told from 1 run: γ = 0.20.",
        ),
        (
            row(NO_LAW, misfit=0.3),
            "The distance of weights from where they began follows neither a logarithm nor a power "
            "of time: the fit leaves 30\u00a0% of the deviation.",
        ),
    ],
)
def test_what_is_said(told, sentence):
    laws = MOVEMENT_LAWS.frame([told])
    assert [one.text for one in say(changed(make_findings(), movement_laws=laws))] == [sentence]


def test_nothing_is_said_where_nothing_was_measured():
    assert list(say(make_findings())) == []
