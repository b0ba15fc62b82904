from dataclasses import replace

import pandas as pd

from hmmdyn.report import lookup
from tests.report.synthetic import make_findings, without_outcomes


def test_long_names_give_way_to_seeds_where_seeds_tell_runs_apart():
    names = [f"lr0.001_adamw_seed{i}_scaling1.0" for i in range(10)]
    assert lookup.run_names(make_findings(run_names=names))["adamw", names[3]] == "seed 3"
    found = make_findings(run_names=names)
    same_seed = replace(found, table=found.table.assign(seed=pd.array([0] * 420, "Int64")))
    shown = lookup.run_names(same_seed)["adamw", names[3]]
    assert shown != "seed 0"
    assert "…" in shown


def test_names_carry_their_group_only_where_there_are_several():
    assert lookup.full_run_names(make_findings())["adamw", "seed1"] == "seed1"
    two = make_findings(groups=("adamw", "sgd"))
    assert lookup.full_run_names(two)["sgd", "seed1"] == "sgd / seed1"


def test_state_names_mention_the_phase(findings):
    assert lookup.state_name(findings, 0) == "state 0"
    assert lookup.state_name(findings, 3) == "state 3 (generalisation)"
    assert lookup.state_name(without_outcomes(findings), 3) == "state 3"
