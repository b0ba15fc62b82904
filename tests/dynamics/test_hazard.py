from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu
from scipy.stats.contingency import odds_ratio
from statsmodels.discrete.conditional_models import ConditionalLogit
from statsmodels.duration.hazard_regression import PHReg

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.detours import detour_verdicts
from hmmdyn.dynamics.hazard import RiskSets, _compare, entry_hazards, risk_sets
from hmmdyn.dynamics.occupancy import bag_of_states
from hmmdyn.dynamics.regression import regress_convergence
from hmmdyn.errors import NotEnoughDataError, UsageError
from hmmdyn.simulate.walks import OPTIONAL_STATE, simulate_walks
from tests.dynamics.paths import runs_of


def converge(data):
    return measure_convergence(data, ("accuracy",), threshold=0.5)


def hazards(data, n_states=4, evaluated=None):
    evaluated = np.ones(len(data), dtype=bool) if evaluated is None else evaluated
    return entry_hazards(data, evaluated, converge(data), n_states)


def walks(paths, converged_at, length=20):
    """Runs given as the steps at which they change to the next state listed, and converge."""
    states = []
    for path in paths:
        steps = np.zeros(length, dtype=int)
        for step, state in path:
            steps[step:] = state
        states.append(steps)
    return runs_of(states, [(np.arange(length) >= c) * 1.0 for c in converged_at])


def some_risk_sets(seed, sizes=(6, 5, 4, 4), events=(1, 2, 1, 1)):
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(len(sizes)), sizes)
    converges = np.concatenate(
        [rng.permutation(np.arange(n) < d) for n, d in zip(sizes, events, strict=True)]
    )
    exposed = rng.random((len(label), 1)) < 0.5
    return RiskSets(label, converges, exposed, exposed)


@pytest.mark.parametrize("seed", range(6))
def test_p_ratio_and_interval_equal_enumerating_every_outcome(seed):
    sets = some_risk_sets(seed)
    exposed = sets.entered[:, 0]
    found = _compare(sets, exposed, ~exposed)
    per_set = []
    for label in np.unique(sets.label):
        rows = np.flatnonzero(sets.label == label)
        chosen = combinations(rows, int(sets.converges[rows].sum()))
        per_set.append([int(exposed[list(c)].sum()) for c in chosen])
    totals = np.array([sum(outcome) for outcome in product(*per_set)])
    observed = int((exposed & sets.converges).sum())

    def tails(ratio):
        weights = ratio**totals / (ratio**totals).sum()
        return weights[totals <= observed].sum(), weights[totals >= observed].sum()

    assert found.p == pytest.approx(min(1, 2 * min(tails(1.0))))
    assert found.least_p_slower == pytest.approx(min(1, 2 * (totals == totals.min()).mean()))
    assert found.least_p_faster == pytest.approx(min(1, 2 * (totals == totals.max()).mean()))
    if totals.min() < observed < totals.max():
        weights = found.ratio**totals
        assert weights @ totals / weights.sum() == pytest.approx(observed)
        assert tails(found.low)[1] == pytest.approx(0.025)
        assert tails(found.high)[0] == pytest.approx(0.025)


def test_one_risk_set_is_fishers_exact_test():
    """Conditional odds ratio and its interval as R's fisher.test gives them, by way of SciPy."""
    exposed = np.repeat([True, False], [12, 9])
    converges = np.r_[np.arange(12) < 3, np.arange(9) < 6]
    sets = RiskSets(np.zeros(21, dtype=int), converges, exposed[:, None], exposed[:, None])
    found = _compare(sets, exposed, ~exposed)
    expected = odds_ratio([[3, 9], [6, 3]], kind="conditional")
    interval = expected.confidence_interval()
    assert found.ratio == pytest.approx(expected.statistic, rel=1e-4)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-4)


