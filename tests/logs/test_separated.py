"""Tables of text in the forms that programs and people write: each reads as the plain one."""

import gzip

import pandas as pd
import pyarrow as pa
import pytest

from hmmdyn.errors import LogError, NoTimeError, TableError
from hmmdyn.logs import read_log
from hmmdyn.tables.metric_table import read_table

PLAIN = "step,l2,eval_loss\n0,10.5,2.0\n100,9.25,1.5\n200,8.0,1.25\n"
ROWS = [[0, 10.5, 2.0], [100, 9.25, 1.5], [200, 8.0, 1.25]]


def lines(text, change):
    return "".join(change(line) + "\n" for line in text.splitlines())


FORMS = {
    "commas": PLAIN,
    "semicolons": PLAIN.replace(",", ";"),
    "semicolons and decimal commas": PLAIN.replace(",", ";").replace(".", ","),
    "tabs": PLAIN.replace(",", "\t"),
    "tabs and decimal commas": PLAIN.replace(",", "\t").replace(".", ","),
    "bars": PLAIN.replace(",", "|"),
    "blanks": PLAIN.replace(",", "   "),
    "padding": PLAIN.replace(",", " , "),
    "byte order mark": "\ufeff" + PLAIN,
    "Windows": PLAIN.replace("\n", "\r\n"),
    "old Macintosh": PLAIN.replace("\n", "\r"),
    "trailing commas": lines(PLAIN, lambda line: line + ","),
    "trailing commas below the header": PLAIN.replace("\n", ",\n").replace("loss,", "loss", 1),
    "several trailing commas below the header": PLAIN.replace("\n", ",,,\n").replace(
        "loss,,,", "loss", 1
    ),
    "no end of the last line": PLAIN[:-1],
    "empty lines": PLAIN.replace("\n", "\n\n"),
    "a comment above": "# made by hand, on a Monday\n" + PLAIN,
    "settings above": "lr: 0.1\nwd=0.5\n" + PLAIN,
    "settings above, with commas": "lr,0.1\nname,adam\n" + PLAIN,
    "a header behind a comment sign": "# " + PLAIN.replace(",", " "),
    "headers repeated": PLAIN.replace("200,", "step,l2,eval_loss\n200,"),
    "units below the header": PLAIN.replace("loss\n", "loss\n[-],[1],[nats]\n", 1),
    "a torn last line": PLAIN + "300,7",
    "quotes": PLAIN.replace("step", '"step"').replace("10.5", '"10.5"'),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_read_as_the_plain_table(tmp_path, form):
    path = tmp_path / "log.csv"
    path.write_text(FORMS[form], newline="")
    frame = read_log(path).frame
    assert list(frame.columns) == ["step", "l2", "eval_loss"]
    assert frame.astype(float).to_numpy().tolist() == ROWS
    table = read_table(path).table
    assert table[["step", "l2", "eval_loss"]].to_numpy().tolist() == ROWS


@pytest.mark.parametrize("level", ["seed", "run"])
def test_a_pivot_table_as_pandas_saves_it(tmp_path, level):
    values = {"step": [0, 10] * 2, "loss": [2.0, 1.0, 3.0, 1.5], "l2": [1.0, 2.5, 3.0, 4.0]}
    long = pd.DataFrame({level: [0, 0, 1, 1], **values})
    long.pivot(index="step", columns=level).to_csv(tmp_path / "pivot.csv")
    found = read_table(tmp_path / "pivot.csv")
    assert found.runs["run"].tolist() == (["seed0", "seed1"] if level == "seed" else ["0", "1"])
    assert found.table[["loss", "l2"]].to_numpy().tolist() == long[["loss", "l2"]].values.tolist()


def test_an_empty_file_and_a_spreadsheet_are_told(tmp_path):
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(TableError, match="it is empty"):
        read_table(tmp_path / "empty.csv")
    (tmp_path / "x.xlsx").write_bytes(b"PK\x03\x04" + b"\x00" * 26 + b"[Content_Types].xml")
    with pytest.raises(TableError, match="it is a spreadsheet: save it as CSV"):
        read_table(tmp_path / "x.xlsx")


def test_utf_16_as_spreadsheets_and_shells_write_it(tmp_path):
    (tmp_path / "log.txt").write_text(PLAIN.replace(",", "\t"), encoding="utf-16")
    assert read_log(tmp_path / "log.txt").frame.to_numpy().tolist() == ROWS


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bz2"])
def test_packed_tables(tmp_path, kind):
    path = tmp_path / "log.csv.packed"
    with pa.CompressedOutputStream(str(path), kind) as stream:
        stream.write(PLAIN.encode())
    assert read_log(path).frame.to_numpy().tolist() == ROWS


def test_what_unpacks_to_too_much_is_refused(tmp_path):
    path = tmp_path / "log.csv.gz"
    with gzip.open(path, "wb", compresslevel=9) as file:
        for _ in range(257):
            file.write(b" " * 2**20)
    with pytest.raises(LogError, match="unpacked it is larger than 256 MiB"):
        read_log(path)
    path.write_bytes(gzip.compress(PLAIN.encode())[:-20])
    with pytest.raises(LogError, match="cannot be unpacked"):
        read_log(path)


def test_what_was_left_out_is_counted(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(FORMS["a torn last line"])
    assert read_log(path).left_out == {"Last lines that are cut short": 1}
    path.write_text(FORMS["headers repeated"])
    assert read_log(path).left_out == {"Headers repeated among the rows": 1}
    path.write_text(FORMS["settings above"])
    assert read_log(path).left_out == {"Lines above the header of a table": 2}


def test_a_header_in_two_lines(tmp_path):
    path = tmp_path / "log.csv"
    frame = pd.DataFrame(
        [[0, 1.0, 2.0], [1, 1.5, 1.0]],
        columns=pd.MultiIndex.from_tuples([("step", ""), ("weights", "l2"), ("eval", "loss")]),
    )
    frame.to_csv(path, index=False)
    found = read_table(path)
    assert (found.metrics, found.outcomes) == (("weights/l2",), ("eval/loss",))
    frame.set_index([("step", "")]).rename_axis(index="step").to_csv(path)
    assert read_table(path).table["weights/l2"].tolist() == [1.0, 1.5]


def test_rows_longer_than_the_header_are_refused(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,l2\n0,1,2\n1,2,3\n")
    with pytest.raises(TableError, match="malformed"):
        read_table(path)


def test_names_are_kept_as_they_are_written(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("run,step,l2\n01,0,1\n01,1,2.5\n1,0,3\n1,1,4.5\nNone,0,1\nNA,0,1\n")
    assert read_table(path).runs["run"].tolist() == ["01", "1", "NA", "None"]


def test_a_table_without_time_is_not_read_in_vain(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(NoTimeError, match="no step or epoch column"):
        read_log(path, require_time=True)
