"""Figures by lifelines are those of lifelines 0.30.3, run once on the same data."""

from itertools import combinations, product
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import CensoredData, false_discovery_control, logrank, norm, sem, ttest_ind

from hmmdyn.dynamics import evaluated
from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.evaluated import Evaluated, seen_at
from hmmdyn.dynamics.speed import compare_speed
from hmmdyn.errors import NotEnoughDataError
from hmmdyn.results.convergence import Convergence
from hmmdyn.results.verdicts import (
    A_NOT_SLOWER,
    ALIKE,
    CANNOT_TELL,
    DIFFERENT,
    FASTER,
    NO_EVIDENCE,
    SLOWER,
)
from tests.dynamics.leukaemia import MP6, MP6_ENDED, PLACEBO, PLACEBO_ENDED


def convergence(every=1, last_step=None, **groups):
    """Groups of runs by their steps; a negative step is that of a run censored there."""
    rows = [
        {
            "group": group,
            "run": f"seed{i}",
            "seed": i,
            "converged": step >= 0,
            "previous_step": step - every if step >= 0 else -step,
            "step": abs(step),
            "last_step": last_step or abs(step),
            "time": 0.5,
        }
        for group, steps in groups.items()
        for i, step in enumerate(steps)
    ]
    table = pd.DataFrame(rows).astype({"seed": "Int64", "previous_step": "Int64"})
    return seen(table)


def seen(table):
    """What was measured of runs that were all evaluated wherever one of them is known to be."""
    steps = table[["previous_step", "step", "last_step"]].stack().dropna().astype(int).unique()
    evaluations = [
        pd.DataFrame(
            {
                "group": run.group,
                "run": run.run,
                "step": np.sort(steps[steps <= max(run.last_step, run.step)]),
            }
        ).assign(holds=lambda own, run=run: run.converged & (own["step"] >= run.step))
        for run in table.itertuples()
    ]
    evaluations = pd.concat(evaluations, ignore_index=True)
    return Convergence("accuracy", 0.9, "above", 1, "", table, evaluations=evaluations)


def signed(steps, converged):
    return [step if ended else -step for step, ended in zip(steps, converged, strict=True)]


def pair(speed, a, b):
    return speed.tests.set_index(["group_a", "group_b"]).loc[(a, b)]


TREATED, OTHERS = signed(MP6, MP6_ENDED), signed(PLACEBO, PLACEBO_ENDED)


def test_two_groups_are_those_of_lifelines():
    speed = compare_speed(convergence(treated=TREATED, others=OTHERS))
    found = pair(speed, "treated", "others")
    # lifelines: logrank_test(MP6, PLACEBO, MP6_ENDED, PLACEBO_ENDED); Kleinbaum and Klein: 16.793.
    assert found["logrank"] == pytest.approx(16.792940989)
    assert found["logrank_p"] == pytest.approx(4.168809109e-05)
    assert found["verdict"] == SLOWER  # 6-MP keeps them in remission
    # lifelines: median_survival_time_; horizon is the last week of the treated, 35.
    groups = speed.groups.set_index("group")
    assert groups["median_latest"].tolist() == [23, 8]
    assert groups["n_converged"].tolist() == [9, 21]
    assert (groups["horizon"] == 35).all()
    # lifelines: restricted_mean_survival_time(fitter, t=35).
    assert groups["restricted_mean"].tolist() == pytest.approx([23.28739496, 8.666666667])


