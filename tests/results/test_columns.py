"""Tables have the columns that are declared, and declarations say what they mean."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hmmdyn.report.sheets import sheets
from hmmdyn.results.boundaries import (
    BOUNDARIES,
    LEVEL_BOUNDARIES,
    LEVELS,
    MERGES,
    STATES_FOUND_AGAIN,
    Evidence,
)
from hmmdyn.results.checkpoints import METRICS
from hmmdyn.results.columns import (
    BOOLEAN,
    INTEGER,
    KINDS,
    NUMBER,
    TEXT,
    Column,
    Table,
    check_tables,
    tables_in,
)
from hmmdyn.results.convergence import CONVERGENCE
from hmmdyn.results.schema import CURVES, REPORTED, describe_tables
from hmmdyn.results.states import OCCUPANCY, STATE_MEANS, STATE_SUMMARY
from tests.report.synthetic import make_findings, without_outcomes

EVERY_TABLE = (*CURVES, *REPORTED)
NO_EVIDENCE = Evidence(
    *(t.frame() for t in (BOUNDARIES, STATES_FOUND_AGAIN, MERGES, LEVELS, LEVEL_BOUNDARIES)),
    zoom={},
    n_states=1,
    n_supported=1,
    timing="cannot tell",
    timing_reason="",
)
TABLE = Table(
    name="example",
    title="Example",
    rows="run",
    columns=(
        Column("run", TEXT, "its name"),
        Column("n", INTEGER, "how many"),
        Column("rank", INTEGER, "which", missing="where censored"),
        Column("<outcome>", NUMBER, "value of <outcome>"),
        Column("done", BOOLEAN, "whether"),
        Column("late", NUMBER, "later", only="only where asked for"),
    ),
)
ROWS = [
    {"run": "a", "n": 1, "rank": 1, "loss": 0.5, "done": True},
    {"run": "b", "n": 2, "rank": None, "loss": None, "done": False},
]
LOSS = {"outcome": ("loss",)}


# --- what is declared ---


def test_names_are_told_apart_and_can_be_files():
    names = [table.name for table in EVERY_TABLE]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[a-z_]+", name) for name in names)


@pytest.mark.parametrize("table", EVERY_TABLE, ids=lambda table: table.name)
def test_every_column_says_what_it_is(table):
    assert table.title
    assert table.rows
    names = [column.name for column in table.columns]
    assert len(set(names)) == len(names)
    for column in table.columns:
        assert column.kind in KINDS
        assert column.meaning
        assert column.meaning.strip(". ") == column.meaning  # clauses can follow


def test_the_reference_has_every_column_once_in_its_table():
    for text, table in zip(describe_tables().split("### ")[1:], EVERY_TABLE, strict=True):
        assert text.startswith(f"`{table.name}`")
        rows = re.findall(r"^\| `(.+?)` \|", text, re.MULTILINE)
        assert rows == [column.name for column in table.columns]
        assert all(line.count("|") == 5 for line in text.splitlines() if line.startswith("|"))
        assert not re.search("<[a-z]", re.sub("`.+?`", "", text))  # would be read as HTML


# --- open columns ---


def test_an_open_column_stands_for_one_per_member():
    columns = STATE_SUMMARY.expanded({"outcome": ("loss", "<b>")})
    assert [c.name for c in columns][-3:] == ["mean_loss", "mean_<b>", "phase"]
    assert columns[-3].meaning == "mean of loss at its checkpoints"
    assert OCCUPANCY.expanded({"state": range(2)})[-1].name == "state_1"
    assert [c.name for c in STATE_MEANS.expanded({})] == ["state"]


def test_a_metric_may_have_the_name_of_a_fixed_column():
    names = [c.name for c in STATE_MEANS.expanded({"feature": ("l1", "state")})]
    assert names == ["hidden_state", "l1", "state"]
    table = METRICS.expanded({"metric": ("l1",), "outcome": ("loss",)})
    assert [c.name for c in table][:6] == ["group", "run", "seed", "step", "l1", "loss"]


# --- frames and their check ---


def test_a_frame_has_the_columns_and_kinds_declared():
    for rows in (ROWS, pd.DataFrame(ROWS).assign(other=0)):
        frame = TABLE.frame(rows, LOSS)
        TABLE.check(frame, LOSS)
        kinds = [str(frame[c].dtype) for c in ("n", "rank", "loss", "done")]
        assert kinds == ["int64", "Int64", "float64", "bool"]
        assert frame["run"].tolist() == ["a", "b"]
        assert frame["rank"].isna().tolist() == [False, True]


@pytest.mark.parametrize("table", EVERY_TABLE, ids=lambda table: table.name)
def test_an_empty_frame_is_like_one_with_rows(table):
    empty = table.frame()
    table.check(empty)
    assert len(empty) == 0


def test_columns_that_are_there_only_sometimes_are_checked_where_they_are():
    frame = TABLE.frame(ROWS, LOSS)
    TABLE.check(frame.assign(late=1.5), LOSS)
    with pytest.raises(ValueError, match=r"'late' of table 'example' must be of the kind number"):
        TABLE.check(frame.assign(late="no"), LOSS)


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.drop(columns="n"),
        lambda f: f.assign(extra=1),
        lambda f: f[["n", "run", "rank", "loss", "done"]],
        lambda f: f.rename(columns={"loss": "accuracy"}),
    ],
)
def test_other_columns_are_named(change):
    with pytest.raises(ValueError, match="'example' must have the columns run, n, rank, loss, don"):
        TABLE.check(change(TABLE.frame(ROWS, LOSS)), LOSS)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("run", [1, 2]),
        ("n", [1.0, 2.0]),
        ("n", ["1", "2"]),
        ("rank", ["1", None]),
        ("loss", [1, 2]),
        ("loss", [True, False]),
        ("done", [1, 0]),
        ("done", [True, None]),
    ],
)
def test_other_kinds_are_named(column, values):
    frame = TABLE.frame(ROWS, LOSS).assign(**{column: pd.Series(values)})
    with pytest.raises(ValueError, match=f"Column '{column}' of table 'example' must be of the"):
        TABLE.check(frame, LOSS)


def test_an_integer_that_may_be_missing_may_be_held_as_a_float():
    """As pandas does where it joins tables."""
    TABLE.check(TABLE.frame(ROWS, LOSS).assign(rank=[1.0, np.nan]), LOSS)


# --- results ---


@pytest.mark.parametrize(
    "made",
    [
        make_findings(),
        make_findings(4, groups=("a", "b", "c")),
        make_findings(1, n_states=1),
        without_outcomes(make_findings(5)),
    ],
    ids=["runs", "groups", "one", "without outcomes"],
)
def test_results_hold_the_tables_that_they_declare(made):
    check_tables(made, made.members)
    for sheet in sheets(made).values():
        if len(sheet.frame.columns):
            sheet.table.check(sheet.frame, made.members)


def test_a_result_is_searched_for_tables_through_the_results_in_it():
    made = make_findings(4, groups=("a", "b"))
    found = {table.name for table, _ in tables_in(made)}
    # Slow seeds are told of one recipe only.
    found |= {table.name for table, _ in tables_in(make_findings(10))}
    # Evidence is had for supported states only.
    found |= {table.name for table, _ in tables_in(NO_EVIDENCE)}
    # Parts of networks lie with the trajectories.
    elsewhere = {"state_means", "notices", "parts"}
    assert found == {t.name for t in EVERY_TABLE} - elsewhere | {"states_found"}
    assert {t.name for t, _ in tables_in(replace(made, speed=None))} < found


def test_a_result_with_other_columns_is_told_from_one_with_these():
    made = make_findings()
    odd = replace(made.convergence, table=made.convergence.table.drop(columns="time"))
    with pytest.raises(ValueError, match=CONVERGENCE.name):
        check_tables(replace(made, convergence=odd), made.members)
