import numpy as np
import pytest
from scipy.stats import f as f_distribution

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.occupancy import bag_of_states
from hmmdyn.dynamics.regression import regress_convergence
from hmmdyn.errors import NotEnoughDataError
from tests.dynamics.paths import detour_world, runs_of


def test_regression_equals_the_textbook_formulas(world):
    """Coefficients by lstsq, R² centred, F with K-1 and N-K degrees of freedom."""
    data, bags, convergence = world
    result = regress_convergence(bags, convergence, data)
    X = bags.filter(like="state_").to_numpy()
    y = convergence.table["time"].to_numpy()
    beta, *_ = np.linalg.lstsq(X, y, rcond=None)
    residual, total = ((y - X @ beta) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    np.testing.assert_allclose(result.coefficients["coefficient"], beta, rtol=1e-8)
    assert result.r_squared == pytest.approx(1 - residual / total)
    f = ((total - residual) / 3) / (residual / 12)
    assert result.f_statistic == pytest.approx(f)
    assert result.p == pytest.approx(f_distribution.sf(f, 3, 12))
    variance = residual / 12 * np.diag(np.linalg.inv(X.T @ X))
    np.testing.assert_allclose(result.coefficients["std_error"], np.sqrt(variance), rtol=1e-6)


def test_published_r2_and_p_fit_these_degrees_of_freedom():
    # Hu 2023, CIFAR-100: 40 seeds, 5 states, R² 0.094, p 0.469.
    f = (0.094 / 4) / ((1 - 0.094) / 35)
    assert f_distribution.sf(f, 4, 35) == pytest.approx(0.469, abs=0.003)


def test_leaving_a_run_out_equals_fitting_without_it(world):
    data, bags, convergence = world
    X = bags.filter(like="state_").to_numpy()
    y = convergence.table["time"].to_numpy()
    predicted, mean = [], []
    for i in range(len(y)):
        others = np.arange(len(y)) != i
        predicted.append(X[i] @ np.linalg.lstsq(X[others], y[others], rcond=None)[0])
        mean.append(y[others].mean())
    expected = 1 - ((y - predicted) ** 2).sum() / ((y - np.array(mean)) ** 2).sum()
    regression = regress_convergence(bags, convergence, data)
    assert regression.r_squared_loo == pytest.approx(expected)
    assert regression.r_squared_loo < regression.r_squared


def test_a_state_of_one_run_leaves_nothing_to_predict_that_run_from(world):
    data, bags, convergence = world
    alone = data.assign(state=data["state"].where((data["run"] != "r3") | (data["state"] < 3), 4))
    bags = bag_of_states(alone, 5)
    assert np.isnan(regress_convergence(bags, convergence, alone).r_squared_loo)


def test_noise_predicts_no_run_from_the_others():
    """Five states, 20 runs: R² is about 4/19 from nothing; left out, it is no better than none."""
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        data = runs_of(
            [rng.choice(5, size=60, p=rng.dirichlet(np.ones(5))) for _ in range(20)],
            [(np.arange(60) >= rng.integers(5, 55)) * 1.0 for _ in range(20)],
        )
        convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
        found.append(regress_convergence(bag_of_states(data, 5), convergence, data))
    assert np.mean([r.r_squared for r in found]) == pytest.approx(4 / 19, abs=0.06)
    assert np.mean([r.r_squared_loo for r in found]) < 0


def test_a_fit_without_residual_is_refused():
    paths = [np.repeat([0, 1], [n, 30 - n]) for n in (5, 9, 14, 20, 11)]
    data = runs_of(paths, [p.astype(float) for p in paths])
    convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    with pytest.raises(NotEnoughDataError, match="exactly"):
        regress_convergence(bag_of_states(data, 2), convergence, data)


def test_a_change_point_alone_gives_high_r2_and_the_warning_says_why():
    """Nothing but a change point between two states, R² near one (docs/method/statements.md)."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(10, 90, size=40)
    paths = [np.repeat([0, 1], [n, 100 - n]) for n in lengths]
    lags = rng.integers(0, 2, size=40)
    accuracies = [(np.arange(100) >= n + lag) * 1.0 for n, lag in zip(lengths, lags, strict=True)]
    data = runs_of(paths, accuracies)
    convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    regression = regress_convergence(bag_of_states(data, 2), convergence, data)
    assert regression.r_squared > 0.99
    assert "state 0 lies before convergence and state 1 lies after it" in regression.warning


def test_undetermined_regressions_are_refused_not_computed(world):
    data, bags, convergence = world
    few = data[data["run"].isin(["r0", "r1", "r2", "r3"])]
    with pytest.raises(NotEnoughDataError, match="needs at least 5 runs"):
        regress_convergence(bags[bags["run"].isin(few["run"])], convergence, few)
    with pytest.raises(NotEnoughDataError, match="fixed proportions"):
        regress_convergence(bags.assign(state_1=bags["state_0"]), convergence, data)
    same = measure_convergence(data.assign(accuracy=1.0), ("accuracy",), threshold=0.5)
    with pytest.raises(NotEnoughDataError, match="same share"):
        regress_convergence(bags, same, data)


def test_a_state_with_the_same_share_in_every_run_gets_no_coefficient():
    rng = np.random.default_rng(3)
    paths = [np.repeat([0, 1, 2], [4, n, 26 - n]) for n in rng.integers(3, 20, size=12)]
    data = runs_of(paths, [(np.arange(30) >= (p < 2).sum() + rng.integers(2)) * 1.0 for p in paths])
    convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    bags = bag_of_states(data, 3)
    regression = regress_convergence(bags, convergence, data)
    assert np.isnan(regression.coefficients["coefficient"][0])
    # The other two shares still sum to a constant, so this is the slope of a simple regression.
    slope = np.polyfit(bags["state_1"], convergence.table["time"], 1)[0]
    estimate = regression.coefficients["coefficient"]
    assert estimate[1] - estimate[2] == pytest.approx(slope)
    correlation = np.corrcoef(bags["state_1"], convergence.table["time"])[0, 1]
    assert regression.r_squared == pytest.approx(correlation**2)
    still = runs_of([np.repeat([0, 1], 5)] * 4, [(np.arange(10) >= i) * 1.0 for i in range(4)])
    with pytest.raises(NotEnoughDataError, match="same share of their time in each state"):
        regress_convergence(
            bag_of_states(still, 2),
            measure_convergence(still, ("accuracy",), threshold=0.5),
            still,
        )


def test_censored_runs_are_counted_in_the_warning():
    data = detour_world()
    data.loc[data["run"] == "r3", "accuracy"] = 0.0
    convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    regression = regress_convergence(bag_of_states(data, 4), convergence, data)
    assert regression.n_censored == 1
    assert "1 run never converged" in regression.warning
