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
from hmmdyn.dynamics.hazard import (
    STEP,
    RiskSets,
    _compare,
    entry_hazards,
    origin_of,
    risk_sets,
)
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


def sets_of(data, state, evaluated=None):
    evaluated = np.ones(len(data), dtype=bool) if evaluated is None else evaluated
    return risk_sets(data, evaluated, converge(data), state, origin_of(data, state))


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
    exposed = rng.random(len(label)) < 0.5
    return RiskSets(label, converges, exposed, exposed)


@pytest.mark.parametrize("seed", range(6))
def test_p_ratio_and_interval_equal_enumerating_every_outcome(seed):
    sets = some_risk_sets(seed)
    exposed = sets.entered
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

    assert found.p == pytest.approx(tails(1.0)[0])
    assert found.least_p == pytest.approx((totals == totals.min()).mean())
    if totals.min() < observed < totals.max():
        weights = found.ratio**totals
        assert weights @ totals / weights.sum() == pytest.approx(observed)
        assert tails(found.low)[1] == pytest.approx(0.025)
        assert tails(found.high)[0] == pytest.approx(0.025)


def test_one_risk_set_is_fishers_exact_test():
    """Conditional odds ratio and its interval as R's fisher.test gives them, by way of SciPy."""
    exposed = np.repeat([True, False], [12, 9])
    converges = np.r_[np.arange(12) < 3, np.arange(9) < 6]
    sets = RiskSets(np.zeros(21, dtype=int), converges, exposed, exposed)
    found = _compare(sets, exposed, ~exposed)
    expected = odds_ratio([[3, 9], [6, 3]], kind="conditional")
    interval = expected.confidence_interval()
    assert found.ratio == pytest.approx(expected.statistic, rel=1e-4)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-4)


