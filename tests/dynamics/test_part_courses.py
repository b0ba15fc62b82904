"""Courses of layers and roles: medians counted one by one, and what is left out of many."""

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.part_courses import find_part_courses
from hmmdyn.results.parts import PART_COURSES, PARTS, USUAL_STATES

STAYS = pd.DataFrame(columns=["group", "run", "state", "start", "end"])


def measured(n_runs=5, n_steps=12, names=("b", "a", "h.10"), groups=("g",), seed=0, missing=0.1):
    """Random metrics of runs whose steps differ, and of which some values are missing."""
    rng = np.random.default_rng(seed)
    rows = []
    for group in groups:
        for r in range(n_runs):
            start, gap = int(rng.integers(0, 30)), int(rng.integers(5, 15))
            for step in range(start, start + gap * n_steps, gap):
                for name in names:
                    for metric in ("l2", "trace"):
                        value = rng.normal() if rng.uniform() > missing else np.nan
                        rows.append((group, f"seed{r}", step, "layer", name, metric, value))
    return PARTS.frame(pd.DataFrame(rows, columns=PARTS.names))


def plainly(parts, group, metric, part, step):
    """The median at a step, of every run its last checkpoint up to there; and how many runs."""
    own = parts[(parts["group"] == group) & (parts["metric"] == metric) & (parts["part"] == part)]
    then = [
        run["value"].iloc[int((run["step"] <= step).sum()) - 1]
        for _, run in own.groupby("run")
        if run["step"].min() <= step <= run["step"].max()
    ]
    known = [value for value in then if not np.isnan(value)]
    return np.median(known), len(known)


@pytest.mark.parametrize("groups", [("g",), ("slow", "fast")])
def test_medians_of_runs_with_steps_of_their_own(groups):
    parts = measured(groups=groups)
    courses = find_part_courses(parts, STAYS).courses
    PART_COURSES.check(courses)
    pooled = parts.groupby(["metric", "part"])["value"]
    mean, deviation = pooled.mean(), pooled.std(ddof=0)
    for row in courses.sample(60, random_state=0).itertuples():
        median, n_runs = plainly(parts, row.group, row.metric, row.part, row.step)
        assert row.value == pytest.approx(median, rel=1e-12)
        assert row.n_runs == n_runs
        key = row.metric, row.part
        assert row.deviations == pytest.approx((median - mean[key]) / deviation[key], rel=1e-9)


def test_parts_keep_their_order_and_all_steps_are_there_if_they_are_few():
    found = find_part_courses(measured(missing=0), STAYS)
    assert found.courses["part"].unique().tolist() == ["b", "a", "h.10"]
    assert found.courses["group"].unique().tolist() == ["g"]
    assert found.n_parts == {"layer": 3}
    steps = found.courses.groupby(["metric", "part"])["step"].nunique()
    assert (steps == found.n_steps["g"]).all()
    assert not found.courses.duplicated(["group", "by", "metric", "part", "step"]).any()


def test_of_many_parts_and_steps_some_are_told_evenly_spaced():
    parts = measured(n_runs=1, n_steps=400, names=[f"h.{i}" for i in range(100)], missing=0)
    found = find_part_courses(parts, STAYS)
    assert found.n_parts == {"layer": 100}
    assert found.n_steps == {"g": 400}
    told = [int(name.removeprefix("h.")) for name in found.courses["part"].unique()]
    assert len(told) == 48
    assert (told[0], told[-1]) == (0, 99)
    assert set(np.diff(told)) <= {2, 3}
    steps = found.courses["step"].unique()
    assert 40 <= len(steps) <= 160
    assert {steps.min(), steps.max()} == {parts["step"].min(), parts["step"].max()}


def test_a_part_that_does_not_change_has_no_deviations():
    parts = measured(missing=0)
    parts.loc[parts["part"] == "a", "value"] = 0.1
    courses = find_part_courses(parts, STAYS).courses
    assert courses.loc[courses["part"] == "a", "deviations"].isna().all()
    np.testing.assert_allclose(courses.loc[courses["part"] == "a", "value"], 0.1)
    assert courses.loc[courses["part"] != "a", "deviations"].notna().all()


def test_infinite_values_are_not_known_and_none_measured_is_empty():
    parts = measured(missing=0)
    parts.loc[parts["part"] == "a", "value"] = np.inf
    assert set(find_part_courses(parts, STAYS).courses["part"]) == {"b", "h.10"}
    nothing = find_part_courses(PARTS.frame(), STAYS)
    PART_COURSES.check(nothing.courses)
    USUAL_STATES.check(nothing.usual_states)
    assert nothing.courses.empty
    assert nothing.n_parts == {}


def test_the_state_that_most_runs_are_in():
    stays = pd.DataFrame(
        [
            ("g", "a", 0, 0.0, 100.0),
            ("g", "a", 2, 100.0, 300.0),
            ("g", "b", 0, 0.0, 150.0),
            ("g", "b", 2, 150.0, 300.0),
            ("g", "c", 0, 50.0, 250.0),
            ("h", "a", 1, 0.0, 0.0),  # of one checkpoint
        ],
        columns=STAYS.columns,
    )
    found = find_part_courses(measured(), stays).usual_states
    USUAL_STATES.check(found)
    assert found[["group", "state", "start", "end"]].to_numpy().tolist() == [
        ["g", 0, 0.0, 150.0],
        ["g", 2, 150.0, 300.0],
    ]
    # All of two, then of three, then two of three; then two of three, and two of two.
    shares = [(50 + 50 + 50 * 2 / 3) / 150, (100 * 2 / 3 + 50) / 150]
    assert found["share"].tolist() == pytest.approx(shares)
