"""``report.json`` is what its JSON schema and its own data dictionary say."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError

from hmmdyn import analyze
from hmmdyn.report.document import to_json
from hmmdyn.report.json_schema import FILE, report_schema
from hmmdyn.report.report import Report
from hmmdyn.results.columns import KINDS
from tests.report.synthetic import make_findings, make_hostile_findings, without_outcomes
from tests.simulate import phased_table

QUICK = {"n_states": 3, "restarts": 2, "quick": True}


@pytest.fixture(scope="module")
def schema():
    return Draft202012Validator(json.loads(FILE.read_text("utf-8")))


def document(findings):
    return json.loads(to_json(Report(findings)))


def grouped(table):
    return table.assign(group=np.where(table["seed"] % 2 == 0, "a", "b"))


def test_the_file_is_up_to_date():
    assert json.loads(FILE.read_text("utf-8")) == report_schema(), (
        "Write it again with  python -m hmmdyn.report.json_schema"
    )


def test_the_schema_is_one(schema):
    Draft202012Validator.check_schema(schema.schema)


@pytest.mark.parametrize(
    "made",
    [
        make_findings(),
        make_findings(4, groups=("a", "b", "c")),
        make_findings(1, n_states=1),
        without_outcomes(make_findings(5)),
        make_hostile_findings(),
    ],
    ids=["runs", "groups", "one", "without outcomes", "hostile names"],
)
def test_reports_of_all_shapes_are_valid(made, schema):
    schema.validate(document(made))


@pytest.mark.parametrize(
    "table",
    [
        phased_table(),
        grouped(phased_table(8)),
        phased_table().drop(columns=["train_accuracy", "eval_accuracy"]),
        grouped(phased_table(8)).drop(columns=["train_accuracy", "eval_accuracy"]),
        phased_table(1),
        phased_table().rename(columns={"m0": "state", "step": "epoch"}),
    ],
    ids=["outcomes", "groups", "no outcomes", "groups without", "one run", "metric state"],
)
def test_analyses_are_valid(table, schema):
    schema.validate(document(analyze(table, **QUICK)))


@pytest.mark.slow
def test_an_analysis_that_weighs_its_choice_is_valid(schema):
    found = document(analyze(phased_table(), max_states=3, restarts=2, protocol="bic"))
    schema.validate(found)
    assert "path" in found["columns"]["model_selection"]


def test_infinities_are_valid(findings, schema):
    odd = replace(findings, regression=replace(findings.regression, f_statistic=np.inf))
    schema.validate(document(odd))


def test_what_the_schema_does_not_say_is_not_valid(findings, schema):
    good = document(findings)
    for change in (
        lambda d: d.pop("columns"),
        lambda d: d["tables"].pop("states", None) or d["tables"].update(other=[]),
        lambda d: d["tables"]["convergence"][0].pop("time"),
        lambda d: d["tables"]["convergence"][0].update(other=1),
        lambda d: d["tables"]["convergence"][0].update(run=None),
        lambda d: d["tables"]["convergence"][0].update(step="100"),
        lambda d: d["tables"]["occupancy"][0].update(share=0.5),
        lambda d: d["columns"]["states"]["run"].pop("meaning"),
        lambda d: d["statements"][0].pop("text"),
    ):
        odd = copy.deepcopy(good)
        change(odd)
        with pytest.raises(ValidationError):
            schema.validate(odd)


def test_the_dictionary_tells_of_every_column(hostile):
    made = document(hostile)
    assert list(made["columns"]) == ["metrics", "parts", "states", *made["tables"]]
    for name, rows in made["tables"].items():
        if rows:
            assert list(rows[0]) == list(made["columns"][name])
    assert list(made["columns"]["metrics"])[4:-3] == [*hostile.metrics, *hostile.outcomes]
    assert {c["type"] for t in made["columns"].values() for c in t.values()} == set(KINDS)
    assert made["columns"]["occupancy"]["state_1"] == {
        "type": "number",
        "unit": "fraction",
        "meaning": "share of the run's time in state 1",
    }


def test_the_unit_of_steps_is_that_of_the_runs(findings):
    for step_unit in ("step", "epoch"):
        made = document(replace(findings, step_unit=step_unit))
        assert made["columns"]["convergence"]["last_step"]["unit"] == f"{step_unit}s"