def test_three_groups_are_those_of_lifelines():
    speed = compare_speed(convergence(a=TREATED[::2], b=TREATED[1::2], c=OTHERS))
    together = speed.tests.iloc[0]
    assert together[["group_a", "group_b"]].isna().all()
    # lifelines: multivariate_logrank_test.
    assert together["logrank"] == pytest.approx(17.163875174)
    assert together["logrank_p"] == pytest.approx(1.874614414e-04)
    assert together["verdict"] == DIFFERENT
    assert speed.tests["verdict"].tolist()[1:] == [NO_EVIDENCE, SLOWER, SLOWER]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_permutation_p_counts_every_way_to_deal_the_runs(data):
    """Brute force: the numerator of the log-rank test, step by step, of every other grouping."""
    step = st.integers(1, 8).map(lambda s: s if s < 7 else -9)
    a, b = (data.draw(st.lists(step, min_size=2, max_size=4)) for _ in range(2))
    found = pair(compare_speed(convergence(a=a, b=b, last_step=9)), "a", "b")
    runs = [*a, *b]
    numerators = {
        own: abs(observed_less_expected(runs, own))
        for own in combinations(range(len(runs)), len(a))
    }
    values = np.array(list(numerators.values()))
    if values.max() < 1e-9:
        assert found["verdict"] == CANNOT_TELL
        assert np.isnan(found["p"])
        return
    actual = numerators[tuple(range(len(a)))]
    assert found["p"] == pytest.approx(np.mean(values >= actual - 1e-9))
    assert found["least_p"] == pytest.approx(np.mean(values >= values.max() - 1e-9))


def observed_less_expected(runs, own):
    total = 0.0
    for step in {s for s in runs if s > 0}:
        at_risk = [i for i, s in enumerate(runs) if abs(s) >= step]
        n_own = sum(i in own for i in at_risk)
        converge = [i for i in at_risk if runs[i] == step]
        total += sum(i in own for i in converge) - len(converge) * n_own / len(at_risk)
    return total


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=8),
    st.lists(st.integers(1, 30), min_size=2, max_size=8),
)
def test_log_rank_is_that_of_scipy(a, b):
    a, b = ([s if s <= 20 else -20 for s in steps] for steps in (a, b))
    found = pair(compare_speed(convergence(a=a, b=b, last_step=20)), "a", "b")
    if np.isnan(found["logrank"]):
        return
    sides = [
        CensoredData(uncensored=[s for s in g if s > 0], right=[-s for s in g if s < 0])
        for g in (a, b)
    ]
    other = logrank(*sides)
    assert found["logrank"] == pytest.approx(other.statistic**2)
    assert found["logrank_p"] == pytest.approx(other.pvalue)


@pytest.mark.parametrize("alike", [[-200] * 5, [50] * 5])
def test_a_group_that_shows_no_spread_leaves_the_difference_without_an_interval(alike):
    """Five runs that do not converge, or all at one evaluation, need not be all there could be."""
    found = pair(compare_speed(convergence(a=[10, 30, 20, 60, 40], b=alike)), "a", "b")
    assert np.isfinite(found["difference"])
    assert np.isnan([found["difference_low"], found["difference_high"]]).all()


def test_without_censoring_the_difference_is_welchs():
    a, b = [10, 30, 20, 60, 40], [50, 90, 110, 70, 20, 60]
    found = pair(compare_speed(convergence(a=a, b=b, last_step=200)), "a", "b")
    interval = ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert found["difference"] == pytest.approx(np.mean(a) - np.mean(b))
    assert (found["difference_low"], found["difference_high"]) == pytest.approx(tuple(interval))


def test_the_interval_of_a_mean_is_students_on_the_logit_scale():
    steps, horizon = [10, 30, 20, 60, 40], 90  # mean 32
    group = compare_speed(convergence(a=steps, last_step=horizon)).groups.iloc[0]
    assert group["restricted_mean"] == pytest.approx(32)
    assert group["restricted_mean_se"] == pytest.approx(sem(steps))
    margin = 2.776445 * sem(steps) * (1 / 32 + 1 / (90 - 32))  # t with 4 degrees of freedom
    for bound, sign in ("low", -1), ("high", 1):
        found = group[f"restricted_mean_{bound}"]
        assert found / (90 - found) == pytest.approx(32 / (90 - 32) * np.exp(sign * margin))


def test_verdicts_name_the_faster_group_whichever_comes_first():
    fast, slow = [10, 11, 12, 13, 14], [20, 21, 22, 23, -30]
    assert pair(compare_speed(convergence(a=fast, b=slow)), "a", "b")["verdict"] == FASTER
    assert pair(compare_speed(convergence(a=slow, b=fast)), "a", "b")["verdict"] == SLOWER
    alike = pair(compare_speed(convergence(a=fast, b=[10, 12, 13, 13, 15])), "a", "b")
    assert alike["verdict"] == NO_EVIDENCE


