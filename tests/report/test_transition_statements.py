from types import SimpleNamespace

import numpy as np
import pandas as pd

from hmmdyn.dynamics.transitions import transition_times
from hmmdyn.dynamics.ways import fork_choices
from hmmdyn.report.lookup import Fork
from hmmdyn.report.statements.transitions import by_name, say
from hmmdyn.results.boundaries import BOUNDARIES
from hmmdyn.results.keys import RUN_KEY


def found(paths, n_states=4, widened=0, groups=None):
    """What the sentences read of findings, from decoded paths with checkpoints every 100 steps."""
    groups = groups or ["all"] * len(paths)
    states = pd.concat(
        [
            pd.DataFrame(
                {
                    "group": group,
                    "run": f"seed{i}",
                    "seed": i,
                    "step": 100 * np.arange(len(path)),
                    "state": path,
                }
            )
            for i, (group, path) in enumerate(zip(groups, paths, strict=True))
        ],
        ignore_index=True,
    )
    before = states.groupby(RUN_KEY, sort=False)[["step", "state"]].shift()
    at = before["state"].notna() & (before["state"] != states["state"])
    changes = states[at].rename(columns={"state": "to_state"})
    changes["from_state"] = before.loc[at, "state"].astype(int)
    changes["previous_step"] = before.loc[at, "step"].astype(int)
    changes["step_low"] = changes["previous_step"] - widened
    changes["step_high"] = changes["step"] + widened
    edges = changes.groupby(["from_state", "to_state"], as_index=False).agg(
        n_runs=("run", "nunique")
    )
    visited = states["state"].value_counts().reindex(range(n_states), fill_value=0)
    left = set(changes["from_state"])
    return SimpleNamespace(
        table=states,
        states=states,
        runs_of_table=states[[*RUN_KEY, "seed"]].drop_duplicates(ignore_index=True),
        step_unit="step",
        selection=SimpleNamespace(evidence=None),
        parameters=SimpleNamespace(n_states=n_states),
        state_summary=pd.DataFrame(
            {
                "state": range(n_states),
                "n_checkpoints": visited.to_numpy(),
                "dwell_steps": [1234.5 if k in left else np.nan for k in range(n_states)],
                "dwell_at_least": [np.nan if k in left else 990.0 for k in range(n_states)],
                "phase": "",
            }
        ),
        change_points=changes,
        transitions=edges.assign(n_total=len(paths)),
        transition_times=transition_times(changes, BOUNDARIES.frame()),
        influences=pd.DataFrame(
            {
                "from_state": edges["from_state"],
                "to_state": edges["to_state"],
                "rank": 1,
                "feature": "l2",
                "n_runs": edges["n_runs"],
                "n_top": edges["n_runs"],
            }
        ),
        fork_choices=fork_choices(states),
    )


def text_of(statements):
    return " ".join(s.text for s in statements).replace("\u00a0", " ")


def test_transitions_come_with_their_steps_and_how_well_they_are_known():
    text = text_of(say(found([[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]], n_states=2, widened=100)))
    assert (
        "State 0 → state 1: 3 of 3 runs, at step 100 to 300 (median 200), "
        "each known to about 300 steps." in text
    )
    assert "A visit lasts 1,234 steps in state 0 (median). Never left: state 1." in text
    assert "What moves" not in text


def test_a_supported_change_is_told_with_the_date_of_its_boundary():
    findings = found([[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 1]], n_states=2)
    findings.transition_times = findings.transition_times.assign(
        date=183.0, date_low=121.5, date_high=264.0
    )
    text = text_of(say(findings))
    assert "at step 183 (122 to 264; the first run 100, the last 300)" in text
    assert "median 2" not in text


def test_a_visit_that_is_mostly_cut_off_lasts_at_least_so_long():
    findings = found([[0, 0, 1], [0, 0, 0], [0, 0, 0]], n_states=2)
    findings.state_summary["dwell_steps"] = np.nan
    findings.state_summary["dwell_at_least"] = 990.0
    assert "A visit lasts at least 990 steps in state 0 (median)." in text_of(say(findings))


def test_of_one_run_no_share_of_runs_is_told():
    text = text_of(say(found([[0, 1, 1]], n_states=2)))
    assert "State 0 → state 1: the run, between step 0 and 100." in text


def test_a_transition_of_one_run_is_an_interval_only():
    text = text_of(say(found([[0, 0, 1], [0, 0, 0]], n_states=2)))
    assert "State 0 → state 1: 1 of 2 runs, between step 100 and 200." in text


def test_only_the_first_change_of_a_run_is_timed():
    text = text_of(say(found([[0, 1, 0, 0, 0, 0, 1], [0, 1, 1, 1, 1, 1, 1]], n_states=2)))
    assert "State 0 → state 1: 2 of 2 runs, at step 100, each known to about 100 steps." in text


def test_a_ranking_that_is_one_runs_doing_is_said():
    findings = found([[0, 1]] * 6, n_states=2)
    findings.influences["n_top"] = 2
    assert "l2 leads at 0 → 1, but is among the first three in 2 of 6 runs." in text_of(
        say(findings)
    )


def test_many_transitions_are_counted_and_not_listed():
    rng = np.random.default_rng(0)
    paths = [[0, *rng.permutation(np.arange(1, 8)).tolist()] for _ in range(40)]
    statements = list(say(found(paths, n_states=8)))
    text = text_of(statements)
    assert text.count("→") == 5
    assert "further transitions, taken by at most" in text
    assert len(statements) == 3
    assert len(text) < 1500


def test_one_state_or_no_change_says_so():
    assert not list(say(found([[0, 0], [0, 0]], n_states=1)))
    assert text_of(say(found([[0, 0], [1, 1]], n_states=2))) == "No run changes its state."


def test_runs_that_leave_the_common_way_are_named():
    findings = found([[0, 1, 3], [0, 1, 3], [0, 2, 3], [0, 1, 3], [0, 3, 1], [0, 0, 0]])
    fork = Fork(0, {1: 3, 2: 1, 3: 1}, 5)
    assert by_name(findings, fork) == " To state 2: seed2; to state 3: seed4."


def test_runs_of_the_same_name_are_told_apart_by_their_group():
    paths = [[0, 1], [0, 2], [0, 1], [0, 1]]
    findings = found(paths, groups=["a", "a", "b", "b"])
    for frame in (findings.states, findings.runs_of_table, findings.fork_choices):
        frame["run"] = frame["seed"].map({0: "x", 1: "y", 2: "x", 3: "y"})
    assert by_name(findings, Fork(0, {1: 3, 2: 1}, 4)) == " To state 2: a / y."


def test_the_brief_says_how_many_transitions_it_leaves_to_the_report():
    when = next(say(found([[0, 0, 1, 1, 2, 2, 3, 3]] * 4)))
    assert when.brief.endswith("1 more in the report.")
    assert "1 more" not in next(say(found([[0, 0, 1, 1, 2, 2]] * 4, n_states=3))).brief
