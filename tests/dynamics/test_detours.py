import numpy as np
import pytest

from hmmdyn.dynamics.convergence import measure_convergence
from hmmdyn.dynamics.detours import _verdict, detour_verdicts
from hmmdyn.dynamics.occupancy import bag_of_states
from hmmdyn.dynamics.regression import regress_convergence
from tests.dynamics.paths import runs_of

# Of the world in which half of the runs pass through state 1.
VERDICTS = ["on everyone's way", "confirmed detour", "on everyone's way", "after convergence"]


def test_an_optional_slow_state_is_a_confirmed_detour(world):
    data, bags, convergence = world
    regression = regress_convergence(bags, convergence, data)
    judged = detour_verdicts(bags, convergence, regression, data, data)
    assert judged["flag"].tolist() == [False, True, False, False]
    assert judged["verdict"].tolist() == VERDICTS
    assert judged.loc[1, "n_converged_without"] == 8
    assert judged.loc[1, "ratio_high"] < 1
    # The others lie on everyone's way, or after convergence: nothing to correct for.
    assert judged.loc[1, "p"] == judged.loc[1, "p_corrected"] < 0.025
    reasons = judged["reason"]
    assert reasons[1].startswith("At the same point in training, runs that had entered it were")
    assert "The paper's flag holds: optional (8 converged runs never visit it), with" in reasons[1]
    assert "so it is not optional" in reasons[0]
    assert "It lies on the way of every run that converged" in reasons[2]
    assert "high by construction" in regression.warning
    assert "16 runs are few for 4 states" in regression.warning
    assert "about 0.20" in regression.warning  # (4 - 1) / (16 - 1)
    assert "longer to enter any state" in regression.warning


@pytest.mark.parametrize(
    ("effect", "flagged", "unflagged"),
    [
        ("slower", "confirmed detour", "confirmed detour"),
        ("no evidence", "paper's flag only", "no evidence"),
        ("cannot tell", "paper's flag only", "cannot tell"),
        ("on everyone's way", "paper's flag only", "on everyone's way"),
    ],
)
def test_the_verdict_is_the_tests_and_the_flag_stands_beside_it(effect, flagged, unflagged):
    verdicts = _verdict(True, effect, True), _verdict(False, effect, True)
    assert verdicts == (flagged, unflagged)


def test_a_state_without_evidence_is_never_confirmed():
    assert _verdict(True, "slower", False) == "slows"
    assert _verdict(False, "slower", False) == "slows"


def test_a_state_after_convergence_is_never_flagged():
    """Optional, and visited by the slow runs only, but entered once they have converged."""
    rng = np.random.default_rng(4)
    paths, accuracies = [], []
    for i in range(14):
        n = int(rng.integers(5, 20))
        late = 3 if i % 2 else 2
        paths.append(np.r_[np.zeros(n), np.ones(6), np.full(40 - n - 6, late)].astype(int))
        accuracies.append((np.arange(40) >= n + rng.integers(4, 7)) * 1.0)
    data = runs_of(paths, accuracies)
    convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    bags = bag_of_states(data, 4)
    regression = regress_convergence(bags, convergence, data)
    flags = detour_verdicts(bags, convergence, regression, data, data)
    assert flags["optional"].tolist() == [False, False, True, True]
    assert not flags["flag"].any()
    assert flags.loc[2, "reason"].endswith("lie after convergence, which those cannot delay.")
    assert flags["verdict"].tolist()[2:] == ["after convergence"] * 2


def test_noise_is_not_flagged_because_the_regression_is_not_significant():
    rng = np.random.default_rng(2)
    paths = [rng.integers(0, 3, size=30) * (i % 4 > 0) for i in range(12)]
    accuracies = [(np.arange(30) >= rng.integers(5, 25)).astype(float) for _ in paths]
    data = runs_of(paths, accuracies)
    convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    bags = bag_of_states(data, 3)
    regression = regress_convergence(bags, convergence, data)
    flags = detour_verdicts(bags, convergence, regression, data, data)
    assert regression.p > 0.05
    assert not flags["flag"].any()
    assert flags["reason"].str.contains("not significant").any()


def test_without_a_regression_nothing_is_flagged(world):
    data, bags, convergence = world
    judged = detour_verdicts(bags, convergence, None, data, data)
    assert not judged["flag"].any()
    assert judged["reason"].str.contains("no regression could be computed").all()
    assert judged["verdict"].tolist() == VERDICTS  # they rest on the test, and not on the flag
    judged = detour_verdicts(bags, None, None, data, data)
    assert (judged["verdict"] == "cannot tell").all()
    assert judged["reason"].str.startswith("No outcome is known").all()
    assert judged["hazard_ratio"].isna().all()


def test_a_state_is_optional_only_within_a_group_that_visits_it(world):
    """The other recipe never enters it: no run shows how this one would do without it."""
    data, _, _ = world
    data = data.assign(group=np.where(data["seed"] % 2 == 1, "long way", "short way"))
    data = data.sort_values(["group", "seed", "step"]).reset_index(drop=True)
    convergence = measure_convergence(data, ("accuracy",), threshold=0.5)
    bags = bag_of_states(data, 4)
    regression = regress_convergence(bags, convergence, data)
    judged = detour_verdicts(bags, convergence, regression, data, data)
    assert not judged.loc[1, "optional"]
    assert judged.loc[1, "n_converged_without"] == 0
    assert judged.loc[1, "verdict"] == "on everyone's way"
