from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.detours import detour_verdicts
from hmmdyn.dynamics.dissimilarity import dissimilarity
from hmmdyn.dynamics.groups import _independence_p, _over_groups, compare_groups
from hmmdyn.dynamics.occupancy import bag_of_states
from hmmdyn.dynamics.regression import regress_convergence
from hmmdyn.dynamics.ways import fork_choices
from hmmdyn.results.verdicts import (
    AFTER,
    CANNOT_TELL,
    CONFIRMED,
    FLAG_ONLY,
    NO_EVIDENCE,
    ON_THE_WAY,
    SLOWS,
)
from hmmdyn.simulate.walks import OPTIONAL_STATE, simulate_walks
from tests.simulate import random_parameters

PARAMETERS = random_parameters(4, 3, "diag")


def changes(states):
    before = states.groupby(["group", "run"])["state"].shift()
    moved = before.notna() & (before != states["state"])
    return pd.DataFrame(
        {
            "group": states["group"],
            "run": states["run"],
            "from_state": before,
            "to_state": states["state"],
        }
    )[moved].astype({"from_state": int})


def compared(data, convergence="measured"):
    if isinstance(convergence, str):
        convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    occupancy = bag_of_states(data, 4)
    return compare_groups(
        data, data, occupancy, changes(data), fork_choices(data), convergence, PARAMETERS
    )


def worlds(**of_group):
    """Groups of simulated runs; their runs have the same names."""
    return pd.concat(
        [
            simulate_walks(world, n, random_state=i).assign(group=group)
            for i, (group, (world, n)) in enumerate(of_group.items())
        ],
        ignore_index=True,
    )


