from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.dynamics.slowness import find_slowness, runs_by_convergence
from hmmdyn.results.convergence import Convergence
from tests.report.synthetic import changed, make_findings, without_outcomes


def walk(*sequences, groups=("g",), converged, steps):
    """States and convergence of runs in the given states, one checkpoint per step."""
    frames = [
        pd.DataFrame({"group": g, "run": f"r{i}", "seed": i, "step": range(len(s)), "state": s})
        for g in groups
        for i, s in enumerate(sequences)
    ]
    states = pd.concat(frames, ignore_index=True).astype({"seed": "Int64"})
    table = states.groupby(["group", "run"], sort=False, as_index=False).agg(
        seed=("seed", "first"), last_step=("step", "last")
    )
    table = table.assign(converged=converged, step=steps, time=0.5)
    return states, Convergence("accuracy", 0.9, "above", 1, "", table)


def slowness_of(states, measure):
    return find_slowness(states, runs_by_convergence(states, measure), 1 + states["state"].max())


def with_convergence(findings, steps, *, censored=()):
    """Findings whose runs converge at these steps; ``censored`` runs end there instead."""
    table = findings.convergence.table.copy()
    table["step"] = list(steps)
    table["converged"] = ~table["run"].isin(censored)
    return changed(findings, convergence=replace(findings.convergence, table=table))


# --- runs in order ---


def test_runs_are_sorted_by_convergence_within_groups_and_censored_come_last():
    states, measure = walk(
        *[[0] * 10] * 3,
        groups=("b", "a"),
        converged=[True, False, True, True, True, False],
        steps=[7, 9, 3, 4, 2, 9],
    )
    runs = runs_by_convergence(states, measure)
    assert list(zip(runs["group"], runs["run"], strict=True)) == [
        ("b", "r2"), ("b", "r0"), ("b", "r1"), ("a", "r1"), ("a", "r0"), ("a", "r2"),
    ]  # fmt: skip
    assert runs["status"].tolist() == ["converged"] * 2 + ["censored"] + ["converged"] * 2 + [
        "censored"
    ]


def test_a_run_without_a_known_outcome_is_unknown_and_last():
    findings = make_findings()
    measure = findings.convergence
    known = replace(measure, table=measure.table[measure.table["run"] != "seed2"])
    runs = runs_by_convergence(findings.table, known)
    assert len(runs) == 10
    assert runs.iloc[-1][["run", "status"]].tolist() == ["seed2", "unknown"]


def test_without_outcomes_runs_keep_their_order():
    runs = without_outcomes(make_findings()).runs
    assert runs["run"].tolist() == [f"seed{i}" for i in range(10)]
    assert set(runs["status"]) == {"unknown"}


# --- time before convergence ---


def test_evenly_spaced_checkpoints_before_convergence_agree_with_counting_by_hand():
    found = walk([0, 0, 1, 1, 1], [0, 1, 1, 0, 0], converged=[True, False], steps=[3, 4])
    counts = slowness_of(*found).before_convergence
    assert counts.to_numpy().tolist() == [
        ["g", "r0", 0, 2, 1],  # steps 0, 1 and 2
        ["g", "r1", 1, 3, 2],  # censored: all of it
    ]
    assert list(counts) == ["group", "run", "seed", "state_0", "state_1"]


# --- the fastest and the slowest ---


def ends(pair):
    return [*pair["fastest_run"].unique(), *pair["slowest_run"].unique()]


def test_the_fastest_and_the_run_known_to_have_taken_longest_are_set_side_by_side():
    # seed3 ended at 700 without converging: it is not known to be slower than seed2.
    made = with_convergence(make_findings(4), [300, 500, 900, 700], censored=("seed3",))
    assert ends(made.slowness.extremes) == ["seed0", "seed2"]
    ended_late = with_convergence(make_findings(4), [300, 500, 900, 900], censored=("seed3",))
    assert ends(ended_late.slowness.extremes) == ["seed0", "seed3"]


def test_time_is_counted_up_to_convergence():
    made = make_findings(10)
    pair = made.slowness.extremes
    runs = made.runs.set_index("run").loc[ends(pair)]
    for run, counted in zip(runs.itertuples(), (pair["fastest"], pair["slowest"]), strict=True):
        own = made.states[made.states["run"] == run.Index]
        before = own[own["step"] < run.step] if run.converged else own
        for state, n in enumerate(counted):
            assert n == pytest.approx(100 * (before["state"] == state).sum())  # steps


def test_decisive_states_hold_most_of_what_took_longer():
    pair = make_findings(40, n_states=6).slowness.extremes
    longer = pair["slowest"] - pair["fastest"]
    assert pair["decisive"][longer.idxmax()]
    total = longer[longer > 0].sum()
    assert set(pair.loc[pair["decisive"], "state"]) == {
        k for k, d in enumerate(longer) if d > 0 and d / total >= 0.25
    }


def test_quarters_are_means_over_the_fastest_and_slowest_and_need_eight_runs():
    made = make_findings(12)
    pair = made.slowness.extremes
    assert set(pair["n_in_quarter"]) == {3}
    fastest = made.speed.ranking["run"].head(3)
    counts = [
        np.bincount(
            made.states.loc[
                (made.states["run"] == run)
                & (made.states["step"] < made.speed.ranking.set_index("run")["step"][run]),
                "state",
            ],
            minlength=4,
        )
        for run in fastest
    ]
    np.testing.assert_allclose(pair["fast_quarter"], 100 * np.mean(counts, axis=0))
    small = make_findings(7).slowness.extremes
    assert small["fast_quarter"].isna().all()