def test_thousands_of_runs_do_not_underflow():
    n = 3000
    exposed = np.arange(n) % 2 == 0
    label = np.repeat(np.arange(n // 2), 2)  # pairs; always the one that is not exposed
    found = _compare(
        RiskSets(label, ~exposed, exposed[:, None], exposed[:, None]), exposed, ~exposed
    )
    assert found.p < 1e-300
    assert found.ratio == found.low == 0
    assert found.high == pytest.approx(-np.log(0.025) / 1500, rel=0.01)  # like the rule of three
    some = ~exposed ^ np.isin(label, [3, 4])  # but in two pairs
    found = _compare(RiskSets(label, some, exposed[:, None], exposed[:, None]), exposed, ~exposed)
    assert found.ratio == pytest.approx(2 / 1498)


def test_without_ties_the_ratio_is_that_of_a_cox_model_with_a_time_varying_covariate():
    data = simulate_walks("detour", 30, random_state=1)
    data["step"] = 1000 * data["step"] + data["seed"].astype(int)  # no two runs at the same step
    convergence = converge(data)
    ours = hazards(data)
    data = data.merge(
        convergence.table[["run", "converged", "step"]], on="run", suffixes=("", "_c")
    )
    has_entered = (data["state"] == OPTIONAL_STATE).groupby(data["run"], sort=False).cummax()
    exit_ = data.groupby("run", sort=False)["step"].shift(-1)
    kept = exit_ <= data["step_c"]
    status = (exit_ == data["step_c"]) & data["converged"]
    cox = PHReg(
        exit_[kept].to_numpy(),
        has_entered[kept].to_numpy(dtype=float)[:, None],
        status=status[kept].to_numpy(dtype=int),
        entry=data.loc[kept, "step"].to_numpy(),
    ).fit(disp=0)
    assert np.exp(cox.params[0]) == pytest.approx(
        ours.loc[OPTIONAL_STATE, "hazard_ratio"], rel=1e-4
    )


def test_with_ties_the_ratio_is_that_of_conditional_logistic_regression():
    data = simulate_walks("harmless", 30, every=10, random_state=2)
    sets = risk_sets(data, np.ones(len(data), dtype=bool), converge(data), 4)
    assert np.bincount(sets.label, weights=sets.converges).max() >= 3
    with pytest.warns(UserWarning, match="Dropped"):
        model = ConditionalLogit(
            sets.converges.astype(int),
            sets.entered[:, [OPTIONAL_STATE]].astype(float),
            groups=sets.label,
        )
    expected = np.exp(model.fit(disp=0).params[0])
    assert hazards(data).loc[OPTIONAL_STATE, "hazard_ratio"] == pytest.approx(expected, rel=1e-4)


def test_a_risk_set_holds_who_had_not_converged_with_the_state_known_before():
    data = walks(
        [[(2, 1), (6, 2)], [(4, 2)], [(8, 1)]],
        [6, 4, 99],
    )
    sets = risk_sets(data, np.ones(len(data), dtype=bool), converge(data), 3)
    assert sets.label.tolist() == [0, 1, 0, 0, 1]  # at step 4 all three, at step 6 r0 and r2
    assert sets.converges.tolist() == [False, True, True, False, False]
    assert sets.inside[:, 1].tolist() == [True, True, False, False, False]
    assert not sets.entered[:, 2].any()  # r0 and r1 enter it as they converge


def test_a_run_is_at_risk_only_while_it_could_still_begin_to_hold_the_threshold():
    """Sustained for three evaluations: a run that ends at step 9 cannot begin one after step 7."""
    data = walks([[(2, 1)]] * 3, [7, 8, 99])
    data = data[(data["run"] != "r2") | (data["step"] < 10)]
    held = measure_convergence(data, ("accuracy",), threshold=0.5, sustained=3)
    sets = risk_sets(data, np.ones(len(data), dtype=bool), held, 2)
    assert sets.label.tolist() == [0, 0, 1, 0]  # r2 is compared at step 7, and not at step 8


def test_a_state_entered_after_the_last_evaluation_before_convergence_is_not_held_against_it():
    """Evaluated every 5 steps: what happens after the last one may follow convergence, or not."""
    data = walks([[(7, 1)], [(13, 1)], [(3, 1)]], [10, 15, 99])
    evaluated = data["step"].to_numpy() % 5 == 0
    sets = risk_sets(data, evaluated, converge(data[evaluated]), 2)
    assert sets.label.tolist() == [0, 0, 1, 0, 1]
    assert sets.entered[:, 1].tolist() == [False, False, False, True, True]
    only_late = data[data["run"] != "r2"]
    evaluated = only_late["step"].to_numpy() % 5 == 0
    found = entry_hazards(only_late, evaluated, converge(only_late[evaluated]), 2)
    assert found["effect"].tolist() == ["cannot tell", "cannot tell"]
    assert found.loc[1, "account"].startswith("Runs enter it only where it was not evaluated")
    once_converged = walks([[(10, 1)], [(15, 1)]], [10, 15])
    evaluated = once_converged["step"].to_numpy() % 5 == 0
    found = entry_hazards(once_converged, evaluated, converge(once_converged[evaluated]), 2)
    assert found["effect"].tolist() == ["cannot tell", "none"]
    assert found.loc[1, "account"].startswith("Runs enter it only once they have converged")


@pytest.mark.parametrize(("first", "p", "effect"), [(0, 2 / 45, "faster"), (1, 1, "cannot tell")])
def test_a_test_that_only_a_fast_course_could_have_passed_has_its_p_either_way(first, p, effect):
    """One of 45 runs converges. Only one enters state 1: to be that one is rare, not to be is not.

    Without its p where nothing was found, groups could not be corrected for it.
    """
    found = hazards(walks([[(1, 1)]] + [[]] * 44, [5 if i == first else 99 for i in range(45)]), 2)
    assert found.loc[1, "effect"] == effect
    assert found.loc[1, "p"] == pytest.approx(p)
    assert found.loc[1, "p_corrected"] == pytest.approx(p)
    assert found.loc[1, "least_p_slower"] == 1


def test_groups_are_never_compared_with_each_other():
    a = simulate_walks("detour", 20, random_state=3)
    b = simulate_walks("detour", 20, random_state=4).assign(group="b")
    moved = b.assign(step=b["step"] * 3 + 1)
    columns = ["hazard_ratio", "ratio_low", "ratio_high", "p"]
    together, apart = (hazards(pd.concat([a, x], ignore_index=True)) for x in (b, moved))
    pd.testing.assert_frame_equal(together[columns], apart[columns])
    one_each = pd.concat([a[a["run"] == "seed0"], b[b["run"] == "seed1"]], ignore_index=True)
    assert not hazards(one_each)["effect"].isin(["slower", "faster"]).any()
    assert hazards(one_each)["p"].isna().all()


def test_a_state_that_no_run_converges_from_has_a_bound_and_no_infinity():
    """Complete separation: six runs converge one by one, six are caught in state 1."""
    data = walks([[(1, 1)]] * 6 + [[]] * 6, [99] * 6 + list(range(3, 9)))
    found = hazards(data, 2).loc[1]
    assert found["effect"] == "slower"
    assert found["hazard_ratio"] == found["ratio_low"] == found["ratio_inside"] == 0
    assert 0 < found["ratio_high"] < 1
    # At each of the six steps, one of the runs outside converges.
    assert found["p"] == pytest.approx(2 * np.prod([n / (n + 6) for n in range(1, 7)]))
    assert "hazard ratio below 0." in found["account"]


def test_the_ratio_in_a_state_and_after_it_are_told_apart():
    found = hazards(simulate_walks("detour", 40, random_state=5)).loc[OPTIONAL_STATE]
    assert found["effect"] == "slower"
    assert found["ratio_inside"] < 0.1 < found["ratio_left"]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (walks([[(2, 1)], [], []], [99, 99, 99]), "No run is seen to converge"),
        (walks([[(2, 1)], [], []], [5, 5, 5]), "all of them converged at once"),
        (walks([[(2, 1)]], [5]), "All runs enter it before any converges"),
        (walks([[(0, 1)], [(1, 1)], [(2, 1)]], [5, 6, 7]), "All runs enter it before any converg"),
        (walks([[], [], []], [5, 6, 7]), "No run enters it"),
        (walks([[(8, 1)], [], []], [99, 3, 4]), "No run has entered it while others converge"),
        (walks([[(2, 1)], [], []], [5, 6, 7]), "Even if the runs that entered it"),
        (walks([[(0, 0)], [(0, 0)], [(1, 1)]], [0, 0, 0]), "only once they have converged"),
    ],
)
def test_what_the_runs_cannot_tell_is_said_without_a_number(data, words):
    found = hazards(data, 2).loc[1]
    assert words in found["account"]
    numbers = ["hazard_ratio", "ratio_low", "ratio_high", "p", "p_corrected", "ratio_inside"]
    assert found[numbers].isna().all()
    cannot_delay = "cannot delay" in found["account"]
    assert found["effect"] == ("none" if cannot_delay else "cannot tell")


