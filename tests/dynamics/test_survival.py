"""Figures by lifelines are those of lifelines 0.30.3, run once on the same data."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, quantile_test, sem
from statsmodels.duration.survfunc import SurvfuncRight

from hmmdyn.dynamics.survival import (
    Watched,
    kaplan_meier,
    log_rank_scores,
    median_step,
    restricted_mean,
    restricted_mean_error,
)
from tests.dynamics.leukaemia import MP6, MP6_ENDED, PLACEBO, PLACEBO_ENDED

runs_of_a_group = st.lists(
    st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=15
).map(lambda pairs: watched(*zip(*pairs, strict=True)))


def watched(end, converged=None):
    end = np.array(end)
    return Watched(end, np.ones(len(end), bool) if converged is None else np.array(converged, bool))


def test_curve_of_the_textbook():
    curve = kaplan_meier(watched(MP6, MP6_ENDED)).set_index("step")
    # Klein and Moeschberger (2003), table 4.1A.
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    for week, share in published.items():
        assert curve.loc[week, "waiting"] == pytest.approx(share, abs=6e-4)
    assert curve["n_at_risk"].tolist()[:6] == [21, 21, 17, 16, 15, 13]
    assert curve.loc[6, ["n_converged", "n_censored"]].tolist() == [3, 1]


def test_medians_and_means_are_those_of_lifelines():
    treated, others = watched(MP6, MP6_ENDED), watched(PLACEBO, PLACEBO_ENDED)
    assert median_step(kaplan_meier(treated))[0] == 23
    assert median_step(kaplan_meier(others))[0] == 8
    assert restricted_mean(treated, 23) == pytest.approx(17.909243697)
    assert restricted_mean(others, 23) == pytest.approx(8.666666667)


def test_the_longest_run_censored_leaves_the_median_open():
    assert median_step(kaplan_meier(watched(MP6, MP6_ENDED)))[2] == np.inf


@given(runs_of_a_group)
def test_curve_agrees_with_statsmodels(runs):
    curve = kaplan_meier(runs)
    seen = curve[curve["n_converged"] > 0]
    if seen.empty:
        assert (curve["waiting"] == 1).all()
        return
    other = SurvfuncRight(runs.end, runs.converged)
    np.testing.assert_array_equal(seen["step"], other.surv_times[other.n_events > 0])
    np.testing.assert_allclose(seen["waiting"], other.surv_prob[other.n_events > 0], atol=1e-12)
    np.testing.assert_array_equal(seen["n_at_risk"], other.n_risk[other.n_events > 0])


@given(runs_of_a_group)
def test_intervals_hold_the_curve_and_are_in_order(runs):
    curve = kaplan_meier(runs)
    assert (curve["low"] <= curve["waiting"] + 1e-12).all()
    assert (curve["high"] >= curve["waiting"] - 1e-12).all()
    assert curve["low"].is_monotonic_decreasing
    assert curve["high"].is_monotonic_decreasing
    assert curve[["low", "high"]].stack().between(0, 1).all()


def test_without_censoring_intervals_are_exact():
    curve = kaplan_meier(watched([3, 5, 5, 8, 9, 12, 12, 12, 20, 21]))
    for step, low, high in curve[["step", "low", "high"]].to_numpy():
        n_waiting = sum(end > step for end in [3, 5, 5, 8, 9, 12, 12, 12, 20, 21])
        exact = binomtest(n_waiting, 10).proportion_ci(method="exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))


def test_with_censoring_intervals_are_quantiles_of_the_product_of_betas():
    curve = kaplan_meier(watched(MP6, MP6_ENDED)).set_index("step")
    rng = np.random.default_rng(0)
    n = 400_000
    # At week 13: 3 of 21, 1 of 17, 1 of 15 and 1 of 12 have ended; 11 are left.
    share = rng.beta(19, 3, n) * rng.beta(17, 1, n) * rng.beta(15, 1, n) * rng.beta(12, 1, n)
    assert curve.loc[13, "high"] == pytest.approx(np.quantile(share, 0.975), abs=2e-3)
    low = np.quantile(share * rng.beta(11, 1, n), 0.025)
    assert curve.loc[13, "low"] == pytest.approx(low, abs=2e-3)
    # At week 10 one ends and one is seen for the last time; 13 of 15 are left.
    share = rng.beta(19, 3, n) * rng.beta(17, 1, n) * rng.beta(15, 1, n) * rng.beta(13, 1, n)
    assert curve.loc[10, "low"] == pytest.approx(np.quantile(share, 0.025), abs=2e-3)


@pytest.mark.parametrize("n_runs", [6, 9, 10, 17, 40])
def test_without_censoring_the_interval_of_the_median_is_that_of_order_statistics(n_runs):
    end = np.random.default_rng(n_runs).permutation(np.arange(10, 1000, 10))[:n_runs]
    interval = quantile_test(end, p=0.5).confidence_interval(0.95)
    median, low, high = median_step(kaplan_meier(watched(end)))
    assert (low, high) == (interval.low, interval.high)
    assert median == np.sort(end)[(n_runs - 1) // 2]


def test_five_runs_do_not_bound_a_median():
    assert median_step(kaplan_meier(watched([1, 2, 3, 4, 5]))) == (3, 0, np.inf)


@given(runs_of_a_group, st.integers(1, 15))
def test_restricted_mean_is_the_area_under_the_curve(runs, horizon):
    curve = kaplan_meier(runs)
    at = np.searchsorted(curve["step"], np.arange(horizon), side="right") - 1
    assert restricted_mean(runs, horizon) == pytest.approx(curve["waiting"].to_numpy()[at].sum())


def test_without_censoring_the_error_is_that_of_a_mean():
    end = np.array([3, 5, 5, 8, 9, 12, 30])
    assert restricted_mean_error(watched(end), 100) == pytest.approx(sem(end))
    assert restricted_mean_error(watched(end), 10) == pytest.approx(sem(np.minimum(end, 10)))
    assert np.isnan(restricted_mean_error(watched([3]), 10))


def test_with_censoring_the_error_is_that_of_greenwood_for_many_runs():
    rng = np.random.default_rng(0)
    needed, length = rng.exponential(100, 400).astype(int), rng.integers(50, 200, 400)
    runs = watched(np.minimum(needed, length), needed <= length)
    curve = kaplan_meier(runs)
    d, n, horizon = curve["n_converged"].to_numpy(), curve["n_at_risk"].to_numpy(), 150
    at = np.searchsorted(curve["step"], np.arange(horizon), side="right") - 1
    area = np.array([curve["waiting"].to_numpy()[at][step:].sum() for step in range(horizon)])
    before = curve["step"].to_numpy() < horizon
    areas, d, n = area[curve["step"].to_numpy()[before]], d[before], n[before]
    greenwood = np.sqrt(np.sum(areas**2 * d / (n * (n - d))))
    assert restricted_mean_error(runs, horizon) == pytest.approx(greenwood, rel=0.02)


def test_log_rank_scores_sum_to_observed_less_expected():
    runs = watched(MP6 + PLACEBO, MP6_ENDED + PLACEBO_ENDED)
    scores = log_rank_scores(runs)
    # Kleinbaum and Klein (2012), Survival Analysis, chapter 2, rounded on the way.
    assert scores[:21].sum() == pytest.approx(-10.26, abs=0.02)
    assert scores.sum() == pytest.approx(0)


def test_until_stops_watching():
    runs = watched([3, 5, 7, 9], [True, False, True, True]).until(7)
    assert runs.end.tolist() == [3, 5, 7, 7]
    assert runs.converged.tolist() == [True, False, True, False]