def test_runs_that_converge_at_once_have_no_extremes():
    assert with_convergence(make_findings(4), [500] * 4).slowness.extremes.empty


def test_every_group_has_extremes_of_its_own():
    pairs = make_findings(10, groups=("a", "b")).slowness.extremes
    assert pairs["group"].tolist() == ["a"] * 4 + ["b"] * 4


# --- the slowest quarter ---


def test_the_slowest_quarter_is_held_against_the_other_runs():
    paths = [[0] * n + [1] * (20 - n) for n in (2, 3, 4, 5, 6, 7, 8, 12)]
    states, measure = walk(*paths, converged=[True] * 7 + [False], steps=[4] * 6 + [15, 19])
    quarter = slowness_of(states, measure).slowest_quarter
    # r6: 8 and 7 before step 15; r7, censored, comes first: 12 and 8. Others: 4 each before 4.
    assert quarter.runs["run"].tolist() == ["r7", "r6"]
    others = [np.mean([min(n, 4) for n in (2, 3, 4, 5, 6, 7)]), np.mean([2, 1, 0, 0, 0, 0])]
    np.testing.assert_allclose(quarter.states["slowest"], [10, 7.5])
    np.testing.assert_allclose(quarter.states["others"], others)
    np.testing.assert_allclose(quarter.states["longer"], [10 - others[0], 7.5 - others[1]])
    assert quarter.longer == pytest.approx(quarter.states["longer"].sum())
    assert quarter.n_others == 6
    assert quarter.runs["state"].tolist() == [0, 1]
    assert quarter.runs["time"].tolist() == [12, 7]
    assert quarter.n_stopped == 0
    np.testing.assert_allclose(quarter.runs["others"], others)


def test_runs_that_were_stopped_are_not_slow():
    """Two runs ended at step 190, when none had converged: of them it is not known."""
    paths = [[0] * 20] * 2 + [[0] * n + [1] * (100 - n) for n in range(40, 88, 6)]
    steps = [19, 19, *range(40, 88, 6)]
    found = slowness_of(*walk(*paths, converged=[False] * 2 + [True] * 8, steps=steps))
    quarter = found.slowest_quarter
    assert quarter.runs["run"].tolist() == ["r9", "r8"]
    assert (quarter.n_others, quarter.n_stopped) == (6, 2)
    assert quarter.longer == pytest.approx(np.mean([82, 76]) - np.mean(range(40, 76, 6)))
    assert quarter.states["longer"].tolist() == [quarter.longer, 0]
    assert ends(found.extremes) == ["r2", "r9"]
    assert found.extremes["fast_quarter"].tolist() == [43, 0]
    assert found.extremes["slow_quarter"].tolist() == [79, 0]


def test_where_too_few_converged_quarters_have_no_means():
    steps = [3, 4, *range(10, 16)]
    found = walk(*[[0] * 20] * 8, converged=[True] + [False] * 7, steps=steps)
    assert slowness_of(*found).extremes["fast_quarter"].isna().all()


def test_the_state_that_delays_is_told_whatever_the_schedule():
    """A delay of 4,000 steps in state 2, where checkpoints are rare."""
    schedule = np.r_[0, 2 ** np.arange(10), np.arange(1000, 13000, 1000)]
    parts = []
    for i in range(8):
        leaves = 9000 if i >= 6 else 5000
        state = np.searchsorted([100 if i >= 6 else 60, 2000, leaves], schedule, side="right")
        parts.append(
            pd.DataFrame(
                {"group": "g", "run": f"r{i}", "seed": i, "step": schedule, "state": state}
            )
        )
    states = pd.concat(parts, ignore_index=True).astype({"seed": "Int64"})
    table = states.drop_duplicates("run")[["group", "run", "seed"]].reset_index(drop=True)
    table = table.assign(converged=True, step=[5000] * 6 + [9000] * 2, last_step=12000)
    measure = Convergence("accuracy", 0.9, "above", 1, "", table)
    quarter = slowness_of(states, measure).slowest_quarter
    assert quarter.states["longer"].idxmax() == 2
    assert quarter.states["longer"][2] == pytest.approx(4000)
    assert quarter.runs["state"].tolist() == [2, 2]
    assert quarter.longer == pytest.approx(4000)


def test_runs_as_slow_as_the_last_of_the_quarter_join_it():
    paths = [[0] * 5 + [1] * 5] * 6
    found = walk(*paths, converged=[True] * 6, steps=[3, 3, 3, 8, 8, 8])
    assert len(slowness_of(*found).slowest_quarter.runs) == 3


@pytest.mark.parametrize(
    ("groups", "steps"),
    [
        (("a", "b"), [3, 4, 5, 8] * 2),  # slow recipes are not slow seeds
        (("a",), [3, 8, 8, 8]),  # one run is nothing to hold the others against
    ],
)
def test_where_there_are_no_others_there_is_no_slowest_quarter(groups, steps):
    found = walk(*[[0] * 9] * 4, groups=groups, converged=[True] * len(steps), steps=steps)
    assert slowness_of(*found).slowest_quarter is None


def test_of_runs_whose_outcome_is_unknown_nothing_is_found():
    states, measure = walk([0, 1], [0, 1], converged=[True, True], steps=[1, 1])
    unknown = replace(measure, table=measure.table.iloc[:0])
    found = slowness_of(states, unknown)
    assert found.before_convergence.empty
    assert found.extremes.empty
    assert found.slowest_quarter is None