def test_a_state_of_runs_without_an_outcome_is_in_no_comparison():
    data = walks([[], [], [(2, 1)]], [5, 6, 7])
    data.loc[data["run"] == "r2", "accuracy"] = np.nan
    found = hazards(data, 2, evaluated=data["accuracy"].notna().to_numpy())
    assert found["account"].str.startswith(("All runs enter it", "No run enters it")).all()


def test_the_order_of_runs_and_the_labels_of_states_do_not_matter():
    data = simulate_walks("detour", 15, random_state=6)
    shuffled = pd.concat([data[data["run"] == f"seed{i}"] for i in range(14, -1, -1)])
    label = np.array([2, 3, 0, 1])
    shuffled = shuffled.assign(state=label[shuffled["state"]]).reset_index(drop=True)
    numbers = ["hazard_ratio", "ratio_low", "ratio_high", "p", "p_corrected"]
    found = hazards(shuffled).loc[label, numbers].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, hazards(data)[numbers])


def verdicts(world, n_runs, n_simulations):
    """Over simulations: the verdict on state 1, p of its hazards, and p of visited or not."""
    found = []
    for seed in range(n_simulations):
        data = simulate_walks(world, n_runs, random_state=seed)
        convergence, bags = converge(data), bag_of_states(data, 4)
        try:
            regression = regress_convergence(bags, convergence, data)
        except NotEnoughDataError:
            regression = None
        judged = detour_verdicts(bags, convergence, regression, data, data)
        ends = convergence.table.set_index("run").query("converged")["step"]
        visits = bags.set_index("run").loc[ends.index, "state_1"] > 0
        both = 0 < visits.sum() < len(visits)
        found.append(
            {
                "confirmed": (judged["verdict"] == "confirmed detour").any(),
                "p": judged.loc[OPTIONAL_STATE, "p"],
                "naive": mannwhitneyu(ends[visits], ends[~visits]).pvalue if both else 1.0,
            }
        )
    return pd.DataFrame(found)


@pytest.mark.parametrize(("n_runs", "n_simulations"), [(5, 60), (10, 60), (40, 60)])
def test_a_harmless_state_is_rarely_called_a_detour(n_runs, n_simulations):
    found = verdicts("harmless", n_runs, n_simulations)
    assert found["confirmed"].mean() <= 0.07
    assert (found["p"] < 0.05).mean() <= 0.07
    if n_runs == 40:  # where the comparison of those that visited it with the others is wrong
        assert (found["naive"] < 0.05).mean() > 0.5


def test_a_state_that_doubles_the_time_to_converge_is_found():
    assert verdicts("detour", 40, 40)["confirmed"].mean() >= 0.8


def test_an_unknown_world_is_refused():
    with pytest.raises(UsageError, match="'world' must be one of"):
        simulate_walks("flat", 3)