def test_p_is_corrected_over_the_pairs_that_could_be_significant():
    groups = {"a": [10, 20, 30, 40, 50], "b": [15, 25, 60, 70, 80], "c": [90, 91, 92, 93, 94]}
    speed = compare_speed(convergence(**groups, d=[200, 201], last_step=300))
    pairs = speed.tests[speed.tests["group_a"].notna()]
    assert len(pairs) == 6
    able = pairs["least_p"] < 0.05
    assert able.tolist() == [True, True, True, True, True, True]  # 1 of 21 ways, 2 against 5
    np.testing.assert_allclose(pairs["p_corrected"], false_discovery_control(pairs["p"]))
    few = compare_speed(convergence(**groups, d=[200], last_step=300)).tests
    few = few[few["group_a"].notna()]
    with_one = few["group_b"] == "d"
    assert few.loc[with_one, "p_corrected"].isna().all()
    assert (few.loc[with_one, "verdict"] == CANNOT_TELL).all()
    np.testing.assert_allclose(
        few.loc[~with_one, "p_corrected"], false_discovery_control(few.loc[~with_one, "p"])
    )


def test_three_runs_against_three_cannot_tell():
    found = pair(compare_speed(convergence(a=[1, 2, 3], b=[100, 200, 300])), "a", "b")
    assert found["p"] == found["least_p"] == pytest.approx(0.1)
    assert np.isnan(found["p_corrected"])
    assert found["verdict"] == CANNOT_TELL


def test_watching_one_group_for_longer_changes_no_test():
    a, b = [10, 40, -50, -50, -50], [20, 60, 70, 80, -100]
    until_50 = [20, -50, -50, -50, -50]
    longer = pair(compare_speed(convergence(a=a, b=b)), "a", "b")
    shorter = pair(compare_speed(convergence(a=a, b=until_50)), "a", "b")
    assert longer["horizon"] == 50
    pd.testing.assert_series_equal(longer, shorter)


@pytest.mark.parametrize(
    ("groups", "horizon"),
    [
        ({"a": [10, 20], "b": [30, 40]}, 100),  # all converged: both curves are known for ever
        ({"a": [10, -80], "b": [30, 40]}, 80),
        ({"a": [10, -80], "b": [30, -60]}, 60),
        ({"a": [10, -20], "b": [-5, 90]}, 20),  # b's curve ends at 0, where its last run converged
        ({"a": [10, -20, 20]}, 20),
    ],
)
def test_horizon_is_where_the_first_curve_ends(groups, horizon):
    speed = compare_speed(convergence(**groups, last_step=100))
    assert (speed.groups["horizon"] == horizon).all()


def test_curves_start_at_step_0_with_all_runs_waiting():
    curves = compare_speed(convergence(a=[10, -20], b=[5])).curves
    assert curves["group"].tolist() == ["a"] * 4 + ["b"] * 3
    assert curves["step"].tolist() == [0, 9, 10, 20, 0, 4, 5]
    assert curves["waiting"].tolist() == pytest.approx([1, 1, 0.5, 0.5, 1, 1, 0])


def test_profile_counts_runs_by_multiples_of_the_fastest():
    profile = compare_speed(convergence(a=[10, 30, -40, 20], b=[20, -15])).profile
    expected = [("a", 1, 0.25), ("a", 2, 0.5), ("a", 3, 0.75), ("b", 1, 0), ("b", 2, 0.5)]
    assert list(profile.itertuples(index=False, name=None)) == expected


