import numpy as np
import pandas as pd
import pytest

from hmmdyn.errors import TableError
from hmmdyn.names import natural_key
from hmmdyn.tables.metric_table import from_frame, read_table, write_table
from tests.simulate import PYTHIA


def frame(**columns):
    return pd.DataFrame({"seed": [0, 0, 1, 1], "step": [0, 10, 0, 10], **columns})


def test_metrics_outcomes_and_text_are_told_apart():
    table = from_frame(
        frame(l2=[1.0, 2, 3, 4], eval_loss=[4.0, 3, 2, 1], note=list("abcd"), mine=[1, 2, 3, 5]),
        outcomes=["mine"],
    )
    assert table.metrics == ("l2",)
    assert table.outcomes == ("eval_loss", "mine")
    assert [n.subject for n in table.notices] == ["column note"]
    assert table.runs["run"].tolist() == ["seed0", "seed1"]
    assert table.lengths.tolist() == [2, 2]


def test_rows_come_in_natural_order_of_runs_and_steps():
    table = from_frame(
        pd.DataFrame(
            {
                "run": ["seed10", "seed2", "seed10", "seed2"],
                "step": [5, 7, 1, 3],
                "m": [1.0, 2, 3, 4],
            }
        )
    )
    assert table.table["run"].tolist() == ["seed2", "seed2", "seed10", "seed10"]
    assert table.table["m"].tolist() == [4.0, 2.0, 3.0, 1.0]
    assert sorted(["a10", "a9", "b1"], key=natural_key) == ["a9", "a10", "b1"]


@pytest.mark.parametrize("name", ["step", "global_step", "Iteration", "epoch"])
def test_step_column_names(name):
    table = from_frame(frame(m=[1.0, 2, 3, 4]).rename(columns={"step": name}))
    assert table.step_unit == ("epoch" if name == "epoch" else "step")
    assert table.table["step"].tolist() == [0, 10, 0, 10]
    assert table.metrics == ("m",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="step"), "no step column"),
        (lambda f: f.drop(columns="seed"), "'run' or 'seed'"),
        (lambda f: f.drop(columns="m"), "neither metrics nor outcomes"),
        (lambda f: f.assign(step=[0, 1.5, 0, 1]), "whole numbers"),
        (lambda f: f.assign(step=[0, np.nan, 0, 1]), "whole numbers"),
        (lambda f: f.assign(step=[0, 0, 0, 1]), "another row claims"),
        (lambda f: f.iloc[:0], "no rows"),
        (lambda f: f.assign(run=["a", None, "b", "b"]), "without a run"),
    ],
)
def test_bad_tables_are_refused_with_the_reason(change, message):
    with pytest.raises(TableError, match=message):
        from_frame(change(frame(m=[1.0, 2, 3, 4])))


