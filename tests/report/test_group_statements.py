from types import SimpleNamespace

import numpy as np
import pandas as pd

from hmmdyn.report.statements.groups import say
from hmmdyn.results.groups import GroupComparison
from tests.report.synthetic import make_findings


def comparison(names=("adamw", "sgd"), p=0.002, fork_p=0.01):
    n = len(names)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return GroupComparison(
        groups=pd.DataFrame(
            {
                "group": names,
                "n_runs": 10,
                "n_converged": 8,
                "n_censored": 2,
                "n_states_visited": 4,
                "forking": [True] + [False] * (n - 1),
                "emission": 0.496,
                "total_variation": 0.1,
                "path": [(0, 1, 3)] * n,
                "n_on_path": 7,
            }
        ),
        dissimilarities=pd.DataFrame(
            {
                "group_a": [a for a, _ in pairs],
                "group_b": [b for _, b in pairs],
                "n_a": 10,
                "n_b": 10,
                "n_left_out": 0,
                "cut": False,
                "first_step": 0.0,
                "last_step": 1000.0,
                "between": 1.5,
                "within_a": 0.5,
                "within_b": 0.25,
                "excess": 2.0,
                "least_p": 1e-4,
                "p": p,
                "p_corrected": p,
            }
        ),
        forks=pd.DataFrame(
            {
                "from_state": 1,
                "to_state": [2, 2, 3, 3],
                "group": ["adamw", "sgd"] * 2,
                "n_runs": [9, 0, 1, 10],
                "p": fork_p,
                "p_corrected": fork_p,
            }
        ),
        detours=pd.DataFrame(
            {
                "group": names,
                "state": 2,
                "verdict": ["confirmed detour"] + ["cannot tell"] * (n - 1),
                "reason": "",
            }
        ),
        regressions=pd.DataFrame(
            {
                "group": names,
                "n_runs": 10,
                "n_censored": 2,
                "r_squared": [0.977] * n,
                "r_squared_loo": [0.9] * n,
                "p": [1e-5] * n,
                "p_corrected": [1e-5] * n,
                "why_not": [""] + ["too few runs"] * (n - 1),
            }
        ),
    )


def said(compared):
    findings = make_findings(4, groups=("adamw", "sgd"))
    made = SimpleNamespace(**vars(findings) | {"group_comparison": compared})
    return " ".join(s.text for s in say(made)).replace("\u00a0", " ")


def test_one_group_says_nothing():
    assert said(None) == ""


def test_what_differs_is_said_with_its_numbers():
    text = said(comparison())
    assert "adamw forks or returns (10 runs, 8 converged, 2 censored, dissimilarity 0.496)" in text
    assert "sgd is a line" in text
    assert "adamw and sgd (1.5 between, 0.5 and 0.25 within, p = 0.002)" in text
    assert (
        "After state 1 the groups go different ways (p = 0.01): adamw: 9 to state 2 and 1 to state "
        "3; sgd: 10 to state 3." in text
    )
    assert "Confirmed detours, each group for itself and corrected for all: state 2" in text
    assert "adamw 0.977 (p < 0.001; each run predicted from the others 0.9)" in text
    assert "sgd 0.977" not in text


def test_what_does_not_differ_is_said_as_that():
    text = said(comparison(p=0.4, fork_p=np.nan))
    assert "No two groups are shown to walk the map differently" in text
    assert "go different ways" not in text


def test_groups_too_small_cannot_tell():
    assert "cannot be told: they have too few runs" in said(comparison(p=np.nan))
    some = comparison(("a", "b", "c"), p=[0.01, np.nan, np.nan])
    assert "2 pairs of groups cannot tell: too few runs, or no steps in common." in said(some)


def test_many_groups_stay_readable():
    text = said(comparison(tuple(f"recipe {i}" for i in range(20))))
    assert "17 more" in text
    assert len(text) < 1500


def test_over_which_steps_groups_were_compared_is_said_where_their_runs_end_differently():
    compared = comparison()
    assert "end at different" not in said(compared)
    compared.dissimilarities["cut"] = True
    compared.dissimilarities["n_left_out"] = 1
    assert (
        "Runs end at different steps. Walks were compared of adamw and sgd from step 0 to 1,000, "
        "without 1 run that ended before."
    ) in said(compared)