def test_there_are_no_multiples_of_step_0():
    speed = compare_speed(convergence(a=[0, 10], b=[20, 30]))
    assert speed.profile.empty
    assert any("converged at step 0" in n.message for n in speed.notices)
    assert compare_speed(convergence(a=[-10, -10])).profile.empty


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.integers(1, 3), st.booleans()),
        min_size=1,
        max_size=5,
    )
)
def test_rank_intervals_are_those_of_every_course_that_fits(runs):
    """Brute force over the steps at which each run may have converged, ties in either order."""
    spans, rows = [], []
    for i, (previous, gap, converged) in enumerate(runs):
        converged = converged or previous is None
        end = (previous if previous is not None else 0) + gap if converged else previous
        spans.append(
            range(previous + 1 if previous is not None else -1, end + 1 if converged else 10)
        )
        rows.append({"run": str(i), "converged": converged, "previous_step": previous, "step": end})
    table = pd.DataFrame(rows).assign(group="g", last_step=9, seed=0, time=0.5)
    table = table.astype({"previous_step": "Int64", "seed": "Int64"})
    ranking = compare_speed(seen(table)).ranking
    best, worst = np.full(len(runs), 99), np.zeros(len(runs), int)
    for course in product(*spans):
        course = np.array(course)
        best = np.minimum(best, 1 + (course < course[:, None]).sum(axis=1))
        worst = np.maximum(worst, (course <= course[:, None]).sum(axis=1))
    order = ranking["run"].astype(int)
    assert ranking["rank_low"].tolist() == best[order].tolist()
    assert ranking["rank_high"].tolist() == worst[order].tolist()
    known = ranking[ranking["converged"]]
    assert known["rank"].tolist() == known["step"].rank(method="min").tolist()
    assert known["step"].is_monotonic_increasing
    assert ranking.loc[~ranking["converged"], "rank"].isna().all()


def curves(runs, every, length=1000, sustained=1, lucky=0.0):
    """Accuracies of groups of runs that need so many steps, each evaluated on its own schedule."""
    rng = np.random.default_rng(0)
    parts = []
    for group, needed in runs.items():
        steps = np.arange(0, length + 1, every[group])
        for i, step in enumerate(needed):
            above = (steps >= step) | ((rng.random(len(steps)) < lucky) & (steps > 0))
            run = {"group": group, "run": f"seed{i}", "seed": i, "step": steps}
            parts.append(pd.DataFrame({**run, "acc": np.where(above, 0.95, 0.2)}))
    data = pd.concat(parts, ignore_index=True)
    return measure_convergence(data, ("acc",), threshold=0.9, sustained=sustained)


def test_groups_are_not_told_apart_by_how_often_they_are_evaluated():
    needed = np.linspace(205, 345, 15)
    for every in ({"a": 50, "b": 100}, {"a": 50, "b": 70}, {"a": 100, "b": 10}):
        test = pair(compare_speed(curves({"a": needed, "b": needed}, every)), "a", "b")
        assert test["p"] > 0.3
        # Evaluations at 100, 200, … are common to the groups, or there is no such schedule.
        assert np.isnan(test["logrank"]) == (every["b"] == 70)
        assert test["difference_low"] < 0 < test["difference_high"]
    # What is seen differs clearly: without regard to the schedules p is 0.002.
    as_seen = curves({"a": needed, "b": needed}, {"a": 50, "b": 100}).table
    assert pair(compare_speed(seen(as_seen)), "a", "b")["p"] < 0.05


@pytest.mark.parametrize("every", [(50, 100), (50, 70), (70, 50)])
@pytest.mark.parametrize("sustained", [1, 2])
def test_groups_that_differ_are_told_apart_whatever_their_schedules(every, sustained):
    runs = {"a": np.linspace(205, 345, 6), "b": 2 * np.linspace(205, 345, 6)}
    measured = curves(runs, dict(zip("ab", every, strict=True)), sustained=sustained)
    assert pair(compare_speed(measured), "a", "b")["verdict"] == FASTER


def test_with_groups_evaluated_differently_the_test_of_all_is_that_of_the_pairs():
    runs = {"a": np.linspace(205, 345, 6), "b": np.linspace(505, 745, 6), "c": [300.0] * 6}
    tests = compare_speed(curves(runs, {"a": 50, "b": 70, "c": 50})).tests
    assert tests["p"][0] == tests["p_corrected"][1:].min()
    assert tests["verdict"][0] == DIFFERENT


def test_the_test_of_many_groups_does_not_contradict_that_of_its_pairs():
    """Over 300 pairs no p of 10,000 arrangements, times their number, could be significant."""
    names = [f"g{i}" for i in range(25)]
    needed = {name: np.linspace(205, 245, 10) + 300 * (i % 2) for i, name in enumerate(names)}
    every = {name: (50, 70)[i % 3 == 0] for i, name in enumerate(names)}
    tests = compare_speed(curves(needed, every)).tests
    assert tests["verdict"][1:].isin([FASTER, SLOWER]).any()
    assert tests["verdict"][0] == DIFFERENT