def test_parquet_round_trip_keeps_what_is_what(tmp_path):
    # 'score' says outcome by name only; 'mine' by request only. Both survive the file.
    table = from_frame(
        frame(m=[1.0, 2, 3, 4], mine=[1.0, 2, 3, 4], path=list("abcd")), outcomes=["mine"]
    )
    write_table(table, tmp_path / "t.parquet")
    again = read_table(tmp_path / "t.parquet")
    assert (again.metrics, again.outcomes) == (("m",), ("mine",))
    pd.testing.assert_frame_equal(again.table, table.table)
    write_table(table, tmp_path / "u.parquet")
    assert (tmp_path / "u.parquet").read_bytes() == (tmp_path / "t.parquet").read_bytes()


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_reads_anybodys_table(tmp_path, suffix):
    path = tmp_path / f"metrics{suffix}"
    data = frame(l2=[1.0, 2, 3, 4])
    if suffix == ".parquet":
        data.to_parquet(path)
    else:
        data.to_csv(path, sep="\t" if suffix == ".tsv" else ",", index=False)
    assert read_table(path).metrics == ("l2",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.parquet", b"not parquet"),
        ("t.csv", b"\xff\xfe\x00"),
        ("t.csv", b""),
        ("t.csv", b'a,b\n1,2\n3,"unterminated'),
        ("t.txt", b"a,b\n1,2\n"),
    ],
)
def test_unreadable_tables_are_refused(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(TableError, match=name):
        read_table(path)


def test_missing_table_is_named(tmp_path):
    with pytest.raises(TableError, match="There is no file"):
        read_table(tmp_path / "gone.csv")


@pytest.mark.skipif(not PYTHIA.exists(), reason="the Pythia metrics are not at hand")
def test_pythia_table_is_read_as_it_is():
    table = read_table(PYTHIA)
    assert table.lengths.tolist() == [154] * 5
    assert len(table.metrics) == 14
    assert table.observations().values.shape == (770, 14)


def test_columns_have_one_role_whatever_their_case():
    table = from_frame(
        pd.DataFrame({"Run": ["a", "a"], "Step": [0, 1], "Epoch": [0, 1], "m": [1.0, 2.0]})
    )
    assert table.metrics == ("m",)
    assert table.runs["run"].tolist() == ["a"]
    assert [n.subject for n in table.notices] == ["column Epoch"]


def test_a_single_run_needs_no_run_column():
    table = from_frame(pd.DataFrame({"step": [3, 1], "m": [1.0, 2.0]}))
    assert table.runs["run"].tolist() == ["run"]
    assert table.table["m"].tolist() == [2.0, 1.0]


def test_a_column_called_like_provenance_is_a_metric_of_ones_own():
    table = from_frame(frame(size=[1.0, 2, 3, 4], state=[1.0, 2, 3, 5], _order=[4.0, 3, 2, 1]))
    assert table.metrics == ("size", "state", "_order")


def test_what_does_not_hold_real_numbers_is_left_out_and_named():
    mixed = pd.Series([1, 2.5, "x", 4], dtype=object)
    objects = pd.Series([1, 2.5, 3, 4], dtype=object)
    table = from_frame(frame(m=[1.0, 2, 3, 4], mixed=mixed, objects=objects, z=[1j, 2, 3, 4]))
    assert table.metrics == ("m", "objects")
    assert [n.subject for n in table.notices] == ["column mixed", "column z"]


def test_columns_of_one_name_are_refused(tmp_path):
    twice = pd.DataFrame([[0, 0, 1.0, 2.0]], columns=["seed", "step", "m", "m"])
    with pytest.raises(TableError, match="several columns called m"):
        from_frame(twice)
    (tmp_path / "t.csv").write_text("seed,step,m,m\n0,0,1,2\n0,1,2,3\n")
    with pytest.raises(TableError, match="several columns called m"):
        read_table(tmp_path / "t.csv")


def test_a_missing_group_is_refused():
    with pytest.raises(TableError, match="without a group"):
        from_frame(frame(m=[1.0, 2, 3, 4], group=["a", None, "b", "b"]))


def test_the_unit_survives_the_file(tmp_path):
    table = from_frame(frame(m=[1.0, 2, 3, 4]).rename(columns={"step": "epoch"}))
    write_table(table, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").step_unit == "epoch"


@pytest.mark.parametrize("damage", [{}, [], {"metrics": 5, "outcomes": [], "step_unit": "step"}])
def test_damaged_metadata_are_refused(tmp_path, damage):
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame(m=[1.0, 2, 3, 4]))
    table = table.replace_schema_metadata({b"hmmdyn": json.dumps(damage).encode()})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(TableError, match="damaged"):
        read_table(tmp_path / "t.parquet")
    damage = {"metrics": ["gone"], "outcomes": [], "step_unit": "step"}
    table = table.replace_schema_metadata({b"hmmdyn": json.dumps(damage).encode()})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(TableError, match=r"lacks columns .* gone"):
        read_table(tmp_path / "t.parquet")


def test_names_of_any_number_of_digits_can_be_ordered():
    names = ["9" * 6000, "1" + "0" * 6000, "a2", "a10", "a02"]
    assert sorted(names, key=natural_key)[:2] == names[:2]
    assert sorted(["a10", "a9", "b1"], key=natural_key) == ["a9", "a10", "b1"]


def test_json_lines_are_read_as_written(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text(
        '{"run": "007", "step": 0, "norm": 0.1234567890123456789, "updated_at": 5, "note": "x"}\n'
        '{"run": "007", "step": 1, "norm": null, "updated_at": 6, "nested": {"a": [1]}}\n'
        '{"run": "8", "step": 1, "norm": Infinity, "updated_at": 7, "val_loss": 0.5}\n'
    )
    found = read_table(path)
    assert found.table["run"].tolist() == ["007", "007", "8"]
    assert found.metrics == ("norm", "updated_at")
    assert found.outcomes == ("val_loss",)
    assert found.table["norm"][0] == 0.1234567890123456789
    assert found.table["updated_at"].tolist() == [5, 6, 7]
    assert {notice.subject for notice in found.notices} == {"column note", "column nested/a"}


def test_json_lines_that_are_damaged_are_named(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"step": 0, "norm": 1}\n{"step": 1,\n')
    with pytest.raises(TableError, match=r"mine.jsonl cannot be read as a table"):
        read_table(path)


def test_a_long_value_is_cut_short_in_a_message():
    with pytest.raises(TableError, match=r"whole numbers.*'\[+\.\.\.\[+'") as caught:
        from_frame(frame(m=[1.0, 2, 3, 4]).assign(step=["0", "[" * 3000, "2", "3"]))
    assert len(str(caught.value)) < 300