def test_thousands_of_runs_do_not_underflow():
    n = 3000
    exposed = np.arange(n) % 2 == 0
    label = np.repeat(np.arange(n // 2), 2)  # pairs; always the one that is not exposed
    found = _compare(RiskSets(label, ~exposed, exposed, exposed), exposed, ~exposed)
    assert found.p < 1e-300
    assert found.ratio == found.low == 0
    assert found.high == pytest.approx(-np.log(0.025) / 1500, rel=0.01)  # like the rule of three
    some = ~exposed ^ np.isin(label, [3, 4])  # but in two pairs
    found = _compare(RiskSets(label, some, exposed, exposed), exposed, ~exposed)
    assert found.ratio == pytest.approx(2 / 1498)


def test_without_ties_the_ratio_is_that_of_a_cox_model_with_a_time_varying_covariate():
    data = simulate_walks("detour", 30, random_state=1)
    # All begin at step 0, and no two converge at the same one.
    data["step"] = 1000 * data["step"] + data["seed"].astype(int) * (data["step"] > 0)
    convergence = converge(data)
    ours = hazards(data)
    data = data.merge(
        convergence.table[["run", "converged", "step"]], on="run", suffixes=("", "_c")
    )
    inside = (data["state"] == OPTIONAL_STATE).groupby(data["run"], sort=False)
    # Entered once it has been inside for three checkpoints.
    has_entered = (inside.transform(lambda run: run.rolling(3).sum()) == 3).groupby(data["run"])
    has_entered = has_entered.cummax()
    unclear = inside.cummax() & ~has_entered  # not compared
    exit_ = data.groupby("run", sort=False)["step"].shift(-1)
    kept = (exit_ <= data["step_c"]) & ~unclear
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
    data = simulate_walks("harmless", 40, every=4, random_state=2)
    sets = sets_of(data, OPTIONAL_STATE)
    assert np.bincount(sets.label, weights=sets.converges).max() >= 2
    with pytest.warns(UserWarning, match="Dropped"):
        model = ConditionalLogit(
            sets.converges.astype(int),
            sets.entered[:, None].astype(float),
            groups=sets.label,
        )
    expected = np.exp(model.fit(disp=0).params[0])
    assert hazards(data).loc[OPTIONAL_STATE, "hazard_ratio"] == pytest.approx(expected, rel=1e-4)


def test_a_risk_set_holds_who_had_not_converged_with_the_state_known_before():
    data = walks(
        [[(1, 1), (8, 2)], [(5, 2)], [(10, 1)]],
        [8, 5, 99],
    )
    sets = sets_of(data, 1)
    assert sets.label.tolist() == [0, 1, 0, 0, 1]  # at step 5 all three, at step 8 r0 and r2
    assert sets.converges.tolist() == [False, True, True, False, False]
    assert sets.inside.tolist() == sets.entered.tolist() == [True, True, False, False, False]
    assert not sets_of(data, 2).entered.any()  # r0 and r1 enter it as they converge


def test_a_state_is_entered_at_the_third_checkpoint_on_end_in_it():
    """A change between two other states may touch it in passing: that is no visit."""
    data = walks([[(2, 1), (4, 0), (6, 1)], [(3, 1), (4, 2)], []], [9, 6, 12])
    sets = sets_of(data, 1)
    # At steps 6, 9 and 12; r0 and r1 are not compared while it is not clear whether they visit it.
    assert sets.label.tolist() == [1, 0, 1, 2]
    assert sets.entered.tolist() == [True, False, False, False]
    assert not sets_of(data, 2).entered.any()  # r1, as it converges


def test_runs_are_compared_from_the_state_before_on():
    """r2 is in the first state when r0 converges: it has not come as far, and is not compared."""
    data = walks([[(2, 1), (5, 2)], [(4, 1)], [(12, 1)]], [10, 8, 16])
    origin = origin_of(data, 2)
    assert (origin.state_before, origin.clock) == (1, STEP)  # one run enters it: by step
    assert origin.since.tolist() == [2, 4, 12]
    sets = sets_of(data, 2)
    assert sets.label.tolist() == [0, 1, 0, 2]  # at step 8 r0 and r1, later one run each
    assert sets.entered.tolist() == [True, True, False, False]


def test_time_is_counted_from_the_state_before_unless_runs_enter_at_a_step():
    own = walks([[(3, 1), (7, 2)], [(8, 1), (12, 2)], [(5, 1)]], [15, 18, 12])
    origin = origin_of(own, 2)
    assert origin.clock == "since the state before"
    sets = sets_of(own, 2)  # 7, 10 and 12 steps after the state before
    assert sets.label.tolist() == [0, 1, 2, 0, 1, 0]
    assert sets.converges.tolist() == [False, False, True, False, True, True]
    assert sets.entered.tolist() == [True, True, True, True, True, False]
    by_schedule = walks([[(3, 1), (9, 2)], [(7, 1), (9, 2)], [(5, 1)]], [15, 18, 12])
    assert origin_of(by_schedule, 2).clock == STEP


def test_a_run_is_at_risk_only_while_it_could_still_begin_to_hold_the_threshold():
    """Sustained for three evaluations: a run that ends at step 9 cannot begin one after step 7."""
    data = walks([[(2, 1)]] * 3, [7, 8, 99])
    data = data[(data["run"] != "r2") | (data["step"] < 10)]
    held = measure_convergence(data, ("accuracy",), threshold=0.5, sustained=3)
    every = np.ones(len(data), dtype=bool)
    sets = risk_sets(data, every, held, 1, origin_of(data, 1))
    assert sets.label.tolist() == [0, 0, 1, 0]  # r2 is compared at step 7, and not at step 8


def test_a_state_entered_after_the_last_evaluation_before_convergence_is_not_held_against_it():
    """Evaluated every 5 steps: what happens after the last one may follow convergence, or not."""
    data = walks([[(6, 1)], [(11, 1)], [(3, 1)]], [10, 15, 99])
    evaluated = data["step"].to_numpy() % 5 == 0
    sets = risk_sets(data, evaluated, converge(data[evaluated]), 1, origin_of(data, 1))
    assert sets.label.tolist() == [0, 0, 1, 0, 1]
    assert sets.entered.tolist() == [False, False, False, True, True]
    only_late = data[data["run"] != "r2"]
    evaluated = only_late["step"].to_numpy() % 5 == 0
    found = entry_hazards(only_late, evaluated, converge(only_late[evaluated]), 2)
    assert found["effect"].tolist() == ["on everyone's way", "cannot tell"]
    assert found.loc[1, "account"].startswith("Runs enter it only where it was not evaluated")
    once_converged = walks([[(10, 1)], [(15, 1)]], [10, 15])
    evaluated = once_converged["step"].to_numpy() % 5 == 0
    found = entry_hazards(once_converged, evaluated, converge(once_converged[evaluated]), 2)
    assert found["effect"].tolist() == ["on everyone's way", "after convergence"]
    assert found.loc[1, "account"].startswith("Runs enter it only once they have converged")


def test_a_state_that_no_course_could_show_to_delay_is_not_tested():
    """One of 45 runs converges, and one enters state 1: not to be that one is no wonder.

    It has no p, so that states which can be tested need not be corrected for it.
    """
    found = hazards(walks([[(1, 1)]] + [[]] * 44, [99, 6] + [99] * 43), 2)
    assert found.loc[1, "effect"] == "cannot tell"
    assert found.loc[1, "least_p"] == pytest.approx(44 / 45)
    assert np.isnan([found.loc[1, "p"], found.loc[1, "p_corrected"]]).all()


def test_states_on_everyones_way_leave_the_correction_alone():
    """Today's correction must not pay for what cannot be a detour: p stays as it is."""
    data = walks(
        [[(3, 1), (12, 2)]] * 6 + [[(i, 2)] for i in range(4, 10)], [17] * 6 + [*range(6, 12)]
    )
    found = hazards(data, 3)
    assert found["effect"].tolist() == ["on everyone's way", "slower", "on everyone's way"]
    assert found.loc[1, "p_corrected"] == found.loc[1, "p"]
    assert found.loc[[0, 2], "p"].isna().all()


def test_a_state_that_one_group_never_enters_is_on_the_other_groups_way():
    slow = walks([[(3, 1)]] * 8, range(11, 19)).assign(group="slow")
    quick = walks([[]] * 8, range(4, 12))
    found = hazards(pd.concat([quick, slow], ignore_index=True), 2)
    assert found.loc[1, "effect"] == "on everyone's way"


def test_groups_are_never_compared_with_each_other():
    a = simulate_walks("detour", 20, random_state=3)
    b = simulate_walks("detour", 20, random_state=4).assign(group="b")
    moved = b.assign(step=b["step"] * 3 + 1)
    columns = ["hazard_ratio", "ratio_low", "ratio_high", "p"]
    together, apart = (hazards(pd.concat([a, x], ignore_index=True)) for x in (b, moved))
    pd.testing.assert_frame_equal(together[columns], apart[columns])
    one_each = pd.concat([a[a["run"] == "seed0"], b[b["run"] == "seed1"]], ignore_index=True)
    assert not (hazards(one_each)["effect"] == "slower").any()
    assert hazards(one_each)["p"].isna().all()


def test_a_state_that_no_run_converges_from_has_a_bound_and_no_infinity():
    """Complete separation: six runs converge one by one, six are caught in state 1."""
    data = walks([[(1, 1)]] * 6 + [[]] * 6, [99] * 6 + list(range(3, 9)))
    found = hazards(data, 2).loc[1]
    assert found["effect"] == "slower"
    assert found["hazard_ratio"] == found["ratio_low"] == found["ratio_inside"] == 0
    assert 0 < found["ratio_high"] < 1
    # At each of five steps, one of the runs outside converges; at the first, none is inside yet.
    assert found["p"] == pytest.approx(np.prod([n / (n + 6) for n in range(1, 6)]))
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
        (walks([[(2, 1)]], [6]), "It lies on the way of every run"),
        (walks([[(0, 1)], [(1, 1)], [(2, 1)]], [5, 6, 7]), "It lies on the way of every run"),
        (walks([[(2, 1)], [(1, 1)], []], [6, 7, 3]), "all runs still in training had entered"),
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
    untested = {"It lies on the way": "on everyone's way", "only once": "after convergence"}
    expected = [effect for start, effect in untested.items() if start in words]
    assert found["effect"] == (expected or ["cannot tell"])[0]


def test_a_state_of_runs_without_an_outcome_is_in_no_comparison():
    data = walks([[], [], [(2, 1)]], [5, 6, 7])
    data.loc[data["run"] == "r2", "accuracy"] = np.nan
    found = hazards(data, 2, evaluated=data["accuracy"].notna().to_numpy())
    assert found["effect"].tolist() == ["on everyone's way", "cannot tell"]
    assert found.loc[1, "account"].startswith("No run enters it")


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
    for seed in range(1000, 1000 + n_simulations):
        data = simulate_walks(world, n_runs, n_checkpoints=150, random_state=seed)
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


@pytest.mark.parametrize(("n_runs", "n_simulations"), [(10, 40), (40, 50)])
def test_a_harmless_state_is_rarely_called_a_detour(n_runs, n_simulations):
    found = verdicts("harmless", n_runs, n_simulations)
    assert found["confirmed"].mean() <= 0.07
    assert (found["p"] < 0.025).mean() <= 0.07
    if n_runs == 40:  # where the comparison of those that visited it with the others is wrong
        assert (found["naive"] < 0.05).mean() > 0.5


def test_a_state_that_doubles_the_time_to_converge_is_found():
    assert verdicts("detour", 40, 20)["confirmed"].mean() >= 0.8


def test_an_unknown_world_is_refused():
    with pytest.raises(UsageError, match="'world' must be one of"):
        simulate_walks("flat", 3)