@pytest.mark.parametrize("every", [(50, 100), (50, 70)])
def test_the_same_recipe_on_two_schedules_is_told_apart_no_more_often_than_promised(every):
    """The short version of benchmarks/speed.py, from curves that cross by luck, too."""
    told = []
    with patch.object(evaluated, "N_PERMUTATIONS", 199):
        for seed in range(15):
            draw = np.random.default_rng(seed).normal(size=(2, 8))
            a, b = 300 * np.exp(0.15 * draw)
            found = curves({"a": a, "b": b}, dict(zip("ab", every, strict=True)), lucky=0.03)
            told.append(pair(compare_speed(found), "a", "b")["p"] < 0.05)
    assert sum(told) <= 2


def test_a_run_that_stops_as_it_converges_is_not_censored_by_its_schedule():
    steps = np.arange(0.0, 400, 50)
    stopped = [Evaluated(steps[:n], steps[:n] >= steps[n - 1]) for n in (3, 4, 6)]
    late = seen_at(stopped, np.arange(0.0, 400, 70), 390, 1, late=True)
    assert late.converged.all()
    assert late.end.tolist() == [3, 4, 5]  # cuts at 140, 210 and 280


@pytest.mark.parametrize(("slower", "verdict"), [(1.0, ALIKE), (1.3, A_NOT_SLOWER)])
@pytest.mark.parametrize("every", [(20, 20), (20, 30)])
def test_groups_are_tested_for_being_alike_within_a_margin(slower, verdict, every):
    runs = {"a": np.linspace(405, 445, 6), "b": slower * np.linspace(405, 445, 6)}
    measured = curves(runs, dict(zip("ab", every, strict=True)))
    (found,) = compare_speed(measured, margin=0.2).equivalence.to_dict("records")
    assert found["verdict"] == verdict
    assert found["margin"] == 0.2
    assert compare_speed(measured).equivalence.empty


def test_too_few_runs_are_not_alike():
    found = compare_speed(
        curves({"a": [300, 310], "b": [300, 310]}, {"a": 50, "b": 50}), margin=0.5
    )
    assert found.equivalence["verdict"].tolist() == [CANNOT_TELL]


def test_planning_says_what_seeds_can_show():
    steps = (500 * np.exp(0.3 * norm.ppf((np.arange(10) + 0.5) / 10))).round().astype(int)
    speed = compare_speed(convergence(a=steps.tolist(), b=steps.tolist()))
    plan = speed.planning.iloc[0]
    assert plan["spread_low"] < 0.3 < plan["spread_high"]
    assert plan["smallest_low"] < plan["smallest"] < plan["smallest_high"]
    assert pair(speed, "a", "b")["smallest"] == pytest.approx(plan["smallest"])
    needed = speed.seeds_needed[speed.seeds_needed["group"] == "a"].set_index("difference")
    assert needed["n_runs"].is_monotonic_decreasing
    assert (needed["n_runs_low"] <= needed["n_runs"]).all()
    # What ten runs tell needs ten runs.
    again = compare_speed(convergence(a=steps.tolist()), margin=1.01 * plan["smallest"])
    assert 10 in again.seeds_needed["n_runs"].tolist()


def test_one_schedule_for_all_groups_is_no_difference():
    even = convergence(every=100, a=[300, 400], b=[3000, 4000])
    assert not compare_speed(even).notices
    powers = convergence(a=[64, 64], b=[1024, 1024])
    powers.table["previous_step"] = powers.table["step"] // 2
    assert not compare_speed(powers).notices


def test_runs_too_short_to_be_seen_converging_are_left_out_and_named():
    found = convergence(a=[10, 20, -30], b=[10, 30])
    found.table.loc[2, "previous_step"] = pd.NA
    speed = compare_speed(found)
    assert [n.subject for n in speed.notices] == ["run a/seed2"]
    assert speed.groups["n_runs"].tolist() == [2, 2]
    assert len(speed.ranking) == 4
    found.table[["converged", "previous_step"]] = [False, pd.NA]
    with pytest.raises(NotEnoughDataError, match="sustained=…"):
        compare_speed(found)