def walks(**of_group):
    """Groups of runs that walk the given paths, ten checkpoints in each state."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "group": group,
                    "run": f"seed{i}",
                    "seed": i,
                    "step": np.arange(10 * len(path)),
                    "state": np.repeat(path, 10),
                    "accuracy": (np.arange(10 * len(path)) >= 15 + i).astype(float),
                }
            )
            for group, paths in of_group.items()
            for i, path in enumerate(paths)
        ],
        ignore_index=True,
    ).astype({"seed": "Int64"})


def test_one_group_has_nothing_to_compare():
    assert compared(worlds(a=("detour", 5))) is None


def test_a_group_has_the_numbers_it_has_alone():
    data = worlds(a=("detour", 20), b=("harmless", 15))
    found = compared(data)
    for row, (group, n) in zip(
        found.groups.itertuples(index=False), [("a", 20), ("b", 15)], strict=True
    ):
        alone = data[data["group"] == group].reset_index(drop=True)
        bags = bag_of_states(alone, 4)
        convergence = measure_convergence(alone, ("accuracy",), threshold=0.5)
        regression = regress_convergence(bags, convergence, alone)
        within = dissimilarity(bags, PARAMETERS.means)
        assert (row.group, row.n_runs, row.n_states_visited) == (group, n, 4)
        assert row.n_converged == convergence.table["converged"].sum()
        assert (row.emission, row.total_variation) == (within.emission, within.total_variation)
        assert row.forking
        theirs = found.regressions.set_index("group").loc[group]
        assert theirs["r_squared"] == pytest.approx(regression.r_squared)
        assert theirs["p"] == pytest.approx(regression.p)
        assert theirs["why_not"] == ""
        expected = detour_verdicts(bags, convergence, regression, alone, alone)
        verdicts = found.detours[found.detours["group"] == group].reset_index(drop=True)
        same = ["state", "optional", "coefficient", "flag", "hazard_ratio", "p"]
        pd.testing.assert_frame_equal(verdicts[same], expected[same])


def test_a_detour_of_one_recipe_is_found_in_that_one():
    found = compared(worlds(detour=("detour", 40), harmless=("harmless", 40)))
    state = found.detours[found.detours["state"] == OPTIONAL_STATE].set_index("group")
    assert state.loc["detour", "verdict"] == CONFIRMED
    assert state.loc["harmless", "verdict"] != CONFIRMED


def test_verdicts_that_do_not_survive_all_groups_are_taken_back():
    p = np.array([0.0005, 0.015, 0.01, 0.02, 0.25, np.nan])
    within = np.array([0.0005, 0.015, 0.01, 0.03, 0.25, np.nan])
    flag = np.array([True, True, False, False, False, False])
    verdict = [CONFIRMED, CONFIRMED, SLOWS, NO_EVIDENCE, NO_EVIDENCE, CANNOT_TELL]
    table = pd.DataFrame({"p": p, "p_corrected": within, "flag": flag, "verdict": verdict})
    table["reason"] = "It is so."
    kept = _over_groups(table)
    assert kept["verdict"].tolist() == [CONFIRMED, FLAG_ONLY, NO_EVIDENCE, *verdict[3:]]
    np.testing.assert_allclose(kept["p_corrected"][:3], [0.0025, 0.025, 0.025])
    assert kept["p_corrected"][3] == 0.03  # no smaller than within its group
    assert kept["reason"][0] == "It is so."
    assert "all groups, p is 0.025: no longer significant" in kept["reason"][1]


def test_groups_that_fork_differently():
    left, right = [0, 1, 3], [0, 2, 3]
    found = compared(walks(a=[left] * 9 + [right], b=[right] * 9 + [left]))
    assert found.groups["forking"].tolist() == [True, True]
    assert found.groups["path"].tolist() == [(0, 1, 3), (0, 2, 3)]
    assert found.groups["n_on_path"].tolist() == [9, 9]
    forks = found.forks
    assert set(forks["from_state"]) == {0}
    assert forks[["to_state", "group", "n_runs"]].to_numpy().tolist() == [
        [1, "a", 9], [1, "b", 1], [2, "a", 1], [2, "b", 9],
    ]  # fmt: skip
    assert forks["p"].unique() == pytest.approx([fisher_exact([[9, 1], [1, 9]]).pvalue])
    pair = found.dissimilarities.iloc[0]
    assert pair["p"] < 0.01
    assert pair["between"] > max(pair["within_a"], pair["within_b"])


def test_groups_that_are_lines_do_not_fork_though_the_joint_map_does():
    found = compared(walks(a=[[0, 1, 3]] * 4, b=[[0, 2, 3]] * 4))
    assert found.groups["forking"].tolist() == [False, False]
    assert found.groups["n_states_visited"].tolist() == [3, 3]
    assert found.forks["p"].iloc[0] == pytest.approx(2 / 70)  # all on either side, of C(8, 4)


def test_falling_back_is_no_fork():
    found = compared(walks(a=[[0, 1, 0, 1, 2]] * 4, b=[[0, 1, 2]] * 4))
    assert found.forks.empty
    assert found.groups["forking"].tolist() == [True, False]


def test_tables_of_any_size_are_tested_as_r_does():
    # R 4.3's help of fisher.test, "Job Satisfaction" (Agresti 2002, p. 57): p-value = 0.7827
    job = np.array([[1, 2, 1, 0], [3, 3, 6, 1], [10, 10, 14, 9], [6, 7, 12, 11]])
    assert _independence_p(job, 0) == pytest.approx(0.7827, abs=0.015)
    assert _independence_p(np.array([[5, 5, 5], [0, 0, 0]]), 0) is not None
    assert np.isnan(_independence_p(np.array([[5, 5, 5], [0, 0, 0]]), 0))
    assert np.isnan(_independence_p(np.array([[5, 0], [3, 0]]), 0))


def test_without_outcomes_the_walks_are_still_compared():
    found = compared(worlds(a=("detour", 5), b=("harmless", 5)), convergence=None)
    assert found.groups["n_converged"].isna().all()
    assert found.regressions["why_not"].tolist() == ["no outcome is known"] * 2
    assert set(found.detours["verdict"]) == {CANNOT_TELL}
    assert np.isfinite(found.dissimilarities["p"]).all()


def test_outcomes_missing_in_one_group():
    data = worlds(a=("detour", 8), b=("harmless", 8))
    data.loc[data["group"] == "b", "accuracy"] = np.nan
    found = compared(data)
    assert found.groups["n_converged"].isna().tolist() == [False, True]
    assert found.regressions["why_not"].tolist() == ["", "no outcome is known"]


def test_why_a_group_has_no_regression_keeps_its_remedy():
    (why, _) = compared(walks(a=[(0, 1), (2, 3)] * 4, b=[(0, 1), (2, 3)] * 4)).regressions[
        "why_not"
    ]
    assert why.endswith("Try fewer states (max_states=…).")
    assert why.typed(lambda remedy: f"<{remedy.option}>").endswith("(<max_states>).")


def test_one_seed_per_group_cannot_tell():
    found = compared(worlds(a=("detour", 1), b=("harmless", 1), c=("alternative", 1)))
    assert found.groups["emission"].isna().all()
    assert found.dissimilarities["p"].isna().all()
    assert found.dissimilarities["between"].notna().all()
    assert (found.regressions["why_not"] != "").all()
    assert set(found.detours["verdict"]) <= {CANNOT_TELL, NO_EVIDENCE, ON_THE_WAY, AFTER}


def test_no_run_converges_and_odd_names():
    data = worlds(**{"a b": ("detour", 6), "7": ("harmless", 6)})
    short_of_it = data.assign(accuracy=data["accuracy"].clip(upper=0.9))
    never = measure_convergence(short_of_it, ("accuracy",), threshold=0.99)
    found = compared(data, convergence=never)
    assert found.groups["group"].tolist() == ["a b", "7"]
    assert found.groups["n_converged"].tolist() == [0, 0]
    assert not found.detours["flag"].any()


def test_the_same_every_time():
    data = worlds(a=("detour", 12), b=("harmless", 12))
    first, second = compared(data), compared(data)
    for name in ("groups", "dissimilarities", "forks", "detours", "regressions"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))


def test_states_of_one_group_only():
    data = walks(a=[[0, 1, 2]] * 5, b=[[3]] * 5)
    convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    only_a = replace(convergence, table=convergence.table.query("group == 'a'"))
    found = compared(data, convergence=only_a)
    assert found.groups["n_states_visited"].tolist() == [3, 1]
    assert found.groups["forking"].tolist() == [False, False]
    assert found.dissimilarities["p"][0] == pytest.approx(2 / 252)
