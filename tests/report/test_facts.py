from dataclasses import replace

import pandas as pd

from hmmdyn.dynamics.ways import fork_choices
from hmmdyn.report import facts
from tests.report.synthetic import make_findings, without_outcomes


def walk(*sequences, groups=("g",), converged=None, steps=None):
    """Findings whose runs are in the given states, one checkpoint per step."""
    frames = [
        pd.DataFrame({"group": g, "run": f"r{i}", "seed": i, "step": range(len(s)), "state": s})
        for g in groups
        for i, s in enumerate(sequences)
    ]
    states = pd.concat(frames, ignore_index=True).astype({"seed": "Int64"})
    template = make_findings(n_states=max(map(max, sequences)) + 1)
    measure = None
    if converged is not None:
        table = states.groupby(["group", "run"], sort=False, as_index=False).agg(
            seed=("seed", "first"), last_step=("step", "last")
        )
        measure = replace(
            template.convergence, table=table.assign(converged=converged, step=steps, time=0.5)
        )
    return replace(
        template,
        table=states.drop(columns="state"),
        states=states.assign(probability=1.0),
        fork_choices=fork_choices(states),
        convergence=measure,
    )


def test_runs_are_sorted_by_convergence_within_groups_and_censored_come_last():
    found = walk(
        *[[0] * 10] * 3,
        groups=("b", "a"),
        converged=[True, False, True, True, True, False],
        steps=[7, 9, 3, 4, 2, 9],
    )
    runs = facts.runs_by_convergence(found)
    assert list(zip(runs["group"], runs["run"], strict=True)) == [
        ("b", "r2"), ("b", "r0"), ("b", "r1"), ("a", "r1"), ("a", "r0"), ("a", "r2"),
    ]  # fmt: skip
    assert runs["status"].tolist() == ["converged"] * 2 + ["censored"] + ["converged"] * 2 + [
        "censored"
    ]


def test_a_run_without_a_known_outcome_is_unknown_and_last(findings):
    measure = findings.convergence
    known = replace(measure, table=measure.table[measure.table["run"] != "seed2"])
    runs = facts.runs_by_convergence(replace(findings, convergence=known))
    assert len(runs) == 10
    assert runs.iloc[-1][["run", "status"]].tolist() == ["seed2", "unknown"]


def test_without_outcomes_runs_keep_their_order(bare):
    runs = facts.runs_by_convergence(bare)
    assert runs["run"].tolist() == [f"seed{i}" for i in range(10)]
    assert set(runs["status"]) == {"unknown"}


def test_stays_meet_halfway_between_checkpoints_and_cover_the_run():
    found = walk([0, 0, 1, 1, 1, 0])
    stays = facts.stays(found)
    assert stays["state"].tolist() == [0, 1, 0]
    assert stays["start"].tolist() == [0, 1.5, 4.5]
    assert stays["end"].tolist() == [1.5, 4.5, 5]
    assert stays["n_checkpoints"].tolist() == [2, 3, 1]


def test_stays_never_cross_a_run_boundary():
    stays = facts.stays(walk([0, 0], [0, 0]))
    assert len(stays) == 2


def test_paths_count_runs_by_the_order_in_which_states_are_first_entered():
    found = walk([0, 1, 0, 1, 2], [0, 1, 2, 2, 2], [0, 2, 2, 2, 2])
    assert facts.paths(found) == {(0, 1, 2): 2, (0, 2): 1}


def test_a_fork_needs_two_ways_out_and_falling_back_is_not_one():
    assert facts.forks(walk([0, 1, 0, 1, 2], [0, 1, 2])) == ()
    (fork,) = facts.forks(walk([0, 1, 3], [0, 2, 3], [0, 2, 3]))
    assert fork == facts.Fork(0, {2: 2, 1: 1}, 3)


def test_a_single_stray_run_of_many_is_not_a_fork():
    many = [[0, 1, 3]] * 20
    assert facts.forks(walk(*many, [0, 2, 3])) == ()
    assert len(facts.forks(walk(*many, *[[0, 2, 3]] * 3))) == 1


def test_checkpoints_before_convergence_agree_with_counting_by_hand():
    found = walk([0, 0, 1, 1, 1], [0, 1, 1, 0, 0], converged=[True, False], steps=[3, 4])
    counts = facts.checkpoints_before_convergence(found)
    assert counts.loc[("g", "r0")].tolist() == [2, 1]  # steps 0, 1 and 2
    assert counts.loc[("g", "r1")].tolist() == [3, 2]  # censored: all of it


def test_long_names_give_way_to_seeds_where_seeds_tell_runs_apart():
    names = [f"lr0.001_adamw_seed{i}_scaling1.0" for i in range(10)]
    assert facts.run_names(make_findings(run_names=names))["adamw", names[3]] == "seed 3"
    found = make_findings(run_names=names)
    same_seed = replace(found, table=found.table.assign(seed=pd.array([0] * 420, "Int64")))
    shown = facts.run_names(same_seed)["adamw", names[3]]
    assert shown != "seed 0"
    assert "…" in shown


def test_names_carry_their_group_only_where_there_are_several():
    assert facts.full_run_names(make_findings())["adamw", "seed1"] == "seed1"
    two = make_findings(groups=("adamw", "sgd"))
    assert facts.full_run_names(two)["sgd", "seed1"] == "sgd / seed1"


def test_state_names_mention_the_phase(findings):
    assert facts.state_name(findings, 0) == "state 0"
    assert facts.state_name(findings, 3) == "state 3 (generalisation)"
    assert facts.state_name(without_outcomes(findings), 3) == "state 3"