def test_a_streak_cut_off_counts_only_to_where_it_could_have_been_seen():
    data = pd.DataFrame(
        {"group": "a", "run": "x", "seed": 0, "step": [0, 10, 20], "acc": [0.0, 0.0, 1.0]}
    )
    found = measure_convergence(data, ("acc",), threshold=0.5, sustained=2)
    assert compare_speed(found).curves["step"].tolist() == [0, 10]


@pytest.mark.parametrize(
    "groups",
    [
        {"a": [10]},
        {"a": [-10]},
        {"a": [10], "b": [20]},
        {"a": [-10, -10], "b": [-10, -10]},
        {"a": [10, 10], "b": [10, 10]},
        {"a": [0, 0], "b": [0, 0]},
        {"a": [-5, -5], "b": [10, 20]},
        {"a": [10, 20], "b": [-5, 30], "c": [-1, -1]},
        {"1": [10], " odd name ": [20, 30], "": [15, 15, 15]},
    ],
    ids=str,
)
def test_what_cannot_be_said_is_left_open(groups):
    speed = compare_speed(convergence(**groups))
    n = len(groups)
    assert len(speed.tests) == n * (n - 1) // 2 + (n > 2)
    assert (speed.tests["verdict"] == CANNOT_TELL).all()
    assert speed.groups["n_runs"].tolist() == [len(steps) for steps in groups.values()]
    assert np.isfinite(speed.groups["restricted_mean"]).all()
    low, high = speed.groups["restricted_mean_low"], speed.groups["restricted_mean_high"]
    assert (low.isna() | (low <= high)).all()
    assert len(speed.ranking) == sum(map(len, groups.values()))


def test_the_same_runs_give_the_same_numbers():
    rng = np.random.default_rng(0)
    groups = {name: rng.integers(1, 500, 15).tolist() for name in "abc"}
    one, two = (compare_speed(convergence(**groups)) for _ in range(2))
    for name in ("curves", "groups", "tests", "profile", "ranking"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))
    other = compare_speed(convergence(**groups), random_state=1)
    assert not other.tests["p"].equals(one.tests["p"])
    np.testing.assert_allclose(other.tests["p"], one.tests["p"], atol=0.03)


def still_waiting(step):
    """Share of the runs simulated below that need more steps."""
    with np.errstate(divide="ignore"):
        return norm.sf(np.log(np.asarray(step) / 40) / 0.6)


@pytest.mark.long
def test_alike_groups_are_told_apart_no_more_often_than_promised():
    """The short version of benchmarks/speed.py: censored runs, ties, and one shorter group."""
    rejected, median, mean, curve = [], [], [], []
    cases = [(n_runs, i) for n_runs, n in ((5, 100), (10, 50), (20, 20)) for i in range(n)]
    for case in cases:
        rng, n_runs = np.random.default_rng(case), case[0]
        groups = {}
        for name, length in (("a", 70), ("b", 50)):
            steps = 5 * np.ceil(8 * np.exp(0.6 * rng.normal(size=n_runs))).astype(int)
            groups[name] = np.where(steps <= length, steps, -length).tolist()
        speed = compare_speed(convergence(every=5, **groups))
        rejected.append(speed.tests["p"].iloc[0] < 0.05)
        group = speed.groups.iloc[0]
        median.append(group["median_low"] <= 40 <= group["median_high"])
        true_mean = 5 * still_waiting(np.arange(0, group["horizon"], 5)).sum()
        mean.append(group["restricted_mean_low"] <= true_mean <= group["restricted_mean_high"])
        at_20 = speed.curves.query("group == 'a' and step <= 20").iloc[-1]
        curve.append(at_20["low"] <= still_waiting(20) <= at_20["high"])
    assert np.mean(rejected) <= 0.07
    assert np.mean(median) >= 0.94
    assert np.mean(mean) >= 0.92
    assert np.mean(curve) >= 0.94
