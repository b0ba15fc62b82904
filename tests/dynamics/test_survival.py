"""Figures by lifelines are those of lifelines 0.30.3, run once on the same data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, quantile_test, sem
from statsmodels.duration.survfunc import SurvfuncRight

from hmmdyn.dynamics.survival import (
    Bracketed,
    Median,
    Watched,
    difference_of_means,
    log_rank_scores,
    mean_step,
    median_step,
    restricted_mean,
    restricted_mean_error,
    turnbull,
    waiting_curve,
)
from tests.dynamics.leukaemia import MP6, MP6_ENDED, PLACEBO, PLACEBO_ENDED

runs_of_a_group = st.lists(
    st.tuples(st.integers(0, 12), st.booleans()), min_size=1, max_size=15
).map(lambda pairs: watched(*zip(*pairs, strict=True)))


def watched(end, converged=None):
    end = np.array(end)
    return Watched(end, np.ones(len(end), bool) if converged is None else np.array(converged, bool))


def exact(end, converged=None):
    """Runs that are evaluated at every step."""
    runs = watched(end, converged)
    return Bracketed(runs.end - runs.converged, runs.end, runs.converged)


def between(*spans):
    """Runs that converge after the first of two steps, and by the second if it is not None."""
    after = np.array([after for after, _ in spans])
    converged = np.array([by is not None for _, by in spans])
    end = np.array([after if by is None else by for after, by in spans])
    return Bracketed(after, end, converged)


def curve_of(runs):
    """The rows at which something is seen, of runs evaluated at every step."""
    curve = waiting_curve(exact(runs.end, runs.converged))
    return curve[(curve["step"] == 0) | (curve["n_converged"] + curve["n_censored"] > 0)]


def test_curve_of_the_textbook():
    curve = curve_of(watched(MP6, MP6_ENDED)).set_index("step")
    # Klein and Moeschberger (2003), table 4.1A.
    published = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448}
    for week, share in published.items():
        assert curve.loc[week, "waiting"] == pytest.approx(share, abs=6e-4)
    assert curve["n_at_risk"].tolist()[:6] == [21, 21, 17, 16, 15, 13]
    assert curve.loc[6, ["n_converged", "n_censored"]].tolist() == [3, 1]


def test_medians_and_means_are_those_of_lifelines():
    treated, others = watched(MP6, MP6_ENDED), watched(PLACEBO, PLACEBO_ENDED)
    for runs, median in ((exact(MP6, MP6_ENDED), 23), (exact(PLACEBO, PLACEBO_ENDED), 8)):
        assert median_step(runs).earliest == median_step(runs).latest == median
    assert restricted_mean(treated, 23) == pytest.approx(17.909243697)
    assert restricted_mean(others, 23) == pytest.approx(8.666666667)


def test_the_longest_run_censored_leaves_the_median_open():
    assert median_step(exact(MP6, MP6_ENDED)).high == np.inf


@settings(deadline=None)
@given(runs_of_a_group)
def test_curve_agrees_with_statsmodels(runs):
    curve = curve_of(runs)
    seen = curve[curve["n_converged"] > 0]
    if seen.empty:
        assert (curve["waiting"] == 1).all()
        return
    other = SurvfuncRight(runs.end, runs.converged)
    np.testing.assert_array_equal(seen["step"], other.surv_times[other.n_events > 0])
    np.testing.assert_allclose(seen["waiting"], other.surv_prob[other.n_events > 0], atol=1e-12)
    np.testing.assert_array_equal(seen["n_at_risk"], other.n_risk[other.n_events > 0])


@settings(deadline=None)
@given(runs_of_a_group)
def test_intervals_hold_the_curve_and_are_in_order(runs):
    curve = curve_of(runs)
    assert (curve["low"] <= curve["waiting"] + 1e-12).all()
    assert (curve["high"] >= curve["waiting"] - 1e-12).all()
    assert curve["low"].is_monotonic_decreasing
    assert curve["high"].is_monotonic_decreasing
    assert curve[["low", "high"]].stack().between(0, 1).all()


def test_without_censoring_intervals_are_exact():
    curve = curve_of(watched([3, 5, 5, 8, 9, 12, 12, 12, 20, 21]))
    for step, low, high in curve[["step", "low", "high"]].to_numpy():
        n_waiting = sum(end > step for end in [3, 5, 5, 8, 9, 12, 12, 12, 20, 21])
        exact = binomtest(n_waiting, 10).proportion_ci(method="exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))


def test_with_censoring_intervals_are_quantiles_of_the_product_of_betas():
    curve = curve_of(watched(MP6, MP6_ENDED)).set_index("step")
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
    median = median_step(exact(end))
    assert (median.low, median.high) == (interval.low, interval.high)
    assert median.earliest == median.latest == np.median(end)


def test_five_runs_do_not_bound_a_median():
    assert median_step(exact([1, 2, 3, 4, 5])) == Median(3, 3, 0, np.inf)


@settings(deadline=None)
@given(runs_of_a_group, st.integers(1, 15))
def test_restricted_mean_is_the_area_under_the_curve(runs, horizon):
    curve = curve_of(runs)
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
    curve = curve_of(runs)
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


# Breast cosmesis data of Finkelstein and Wolfe (1985), Biometrics 41, 933-945: months between which
# breasts of patients treated by radiation alone retracted.
COSMESIS = [
    (45, None), (6, 10), (0, 7), (46, None), (46, None), (7, 16), (17, None), (7, 14), (37, 44),
    (0, 8), (4, 11), (15, None), (11, 15), (22, None), (46, None), (46, None), (25, 37),
    (46, None), (26, 40), (46, None), (27, 34), (36, 44), (46, None), (36, 48), (37, None),
    (40, None), (17, 25), (46, None), (11, 18), (38, None), (5, 12), (37, None), (0, 5),
    (18, None), (24, None), (36, None), (5, 11), (19, 35), (17, 25), (24, None), (32, None),
    (33, None), (19, 26), (37, None), (34, None), (36, None),
]  # fmt: skip
# Their distribution, as Fay and Shaw (2010), Journal of Statistical Software 36(2), print it.
PUBLISHED = {
    (4, 5): 0.0463, (6, 7): 0.0334, (7, 8): 0.0887, (11, 12): 0.0708, (24, 25): 0.0926,
    (33, 34): 0.0818, (38, 40): 0.1209, (46, 48): 0.4656,
}  # fmt: skip


def test_turnbulls_estimate_is_the_published_one():
    masses = turnbull(between(*COSMESIS))
    found = zip(masses.first - 1, masses.last, masses.share, strict=True)
    assert {(a, b): round(share, 4) for a, b, share in found} == pytest.approx(PUBLISHED)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 4), st.booleans()), min_size=1, max_size=6)
)
def test_turnbulls_estimate_is_the_most_likely(spans):
    """Gentleman and Geyer: no mass moved to any one step gains likelihood, and none is lost."""
    runs = between(*((a, a + gap if seen else None) for a, gap, seen in spans))
    masses = turnbull(runs)
    last = np.where(runs.converged, runs.end, np.inf)

    def likelihood(run):
        inside = (masses.first > runs.after[run]) & (masses.last <= last[run])
        return masses.share[inside].sum()

    likelihoods = np.array([likelihood(run) for run in range(len(runs))])
    for step in [*range(1, 12), np.inf]:
        holds = (runs.after < step) & (step <= last)
        assert (holds / likelihoods).sum() <= len(runs) * (1 + 1e-5)
    assert masses.share.sum() == pytest.approx(1)


def test_times_between_two_evaluations_have_their_median_there():
    """True steps 205 to 295, evaluated every 100: not 300 with an interval of 300 to 300."""
    runs = between(*[(200, 300)] * 10)
    assert median_step(runs) == Median(201, 300, 201, 300)
    curve = waiting_curve(runs).set_index("step")
    assert curve["waiting"].to_dict() == {0: 1, 200: 1, 300: 0}
    mean = mean_step(runs, 1000)
    assert (mean.earliest, mean.latest) == (201, 300)
    # Of all such runs up to three in ten may converge earlier, and as many later.
    assert mean.low == pytest.approx(201 * 0.6915, rel=1e-3)
    assert mean.high == pytest.approx(300 + 0.3085 * 700, rel=1e-3)


def test_the_median_of_an_even_number_is_between_the_middle_two():
    assert median_step(exact([10, 20, 40, 90])).latest == 30
    median = median_step(between((0, 10), (10, 20), (30, 40), (80, 90)))
    assert (median.earliest, median.latest) == ((11 + 31) / 2, (20 + 40) / 2)
    assert median_step(exact([10, 30], [True, False])).latest == np.inf


@settings(deadline=None)
@given(runs_of_a_group, st.integers(1, 20))
def test_evaluated_at_every_step_the_mean_is_what_it_is_for_known_times(runs, horizon):
    mean = mean_step(exact(runs.end, runs.converged), horizon)
    assert mean.earliest == mean.latest == pytest.approx(restricted_mean(runs, horizon))


def test_a_difference_can_be_no_finer_than_the_evaluations():
    a, b = between(*[(100, 200)] * 5, (0, 100)), between(*[(100, 200)] * 5, (200, 300))
    difference = difference_of_means(a, b, 1000)
    assert difference.value == pytest.approx(-200 / 6)
    assert difference.high > 99 - 200 / 6 > 0 > difference.low


@pytest.mark.parametrize("every", [50, 100])
def test_intervals_hold_however_rarely_runs_are_evaluated(every):
    """The short version of benchmarks/speed.py; median 523, a tenth and a fifth of it."""
    held = []
    for seed in range(150):
        needed = 523 * np.exp(0.15 * np.random.default_rng(seed).normal(size=20))
        end = (np.ceil(needed / every) * every).astype(int)
        runs = Bracketed(end - every, end, np.ones(20, bool))
        median, mean = median_step(runs), mean_step(runs, 1000)
        held.append(
            [median.low <= 523 <= median.high, mean.low <= 523 * np.exp(0.15**2 / 2) <= mean.high]
        )
    assert np.mean(held, axis=0).min() >= 0.93
